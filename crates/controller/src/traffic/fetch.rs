//! Requests that run beside the observer's loop: they ask, parse, and send what they found back.

use std::sync::Arc;
use std::time::Instant;

use function_mesh_observer::cluster::{Parsed, Wanted, parse};
use function_mesh_observer::parse::{ParseLimits, parse_pod_metrics};
use function_mesh_observer::requests::{Outcome, Request};
use function_mesh_observer::{Cause, PodStats, ServerClock};
use function_mesh_pulsar::{Client, FetchError, WebUrl};

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

/// Asks a cluster.
pub(super) async fn ask(
    client: &Client,
    place: &Place,
    request: &Request,
    wanted: &Wanted,
    metrics: &TrafficMetrics,
) -> Done {
    let begun = Instant::now();
    let answer = client.get(&place.web, &request.url, &place.access).await;
    let done = match answer {
        Err(error) => {
            tracing::debug!(url = %request.url, %error, "failed to ask Pulsar");
            let unreadable = matches!(error, FetchError::Credentials(_)).then(|| error.to_string());
            Done { outcome: error.outcome(), result: Err(error.cause()), clock: None, unreadable }
        }
        Ok(answer) if answer.status == 200 => {
            let parsed = parse(request, &answer.body, &ParseLimits::default(), wanted);
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
    let (outcome, result) = match client.get_pod(&url).await {
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
