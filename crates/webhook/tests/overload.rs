//! Many clients at once, slow, large or hostile: others are answered all the same, and no more is held than is allowed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so when it fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use axum::http::header;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_serving::{Server, Timeouts, Transport};
use function_mesh_webhook::{AppState, Limits, Metrics, Reviewer, router};
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const RECORDED: &str = include_str!("reviews/create-function.json");
const PATH: &str = "/validate-compute-functionmesh-io-v1alpha1-function";
const MIB: usize = 1024 * 1024;
/// What others may wait. Tests run on busy machines, without optimisation.
const SOON: Duration = Duration::from_secs(1);

struct Webhook {
    addr: SocketAddr,
    registry: Registry,
    _end: tokio_util::sync::DropGuard,
}

impl Webhook {
    async fn start(limits: Limits) -> Self {
        Self::with_reviewer(limits, None).await
    }

    async fn with_reviewer(limits: Limits, reviewer: Option<Arc<dyn Reviewer>>) -> Self {
        let (registry, end) = (Registry::new(), CancellationToken::new());
        let state = AppState::with_reviewer(Metrics::new(&registry).unwrap(), limits, reviewer);
        let timeouts = Timeouts { connections: limits.connections(), ..Timeouts::default() };
        let addr = "127.0.0.1:0".parse().unwrap();
        let server = Server::start("test", &addr, router(state), Transport::Plain, timeouts, &end);
        let addr = server.await.unwrap().unwrap().addr();
        Self { addr, registry, _end: end.drop_guard() }
    }

    /// Bytes that requests hold.
    fn held(&self, size: &str) -> i64 {
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

/// One request on a connection of its own. None when the connection was closed.
async fn post(addr: SocketAddr, body: &[u8]) -> Option<Value> {
    let mut stream = TcpStream::connect(addr).await.ok()?;
    stream.write_all(head(body.len()).as_bytes()).await.ok()?;
    // It may be answered before it was read.
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

/// Asks again and again as an API server would, and returns how long the slowest answer took.
async fn bystander(addr: SocketAddr, rounds: usize) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds {
        let begun = Instant::now();
        let answer = timeout(10 * SOON, post(addr, RECORDED.as_bytes())).await.expect("an answer in time");
        assert_eq!(answer.expect("an answer")["allowed"], true);
        slowest = slowest.max(begun.elapsed());
        sleep(Duration::from_millis(20)).await;
    }
    slowest
}

/// S14: connections that send a byte and wait.
#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_delay_nobody() {
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
        assert!(slowest < SOON, "{length}: a small request took {slowest:?}");
        let first = slow.last_mut().unwrap();
        let answer = timeout(10 * SOON, answer(first)).await.expect("slow senders are cut off");
        assert!(
            answer.is_none_or(|answer| answer["status"]["message"].as_str().unwrap().contains("try again"))
        );
    }
}

/// S3, S14: bodies of the largest size.
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_keep_to_the_budget() {
    let limits = Limits::default();
    let webhook = Arc::new(Webhook::start(limits).await);
    let (stop, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let watch = {
        let (webhook, stop, most) = (Arc::clone(&webhook), Arc::clone(&stop), Arc::clone(&most));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                most.fetch_max(webhook.held("small") + webhook.held("large"), Ordering::Relaxed);
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
    assert!(answered > 0, "some were read");
    assert!(slowest < SOON, "a small request took {slowest:?}");
    let most = usize::try_from(most.load(Ordering::Relaxed)).unwrap();
    assert!(most > 7 * MIB && most <= limits.memory_budget, "{most} bytes were held");
    // A decision that nobody waits for any longer goes on, and ends soon.
    let given_back = async {
        while webhook.held("small") + webhook.held("large") > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(20 * SOON, given_back).await.expect("all is given back");
}

/// S3: what is no review is refused without a tree, by its first byte where that says so.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_reviews_are_refused() {
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
    assert!(bystander(webhook.addr, 1).await < SOON);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_http_1_is_spoken() {
    let webhook = Webhook::start(Limits::default()).await;
    let mut stream = TcpStream::connect(webhook.addr).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("an end");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
}

/// A mesh of two thousand components, as an update with the managed fields of both versions.
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

/// `failurePolicy: Fail`: what the API server can store must pass.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_realistic_update_passes() {
    let body = large_update();
    assert!(body.len() > 2_500_000 && body.len() < 7 * MIB, "{}", body.len());
    // Without optimisation it takes longer than it may.
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

/// Says no to everything, after a while.
#[derive(Debug)]
struct Strict(Duration);

impl Reviewer for Strict {
    fn review<'a>(
        &'a self,
        request: function_mesh_webhook::review::Request<'a>,
    ) -> function_mesh_webhook::rights::Reviewing<'a> {
        Box::pin(async move {
            sleep(self.0).await;
            let user = request.user_info.map_or("nobody", |user| user.get());
            Err(Box::new(kube::core::Status {
                code: 403,
                message: format!("not for {user}"),
                ..Default::default()
            }))
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reviewer_has_the_last_word_within_the_deadline() {
    let limits = Limits { deadline: SOON, ..Limits::default() };
    let webhook = Webhook::with_reviewer(limits, Some(Arc::new(Strict(Duration::ZERO)))).await;
    let answer = post(webhook.addr, RECORDED.as_bytes()).await.unwrap();
    assert_eq!((&answer["allowed"], &answer["status"]["code"]), (&json!(false), &json!(403)));
    let webhook = Webhook::with_reviewer(limits, Some(Arc::new(Strict(10 * SOON)))).await;
    let answer = post(webhook.addr, RECORDED.as_bytes()).await.unwrap();
    assert_eq!((&answer["allowed"], &answer["status"]["code"]), (&json!(false), &json!(504)));
}
