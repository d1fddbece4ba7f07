//! Content of objects is not in logs, Events or statuses, even if it cannot be decoded.
//!
//! A separate test binary, since the log is per process.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::ensure;
use function_mesh_api::{Function, Source};
use function_mesh_testkit::{
    ControllerHarness, LogBuffer, PATIENCE, TestNamespace, eventually, fixtures, test_options,
};
use http::{Request, Response};
use http_body_util::BodyExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Patch, PatchParams};
use kube::client::Body;
use kube::{Client, Resource};
use serde_json::{Value, json};
use tower::service_fn;

const CANARY: &str = "c4n4ry-sings-in-the-coal-mine";

/// A Function with an incompatible schema.
fn twisted(namespace: &str) -> Value {
    json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "Function",
        "metadata": { "name": "twisted", "namespace": namespace, "uid": "1", "resourceVersion": "1", "generation": CANARY },
        "spec": { "replicas": CANARY, "pod": { "env": [{ "name": CANARY, "value": { CANARY: CANARY } }] } },
        "status": CANARY,
    })
}

/// Responses of a broken proxy, in order; None forwards the API server's.
fn broken(turn: usize, request: &Request<Body>, namespace: &str) -> Option<(u16, String)> {
    let query = request.uri().query().unwrap_or_default();
    let is_watch = query.contains("watch=true");
    let item = twisted(namespace).to_string();
    let page = |items: &str| format!("{{\"metadata\":{{\"resourceVersion\":\"1\"}},\"items\":[{items}]}}");
    Some(match turn % 12 {
        0 => (200, format!("<html>{CANARY}</html>")),
        1 => (502, format!("<html>{CANARY}</html>")),
        2 => (200, page(&format!("{item},{{\"{CANARY}\":\"{CANARY}"))),
        3 => (200, format!("{{\"metadata\":\"{CANARY}\",\"items\":[{item}]}}")),
        4 => (500, json!({ "kind": "Status", "message": { CANARY: CANARY } }).to_string()),
        5 if is_watch => (200, format!("{{\"type\":\"{CANARY}\",\"object\":{item}}}\n")),
        6 if is_watch => (200, format!("{{\"type\":\"MODIFIED\",\"object\":\"{CANARY}\"}}\n{CANARY}\n")),
        7 if is_watch => (200, format!("{{\"type\":\"MODIFIED\",\"object\":{item}}}\n")),
        5..=7 if request.uri().path().ends_with("/functions") => (200, page(&item)),
        _ => return None,
    })
}

/// A list with one more item.
async fn with_item(answer: Response<Body>, item: &Value) -> Response<Body> {
    let bytes =
        answer.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).replacen("\"items\":[", &format!("\"items\":[{item},"), 1);
    Response::new(Body::from(text.into_bytes()))
}

fn answer(code: u16, body: String) -> Response<Body> {
    let mut answer = Response::new(Body::from(body.into_bytes()));
    *answer.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    answer
}

/// A client behind a proxy that is broken for a while.
fn behind_proxy(client: &Client, namespace: &str, is_broken: &Arc<AtomicBool>) -> Client {
    let (turn, own, at) = (Arc::new(AtomicUsize::new(0)), client.clone(), namespace.to_owned());
    let is_broken = Arc::clone(is_broken);
    let proxy = service_fn(move |request: Request<Body>| {
        let is_broken = is_broken.load(Ordering::Relaxed);
        let made_up =
            is_broken.then(|| broken(turn.fetch_add(1, Ordering::Relaxed), &request, &at)).flatten();
        let (own, at) = (own.clone(), at.clone());
        async move {
            if let Some((code, body)) = made_up {
                return Ok::<_, Infallible>(answer(code, body));
            }
            let is_list = request.method() == http::Method::GET
                && request.uri().path().ends_with("/functions")
                && !request.uri().query().unwrap_or_default().contains("watch=true");
            Ok(match own.send(request).await {
                Ok(answer) if is_list => with_item(answer, &twisted(&at)).await,
                Ok(answer) => answer,
                Err(_) => answer(502, String::new()),
            })
        }
    });
    Client::new(proxy, "default")
}

#[tokio::test]
async fn content_is_not_logged_or_reported_on_failures() -> anyhow::Result<()> {
    let log = LogBuffer::default();
    tracing_subscriber::fmt().with_env_filter("trace").with_ansi(false).with_writer(log.clone()).init();
    let test = TestNamespace::new("canary").await?;

    // Secrets in typical places, and managedFields that exceed the recursion limit of any parser.
    let mut function = fixtures::python_function("shout");
    function.pulsar =
        serde_json::from_value(json!({ "pulsarConfig": "pulsar", "authConfig": { "genericAuth": {
        "clientAuthenticationPlugin": "p", "clientAuthenticationParameters": format!("token:{CANARY}"),
    } } }))?;
    function.func_config = serde_json::from_value(json!({ "password": CANARY }))?;
    function.pod = serde_json::from_value(json!({ "env": [{ "name": "TOKEN", "value": CANARY }] }))?;
    test.apply(&Function::new("shout", function)).await?;
    let mut source = fixtures::source("tap");
    source.source_config = serde_json::from_value(json!({ "password": CANARY }))?;
    test.apply(&Source::new("tap", source)).await?;
    let mut deep = json!({ CANARY: {} });
    for _ in 0..150 {
        deep = json!({ "f:a": deep });
    }
    let managers = json!({ "metadata": { "managedFields": [{ "manager": "x", "operation": "Update",
        "apiVersion": "compute.functionmesh.io/v1alpha1", "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": deep } }] } });
    let request = kube::core::Request::new(Function::url_path(&(), Some(&test.namespace)));
    test.client
        .request_text(request.patch("shout", &PatchParams::default(), &Patch::Merge(managers))?)
        .await?;

    let is_broken = Arc::new(AtomicBool::new(true));
    let behind = behind_proxy(&test.client, &test.namespace, &is_broken);
    let controller = ControllerHarness::start(behind, test_options(&[&test.namespace]));
    eventually(PATIENCE, async || {
        let logged = log.text();
        for wanted in
            ["watch failed", "invalid JSON at byte 0", "unexpected end of list", "skipped an object", "502"]
        {
            ensure!(logged.contains(wanted), "{wanted:?} is not logged yet");
        }
        Ok(())
    })
    .await?;
    // Then the proxy recovers.
    is_broken.store(false, Ordering::Relaxed);
    let mended = std::time::Duration::from_mins(1);
    for name in ["shout-function", "tap-source"] {
        let set = eventually(mended, async || test.get::<StatefulSet>(name).await).await?;
        ensure!(serde_json::to_string(&set)?.contains(CANARY), "{name} has it, as the runner wants");
    }
    controller.stop().await?;
    for (kind, path) in
        [("events", "{.items[*].note}{.items[*].message}"), ("functions", "{.items[*].status}")]
    {
        let output = test
            .plane
            .kubectl(&["get", kind, "-n", &test.namespace, "-o", &format!("jsonpath={path}")], "")
            .await?;
        ensure!(!output.contains(CANARY), "{kind}: {output}");
    }
    let logged = log.text();
    let line = logged.lines().find(|line| line.contains(CANARY));
    ensure!(line.is_none(), "logged: {line:?}");
    ensure!(logged.contains("failed to decode object"), "the twisted Function was never seen");
    Ok(())
}
