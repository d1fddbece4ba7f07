//! Requests that run beside the observer's loop: they ask, parse, and send what they found back.

use std::sync::Arc;
use std::time::Instant;

use function_mesh_observer::cluster::{Parsed, Wanted, parse};
use function_mesh_observer::parse::{ParseError, ParseLimits, is_broker_metric, parse_pod_metrics};
use function_mesh_observer::requests::{Outcome, Request, RequestKey};
use function_mesh_observer::{Cause, PodStats, ServerClock};
use function_mesh_pulsar::{Answer, Client, FetchError, Keep, KeptLines, WebUrl};
use tokio::sync::Semaphore;

use super::metrics::{TrafficMetrics, kind_of};
use super::observed::Place;

/// The end of a request to a cluster.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) outcome: Outcome,
    pub(super) result: Result<Parsed, Cause>,
    pub(super) clock: Option<ServerClock>,
    /// What is wrong with the operator's own credentials, or with the server's.
    pub(super) bad_credentials: Option<String>,
}

/// Largest answer about one topic: some thousand partitions.
const MAX_ANSWER: usize = 1 << 20;
/// Largest metrics of a broker that are read; some 42 KB for each topic.
const MAX_METRICS: usize = 256 << 20;
/// Largest metrics of a pod.
const MAX_POD_ANSWER: usize = 512 << 10;
/// Large answers that are read at the same time, for all clusters.
pub(super) const LARGE_ANSWERS: usize = 4;

/// What a request needs.
pub(super) struct Asking {
    pub(super) client: Client,
    pub(super) place: Place,
    pub(super) wanted: Arc<Wanted>,
    pub(super) metrics: Arc<TrafficMetrics>,
    /// Permits for large answers.
    pub(super) large: Arc<Semaphore>,
}

/// Asks a cluster.
pub(super) async fn ask(asking: &Asking, request: &Request) -> Done {
    let Asking { client, place, metrics, .. } = asking;
    let is_large = request.key.is_large();
    let _permit = if is_large { asking.large.acquire().await.ok() } else { None };
    let begun = Instant::now();
    let limits = ParseLimits::default();
    let keep = match request.key {
        RequestKey::Metrics { .. } => Keep::Lines(KeptLines {
            is_kept: is_broker_metric,
            max_bytes: limits.max_bytes,
            max_line: limits.max_line,
            max_read: MAX_METRICS,
        }),
        RequestKey::Topics { .. } => Keep::All(limits.max_bytes),
        _ => Keep::All(MAX_ANSWER),
    };
    let answer = client.get(&place.web, &request.url, &place.access, keep).await;
    let clock = answer.as_ref().ok().and_then(|answer| answer.clock);
    let bad_credentials = match &answer {
        Err(error) if matches!(error.cause(), Cause::NoCredentials | Cause::Untrusted) => {
            Some(error.to_string())
        }
        _ => None,
    };
    let (outcome, result) = match usable(answer, &request.url) {
        Err(ended) => ended,
        // A list of topics is matched against patterns, which takes a while.
        Ok(body) if is_large => {
            let (own, wanted) = (request.clone(), Arc::clone(&asking.wanted));
            let parsed = tokio::task::spawn_blocking(move || parse(&own, &body, &limits, &wanted)).await;
            understood(parsed.unwrap_or(Err(ParseError::TooMany { what: "bytes", limit: 0 })), &request.url)
        }
        Ok(body) => understood(parse(request, &body, &limits, &asking.wanted), &request.url),
    };
    metrics.asked(kind_of(&request.key), outcome, begun.elapsed().as_secs_f64());
    Done { outcome, result: result.map(|parsed| only_allowed(parsed, place)), clock, bad_credentials }
}

/// How a request ended, and what it found out.
type Ended<T> = (Outcome, Result<T, Cause>);

/// The body of an answer, or how a request without one ended.
fn usable<T>(answer: Result<Answer, FetchError>, url: &str) -> Result<Vec<u8>, Ended<T>> {
    match answer {
        Ok(answer) if answer.status == 200 => Ok(answer.body),
        Ok(answer) => {
            tracing::debug!(url, status = answer.status, "the server answered with an error");
            let outcome = Outcome::Status(answer.status);
            Err((outcome, Err(outcome.cause().unwrap_or(Cause::Failed))))
        }
        Err(error) => {
            tracing::debug!(url, %error, "request for message traffic failed");
            Err((error.outcome(), Err(error.cause())))
        }
    }
}

/// How a request with an answer ended.
fn understood<T>(parsed: Result<T, ParseError>, url: &str) -> Ended<T> {
    match parsed {
        Ok(parsed) => (Outcome::Answered, Ok(parsed)),
        Err(error) => {
            tracing::debug!(url, %error, "answer not understood");
            (Outcome::Unusable, Err(Cause::from(&error)))
        }
    }
}

/// The brokers that a cluster lists, if all of them may be asked: metrics of some would be incomplete.
fn only_allowed(parsed: Parsed, place: &Place) -> Parsed {
    let Parsed::Brokers(names) = parsed else { return parsed };
    let scheme = place.web.scheme();
    let is_allowed = |name: &String| {
        let Ok(url) = WebUrl::parse_untrusted(&format!("{scheme}://{name}")) else { return false };
        let (host, port) = url.host_and_port();
        place.access.allows_host(&place.web, host, port)
    };
    // A single broker is asked by the URL of the cluster.
    if names.len() == 1 || names.iter().all(is_allowed) {
        Parsed::Brokers(names)
    } else {
        Parsed::Brokers(Vec::new())
    }
}

/// Asks a pod for its metrics.
pub(super) async fn ask_pod(
    client: &Client,
    address: std::net::IpAddr,
    metrics: &Arc<TrafficMetrics>,
) -> Result<PodStats, Cause> {
    let begun = Instant::now();
    let url = format!("http://{}/metrics", std::net::SocketAddr::new(address, PORT));
    let (outcome, result) = match usable(client.get_pod(&url, MAX_POD_ANSWER).await, &url) {
        Err(ended) => ended,
        Ok(body) => understood(parse_pod_metrics(&body, &ParseLimits::default()), &url),
    };
    metrics.asked("pod_metrics", outcome, begun.elapsed().as_secs_f64());
    result
}

/// Port of the metrics of a runner.
const PORT: u16 = 9094;
