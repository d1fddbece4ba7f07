//! Each fault against a server that counts requests.

use std::convert::Infallible;
use std::sync::atomic::AtomicUsize;

use http::StatusCode;
use http_body_util::Full;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use tower::service_fn;

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

/// A client and the number of requests that reach the server.
fn client(faults: &Faults) -> (Api<ConfigMap>, Arc<AtomicUsize>) {
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    let server = service_fn(move |_: Request<Body>| {
        count.fetch_add(1, Ordering::SeqCst);
        let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}"#;
        async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body)))) }
    });
    let retries = RetryLayer::new(RetryPolicy::server_retry());
    let client = ClientBuilder::new(server, "n").with_layer(&faults.layer()).with_layer(&retries).build();
    (Api::default_namespaced(client), reached)
}

async fn create(api: &Api<ConfigMap>) -> Result<ConfigMap, kube::Error> {
    api.create(&PostParams::default(), &ConfigMap::default()).await
}

#[tokio::test]
async fn only_the_planned_request_gets_the_fault() {
    let faults = Faults::default();
    let (api, reached) = client(&faults);
    for (fault, goes_well, reaches) in [
        (Fault::Lose, false, 0),
        (Fault::DropResponse, false, 1),
        (Fault::Reject(StatusCode::INTERNAL_SERVER_ERROR), false, 0),
        (Fault::Reject(StatusCode::CONFLICT), false, 0),
        // The client itself retries these.
        (Fault::Reject(StatusCode::SERVICE_UNAVAILABLE), true, 1),
        (Fault::Reject(StatusCode::TOO_MANY_REQUESTS), true, 1),
        (Fault::Delay(Duration::from_millis(1)), true, 1),
        (Fault::Duplicate, true, 2),
    ] {
        faults.inject(2, fault);
        create(&api).await.unwrap();
        assert!(!faults.triggered().is_cancelled());
        let before = reached.load(Ordering::SeqCst);
        let answer = create(&api).await;
        assert_eq!(answer.is_ok(), goes_well, "{fault}: {answer:?}");
        assert_eq!(reached.load(Ordering::SeqCst) - before, reaches, "{fault}");
        assert!(faults.triggered().is_cancelled());
        assert_eq!(faults.victim().unwrap().to_string(), "POST configmaps");
        create(&api).await.unwrap();
    }
}

#[tokio::test]
async fn injected_error_equals_an_api_server_error() {
    let faults = Faults::default();
    let (api, _) = client(&faults);
    faults.inject(1, Fault::Reject(StatusCode::CONFLICT));
    let Err(kube::Error::Api(status)) = create(&api).await else { panic!("no error_response") };
    assert!(status.is_conflict());
}

#[tokio::test]
async fn no_request_passes_after_a_crash() {
    let faults = Faults::default();
    let (api, reached) = client(&faults);
    faults.inject_crash(1, Fault::DropResponse);
    create(&api).await.unwrap_err();
    assert_eq!(reached.load(Ordering::SeqCst), 1);
    tokio::time::timeout(Duration::from_millis(50), create(&api)).await.unwrap_err();
    assert_eq!(reached.load(Ordering::SeqCst), 1);
    let (api, _) = client(&faults);
    tokio::time::timeout(LIMIT, create(&api)).await.unwrap().unwrap();
}

#[tokio::test]
async fn random_faults_are_reproducible() {
    let run = async || {
        let faults = Faults::default();
        let (api, _) = client(&faults);
        faults.inject_randomly(7, Rates { requests: 300, watches: 0 });
        let mut answers = Vec::new();
        for _ in 0..12 {
            answers.push(create(&api).await.is_ok());
        }
        (answers, faults.counts())
    };
    let first = run().await;
    assert!(!first.1.is_empty());
    assert_eq!(run().await, first);
}
