//! A stand-in for Pulsar's admin REST API: topics with one subscription each and counters that move. It counts requests.
//!
//! For loads of any size, and for tests without a broker; `hack/pulsar` starts a real one. Observers connect to no
//! loopback address, so it serves on the address that this machine has towards others.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::pod_port::PodPort;

/// The topics that are served.
#[derive(Clone, Debug, Default)]
pub struct StandInTopics {
    /// Subscription by topic, as in `persistent://public/default/in`.
    pub subscriptions: BTreeMap<String, String>,
    /// Partitions of each; zero for topics that are not partitioned.
    pub partitions: usize,
    /// Messages that each topic gets per second, which are acknowledged at once; zero for an idle cluster.
    pub rate: u64,
    /// Entries that wait in each subscription.
    pub backlog: u64,
    /// Time until each answer.
    pub delay: Duration,
}

/// Requests since the last count.
#[derive(Clone, Debug, Default)]
pub struct StandInRequests {
    /// By kind: `partitions`, `stats`, `partitioned-stats`, `metrics`, `brokers`, `topics`, `quotas`, `pods`, `other`.
    pub by_kind: BTreeMap<&'static str, u64>,
    /// Most requests in flight.
    pub most_in_flight: usize,
}

#[derive(Debug)]
struct Served {
    topics: StandInTopics,
    start: Instant,
    broker: String,
    by_kind: Mutex<BTreeMap<&'static str, u64>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

/// The running stand-in. It stops when this is dropped.
#[derive(Debug)]
pub struct PulsarStandIn {
    address: SocketAddr,
    served: Arc<Served>,
    tasks: Vec<JoinHandle<()>>,
    pod_port: Option<PodPort>,
}

impl PulsarStandIn {
    /// Starts it on a free port.
    pub async fn start(topics: StandInTopics) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((own_address()?, 0)).await?;
        let address = listener.local_addr()?;
        let served = Arc::new(Served {
            topics,
            start: Instant::now(),
            broker: address.to_string(),
            by_kind: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
        });
        let task = serve(listener, Router::new().fallback(answer).with_state(Arc::clone(&served)));
        Ok(Self { address, served, tasks: vec![task], pod_port: None })
    }

    /// Also serves the metrics of pods whose address is [`Self::ip`], on their fixed port.
    pub async fn serve_pods(&mut self) -> anyhow::Result<()> {
        let (port, listener) = PodPort::listen(self.ip()).await?;
        self.pod_port = Some(port);
        let router = Router::new().fallback(answer_of_pod).with_state(Arc::clone(&self.served));
        self.tasks.push(serve(listener, router));
        Ok(())
    }

    /// The `webServiceURL` of components.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// The requests since the last call.
    pub fn take_requests(&self) -> StandInRequests {
        let most_in_flight = self.served.most_in_flight.swap(0, Ordering::Relaxed);
        let mut by_kind = self.served.by_kind.lock().unwrap_or_else(PoisonError::into_inner);
        StandInRequests { by_kind: std::mem::take(&mut *by_kind), most_in_flight }
    }
}

impl Drop for PulsarStandIn {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn serve(listener: TcpListener, router: Router) -> JoinHandle<()> {
    tokio::spawn(async move {
        _ = axum::serve(listener, router).await;
    })
}

/// The address of this machine towards others. Nothing is sent: 198.51.100.0/24 is for documentation.
fn own_address() -> anyhow::Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect("198.51.100.1:9").context("this machine has no route to others")?;
    let address = socket.local_addr()?.ip();
    ensure!(
        !address.is_loopback() && !address.is_unspecified(),
        "this machine has only the address {address}"
    );
    Ok(address)
}

async fn answer(State(served): State<Arc<Served>>, request: Request) -> Response {
    let (kind, answer) = served.respond(request.uri().path(), request.uri().query().unwrap_or_default());
    served.count(kind).await;
    answer
}

async fn answer_of_pod(State(served): State<Arc<Served>>) -> Response {
    served.count("pods").await;
    let count = served.messages();
    let mut text = String::new();
    for name in ["received_total", "processed_successfully_total", "process_latency_ms_count"] {
        // Writing to a string cannot fail.
        _ = writeln!(text, "pulsar_function_{name}{{instance_id=\"0\"}} {count}");
    }
    _ = writeln!(text, "pulsar_function_process_latency_ms_sum{{instance_id=\"0\"}} {count}");
    text.push_str("pulsar_function_user_exceptions_total{instance_id=\"0\"} 0\n");
    text.push_str("pulsar_function_system_exceptions_total{instance_id=\"0\"} 0\n");
    text.into_response()
}

impl Served {
    /// Counts a request, and keeps it waiting.
    async fn count(&self, kind: &'static str) {
        *self.by_kind.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
        let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_in_flight.fetch_max(in_flight, Ordering::Relaxed);
        sleep(self.topics.delay).await;
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// The kind of a request and its answer.
    fn respond(&self, path: &str, query: &str) -> (&'static str, Response) {
        let missing = || (StatusCode::NOT_FOUND, "not found").into_response();
        let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
        match parts[..] {
            ["metrics"] => ("metrics", self.metrics().into_response()),
            ["admin", "v2", "brokers", ..] => ("brokers", json_of(&json!([self.broker]))),
            ["admin", "v2", "namespaces", _, _, "backlogQuotaMap"] => ("quotas", json_of(&json!({}))),
            ["admin", "v2", "persistent", tenant, namespace] => {
                let prefix = format!("persistent://{tenant}/{namespace}/");
                let topics = self.topics.subscriptions.keys().filter(|topic| topic.starts_with(&prefix));
                ("topics", json_of(&topics.map(String::as_str).collect()))
            }
            ["admin", "v2", "persistent", tenant, namespace, local, what] => {
                let topic = format!("persistent://{tenant}/{namespace}/{local}");
                let whole = topic.split("-partition-").next().unwrap_or_default();
                let subscription = self.topics.subscriptions.get(whole);
                let with_consumers = !query.contains("excludeConsumers=true");
                let answer = |make: &dyn Fn(&str) -> Value| {
                    subscription.map_or_else(missing, |subscription| json_of(&make(subscription)))
                };
                match what {
                    "partitions" => {
                        ("partitions", answer(&|_| json!({ "partitions": self.topics.partitions })))
                    }
                    "stats" => ("stats", answer(&|subscription| self.stats(subscription, with_consumers))),
                    "partitioned-stats" => (
                        "partitioned-stats",
                        answer(&|subscription| self.partitioned(&topic, subscription, with_consumers)),
                    ),
                    _ => ("other", missing()),
                }
            }
            _ => ("other", missing()),
        }
    }

    /// Messages of each topic so far.
    fn messages(&self) -> u64 {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        1_000 + self.topics.rate.saturating_mul(millis) / 1_000
    }

    /// The time of the last acknowledgement, in milliseconds since 1970.
    fn last_acked(&self) -> u64 {
        let elapsed = if self.topics.rate > 0 { Duration::ZERO } else { self.start.elapsed() };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(elapsed);
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    }

    fn stats(&self, subscription: &str, with_consumers: bool) -> Value {
        let (count, acked, backlog) = (self.messages(), self.last_acked(), self.topics.backlog);
        let consumer = json!({
            "msgOutCounter": count, "availablePermits": 1000, "unackedMessages": 0, "avgMessagesPerEntry": 1,
            "blockedConsumerOnUnackedMsgs": false, "metadata": { "instance_id": "0" },
        });
        let consumers = if with_consumers { vec![consumer] } else { Vec::new() };
        json!({
            "msgInCounter": count, "backlogSize": 0, "backlogQuotaLimitSize": -1, "backlogQuotaLimitTime": -1,
            "oldestBacklogMessageAgeSeconds": -1,
            "subscriptions": { subscription: {
                "msgBacklog": backlog, "msgBacklogNoDelayed": backlog, "msgDelayed": 0, "unackedMessages": 0,
                "blockedSubscriptionOnUnackedMsgs": false, "msgOutCounter": count, "totalMsgExpired": 0,
                "messageAckRate": self.topics.rate, "msgRateRedeliver": 0.0, "type": "Shared",
                "lastAckedTimestamp": acked, "lastConsumedTimestamp": acked,
                "lastMarkDeleteAdvancedTimestamp": acked, "consumers": consumers,
            } },
        })
    }

    fn partitioned(&self, topic: &str, subscription: &str, with_consumers: bool) -> Value {
        let stats = || self.stats(subscription, with_consumers);
        let partition = |number| (format!("{topic}-partition-{number}"), stats());
        let partitions: serde_json::Map<_, _> = (0..self.topics.partitions).map(partition).collect();
        json!({ "metadata": { "partitions": self.topics.partitions }, "partitions": partitions })
    }

    fn metrics(&self) -> String {
        let (count, acked, backlog) = (self.messages(), self.last_acked(), self.topics.backlog);
        let mut text = String::new();
        for (topic, subscription) in &self.topics.subscriptions {
            let names: Vec<_> = match self.topics.partitions {
                0 => vec![topic.clone()],
                partitions => (0..partitions).map(|number| format!("{topic}-partition-{number}")).collect(),
            };
            for name in names {
                // Writing to a string cannot fail.
                _ = writeln!(text, "pulsar_in_messages_total{{topic=\"{name}\"}} {count}");
                for (metric, value) in [
                    ("pulsar_subscription_back_log", backlog),
                    ("pulsar_subscription_back_log_no_delayed", backlog),
                    ("pulsar_subscription_delayed", 0),
                    ("pulsar_subscription_unacked_messages", 0),
                    ("pulsar_subscription_blocked_on_unacked_messages", 0),
                    ("pulsar_out_messages_total", count),
                    ("pulsar_subscription_msg_ack_rate", self.topics.rate),
                    ("pulsar_subscription_last_acked_timestamp", acked),
                    ("pulsar_subscription_last_consumed_timestamp", acked),
                    ("pulsar_subscription_consumers_count", 1),
                ] {
                    _ = writeln!(
                        text,
                        "{metric}{{topic=\"{name}\",subscription=\"{subscription}\"}} {value}"
                    );
                }
            }
        }
        text
    }
}

fn json_of(value: &Value) -> Response {
    ([("content-type", "application/json")], value.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use function_mesh_observer::Reading::Known;
    use function_mesh_observer::parse::{
        ParseLimits, StatsFlags, parse_broker_metrics, parse_partitioned_stats, parse_pod_metrics,
        parse_topic_stats,
    };
    use http_body_util::BodyExt as _;

    use super::*;

    const TOPIC: &str = "persistent://t/n/in";

    async fn start(partitions: usize) -> PulsarStandIn {
        let subscriptions = [(TOPIC.to_owned(), "t/n/f".to_owned())].into();
        let delay = Duration::from_millis(20);
        let topics = StandInTopics { subscriptions, partitions, rate: 10, backlog: 3, delay };
        PulsarStandIn::start(topics).await.unwrap()
    }

    async fn body(answer: Response) -> Vec<u8> {
        answer.into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    #[tokio::test]
    async fn observers_understand_its_answers() {
        let (one, two) = (start(0).await, start(2).await);
        let (limits, flags) =
            (ParseLimits::default(), StatsFlags { consumers: true, ..StatsFlags::default() });
        let get = async |server: &PulsarStandIn, path: &str| {
            let path = format!("/admin/v2/persistent/t/n/{path}");
            body(server.served.respond(&path, "excludeConsumers=false").1).await
        };
        assert_eq!(get(&two, "in/partitions").await, br#"{"partitions":2}"#);
        let stats = parse_topic_stats(TOPIC, &get(&one, "in/stats").await, flags, &limits, |_| true).unwrap();
        let subscription = &stats.parts[0].subscriptions["t/n/f"];
        assert_eq!((subscription.backlog, subscription.consumers), (Known(3), Known(1)));
        assert!(stats.parts[0].in_counter.is_known_and(|count| count >= 1_000));
        let answer = get(&two, "in/partitioned-stats").await;
        let stats = parse_partitioned_stats(&answer, flags, &limits, |_| true).unwrap();
        assert_eq!((stats.parts.len(), stats.expected), (2, Known(2)));

        let metrics = body(two.served.respond("/metrics/", "").1).await;
        let metrics = parse_broker_metrics(&metrics, &limits, |_, _| true).unwrap();
        let stats = metrics.answer(TOPIC, 2).unwrap();
        assert_eq!(stats.parts[1].subscriptions["t/n/f"].backlog, Known(3));
        let pod = body(answer_of_pod(State(Arc::clone(&one.served))).await).await;
        let pod = parse_pod_metrics(&pod, &limits).unwrap();
        assert!(pod.processed.is_known() && pod.exceptions == Known(0), "{pod:?}");
        let (_, missing) = one.served.respond("/admin/v2/persistent/t/n/other/stats", "");
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn requests_are_counted_until_they_are_taken() {
        let server = start(0).await;
        tokio::join!(server.served.count("stats"), server.served.count("stats"), server.served.count("pods"));
        let requests = server.take_requests();
        assert_eq!(requests.by_kind, [("pods", 1), ("stats", 2)].into());
        assert_eq!(requests.most_in_flight, 3);
        assert!(server.take_requests().by_kind.is_empty());
        assert!(!server.ip().is_loopback());
    }
}
