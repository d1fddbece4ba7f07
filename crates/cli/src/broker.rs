//! Topic statistics from the admin API of a Pulsar broker. Read-only.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, HeaderValue, InvalidHeaderValue};
use http::uri::{InvalidUri, Uri};
use http::{Request, StatusCode};
use kube::client::Body;
use kube::{Client, Config};
use serde::Deserialize;

use crate::graph::Rate;

/// Timeout of a request to the broker.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why statistics could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokerError {
    #[error("invalid --rates {url:?}{}; use the web service URL of Pulsar, such as http://broker:8080", reason(.source.as_ref()))]
    InvalidUrl { url: String, source: Option<InvalidUri> },
    #[error("invalid PULSAR_TOKEN: {0}")]
    Token(#[from] InvalidHeaderValue),
    #[error("failed to create a client for the broker: {0}")]
    Runtime(#[from] std::io::Error),
    #[error("failed to create a client for the broker: {0}")]
    Client(Box<kube::Error>),
    #[error(
        "failed to get stats of topic {topic} from {url}: {}; --rates must be a web service URL of Pulsar that this machine can reach", root_cause(.source)
    )]
    Unreachable { url: String, topic: String, source: Box<kube::Error> },
    #[error(
        "{url} denied the stats of topic {topic} ({status}); set PULSAR_TOKEN to a token with permission to read them"
    )]
    Denied { url: String, topic: String, status: StatusCode },
    #[error("unexpected response from {url} for topic {topic}: {what}; is it the web service URL of Pulsar?")]
    UnexpectedResponse { url: String, topic: String, what: String },
}

/// The innermost cause of an error of the client.
fn root_cause(error: &kube::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn reason(source: Option<&InvalidUri>) -> String {
    source.map(|source| format!(": {source}")).unwrap_or_default()
}

/// The fields of a topic's stats that are used here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    msg_in_counter: u64,
    #[serde(default)]
    subscriptions: BTreeMap<String, Subscription>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subscription {
    #[serde(default)]
    msg_backlog: u64,
}

struct Broker {
    url: String,
    client: Client,
}

/// Measures the rates of these topics over an interval, from counters: the rates that brokers report are averages of
/// the last minute. Topics that do not exist are omitted.
pub(crate) fn rates(
    url: &str,
    token: Option<&str>,
    topics: &[String],
    interval: Duration,
) -> Result<BTreeMap<String, Rate>, BrokerError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let broker = Broker::new(url, token)?;
        let mut first = Vec::new();
        for topic in topics {
            if let Some(stats) = broker.stats(topic).await? {
                first.push((topic, Instant::now(), stats.msg_in_counter));
            }
        }
        if !first.is_empty() {
            tokio::time::sleep(interval).await;
        }
        let mut rates = BTreeMap::new();
        for (topic, since, before) in first {
            if let Some(stats) = broker.stats(topic).await? {
                rates.insert(topic.clone(), rate(before, &stats, since.elapsed()));
            }
        }
        Ok(rates)
    })
}

#[allow(clippy::cast_precision_loss, reason = "no topic takes 2^53 messages in an interval")]
fn rate(before: u64, stats: &Stats, elapsed: Duration) -> Rate {
    // The counter restarts when another broker takes over the topic.
    let received = stats.msg_in_counter.checked_sub(before).unwrap_or(stats.msg_in_counter);
    let backlog = stats.subscriptions.values().map(|subscription| subscription.msg_backlog).max();
    Rate {
        per_second: received as f64 / elapsed.as_secs_f64().max(0.001),
        backlog: backlog.unwrap_or_default(),
    }
}

impl Broker {
    fn new(url: &str, token: Option<&str>) -> Result<Self, BrokerError> {
        let invalid = |source| BrokerError::InvalidUrl { url: url.to_owned(), source };
        let uri: Uri = url.parse().map_err(|source| invalid(Some(source)))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.query().is_some() {
            return Err(invalid(None));
        }
        let mut config = Config::new(uri);
        config.connect_timeout = Some(TIMEOUT);
        config.read_timeout = Some(TIMEOUT);
        config.default_retry = false;
        if let Some(token) = token {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))?;
            bearer.set_sensitive(true);
            config.headers.push((AUTHORIZATION, bearer));
        }
        let client = Client::try_from(config).map_err(|error| BrokerError::Client(Box::new(error)))?;
        Ok(Self { url: url.to_owned(), client })
    }

    /// The stats of a topic, summed over its partitions; None when it does not exist.
    async fn stats(&self, topic: &str) -> Result<Option<Stats>, BrokerError> {
        let path = path(topic);
        match self.get(topic, &format!("/admin/v2/{path}/stats")).await? {
            Some(stats) => Ok(Some(stats)),
            None => self.get(topic, &format!("/admin/v2/{path}/partitioned-stats?perPartition=false")).await,
        }
    }

    async fn get(&self, topic: &str, path: &str) -> Result<Option<Stats>, BrokerError> {
        let (url, topic) = (self.url.clone(), topic.to_owned());
        let unexpected =
            |what| BrokerError::UnexpectedResponse { url: url.clone(), topic: topic.clone(), what };
        let unreachable = |source| BrokerError::Unreachable {
            url: url.clone(),
            topic: topic.clone(),
            source: Box::new(source),
        };
        let request =
            Request::get(path).body(Body::empty()).map_err(|error| unexpected(error.to_string()))?;
        let response = self.client.send(request).await.map_err(unreachable)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(BrokerError::Denied { url, topic, status });
            }
            status => return Err(unexpected(status.to_string())),
        }
        let text = response.into_body().collect_bytes().await.map_err(unreachable)?;
        let stats = serde_json::from_slice(&text);
        stats.map(Some).map_err(|error| unexpected(format!("invalid topic stats: {error}")))
    }
}

/// The path of `persistent://tenant/namespace/name` in the admin API, with each part percent-encoded.
fn path(topic: &str) -> String {
    let (domain, rest) = topic.split_once("://").unwrap_or(("persistent", topic));
    let mut path = domain.to_owned();
    for part in rest.splitn(3, '/') {
        path.push('/');
        for byte in part.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                path.push(byte.into());
            } else {
                let _ = write!(path, "%{byte:02X}");
            }
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_are_percent_encoded() {
        assert_eq!(path("persistent://public/default/in"), "persistent/public/default/in");
        assert_eq!(path("non-persistent://a/b/c/d e?"), "non-persistent/a/b/c%2Fd%20e%3F");
    }

    #[test]
    fn rate_survives_a_counter_reset() {
        let stats = |text| serde_json::from_str::<Stats>(text).expect("statistics");
        let two = Duration::from_secs(2);
        let busy = stats(
            r#"{"msgInCounter": 150, "subscriptions": {"a": {"msgBacklog": 3}, "b": {"msgBacklog": 70, "x": 1}}}"#,
        );
        assert_eq!(rate(50, &busy, two), Rate { per_second: 50.0, backlog: 70 });
        assert_eq!(rate(500, &busy, two), Rate { per_second: 75.0, backlog: 70 });
        assert_eq!(rate(9, &stats(r#"{"msgInCounter": 9}"#), two), Rate::default());
    }
}
