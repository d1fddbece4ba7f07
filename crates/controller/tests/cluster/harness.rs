//! A test harness: a namespace with its own controller, and helpers.

use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::types::{ComponentStatus, Phase};
use function_mesh_api::{Component, FunctionMesh};
use function_mesh_controller::traffic::ObserverSettings;
use function_mesh_controller::{CONTROLLERS, Options, ProtectedNamespaces, run};
use function_mesh_kube::leader_election::Candidate;
use function_mesh_kube::namespaces::Namespaces;
use function_mesh_serving::Readiness;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_testkit::{ControlPlane, Kind, PATIENCE, Recorder, Write, apply, eventually};
use function_mesh_workloads::Settings;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Request};
use kube::{Api, Client, Resource as _};
use prometheus::Registry;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::task::JoinHandle;

pub(crate) type TestResult = anyhow::Result<()>;

/// How long nothing must be written until a test assumes a steady state.
const QUIET: Duration = Duration::from_millis(1500);

pub(crate) struct Harness {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// Another watched namespace.
    pub(crate) second: Option<String>,
    /// Records the writes of the controller.
    pub(crate) recorder: Recorder,
    pub(crate) settings: Settings,
    pub(crate) protected: ProtectedNamespaces,
    pub(crate) pause_rollout: bool,
    /// How message traffic is observed.
    pub(crate) observer: Option<ObserverSettings>,
    /// The candidate, with leader election.
    pub(crate) candidate: Option<Candidate>,
    /// Metrics of the running controller.
    pub(crate) registry: Registry,
    running: Option<(CancellationToken, JoinHandle<TestResult>)>,
}

/// What is read of StatefulSets.
#[derive(Deserialize)]
struct Sets {
    items: Vec<Set>,
}

#[derive(Deserialize)]
struct Set {
    metadata: Versions,
    #[serde(default)]
    status: Versions,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Versions {
    generation: Option<i64>,
    observed_generation: Option<i64>,
    resource_version: Option<String>,
}

impl Harness {
    /// A namespace and a controller for it.
    pub(crate) async fn new(name: &str) -> anyhow::Result<Self> {
        let mut harness = Self::without_controller(name).await?;
        harness.start().await?;
        Ok(harness)
    }

    pub(crate) async fn without_controller(name: &str) -> anyhow::Result<Self> {
        Self::on(ControlPlane::shared().await?, name).await
    }

    /// A namespace of this control plane, without a controller.
    pub(crate) async fn on(plane: &'static ControlPlane, name: &str) -> anyhow::Result<Self> {
        let client = plane.client().await?;
        let namespace = plane.namespace(&client, name).await?;
        let (recorder, settings) = (Recorder::default(), Settings::default());
        Ok(Self {
            plane,
            client,
            namespace,
            second: None,
            recorder,
            settings,
            protected: ProtectedNamespaces::default(),
            pause_rollout: false,
            observer: None,
            candidate: None,
            registry: Registry::new(),
            running: None,
        })
    }

    /// Starts the controller and waits until it is ready.
    pub(crate) async fn start(&mut self) -> TestResult {
        let client = self.recorder.client(self.plane.config().await?)?;
        let options = Options {
            settings: self.settings.clone(),
            namespaces: [Some(&self.namespace), self.second.as_ref()]
                .into_iter()
                .flatten()
                .map(|name| Namespaces::single(name))
                .collect(),
            protected: self.protected.clone(),
            concurrency: 4,
            pause_rollout: self.pause_rollout,
            candidate: self.candidate.clone(),
            publish_settings: None,
            observer: self.observer.clone(),
        };
        let end = CancellationToken::new();
        let readiness = Readiness::new(end.clone());
        readiness.gate(CONTROLLERS);
        let (token, ready) = (end.clone(), readiness.clone());
        self.registry = Registry::new();
        let registry = self.registry.clone();
        let task = tokio::spawn(async move { run(client, options, &registry, &readiness, token).await });
        self.running = Some((end, task));
        eventually(PATIENCE, async || {
            let missing = ready.missing();
            ensure!(missing.is_empty(), "not ready: {missing:?}");
            Ok(())
        })
        .await
    }

    /// Stops the controller gracefully.
    pub(crate) async fn stop(&mut self) -> TestResult {
        let (end, task) = self.running.take().context("it is not running")?;
        end.cancel();
        tokio::time::timeout(PATIENCE, task).await.context("it does not stop")??
    }

    pub(crate) fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn get<K: Kind>(&self, name: &str) -> anyhow::Result<K> {
        self.api().get(name).await.with_context(|| format!("{} {name}", K::kind(&())))
    }

    pub(crate) async fn find<K: Kind>(&self, name: &str) -> anyhow::Result<Option<K>> {
        Ok(self.api().get_opt(name).await?)
    }

    /// Applies a manifest.
    pub(crate) async fn apply<K: Kind>(&self, object: &K) -> anyhow::Result<K> {
        apply(&self.client, &self.namespace, object).await
    }

    /// Changes an object as `kubectl patch` does.
    pub(crate) async fn patch<K: Kind>(&self, name: &str, change: Value) -> anyhow::Result<K> {
        Ok(self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(change)).await?)
    }

    pub(crate) async fn delete<K: Kind>(&self, name: &str) -> TestResult {
        self.api::<K>().delete(name, &DeleteParams::background()).await?;
        Ok(())
    }

    pub(crate) async fn gone<K: Kind>(&self, name: &str) -> TestResult {
        eventually(PATIENCE, async || {
            ensure!(self.find::<K>(name).await?.is_none(), "{} {name} is there", K::kind(&()));
            Ok(())
        })
        .await
    }

    pub(crate) async fn appears<K: Kind>(&self, name: &str) -> anyhow::Result<K> {
        eventually(PATIENCE, async || self.get::<K>(name).await).await
    }

    /// Waits until a StatefulSet passes a check.
    pub(crate) async fn stateful_set(
        &self,
        name: &str,
        check: impl AsyncFn(&StatefulSet) -> TestResult,
    ) -> anyhow::Result<StatefulSet> {
        eventually(PATIENCE, async || {
            let found = self.get::<StatefulSet>(name).await?;
            check(&found).await?;
            Ok(found)
        })
        .await
    }

    /// Waits until a component is in this phase, and returns its status.
    pub(crate) async fn phase<C: Component>(
        &self,
        name: &str,
        phase: Phase,
    ) -> anyhow::Result<ComponentStatus> {
        eventually(PATIENCE, async || {
            let status = self.get::<C>(name).await?.status().cloned().context("no status")?;
            ensure!(status.phase == phase, "{name} is {}: {:?}", status.phase, status.message);
            Ok(status)
        })
        .await
    }

    /// Waits until a mesh has a condition of this type with this status and reason, and returns it.
    pub(crate) async fn condition(
        &self,
        mesh: &str,
        type_: &str,
        expected: (&str, &str),
    ) -> anyhow::Result<Condition> {
        eventually(PATIENCE, async || {
            let status = self.get::<FunctionMesh>(mesh).await?.status.context("no status")?;
            let found = status.conditions.iter().flatten().find(|condition| condition.type_ == type_);
            let found = found.with_context(|| format!("no condition {type_}"))?;
            ensure!((found.status.as_str(), found.reason.as_str()) == expected, "{found:?}");
            Ok(found.clone())
        })
        .await
    }

    /// Waits until the operator and the StatefulSet controller stop writing, and returns the
    /// operator's writes since the last call.
    pub(crate) async fn settle(&self) -> anyhow::Result<Vec<Write>> {
        let mut before = None;
        for _ in 0..40 {
            let now = self.versions().await?.map(|versions| (self.recorder.len(), versions));
            if now.is_some() && now == before {
                return Ok(self.recorder.take());
            }
            before = now;
            tokio::time::sleep(QUIET).await;
        }
        anyhow::bail!("it keeps writing: {:?}", texts(&self.recorder.take()));
    }

    /// The resource versions of all StatefulSets and pods: a busy machine writes them late, and each is
    /// a reason for the operator to write again. None if a StatefulSet was not looked at since it changed.
    async fn versions(&self) -> anyhow::Result<Option<Vec<Option<String>>>> {
        let everything = ListParams::default();
        // Some tests have StatefulSets that `Api` cannot read.
        let path = StatefulSet::url_path(&(), Some(&self.namespace));
        let text = self.client.request_text(Request::new(path).list(&everything)?).await?;
        let sets = serde_json::from_str::<Sets>(&text)?.items;
        let pods = self.api::<Pod>().list_metadata(&everything).await?.items;
        let is_current = sets.iter().all(|it| it.status.observed_generation == it.metadata.generation);
        let sets = sets.into_iter().map(|set| set.metadata.resource_version);
        let versions = sets.chain(pods.into_iter().map(|pod| pod.metadata.resource_version));
        Ok(is_current.then(|| versions.collect()))
    }

    /// The Events of an object.
    pub(crate) async fn events(&self, kind: &str, name: &str) -> anyhow::Result<Vec<String>> {
        let events = self.api::<Event>().list(&ListParams::default()).await?;
        let of_object = events.items.into_iter().filter(|event| {
            let regarding = &event.involved_object;
            regarding.kind.as_deref() == Some(kind) && regarding.name.as_deref() == Some(name)
        });
        let text = |event: Event| {
            let message = event.message.unwrap_or_default();
            format!("{} {}: {message}", event.type_.unwrap_or_default(), event.reason.unwrap_or_default())
        };
        Ok(of_object.map(text).collect())
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if let Some((end, _)) = &self.running {
            end.cancel();
        }
    }
}

/// Writes as text, without Events.
pub(crate) fn texts(writes: &[Write]) -> Vec<String> {
    writes.iter().filter(|write| write.resource != "events").map(ToString::to_string).collect()
}

/// A public case: a manifest of `crates/cli/tests/public-cases`.
pub(crate) fn public_case<K: DeserializeOwned>(file: &str) -> anyhow::Result<K> {
    serde_saphyr::from_str(&public_case_text(file)?).with_context(|| file.to_owned())
}

/// A public case as it is written.
pub(crate) fn public_case_text(file: &str) -> anyhow::Result<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/tests/public-cases");
    std::fs::read_to_string(format!("{folder}/{file}")).with_context(|| file.to_owned())
}

/// An object as JSON.
pub(crate) fn json<K: Serialize>(object: &K) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(object)?)
}
