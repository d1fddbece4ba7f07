//! A broker whose topics get and lose messages as a test wants.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use function_mesh_testkit::WebServer;
use serde_json::{Value, json};

/// A topic, of the namespace `public/default`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Topic {
    /// Partitions; zero for a topic that is not partitioned.
    pub(super) partitions: u32,
    /// Entries that wait when it is set.
    pub(super) backlog: f64,
    /// By how much they grow, a second.
    pub(super) growth: f64,
    /// Messages that arrive, a second.
    pub(super) rate: f64,
    /// Messages that are acknowledged, a second.
    pub(super) acked: f64,
    /// When it was set.
    pub(super) since: Instant,
    /// Messages that arrived before.
    pub(super) before: f64,
}

impl Topic {
    /// A topic on which nothing happens.
    pub(super) fn idle() -> Self {
        let none = 0.0;
        Self {
            partitions: 0,
            backlog: none,
            growth: none,
            rate: none,
            acked: none,
            since: Instant::now(),
            before: 1_000.0,
        }
    }

    /// More messages than pods acknowledge.
    pub(super) fn burst() -> Self {
        Self { backlog: 1_000.0, growth: 50.0, rate: 60.0, acked: 10.0, ..Self::idle() }
    }

    /// Messages that wait, and no others.
    pub(super) fn waiting(backlog: f64) -> Self {
        Self { backlog, ..Self::idle() }
    }

    fn elapsed(&self) -> f64 {
        self.since.elapsed().as_secs_f64()
    }

    fn arrived(&self) -> f64 {
        self.before + self.rate * self.elapsed()
    }

    fn stats(&self, subscription: &str) -> Value {
        let backlog = (self.backlog + self.growth * self.elapsed()).max(0.0).floor();
        let delivered = self.before + self.acked * self.elapsed();
        let consumer = json!({ "avgMessagesPerEntry": 1, "unackedMessages": 0 });
        json!({
            "msgInCounter": self.arrived().floor(),
            "subscriptions": { subscription: {
                "msgBacklog": backlog, "msgBacklogNoDelayed": backlog, "msgDelayed": 0, "unackedMessages": 0,
                "msgOutCounter": delivered.floor(), "messageAckRate": self.acked, "msgRateRedeliver": 0,
                "type": "Shared", "lastAckedTimestamp": 1_700_000_000_000_u64, "consumers": [consumer],
            } },
        })
    }
}

type State = Arc<Mutex<BTreeMap<String, (String, Topic)>>>;

/// The broker.
pub(super) struct Broker {
    topics: State,
    server: WebServer,
}

impl Broker {
    /// A broker without topics, whose namespaces allow sleep.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let topics = State::default();
        let server = WebServer::start(answers(&topics)).await?;
        Ok(Self { topics, server })
    }

    /// Sets what happens on a topic, which this subscription reads. Counters continue from where they are.
    pub(super) fn set(&self, topic: &str, subscription: &str, new: Topic) {
        let mut topics = lock(&self.topics);
        let before = topics.get(topic).map_or(new.before, |(_, before)| before.arrived());
        topics.insert(
            topic.to_owned(),
            (subscription.to_owned(), Topic { before, since: Instant::now(), ..new }),
        );
    }

    /// Answers nothing but errors.
    pub(super) fn go_away(&self) {
        self.server.answer(|_| (503, String::new()));
    }

    /// Answers again.
    pub(super) fn come_back(&self) {
        self.server.answer(answers(&self.topics));
    }

    pub(super) fn url(&self) -> &str {
        self.server.url()
    }

    /// Requests so far.
    pub(super) fn requests(&self) -> usize {
        self.server.asked().values().sum()
    }

    /// Waits for more requests.
    pub(super) async fn asked(&self, more: usize) -> anyhow::Result<()> {
        let later = self.requests() + more;
        function_mesh_testkit::eventually(Duration::from_mins(1), async || {
            anyhow::ensure!(self.requests() >= later, "{} requests", self.requests());
            Ok(())
        })
        .await
    }
}

fn lock(topics: &State) -> MutexGuard<'_, BTreeMap<String, (String, Topic)>> {
    topics.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answers(topics: &State) -> impl Fn(&str) -> (u16, String) + use<> {
    let topics = Arc::clone(topics);
    move |path| {
        let path = path.split('?').next().unwrap_or_default();
        if path == "/admin/v2/namespaces/public/default" {
            return (200, json!({ "message_ttl_in_seconds": 0, "backlog_quota_map": {} }).to_string());
        }
        let topics = lock(&topics);
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        let ["admin", "v2", "persistent", "public", "default", name, what] = parts[..] else {
            return (404, String::new());
        };
        let Some((subscription, topic)) = topics.get(name) else { return (404, String::new()) };
        let full = format!("persistent://public/default/{name}");
        let partition = |number| (format!("{full}-partition-{number}"), topic.stats(subscription));
        let answer = match what {
            "partitions" => json!({ "partitions": topic.partitions }),
            "stats" => topic.stats(subscription),
            "partitioned-stats" => json!({
                "metadata": { "partitions": topic.partitions },
                "partitions": (0..topic.partitions).map(partition).collect::<serde_json::Map<_, _>>(),
            }),
            _ => return (404, String::new()),
        };
        (200, answer.to_string())
    }
}
