//! What others notice meanwhile: probes of both programs, and a bystander in a namespace of its own.

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

/// Between two probes, and between two looks at the bystander's StatefulSets.
const PERIOD: Duration = Duration::from_millis(100);
/// As the kubelet waits for an answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than the API server waits for a webhook.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(12);
/// How long a StatefulSet may still come after the attack.
const LATE: Duration = Duration::from_secs(10);

/// The longest times of each kind.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct Delays {
    /// Probes by program and path: the longest time without a good answer.
    pub(crate) silence: BTreeMap<String, f64>,
    /// From a Function's creation until its StatefulSet was there.
    pub(crate) reconcile: f64,
    /// StatefulSets that did not come at all.
    pub(crate) missing: usize,
    /// The longest time in which the bystander's Functions were not admitted.
    pub(crate) admission: f64,
    /// Requests of the bystander that failed.
    pub(crate) failed: BTreeMap<String, usize>,
    /// The longest time that the API server took for an object that is not ours, in the same way.
    pub(crate) api_server: f64,
    /// How late a timer of this program was: how busy the machine is.
    pub(crate) timer: f64,
}

#[derive(Default)]
struct State {
    delays: Delays,
    /// Functions that wait for a StatefulSet.
    waiting: BTreeMap<String, Instant>,
    /// Nothing counts before this: a planned restart is nobody's fault.
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

    fn edit<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A restart is planned: it may take so long before delays count.
    pub(crate) fn excuse(&self, time: Duration) {
        self.edit(|state| state.not_before = Some(Instant::now() + time));
    }

    /// The time since then, without what is excused.
    fn since(&self, start: Instant) -> f64 {
        let start = self.edit(|state| state.not_before.map_or(start, |time| time.max(start)));
        start.elapsed().as_secs_f64()
    }

    /// Measures until `attack` has ended, and a little longer for what is on its way.
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
        let look = tokio::spawn(self.clone().look(client.clone(), namespace.to_owned()));
        attack.await;
        self.end.cancel();
        while tasks.join_next().await.is_some() {}
        _ = look.await;
        self.edit(|state| std::mem::take(&mut state.delays))
    }

    async fn probe(self, name: String, address: SocketAddr, path: &str) {
        self.edit(|state| state.delays.silence.insert(name.clone(), 0.0));
        let mut last = Instant::now();
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_over = tokio::select! { _ = ticks.tick() => false, () = self.end.cancelled() => true };
            let answer = timeout(PROBE_TIMEOUT, get(address, path)).await;
            let silence = self.since(last);
            self.edit(|state| longest(state.delays.silence.entry(name.clone()).or_default(), silence));
            if matches!(answer, Ok(Ok(()))) {
                last = Instant::now();
            }
            if is_over {
                return;
            }
        }
    }

    /// Creates a Function every second, of a name that no earlier attack has had: the garbage collector may still hold
    /// the Services of those.
    async fn create(self, client: Client, namespace: String) {
        let mut ticks = interval(Duration::from_secs(1));
        for number in 0_u32.. {
            tokio::select! { _ = ticks.tick() => {}, () = self.end.cancelled() => return }
            let name = format!("by-{}-{number}", self.attack);
            let body = generate::function(&name, "", "");
            let start = Instant::now();
            match create(&client, &path(&namespace), body).await {
                Ok(()) => self.edit(|state| _ = state.waiting.insert(name, start)),
                Err(error) => self.failure(&error),
            }
        }
    }

    /// Looks for the StatefulSets of those Functions.
    async fn look(self, client: Client, namespace: String) {
        let sets = Api::<StatefulSet>::namespaced(client, &namespace);
        let mut over = None;
        loop {
            if self.end.is_cancelled() {
                let over = *over.get_or_insert_with(Instant::now);
                if self.edit(|state| state.waiting.is_empty()) || over.elapsed() > LATE {
                    break;
                }
            }
            let found = timeout(REQUEST_TIMEOUT, sets.list_metadata(&ListParams::default())).await;
            for set in found.into_iter().flatten().flatten() {
                let name = set.metadata.name.unwrap_or_default();
                let Some(name) = name.strip_suffix("-function") else { continue };
                if let Some(start) = self.edit(|state| state.waiting.remove(name)) {
                    let delay = self.since(start);
                    self.edit(|state| longest(&mut state.delays.reconcile, delay));
                }
            }
            sleep(PERIOD).await;
        }
        let missing: Vec<_> = self.edit(|state| std::mem::take(&mut state.waiting)).into_values().collect();
        for start in &missing {
            let delay = self.since(*start);
            self.edit(|state| longest(&mut state.delays.reconcile, delay));
        }
        self.edit(|state| state.delays.missing = missing.len());
    }

    /// Has a Function admitted that is not kept, four times a second.
    async fn admission(self, client: Client, namespace: String) {
        let target = format!("{}?dryRun=All", path(&namespace));
        let delay = |state: &mut State, delay| longest(&mut state.delays.admission, delay);
        self.ask(client, target, generate::function("dry", "", ""), delay).await;
    }

    /// Has the API server check something that is none of ours.
    async fn api_server(self, client: Client, namespace: String) {
        let target = format!("/api/v1/namespaces/{namespace}/configmaps?dryRun=All");
        let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"dry"}}"#.to_owned();
        let delay = |state: &mut State, delay| longest(&mut state.delays.api_server, delay);
        self.ask(client, target, body, delay).await;
    }

    /// Asks again and again; the delay is the time until it is answered well.
    async fn ask(self, client: Client, target: String, body: String, note: impl Fn(&mut State, f64)) {
        let mut unanswered = None;
        while !self.end.is_cancelled() {
            let start = *unanswered.get_or_insert_with(Instant::now);
            match create(&client, &target, body.clone()).await {
                Ok(()) => unanswered = None,
                Err(error) => self.failure(&error),
            }
            let delay = self.since(start);
            self.edit(|state| note(state, delay));
            sleep(Duration::from_millis(250)).await;
        }
    }

    async fn timer(self) {
        while !self.end.is_cancelled() {
            let start = Instant::now();
            sleep(PERIOD).await;
            let late = start.elapsed().saturating_sub(PERIOD).as_secs_f64();
            self.edit(|state| longest(&mut state.delays.timer, late));
        }
    }

    fn failure(&self, error: &anyhow::Error) {
        let text: String = error.to_string().chars().take(400).collect();
        self.edit(|state| *state.delays.failed.entry(text).or_default() += 1);
    }
}

fn longest(so_far: &mut f64, delay: f64) {
    *so_far = so_far.max(delay);
}

/// Where Functions of a namespace are created.
fn path(namespace: &str) -> String {
    format!("/apis/compute.functionmesh.io/v1alpha1/namespaces/{namespace}/functions")
}

async fn create(client: &Client, path: &str, body: String) -> anyhow::Result<()> {
    let request = Request::post(path).header("content-type", "application/json").body(body.into_bytes())?;
    timeout(REQUEST_TIMEOUT, client.request_text(request)).await??;
    Ok(())
}

/// Asks a probe as the kubelet does, with a connection of its own. Any answer of readyz is an answer.
async fn get(address: SocketAddr, path: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let is_good = answer.starts_with("HTTP/1.1 200") || (path == "readyz" && answer.starts_with("HTTP/1.1 "));
    ensure!(is_good, "{path}: {}", answer.lines().next().unwrap_or("no answer"));
    Ok(())
}

/// Whether the program says that it is ready.
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

/// Removes the bystander's Functions.
pub(crate) async fn clear(client: &Client, namespace: &str) {
    let request = Request::delete(path(namespace)).body(Vec::new());
    if let Ok(request) = request {
        _ = client.request_text(request).await;
    }
    let sets = Api::<StatefulSet>::namespaced(client.clone(), namespace);
    _ = sets.delete_collection(&DeleteParams::background(), &ListParams::default()).await;
}

/// Tells what went wrong beside the measurement.
#[allow(clippy::print_stderr, reason = "it is for the person who runs this")]
pub(crate) fn complain(what: &dyn std::fmt::Display) {
    eprintln!("    {what}");
}
