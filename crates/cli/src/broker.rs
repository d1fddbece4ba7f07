//! What a broker tells of its topics, by its web service. It is only ever read.

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

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a broker could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokerError {
    #[error("--rates takes the web address of Pulsar, such as http://broker:8080: {url:?} is none{}", because(.source.as_ref()))]
    Address { url: String, source: Option<InvalidUri> },
    #[error("PULSAR_TOKEN is not a token: {0}")]
    Token(#[from] InvalidHeaderValue),
    #[error("cannot prepare to talk to the broker: {0}")]
    Runtime(#[from] std::io::Error),
    #[error("cannot prepare to talk to the broker: {0}")]
    Client(Box<kube::Error>),
    #[error(
        "cannot ask {url} about the topic {topic}: {}; --rates takes the web address of Pulsar as this machine reaches it", root(.source)
    )]
    Away { url: String, topic: String, source: Box<kube::Error> },
    #[error(
        "{url} tells nothing about the topic {topic} ({status}); set PULSAR_TOKEN to a token that may read its statistics"
    )]
    Refused { url: String, topic: String, status: StatusCode },
    #[error("{url} answers with {what} when asked about the topic {topic}; is it the web address of Pulsar?")]
    Nonsense { url: String, topic: String, what: String },
}

/// What is behind an error: the system's word, under the layers of the client.
fn root(error: &kube::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn because(source: Option<&InvalidUri>) -> String {
    source.map(|source| format!(" ({source})")).unwrap_or_default()
}

/// The part of a topic's statistics that matters here.
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

/// What happens on these topics, counted over an interval: the rates that a broker tells itself are those of the
/// last minute. A topic that the broker does not have is left out.
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
    // Another broker that took the topic over counts anew.
    let come = stats.msg_in_counter.checked_sub(before).unwrap_or(stats.msg_in_counter);
    let backlog = stats.subscriptions.values().map(|subscription| subscription.msg_backlog).max();
    Rate { per_second: come as f64 / elapsed.as_secs_f64().max(0.001), backlog: backlog.unwrap_or_default() }
}

impl Broker {
    fn new(url: &str, token: Option<&str>) -> Result<Self, BrokerError> {
        let wrong = |source| BrokerError::Address { url: url.to_owned(), source };
        let address: Uri = url.parse().map_err(|source| wrong(Some(source)))?;
        if !matches!(address.scheme_str(), Some("http" | "https")) || address.query().is_some() {
            return Err(wrong(None));
        }
        let mut config = Config::new(address);
        config.connect_timeout = Some(PATIENCE);
        config.read_timeout = Some(PATIENCE);
        config.default_retry = false;
        if let Some(token) = token {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))?;
            bearer.set_sensitive(true);
            config.headers.push((AUTHORIZATION, bearer));
        }
        let client = Client::try_from(config).map_err(|error| BrokerError::Client(Box::new(error)))?;
        Ok(Self { url: url.to_owned(), client })
    }

    /// The statistics of a topic, with all its partitions, if there is one.
    async fn stats(&self, topic: &str) -> Result<Option<Stats>, BrokerError> {
        let path = path(topic);
        match self.get(topic, &format!("/admin/v2/{path}/stats")).await? {
            Some(stats) => Ok(Some(stats)),
            None => self.get(topic, &format!("/admin/v2/{path}/partitioned-stats?perPartition=false")).await,
        }
    }

    async fn get(&self, topic: &str, path: &str) -> Result<Option<Stats>, BrokerError> {
        let (url, topic) = (self.url.clone(), topic.to_owned());
        let nonsense = |what| BrokerError::Nonsense { url: url.clone(), topic: topic.clone(), what };
        let away =
            |source| BrokerError::Away { url: url.clone(), topic: topic.clone(), source: Box::new(source) };
        let request = Request::get(path).body(Body::empty()).map_err(|error| nonsense(error.to_string()))?;
        let answer = self.client.send(request).await.map_err(away)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(BrokerError::Refused { url, topic, status });
            }
            status => return Err(nonsense(status.to_string())),
        }
        let text = answer.into_body().collect_bytes().await.map_err(away)?;
        let stats = serde_json::from_slice(&text);
        stats.map(Some).map_err(|error| nonsense(format!("what is no statistics ({error})")))
    }
}

/// `persistent://tenant/namespace/name` as the web service has it: each part by itself, since a name may hold
/// anything.
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
    fn names_of_topics_become_paths() {
        assert_eq!(path("persistent://public/default/in"), "persistent/public/default/in");
        assert_eq!(path("non-persistent://a/b/c/d e?"), "non-persistent/a/b/c%2Fd%20e%3F");
    }

    #[test]
    fn rates_are_counted_and_survive_a_counter_that_begins_anew() {
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
