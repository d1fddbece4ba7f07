//! Requests that run beside the observer's loop: they ask, parse, and send what they found back.

use std::sync::Arc;
use std::time::Instant;

use function_mesh_observer::cluster::{Parsed, Wanted, parse};
use function_mesh_observer::parse::{ParseError, ParseLimits, parse_pod_metrics};
use function_mesh_observer::requests::{Outcome, Request, RequestKey};
use function_mesh_observer::{Cause, PodStats, ServerClock};
use function_mesh_pulsar::{Client, FetchError, WebUrl};
use tokio::sync::Semaphore;

use super::metrics::{TrafficMetrics, kind_of};
use super::observed::Place;

/// The end of a request to a cluster.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) outcome: Outcome,
    pub(super) result: Result<Parsed, Cause>,
    pub(super) clock: Option<ServerClock>,
    /// Why the operator's own credentials could not be read.
    pub(super) unreadable: Option<String>,
}

/// Largest answer about one topic: some thousand partitions.
const MAX_ANSWER: usize = 1 << 20;
/// Largest list of topics, and largest metrics of a broker.
const MAX_LARGE_ANSWER: usize = 8 << 20;
/// Largest metrics of a pod.
const MAX_POD_ANSWER: usize = 512 << 10;
/// Large answers that are read at the same time, for all clusters.
pub(super) const LARGE_ANSWERS: usize = 4;
const LIMITS: ParseLimits = ParseLimits {
    max_bytes: MAX_LARGE_ANSWER,
    max_topics: 20_000,
    max_subscriptions: 10_000,
    max_consumers: 1_000,
    max_name: 1_024,
    max_line: 8_192,
};

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
    let is_large = matches!(request.key, RequestKey::Topics { .. } | RequestKey::Metrics { .. });
    let _permit = if is_large { asking.large.acquire().await.ok() } else { None };
    let begun = Instant::now();
    let max = if is_large { MAX_LARGE_ANSWER } else { MAX_ANSWER };
    let answer = client.get(&place.web, &request.url, &place.access, max).await;
    let done = match answer {
        Err(error) => {
            tracing::debug!(url = %request.url, %error, "failed to ask Pulsar");
            let unreadable = matches!(error, FetchError::Credentials(_)).then(|| error.to_string());
            Done { outcome: error.outcome(), result: Err(error.cause()), clock: None, unreadable }
        }
        Ok(answer) if answer.status == 200 => {
            let parsed = parse_beside(asking, request, answer.body).await;
            let outcome = if parsed.is_ok() { Outcome::Answered } else { Outcome::Unusable };
            let result = parsed.map(|parsed| only_allowed(parsed, place)).map_err(|error| {
                tracing::debug!(url = %request.url, %error, "answer of Pulsar not understood");
                Cause::from(&error)
            });
            Done { outcome, result, clock: answer.clock, unreadable: None }
        }
        Ok(answer) => {
            tracing::debug!(url = %request.url, status = answer.status, "Pulsar answered with an error");
            let outcome = Outcome::Status(answer.status);
            let result = Err(outcome.cause().unwrap_or(Cause::Failed));
            Done { outcome, result, clock: answer.clock, unreadable: None }
        }
    };
    metrics.asked(kind_of(&request.key), done.outcome, begun.elapsed().as_secs_f64());
    done
}

/// Parses on a thread for work that blocks: a list of topics is matched against patterns.
async fn parse_beside(asking: &Asking, request: &Request, body: Vec<u8>) -> Result<Parsed, ParseError> {
    let (request, wanted) = (request.clone(), Arc::clone(&asking.wanted));
    let parsed = tokio::task::spawn_blocking(move || parse(&request, &body, &LIMITS, &wanted)).await;
    parsed.unwrap_or(Err(ParseError::TooMany { what: "bytes", limit: 0 }))
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
    let (outcome, result) = match client.get_pod(&url, MAX_POD_ANSWER).await {
        Err(error) => (error.outcome(), Err(error.cause())),
        Ok(answer) if answer.status == 200 => {
            let parsed = parse_pod_metrics(&answer.body, &ParseLimits::default());
            let outcome = if parsed.is_ok() { Outcome::Answered } else { Outcome::Unusable };
            (outcome, parsed.map_err(|error| Cause::from(&error)))
        }
        Ok(answer) => {
            let outcome = Outcome::Status(answer.status);
            (outcome, Err(outcome.cause().unwrap_or(Cause::Failed)))
        }
    };
    metrics.asked("pod_metrics", outcome, begun.elapsed().as_secs_f64());
    result
}

/// Port of the metrics of a runner.
const PORT: u16 = 9094;
