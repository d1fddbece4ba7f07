//! Many slow, large or hostile requests at once: others get a response in time, and memory stays within the budget.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use axum::http::header;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_serving::{Server, Timeouts, Transport};
use function_mesh_webhook::{AppState, Authorizer, Limits, Metrics, router};
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const RECORDED: &str = include_str!("reviews/create-function.json");
const PATH: &str = "/validate-compute-functionmesh-io-v1alpha1-function";
const MIB: usize = 1024 * 1024;
/// Longest delay of other requests: less than the deadline that slow requests run into. Debug builds on busy machines are
/// slow.
const MAX_DELAY: Duration = Duration::from_secs(3);

struct Webhook {
    addr: SocketAddr,
    registry: Registry,
    _end: tokio_util::sync::DropGuard,
}

impl Webhook {
    async fn start(limits: Limits) -> Self {
        Self::with_authorizer(limits, None).await
    }

    async fn with_authorizer(limits: Limits, authorizer: Option<Arc<dyn Authorizer>>) -> Self {
        let (registry, end) = (Registry::new(), CancellationToken::new());
        let state = AppState::with_authorizer(Metrics::new(&registry).unwrap(), limits, authorizer);
        let timeouts = Timeouts { connections: limits.connections(), ..Timeouts::default() };
        let addr = "127.0.0.1:0".parse().unwrap();
        let server = Server::start("test", &addr, router(state), Transport::Plain, timeouts, &end);
        let addr = server.await.unwrap().unwrap().addr();
        Self { addr, registry, _end: end.drop_guard() }
    }

    /// Bytes of the memory budget in use.
    fn used(&self, size: &str) -> i64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == "function_mesh_admission_body_bytes");
        let metrics = family.expect("the gauge").get_metric();
        let metric = metrics.iter().find(|metric| metric.get_label()[0].value() == size);
        #[allow(clippy::cast_possible_truncation, reason = "small whole numbers")]
        metric.map_or(0, |metric| metric.get_gauge().get_value() as i64)
    }
}

fn head(length: usize) -> String {
    format!("POST {PATH} HTTP/1.1\r\n{}: x\r\n{}: {length}\r\n\r\n", header::HOST, header::CONTENT_LENGTH)
}

/// Sends one request on a new connection; None when the server closed it.
async fn post(addr: SocketAddr, body: &[u8]) -> Option<Value> {
    let mut stream = TcpStream::connect(addr).await.ok()?;
    stream.write_all(head(body.len()).as_bytes()).await.ok()?;
    // The response may come before the body is read.
    let _ = stream.write_all(body).await;
    answer(&mut stream).await
}

async fn answer(stream: &mut TcpStream) -> Option<Value> {
    let mut text = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.ok()?;
        text.extend_from_slice(&piece[..read]);
        let whole = String::from_utf8_lossy(&text);
        if let Some((head, body)) = whole.split_once("\r\n\r\n") {
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            if let Ok(review) = serde_json::from_str::<Value>(body) {
                return Some(review["response"].clone());
            }
        }
        if read == 0 {
            return None;
        }
    }
}

/// Sends requests in sequence as an API server would, and returns the slowest response time.
async fn bystander(addr: SocketAddr, rounds: usize) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds {
        let begun = Instant::now();
        let answer =
            timeout(10 * MAX_DELAY, post(addr, RECORDED.as_bytes())).await.expect("an answer in time");
        assert_eq!(answer.expect("an answer")["allowed"], true);
        slowest = slowest.max(begun.elapsed());
        sleep(Duration::from_millis(20)).await;
    }
    slowest
}

/// S14: connections that send a byte and wait.
#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_do_not_delay_others() {
    let webhook = Webhook::start(Limits::default()).await;
    for length in [60_000, 7 * MIB] {
        let mut slow = Vec::new();
        for _ in 0..300 {
            let mut stream = TcpStream::connect(webhook.addr).await.unwrap();
            stream.write_all(head(length).as_bytes()).await.unwrap();
            let _ = stream.write_all(b"{").await;
            slow.push(stream);
        }
        let slowest = bystander(webhook.addr, 40).await;
        assert!(slowest < MAX_DELAY, "{length}: a small request took {slowest:?}");
        let first = slow.last_mut().unwrap();
        let answer = timeout(10 * MAX_DELAY, answer(first)).await.expect("slow senders are evicted");
        assert!(answer.is_none_or(|answer| answer["status"]["message"].as_str().unwrap().contains("retry")));
    }
}

/// S3, S14: bodies of the largest size.
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_stay_within_the_budget() {
    let limits = Limits::default();
    let webhook = Arc::new(Webhook::start(limits).await);
    let (stop, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let watch = {
        let (webhook, stop, most) = (Arc::clone(&webhook), Arc::clone(&stop), Arc::clone(&most));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                most.fetch_max(webhook.used("small") + webhook.used("large"), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    };
    let body = Arc::new(format!("{{\"a\":[{}]}}", [r#"{"":0}"#].repeat(MIB - 10).join(",")));
    assert!(body.len() > 7 * MIB - 100 && body.len() < 7 * MIB, "{}", body.len());
    let (addr, mut senders) = (webhook.addr, Vec::new());
    for _ in 0..40 {
        let body = Arc::clone(&body);
        senders.push(tokio::spawn(async move { post(addr, body.as_bytes()).await }));
    }
    let slowest = bystander(addr, 20).await;
    let mut answered = 0;
    for sender in senders {
        if let Some(answer) = sender.await.unwrap() {
            assert_eq!(answer["allowed"], false);
            let code = answer["status"]["code"].as_u64().unwrap();
            assert!([400, 503, 504].contains(&code), "{answer}");
            answered += usize::from(code == 400);
        }
    }
    stop.store(true, Ordering::Relaxed);
    watch.join().unwrap();
    assert!(answered > 0, "some bodies were read");
    assert!(slowest < MAX_DELAY, "a small request took {slowest:?}");
    let most = usize::try_from(most.load(Ordering::Relaxed)).unwrap();
    assert!(most > 7 * MIB && most <= limits.memory_budget, "{most} bytes were used");
    // An abandoned decision runs to its end.
    let released = async {
        while webhook.used("small") + webhook.used("large") > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(20 * MAX_DELAY, released).await.expect("the budget is released");
}

/// S3: invalid reviews are rejected without building a tree, some by their first byte.
#[tokio::test(flavor = "multi_thread")]
async fn invalid_reviews_are_rejected() {
    let webhook = Webhook::start(Limits::default()).await;
    let deep = |levels: usize, open: &str, close: &str| open.repeat(levels) + &close.repeat(levels);
    let inside = |object: &str| RECORDED.replacen("\"spec\":", &format!("\"x\": {object}, \"spec\":"), 1);
    for (body, code) in [
        (format!("[{}]", [r#"{"":0}"#].repeat(100_000).join(",")), 400),
        (deep(1_000_000, "[", "]"), 400),
        (deep(1_000_000, r#"{"a":"#, "}"), 400),
        (format!(r#"{{"request":{}}}"#, deep(200, "[", "]")), 400),
        (inside(&deep(200, "[", "]")), 422),
        (inside(&deep(1_000_000, "[", "]")), 422),
        (inside(&format!("[{}]", [r#"{"":0}"#].repeat(400_000).join(","))), 422),
    ] {
        let answer = post(webhook.addr, body.as_bytes()).await.expect("an answer");
        assert_eq!(
            (&answer["allowed"], &answer["status"]["code"]),
            (&json!(false), &json!(code)),
            "{answer}"
        );
    }
    assert!(bystander(webhook.addr, 1).await < MAX_DELAY);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_not_accepted() {
    let webhook = Webhook::start(Limits::default()).await;
    let mut stream = TcpStream::connect(webhook.addr).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(MAX_DELAY, stream.read_to_end(&mut answer)).await.expect("the server closes");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
}

/// An update of a mesh of two thousand components, with managedFields in both versions.
fn large_update() -> String {
    let component = |index: usize| {
        json!({
            "name": format!("component-{index}"), "className": "org.example.functions.enrichment.EnrichOrders",
            "input": { "topics": [format!("persistent://orders/enrichment/a-topic-of-a-usual-length-{index}")] },
            "output": { "topic": format!("persistent://orders/enrichment/a-topic-of-a-usual-length-{}", index + 1) },
            "resources": { "requests": { "cpu": "100m", "memory": "1G" } },
            "pulsar": { "pulsarConfig": "pulsar" },
            "java": { "jar": "enrich.jar", "jarLocation": "function://orders/enrichment/enrich@1" },
            "funcConfig": { "threshold": index, "mode": "strict" },
        })
    };
    let managed: Vec<_> = (0..2000).map(|index| json!({ format!("k:{{\"name\":\"component-{index}\"}}"): {
        ".": {}, "f:className": {}, "f:input": { ".": {}, "f:topics": {} }, "f:name": {}, "f:output": { ".": {}, "f:topic": {} },
        "f:java": { ".": {}, "f:jar": {}, "f:jarLocation": {} }, "f:pulsar": { ".": {}, "f:pulsarConfig": {} },
    } })).collect();
    let mut review: Value = serde_json::from_str(RECORDED).unwrap();
    let request = &mut review["request"];
    request["operation"] = "UPDATE".into();
    request["kind"]["kind"] = "FunctionMesh".into();
    let object = &mut request["object"];
    object["kind"] = "FunctionMesh".into();
    object["metadata"]["managedFields"] =
        json!([{ "manager": "kubectl", "fieldsV1": { "f:spec": managed } }]);
    object["spec"] = json!({ "functions": (0..2000).map(component).collect::<Vec<_>>() });
    request["oldObject"] = request["object"].clone();
    request["object"]["spec"]["functions"][0]["replicas"] = 2.into();
    review.to_string()
}

/// With `failurePolicy: Fail`, everything that the API server can store must be admitted.
#[tokio::test(flavor = "multi_thread")]
async fn largest_realistic_update_is_admitted() {
    let body = large_update();
    assert!(body.len() > 2_500_000 && body.len() < 7 * MIB, "{}", body.len());
    // Debug builds exceed the default deadline.
    let limits = Limits { deadline: Duration::from_mins(1), ..Limits::default() };
    let webhook = Webhook::start(limits).await;
    for action in ["mutate", "validate"] {
        let mut stream = TcpStream::connect(webhook.addr).await.unwrap();
        let head = head(body.len()).replace("validate", action).replace("-function ", "-functionmesh ");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let answer = answer(&mut stream).await.expect("an answer");
        assert_eq!(answer["allowed"], true, "{action}: {}", answer["status"]);
        assert_eq!(answer.get("patch").is_some(), action == "mutate");
    }
}

/// Denies every request after a delay.
#[derive(Debug)]
struct DenyAfter(Duration);

impl Authorizer for DenyAfter {
    fn authorize<'a>(
        &'a self,
        request: function_mesh_webhook::review::Request<'a>,
    ) -> function_mesh_webhook::authorization::AuthorizationFuture<'a> {
        Box::pin(async move {
            sleep(self.0).await;
            let user = request.user_info.map_or("no user", |user| user.get());
            Err(Box::new(kube::core::Status {
                code: 403,
                message: format!("not for {user}"),
                ..Default::default()
            }))
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authorizer_decides_last_within_the_deadline() {
    let limits = Limits { deadline: Duration::from_secs(1), ..Limits::default() };
    let webhook = Webhook::with_authorizer(limits, Some(Arc::new(DenyAfter(Duration::ZERO)))).await;
    let answer = post(webhook.addr, RECORDED.as_bytes()).await.unwrap();
    assert_eq!((&answer["allowed"], &answer["status"]["code"]), (&json!(false), &json!(403)));
    let webhook = Webhook::with_authorizer(limits, Some(Arc::new(DenyAfter(10 * MAX_DELAY)))).await;
    let answer = post(webhook.addr, RECORDED.as_bytes()).await.unwrap();
    assert_eq!((&answer["allowed"], &answer["status"]["code"]), (&json!(false), &json!(504)));
}
