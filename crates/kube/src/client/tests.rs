//! The layers around a mock service, used through kube's `Api`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use function_mesh_workloads::Workload;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ApiResource, ListParams, PostParams, WatchParams};
use kube::core::GroupVersionKind;
use prometheus::proto::MetricFamily;
use tower::service_fn;

use super::*;

/// How the service responds to one request.
#[derive(Clone, Copy)]
enum Reply {
    ClientResponse(u16, &'static str),
    /// No response.
    Hang,
    /// Headers, and a body that does not end.
    HangInBody,
}

const OBJECT: &str = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#;
const REFUSED: &str =
    r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":"R","code":1}"#;

const ABSENT: &str =
    r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":"NotFound","code":404}"#;

/// A client of a service that responds in this order and repeats the last response.
fn client(replies: &[Reply]) -> (Client, Registry) {
    let registry = Registry::new();
    let metrics = ClientMetrics::register(&registry).unwrap();
    let replies = Arc::new(Mutex::new(replies.iter().copied().collect::<VecDeque<_>>()));
    let service = service_fn(move |_: Request<Body>| {
        let mut replies = replies.lock().unwrap();
        let reply = if replies.len() > 1 { replies.pop_front() } else { replies.front().copied() };
        async move {
            let (code, body) = match reply.expect("an act") {
                Reply::ClientResponse(code, text) => (code, Body::from(text.as_bytes().to_vec())),
                Reply::Hang => std::future::pending().await,
                Reply::HangInBody => (200, Body::from(Vec::new())),
            };
            let body = if matches!(reply, Some(Reply::HangInBody)) {
                Either::Left(Endless)
            } else {
                Either::Right(body)
            };
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    let client = metrics.wrap(ClientBuilder::new(service, "default"));
    (client, registry)
}

/// A body that stays pending.
struct Endless;

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, BoxError>>> {
        Poll::Pending
    }
}

fn api(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), "team")
}

/// Counts that are not zero, as `verb resource code: count`.
fn counted(registry: &Registry) -> Vec<String> {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == "function_mesh_api_requests_total");
    let metrics = family.map(MetricFamily::get_metric).unwrap_or_default();
    let counted = metrics.iter().filter(|metric| metric.get_counter().get_value() > 0.0).map(|metric| {
        let label = |name| metric.get_label().iter().find(|label| label.name() == name).unwrap().value();
        format!(
            "{} {} {}: {}",
            label("verb"),
            label("resource"),
            label("code"),
            metric.get_counter().get_value()
        )
    });
    let mut counted: Vec<_> = counted.collect();
    counted.sort();
    counted
}

#[tokio::test]
async fn counts_requests_by_verb_resource_and_code() {
    let (client, registry) = client(&[
        Reply::ClientResponse(200, OBJECT),
        Reply::ClientResponse(404, ABSENT),
        Reply::ClientResponse(409, REFUSED),
        Reply::ClientResponse(403, REFUSED),
        Reply::ClientResponse(500, REFUSED),
    ]);
    let api = api(&client);
    api.get("a").await.unwrap();
    assert!(api.get_opt("a").await.is_ok_and(|found| found.is_none()));
    assert!(api.create(&PostParams::default(), &ConfigMap::default()).await.is_err());
    assert!(api.list(&ListParams::default()).await.is_err());
    assert!(api.delete("a", &kube::api::DeleteParams::default()).await.is_err());
    assert_eq!(
        counted(&registry),
        [
            "create configmaps 409: 1",
            "delete configmaps 5xx: 1",
            "get configmaps 2xx: 1",
            "get configmaps 404: 1",
            "list configmaps 4xx: 1",
        ]
    );
    let seconds = registry.gather().into_iter().find(|family| family.name().ends_with("duration_seconds"));
    assert_eq!(seconds.expect("times").get_metric().len(), 4, "one series a verb");
}

#[tokio::test(start_paused = true)]
async fn retries_a_busy_server_and_counts_each_attempt() {
    let (client, registry) = client(&[
        Reply::ClientResponse(429, REFUSED),
        Reply::ClientResponse(503, REFUSED),
        Reply::ClientResponse(200, OBJECT),
    ]);
    api(&client).get("a").await.unwrap();
    assert_eq!(
        counted(&registry),
        ["get configmaps 2xx: 1", "get configmaps 429: 1", "get configmaps 5xx: 1"]
    );
}

#[tokio::test(start_paused = true)]
async fn hanging_requests_time_out() {
    for reply in [Reply::Hang, Reply::HangInBody, Reply::ClientResponse(503, REFUSED)] {
        let (client, registry) = client(&[reply]);
        let started = tokio::time::Instant::now();
        let error = api(&client).get("a").await.expect_err("it must end");
        let took = started.elapsed();
        assert!(took >= REQUEST_TIMEOUT && took < REQUEST_TIMEOUT + Duration::from_secs(1), "after {took:?}");
        let text = error.to_string();
        assert!(text.contains("request timed out after 30s: get configmaps"), "{text}");
        if !matches!(reply, Reply::ClientResponse(..)) {
            // A cancelled request is counted on drop.
            assert_eq!(counted(&registry), ["get configmaps error: 1"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn watch_times_out_on_headers_only() {
    let (client, registry) = client(&[Reply::HangInBody, Reply::Hang]);
    let watch = api(&client).watch(&WatchParams::default(), "0").await;
    let mut stream = std::pin::pin!(watch.expect("it begins"));
    let quiet = tokio::time::timeout(10 * REQUEST_TIMEOUT, futures::StreamExt::next(&mut stream)).await;
    assert!(quiet.is_err(), "it must not end by itself: {quiet:?}");
    assert!(api(&client).watch(&WatchParams::default(), "0").await.is_err());
    assert_eq!(counted(&registry), ["watch configmaps 2xx: 1", "watch configmaps error: 1"]);
}

#[test]
fn labels_are_from_fixed_sets() {
    let group = "/apis/compute.functionmesh.io/v1alpha1";
    for (method, uri, verb, resource) in [
        ("GET", "/api/v1/namespaces/n/pods?limit=20", "list", "pods"),
        ("GET", "/api/v1/namespaces/n/pods/p", "get", "pods"),
        ("GET", "/api/v1/services?watch=true&timeoutSeconds=290", "watch", "services"),
        ("GET", "/api/v1/namespaces/n", "get", "namespaces"),
        (
            "PATCH",
            &format!("{group}/namespaces/n/functions/f/status?force=true"),
            "patch",
            "functions/status",
        ),
        ("PATCH", &format!("{group}/namespaces/n/functions/f/scale"), "patch", "functions/scale"),
        ("PATCH", &format!("{group}/namespaces/n/functions/f/surprise"), "patch", "other"),
        ("GET", &format!("{group}/functionmeshes"), "list", "functionmeshes"),
        ("POST", "/apis/events.k8s.io/v1/namespaces/n/events", "create", "events"),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/n/leases/l", "update", "leases"),
        ("DELETE", "/apis/apps/v1/namespaces/n/statefulsets/s", "delete", "statefulsets"),
        ("DELETE", "/apis/apps/v1/namespaces/n/statefulsets", "deletecollection", "statefulsets"),
        ("GET", "/api/v1/namespaces/n/my-own-name", "list", "other"),
        ("GET", "/version", "get", "other"),
    ] {
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        let info = RequestInfo::of(&request);
        if resource != "other" {
            assert_eq!(info.verb, verb, "{method} {uri}");
        }
        assert_eq!(info.resource, resource, "{method} {uri}");
    }
    for code in 100..600 {
        assert!(CODES.contains(&status_class(StatusCode::from_u16(code).unwrap())), "{code}");
    }
}

#[test]
fn requests_for_each_child_are_counted_by_its_resource() {
    for kind in Workload::KINDS {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("g", "v1", kind)).plural;
        assert!(RESOURCES.contains(&resource.as_str()), "{resource}");
    }
}
