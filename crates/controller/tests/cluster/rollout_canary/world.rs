//! A function whose pods report what a test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::Function;
use function_mesh_api::types::{CanaryState, CanaryStatus, ComponentStatus, Phase};
use function_mesh_controller::traffic::ObserverSettings;
use function_mesh_testkit::{PodPort, PulsarStandIn, StandInTopics, eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::harness::{Harness, TestResult};
use crate::rollout::{MINUTE, image_of, play};

/// How long a request to a pod takes at most.
const ROUND: Duration = Duration::from_secs(2);

/// A step that lasts until a test makes it shorter.
pub(super) const LASTS: &str = "1h";

/// The shortest step.
pub(super) const ENDS: &str = "10s";

/// One pod, then half of them.
pub(super) fn steps([first, second]: [&str; 2]) -> Value {
    json!([{ "replicas": 1, "duration": first }, { "replicas": "50%", "duration": second }])
}

/// What pods report: each answer has more messages than the one before.
#[derive(Debug, Default)]
pub(super) struct Counters {
    answers: AtomicU64,
    received: AtomicU64,
    /// Exceptions in a hundred messages.
    pub(super) percent: AtomicU64,
}

impl Counters {
    fn text(&self) -> String {
        self.answers.fetch_add(1, Ordering::Relaxed);
        let received = self.received.fetch_add(100, Ordering::Relaxed) + 100;
        let exceptions = received * self.percent.load(Ordering::Relaxed) / 100;
        let processed = received - exceptions;
        format!(
            "pulsar_function_received_total {received}\n\
             pulsar_function_processed_successfully_total {processed}\n\
             pulsar_function_user_exceptions_total {exceptions}\n\
             pulsar_function_system_exceptions_total 0\n"
        )
    }
}

pub(super) struct World {
    pub(super) harness: Harness,
    /// Where the pods are.
    stand_in: PulsarStandIn,
    pub(super) counters: Arc<Counters>,
    /// Images whose pods report.
    reporting: Vec<&'static str>,
    server: JoinHandle<()>,
    _port: PodPort,
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl World {
    /// A function with four pods that are good, and whose figures are known.
    pub(super) async fn new(name: &str, rollout: Value) -> anyhow::Result<Self> {
        let stand_in = PulsarStandIn::start(StandInTopics::default()).await?;
        let ip = stand_in.ip();
        // The port of pods' metrics is fixed, so that such tests run one after the other.
        let (port, listener) = PodPort::listen(ip).await?;
        let counters = Arc::new(Counters::default());
        let server = tokio::spawn(serve(listener, Arc::clone(&counters)));
        let mut harness = Harness::without_controller(name).await?;
        harness.options.observer = Some(ObserverSettings::default());
        harness.start().await?;
        let mut spec = serde_json::to_value(fixtures::java_function("f"))?;
        (spec["image"], spec["replicas"], spec["rollout"]) = (json!("good-1"), json!(4), rollout);
        let function = Box::new(fixtures::function(serde_json::from_value(spec)?)?);
        Box::pin(harness.apply(&*function)).await?;
        let reporting = vec!["good-1"];
        let world = Self { harness, stand_in, counters, reporting, server, _port: port };
        world.status("the first version is ready", |status| status.phase == Phase::Ready).await?;
        world.counted(8).await?;
        Ok(world)
    }

    /// Waits until pods have answered so often.
    pub(super) async fn counted(&self, answers: u64) -> TestResult {
        let before = self.counters.answers.load(Ordering::Relaxed);
        eventually(2 * MINUTE, async || {
            self.play().await?;
            let found = self.counters.answers.load(Ordering::Relaxed) - before;
            ensure!(found >= answers, "{found} answers");
            Ok(())
        })
        .await
    }

    /// Plays a kubelet: pods run, and those that report have an address.
    async fn play(&self) -> TestResult {
        play(&self.harness).await?;
        let api = self.harness.api::<Pod>();
        for pod in api.list(&ListParams::default()).await?.items {
            let image = image_of(pod.spec.as_ref().context("no spec")?);
            let has = pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some());
            let wants = self.reporting.contains(&&*image);
            if has == wants || pod.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let ip = self.stand_in.ip();
            let status = if wants {
                json!({ "podIP": ip, "podIPs": [{ "ip": ip }] })
            } else {
                json!({ "podIP": null, "podIPs": null })
            };
            let patch = json!({ "metadata": { "uid": pod.uid() }, "status": status });
            _ = api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        }
        Ok(())
    }

    /// Waits until a status passes a check, while pods run.
    pub(super) async fn status(
        &self,
        what: &str,
        check: impl Fn(&ComponentStatus) -> bool,
    ) -> anyhow::Result<ComponentStatus> {
        eventually(3 * MINUTE, async || {
            self.play().await?;
            let status = self.harness.get::<Function>("f").await?.status.context("no status")?;
            let (phase, rollout) = (status.phase, &status.rollout);
            ensure!(check(&status), "{what}: {phase} {:?}, {rollout:?}", status.message);
            Ok(status)
        })
        .await
    }

    /// Waits until the canary is in this state and step.
    pub(super) async fn canary(&self, state: CanaryState, step: i32) -> anyhow::Result<CanaryStatus> {
        let is = |canary: &CanaryStatus| (canary.state, canary.step) == (state, Some(step));
        let of =
            |status: &ComponentStatus| status.rollout.as_ref().and_then(|rollout| rollout.canary.clone());
        let found = self.status(&format!("{state:?} {step}"), |it| of(it).is_some_and(|it| is(&it))).await?;
        of(&found).context("no canary")
    }

    /// The images of the pods, by ordinal.
    pub(super) async fn images(&self) -> anyhow::Result<Vec<String>> {
        let mut pods = self.harness.api::<Pod>().list(&ListParams::default()).await?.items;
        pods.sort_by_key(ResourceExt::name_any);
        Ok(pods.iter().filter_map(|pod| pod.spec.as_ref()).map(image_of).collect())
    }

    pub(super) async fn has_images(&self, expected: &[&str]) -> TestResult {
        eventually(MINUTE, async || {
            self.play().await?;
            let found = self.images().await?;
            ensure!(found == expected, "{found:?}");
            Ok(())
        })
        .await
    }

    pub(super) async fn partition(&self) -> anyhow::Result<Option<i32>> {
        let set = self.harness.get::<StatefulSet>("f-function").await?;
        let strategy = set.spec.and_then(|spec| spec.update_strategy?.rolling_update);
        Ok(strategy.and_then(|strategy| strategy.partition))
    }

    pub(super) async fn change(&self, spec: Value) -> TestResult {
        self.harness.patch::<Function>("f", json!({ "spec": spec })).await.map(|_| ())
    }

    /// Makes the steps last so long.
    pub(super) async fn durations(&self, durations: [&str; 2]) -> TestResult {
        self.change(json!({ "rollout": { "canary": { "steps": steps(durations) } } })).await
    }

    /// Another version: its pods report, and from now on what they count.
    pub(super) async fn try_version(&mut self, image: &'static str, percent: u64) -> TestResult {
        self.reporting = vec![image];
        self.silent().await?;
        self.counters.received.store(0, Ordering::Relaxed);
        self.counters.percent.store(percent, Ordering::Relaxed);
        self.change(json!({ "image": image })).await
    }

    /// Waits until no pod of the version before is asked any more: it would count like the new one.
    async fn silent(&self) -> TestResult {
        let mut before = None;
        eventually(MINUTE, async || {
            self.play().await?;
            let asked = self.counters.answers.load(Ordering::Relaxed);
            let is_silent = before.replace(asked) == Some(asked);
            sleep(ROUND).await;
            ensure!(is_silent, "pods are still asked");
            Ok(())
        })
        .await
    }

    pub(super) async fn restart(&mut self) -> TestResult {
        self.harness.restart().await
    }

    pub(super) async fn promote(&self, revision: Option<&str>) -> TestResult {
        let annotations = json!({ "compute.functionmesh.io/promote-canary": revision });
        let patch = json!({ "metadata": { "annotations": annotations } });
        self.harness.patch::<Function>("f", patch).await.map(|_| ())
    }

    /// The Events about canaries, by reason.
    pub(super) async fn events(&self) -> anyhow::Result<Vec<String>> {
        let events = self.harness.events("Function", "f").await?;
        Ok(events.into_iter().filter(|event| event.contains(" Canary")).collect())
    }

    pub(super) async fn is_reported(&self, expected: &str) -> TestResult {
        eventually(MINUTE, async || {
            let events = self.harness.events("Function", "f").await?;
            ensure!(events.iter().any(|event| event.starts_with(expected)), "{expected}: {events:#?}");
            Ok(())
        })
        .await
    }
}

/// Answers every request with the counters.
async fn serve(listener: TcpListener, counters: Arc<Counters>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let counters = Arc::clone(&counters);
        tokio::spawn(async move {
            let mut request = [0_u8; 4096];
            _ = stream.read(&mut request).await;
            let text = counters.text();
            let length = text.len();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n";
            let answer = format!("{head}content-length: {length}\r\n\r\n{text}");
            _ = stream.write_all(answer.as_bytes()).await;
            _ = stream.shutdown().await;
        });
    }
}
