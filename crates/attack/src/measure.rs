//! Measures during an attack: probes of both programs, and Functions of a bystander in another namespace.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use http::Request;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::generate;

/// Interval of the probes and of the lists of the bystander's StatefulSets.
const PROBE_PERIOD: Duration = Duration::from_millis(100);
/// Timeout of a probe, as the kubelet's default.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than the API server's webhook timeout.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(12);
/// How long to wait for missing StatefulSets after the attack.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest delays, in seconds.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct Delays {
    /// By program and path: the longest time without a successful probe.
    pub(crate) silence: BTreeMap<String, f64>,
    /// From a Function's creation until its StatefulSet exists.
    pub(crate) reconcile: f64,
    /// Number of StatefulSets that were never created.
    pub(crate) missing: usize,
    /// The longest time without a successful admission of the bystander's Functions.
    pub(crate) admission: f64,
    /// Failed requests of the bystander: error and count.
    pub(crate) failed: BTreeMap<String, usize>,
    /// The same for a built-in kind without a webhook: the API server's own delay.
    pub(crate) api_server: f64,
    /// The longest delay of a timer of this process: a measure of CPU contention.
    pub(crate) timer: f64,
}

#[derive(Default)]
struct State {
    delays: Delays,
    /// Functions without a StatefulSet, and when they were created.
    waiting: BTreeMap<String, Instant>,
    /// Delays before this time do not count: a planned restart.
    not_before: Option<Instant>,
}

/// The measurement of one attack.
#[derive(Clone)]
pub(crate) struct Measure {
    attack: &'static str,
    state: Arc<Mutex<State>>,
    end: CancellationToken,
}

impl Measure {
    pub(crate) fn new(attack: &'static str) -> Self {
        Self { attack, state: Arc::default(), end: CancellationToken::new() }
    }

    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Announces a planned restart: delays count only after `time`.
    pub(crate) fn allow_downtime(&self, time: Duration) {
        self.update(|state| state.not_before = Some(Instant::now() + time));
    }

    /// Seconds since `start`, without planned downtime.
    fn since(&self, start: Instant) -> f64 {
        let start = self.update(|state| state.not_before.map_or(start, |time| time.max(start)));
        start.elapsed().as_secs_f64()
    }

    /// Measures until `attack` has ended, then waits for the open requests and StatefulSets.
    pub(crate) async fn during(
        self,
        client: &Client,
        namespace: &str,
        probes: &[(String, SocketAddr)],
        attack: impl Future<Output = ()>,
    ) -> Delays {
        let mut tasks = JoinSet::new();
        for (program, address) in probes {
            for path in ["healthz", "readyz"] {
                tasks.spawn(self.clone().probe(format!("{program} /{path}"), *address, path));
            }
        }
        tasks.spawn(self.clone().create(client.clone(), namespace.to_owned()));
        tasks.spawn(self.clone().admission(client.clone(), namespace.to_owned()));
        tasks.spawn(self.clone().api_server(client.clone(), namespace.to_owned()));
        tasks.spawn(self.clone().timer());
        let watcher = tokio::spawn(self.clone().watch_statefulsets(client.clone(), namespace.to_owned()));
        attack.await;
        self.end.cancel();
        while tasks.join_next().await.is_some() {}
        _ = watcher.await;
        self.update(|state| std::mem::take(&mut state.delays))
    }

    async fn probe(self, name: String, address: SocketAddr, path: &str) {
        self.update(|state| state.delays.silence.insert(name.clone(), 0.0));
        let mut last = Instant::now();
        let mut ticks = interval(PROBE_PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_over = tokio::select! { _ = ticks.tick() => false, () = self.end.cancelled() => true };
            let answer = timeout(PROBE_TIMEOUT, get(address, path)).await;
            let silence = self.since(last);
            self.update(|state| set_max(state.delays.silence.entry(name.clone()).or_default(), silence));
            if matches!(answer, Ok(Ok(()))) {
                last = Instant::now();
            }
            if is_over {
                return;
            }
        }
    }

    /// Creates a Function every second. The names are unique across attacks: the garbage collector may not yet have
    /// deleted the Services of an earlier attack.
    async fn create(self, client: Client, namespace: String) {
        let mut ticks = interval(Duration::from_secs(1));
        for number in 0_u32.. {
            tokio::select! { _ = ticks.tick() => {}, () = self.end.cancelled() => return }
            let name = format!("by-{}-{number}", self.attack);
            let body = generate::function(&name, "", "");
            let start = Instant::now();
            match create(&client, &path(&namespace), body).await {
                Ok(()) => self.update(|state| _ = state.waiting.insert(name, start)),
                Err(error) => self.record_failure(&error),
            }
        }
    }

    /// Lists the StatefulSets and records when those of the new Functions appear.
    async fn watch_statefulsets(self, client: Client, namespace: String) {
        let sets = Api::<StatefulSet>::namespaced(client, &namespace);
        let mut over = None;
        loop {
            if self.end.is_cancelled() {
                let over = *over.get_or_insert_with(Instant::now);
                if self.update(|state| state.waiting.is_empty()) || over.elapsed() > SETTLE_TIMEOUT {
                    break;
                }
            }
            let found = timeout(REQUEST_TIMEOUT, sets.list_metadata(&ListParams::default())).await;
            for set in found.into_iter().flatten().flatten() {
                let name = set.metadata.name.unwrap_or_default();
                let Some(name) = name.strip_suffix("-function") else { continue };
                if let Some(start) = self.update(|state| state.waiting.remove(name)) {
                    let delay = self.since(start);
                    self.update(|state| set_max(&mut state.delays.reconcile, delay));
                }
            }
            sleep(PROBE_PERIOD).await;
        }
        let missing: Vec<_> = self.update(|state| std::mem::take(&mut state.waiting)).into_values().collect();
        for start in &missing {
            let delay = self.since(*start);
            self.update(|state| set_max(&mut state.delays.reconcile, delay));
        }
        self.update(|state| state.delays.missing = missing.len());
    }

    /// Creates a Function with dry-run, four times a second.
    async fn admission(self, client: Client, namespace: String) {
        let target = format!("{}?dryRun=All", path(&namespace));
        let delay = |state: &mut State, delay| set_max(&mut state.delays.admission, delay);
        self.poll(client, target, generate::function("dry", "", ""), delay).await;
    }

    /// Creates a ConfigMap with dry-run, four times a second.
    async fn api_server(self, client: Client, namespace: String) {
        let target = format!("/api/v1/namespaces/{namespace}/configmaps?dryRun=All");
        let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"dry"}}"#.to_owned();
        let delay = |state: &mut State, delay| set_max(&mut state.delays.api_server, delay);
        self.poll(client, target, body, delay).await;
    }

    /// Repeats a request; the delay is the time until one succeeds.
    async fn poll(self, client: Client, target: String, body: String, record: impl Fn(&mut State, f64)) {
        let mut outage_start = None;
        while !self.end.is_cancelled() {
            let start = *outage_start.get_or_insert_with(Instant::now);
            match create(&client, &target, body.clone()).await {
                Ok(()) => outage_start = None,
                Err(error) => self.record_failure(&error),
            }
            let delay = self.since(start);
            self.update(|state| record(state, delay));
            sleep(Duration::from_millis(250)).await;
        }
    }

    async fn timer(self) {
        while !self.end.is_cancelled() {
            let start = Instant::now();
            sleep(PROBE_PERIOD).await;
            let late = start.elapsed().saturating_sub(PROBE_PERIOD).as_secs_f64();
            self.update(|state| set_max(&mut state.delays.timer, late));
        }
    }

    fn record_failure(&self, error: &anyhow::Error) {
        let text: String = error.to_string().chars().take(400).collect();
        self.update(|state| *state.delays.failed.entry(text).or_default() += 1);
    }
}

fn set_max(maximum: &mut f64, delay: f64) {
    *maximum = maximum.max(delay);
}

/// Path of the Functions of a namespace.
fn path(namespace: &str) -> String {
    format!("/apis/compute.functionmesh.io/v1alpha1/namespaces/{namespace}/functions")
}

async fn create(client: &Client, path: &str, body: String) -> anyhow::Result<()> {
    let request = Request::post(path).header("content-type", "application/json").body(body.into_bytes())?;
    timeout(REQUEST_TIMEOUT, client.request_text(request)).await??;
    Ok(())
}

/// Probes as the kubelet does, on a new connection. Any HTTP status of /readyz counts as a response.
async fn get(address: SocketAddr, path: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let is_good = answer.starts_with("HTTP/1.1 200") || (path == "readyz" && answer.starts_with("HTTP/1.1 "));
    ensure!(is_good, "{path}: {}", answer.lines().next().unwrap_or("empty response"));
    Ok(())
}

/// Whether /readyz returns 200.
pub(crate) async fn is_ready(address: SocketAddr) -> bool {
    let ready = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer.starts_with("HTTP/1.1 200"))
    };
    matches!(timeout(PROBE_TIMEOUT, ready).await, Ok(Ok(true)))
}

/// Deletes the bystander's Functions and StatefulSets.
pub(crate) async fn clear(client: &Client, namespace: &str) {
    let request = Request::delete(path(namespace)).body(Vec::new());
    if let Ok(request) = request {
        _ = client.request_text(request).await;
    }
    let sets = Api::<StatefulSet>::namespaced(client.clone(), namespace);
    _ = sets.delete_collection(&DeleteParams::background(), &ListParams::default()).await;
}

/// Prints a warning.
#[allow(clippy::print_stderr, reason = "output of a command-line program")]
pub(crate) fn warn(what: &dyn std::fmt::Display) {
    eprintln!("    {what}");
}
