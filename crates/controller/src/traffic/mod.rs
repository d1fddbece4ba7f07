//! The observer: asks Pulsar and the pods about message traffic, and reports it to the reconciles that write the status.
//!
//! ```text
//! caches ──> demand ──> targets ──plan──> requests ──> answers ──> round ──> board ──> reconcile ──> status
//! ```
//!
//! Only the leader asks. One task owns all state; requests run beside it, bounded in number for all clusters, for each
//! broker and for each namespace of Pulsar. What a component's ConfigMap names is not trusted, see
//! [`function_mesh_pulsar`].

mod args;
pub(crate) mod board;
mod clusters;
mod demand;
mod fetch;
mod intervals;
pub(crate) mod kinds;
pub(crate) mod metrics;
mod observed;
mod pods;
mod report;
mod restart;
mod scaling;
mod service_urls;
mod subscription;
mod undecodable;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use function_mesh_api::FunctionMesh;
use function_mesh_kube::compact::Compact;
use function_mesh_observer::requests::{PlanLimits, Request};
use function_mesh_observer::{Cause, Monotonic, PodStats, UnixMillis, WriteLimits};
use function_mesh_pulsar::{AccessFile, Client, WebUrl};
use kube::runtime::reflector::Store;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::context::Shared;
use clusters::{Asked, key_of};
use fetch::Done;
use kinds::Kind;
use metrics::TrafficMetrics;
use observed::Observed;
use restart::PendingRestart;
use scaling::{Meshes, OrderEnd};
use service_urls::{ConfigMapRef, ReadError, ServiceUrls};
use undecodable::Undecodable;

pub use args::ObserverArgs;
pub use board::{StallReport, TrafficBoard, TrafficReport, TrafficState};
pub use intervals::Intervals;
pub(crate) use scaling::observer_off;

/// Reads of ConfigMaps under way.
const MAX_READS: usize = 4;
/// Time between two warnings about the same credentials.
const WARN_INTERVAL: Duration = Duration::from_mins(5);
/// Results that wait for the loop.
const QUEUE: usize = 1024;

/// Settings of the observer.
#[derive(Clone, Debug, Default)]
pub struct ObserverSettings {
    /// Access to Pulsar clusters.
    pub access: AccessFile,
    /// Whether there are metrics for each component.
    pub component_metrics: bool,
    /// Limits of requests.
    pub limits: PlanLimits,
    /// Limits of writes.
    pub write: WriteLimits,
    /// Other times.
    pub intervals: Intervals,
}

/// Identity of a cluster: components with different access share no answer.
type ClusterKey = (WebUrl, Option<usize>);

/// What runs beside the loop has found out.
enum Message {
    Url(ConfigMapRef, Result<WebUrl, ReadError>),
    /// The end of a request, and how long it took.
    Answer(ClusterKey, Request, Done, Duration),
    Pod {
        key: String,
        ordinal: u64,
        /// UID of the pod.
        pod: String,
        at: Monotonic,
        result: Result<PodStats, Cause>,
    },
    /// The end of a change of replicas.
    Order(Box<OrderEnd>),
}

/// The observer.
pub(crate) struct Observer {
    settings: ObserverSettings,
    shared: Arc<Shared>,
    board: Arc<TrafficBoard>,
    client: Client,
    metrics: Arc<TrafficMetrics>,
    kinds: Vec<Box<dyn Kind>>,
    components: HashMap<String, Observed>,
    clusters: HashMap<ClusterKey, Asked>,
    urls: ServiceUrls,
    /// Whether a component or a URL is new since the components were placed.
    is_placed: bool,
    in_flight: usize,
    pods_in_flight: usize,
    /// Whether the limit postponed requests to pods.
    pods_postponed: bool,
    restarts: HashMap<String, PendingRestart>,
    mesh_objects: Store<Compact<FunctionMesh>>,
    meshes: Meshes,
    /// Changes of replicas under way.
    orders: usize,
    undecodable: Undecodable,
    large: Arc<Semaphore>,
    asked_at: Monotonic,
    /// When to look for requests to begin, after an answer.
    refill_at: Option<Instant>,
    results: (mpsc::Sender<Message>, mpsc::Receiver<Message>),
}

impl Observer {
    pub(crate) fn new(
        settings: ObserverSettings,
        shared: Arc<Shared>,
        board: Arc<TrafficBoard>,
        client: Client,
        metrics: TrafficMetrics,
        kinds: Vec<Box<dyn Kind>>,
        mesh_objects: Store<Compact<FunctionMesh>>,
    ) -> Self {
        Self {
            settings,
            shared,
            board,
            client,
            metrics: Arc::new(metrics),
            kinds,
            components: HashMap::new(),
            clusters: HashMap::new(),
            urls: ServiceUrls::default(),
            is_placed: false,
            in_flight: 0,
            pods_in_flight: 0,
            pods_postponed: false,
            restarts: HashMap::new(),
            mesh_objects,
            meshes: Meshes::default(),
            orders: 0,
            undecodable: Undecodable::default(),
            large: Arc::new(Semaphore::new(fetch::LARGE_ANSWERS)),
            asked_at: Monotonic::default(),
            refill_at: None,
            results: mpsc::channel(QUEUE),
        }
    }

    /// Observes while this replica leads.
    pub(crate) async fn run(mut self) {
        let leadership = self.shared.leadership.clone();
        if !leadership.wait_until_leader().await {
            return;
        }
        tracing::info!("observing message traffic");
        let mut ticks = interval(self.settings.intervals.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = leadership.shutdown.cancelled() => return,
                () = until(self.refill_at) => self.refill(),
                Some(message) = self.results.1.recv() => {
                    self.take(message);
                    self.refill_soon();
                }
                _ = ticks.tick() => self.look(),
            }
        }
    }

    /// Everything that is due.
    fn look(&mut self) {
        let (now, wall) = (self.board.now(), SystemTime::now().into());
        self.refresh(now, wall);
        self.meshes.refresh(&self.mesh_objects);
        self.read_config_maps(now);
        self.place();
        self.ask(now);
        self.ask_pods(now);
        self.rounds(now, wall);
        self.scale(now, wall);
        let named = |component: &Observed| self.kinds.get(component.kind).map_or("", |kind| kind.name());
        let samples = self.components.iter().map(|(key, component)| component.sample(key, named(component)));
        self.metrics.set(&samples.collect::<Vec<_>>());
    }

    fn take(&mut self, message: Message) {
        let now = self.board.now();
        match message {
            Message::Url(of, url) => {
                self.urls.apply(&of, url, now);
                self.is_placed = false;
            }
            Message::Answer(key, request, done, took) => {
                self.in_flight = self.in_flight.saturating_sub(1);
                if let Some(asked) = self.clusters.get_mut(&key) {
                    asked.under_way = asked.under_way.saturating_sub(1);
                    if !request.key.is_large() {
                        asked.latency = (3 * asked.latency + took) / 4;
                    }
                    if let Some(error) = done.bad_credentials
                        && asked.warned.is_none_or(|at| now.since(at) >= WARN_INTERVAL)
                    {
                        asked.warned = Some(now);
                        tracing::warn!(web = %key.0, error, "no connection to Pulsar with these credentials");
                    }
                    let limits = &self.settings.limits;
                    asked.cluster.apply(&request, done.outcome, done.result, done.clock, limits, now);
                    // What answers are parsed for names the topics that match patterns.
                    if asked.cluster.take_new_matches() {
                        self.is_placed = false;
                    }
                }
            }
            Message::Pod { key, ordinal, pod, at, result } => {
                self.pods_in_flight = self.pods_in_flight.saturating_sub(1);
                self.take_pod(&key, (ordinal, pod), at, result);
            }
            Message::Order(end) => self.take_order(*end, now),
        }
    }

    /// Takes components that are new or changed from the caches, and drops deleted ones.
    fn refresh(&mut self, now: Monotonic, wall: UnixMillis) {
        let mut seen = HashSet::new();
        let mut recorded = Vec::new();
        let start_time = self.settings.intervals.start_time;
        for (index, kind) in self.kinds.iter().enumerate() {
            kind.visit(&mut |listed| {
                let known = self.components.get_mut(&listed.key).filter(|known| known.uid == listed.uid);
                match known {
                    Some(known) if known.content == listed.content => {}
                    Some(known) => {
                        let Some((demand, _)) = (listed.read)(start_time) else { return };
                        known.change(listed.content, demand, now);
                        self.is_placed = false;
                    }
                    None if self.undecodable.is_known(&listed.key, listed.content) => return,
                    None => {
                        let Some((demand, before)) = (listed.read)(start_time) else {
                            self.undecodable.note(listed.key, listed.content);
                            return;
                        };
                        let of = (listed.uid.as_str(), listed.namespace.as_str(), listed.name.as_str());
                        let new = Observed::new(of, (index, listed.content), demand, before, now, wall);
                        self.components.insert(listed.key.clone(), new);
                        self.is_placed = false;
                    }
                }
                if self.restarts.contains_key(&listed.key) {
                    recorded.push((listed.key.clone(), (listed.recorded_restarts)()));
                }
                seen.insert(listed.key);
            });
        }
        self.undecodable.end_visit();
        if seen.len() != self.components.len() {
            self.components.retain(|key, _| seen.contains(key));
            self.is_placed = false;
        }
        self.restarts.retain(|key, _| seen.contains(key));
        for (key, restarts) in recorded {
            self.restart_recorded(&key, restarts, now);
        }
    }

    fn read_config_maps(&mut self, now: Monotonic) {
        let needed = self.components.values().map(|component| &component.demand.config_map);
        for of in self.urls.due(needed, MAX_READS, &self.settings.intervals, now) {
            let (client, results) = (self.shared.client.clone(), self.results.0.clone());
            let access = self.settings.access.clone();
            tokio::spawn(async move {
                let url = service_urls::read(&client, &of, &access).await;
                _ = results.send(Message::Url(of, url)).await;
            });
        }
    }

    fn rounds(&mut self, now: Monotonic, wall: UnixMillis) {
        let mut stalled = Vec::new();
        for (key, component) in &mut self.components {
            let Some(workload) = self.board.workload(key, &component.uid) else { continue };
            let asked = component.place.as_ref().ok().and_then(|place| self.clusters.get(&key_of(place)));
            let cluster = asked.map(|asked| &asked.cluster);
            let intervals = &self.settings.intervals;
            let Some(at) = component.is_due(cluster, &workload, intervals, now) else { continue };
            let age = u64::try_from(now.since(at).as_millis()).unwrap_or_default();
            let at_wall = UnixMillis(wall.0.saturating_sub(age));
            let report = component.round(cluster, &workload, (at, at_wall), intervals, &self.settings.write);
            let found = component.subscription;
            let mut is_changed = self.board.note_subscription(key, &component.uid, at, found);
            if let Some(report) = report {
                self.board.publish(key, &component.uid, report);
                is_changed = true;
            }
            if let Some(kind) = self.kinds.get(component.kind).filter(|_| is_changed) {
                kind.trigger(&component.namespace, &component.name);
            }
            if component.verdict().stall().is_some() {
                stalled.push((key.clone(), workload));
            }
        }
        for (key, workload) in stalled {
            self.decide_restart(&key, &workload, now, wall);
        }
    }
}

/// Waits until a time, or forever.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
