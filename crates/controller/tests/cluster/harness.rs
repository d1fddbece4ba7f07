//! A test harness: a namespace with its own controller, and helpers.

use std::ops::Deref;
use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::types::{ComponentStatus, Phase};
use function_mesh_api::{Component, FunctionMesh};
use function_mesh_controller::Options;
use function_mesh_testkit::{
    ControlPlane, ControllerHarness, PATIENCE, Recorder, TestNamespace, Write, eventually,
    mark_unschedulable, test_options,
};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource as _;
use kube::api::{ListParams, Request};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) type TestResult = anyhow::Result<()>;

/// How long nothing must be written until a test assumes a steady state: longer than a status of progress is deferred.
const QUIET: Duration = Duration::from_millis(3500);

/// A namespace with a controller, which may be stopped and started again.
pub(crate) struct Harness {
    test: TestNamespace,
    /// Records the writes of the controller.
    pub(crate) recorder: Recorder,
    /// Options of the next start.
    pub(crate) options: Options,
    controller: Option<ControllerHarness>,
}

impl Deref for Harness {
    type Target = TestNamespace;

    fn deref(&self) -> &TestNamespace {
        &self.test
    }
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
        let test = TestNamespace::on(plane, name).await?;
        let options = test_options(&[&test.namespace]);
        Ok(Self { test, recorder: Recorder::default(), options, controller: None })
    }

    /// Starts the controller and waits until it is ready.
    pub(crate) async fn start(&mut self) -> TestResult {
        let client = self.recorder.client(self.plane.config().await?)?;
        let controller = ControllerHarness::start(client, self.options.clone());
        self.controller.insert(controller).becomes_ready().await
    }

    /// Stops the controller gracefully.
    pub(crate) async fn stop(&mut self) -> TestResult {
        self.controller.take().context("it is not running")?.stop().await
    }

    /// The running controller.
    pub(crate) fn controller(&self) -> anyhow::Result<&ControllerHarness> {
        self.controller.as_ref().context("it is not running")
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

    /// Waits for this number of pods, and marks them as unschedulable.
    pub(crate) async fn unschedulable(&self, pods: usize) -> TestResult {
        eventually(PATIENCE, async || {
            let marked = mark_unschedulable(&self.client, &self.namespace).await?;
            ensure!(marked == pods, "{marked} pods");
            Ok(())
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

    /// Ends the operator and starts another.
    pub(crate) async fn restart(&mut self) -> TestResult {
        self.stop().await?;
        self.start().await
    }

    /// What an operator writes after a restart.
    pub(crate) async fn writes_of_restart(&mut self) -> anyhow::Result<Vec<String>> {
        self.settle().await?;
        self.restart().await?;
        Ok(texts(&self.settle().await?))
    }

    /// The resource versions of all StatefulSets, Jobs and pods: a busy machine writes them late, and each is
    /// a reason for the operator to write again. None if a StatefulSet was not looked at since it changed.
    async fn versions(&self) -> anyhow::Result<Option<Vec<Option<String>>>> {
        let everything = ListParams::default();
        // Some tests have StatefulSets that `Api` cannot read.
        let path = StatefulSet::url_path(&(), Some(&self.namespace));
        let text = self.client.request_text(Request::new(path).list(&everything)?).await?;
        let sets = serde_json::from_str::<Sets>(&text)?.items;
        let pods = self.api::<Pod>().list_metadata(&everything).await?.items;
        let jobs = self.api::<Job>().list_metadata(&everything).await?.items;
        let is_current = sets.iter().all(|it| it.status.observed_generation == it.metadata.generation);
        let sets = sets.into_iter().map(|set| set.metadata.resource_version);
        let others = pods.into_iter().map(|pod| pod.metadata.resource_version);
        let others = others.chain(jobs.into_iter().map(|job| job.metadata.resource_version));
        Ok(is_current.then(|| sets.chain(others).collect()))
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
