//! `rollout.strategy: Recreate`: never two versions at once, regardless of what happens between the stop and the start.

mod subscription;

use std::collections::BTreeMap;
use std::pin::pin;

use anyhow::{Context, ensure};
use function_mesh_api::types::{ComponentStatus, Phase, RecreateStep};
use function_mesh_api::{BackendConfig, BackendConfigSpec, Component, Function, labels};
use function_mesh_testkit::{PATIENCE, eventually, fake_kubelet, fixtures};
use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::{Value, from_value, json};
use tokio::task::JoinHandle;

use crate::harness::{Harness, TestResult, texts};

/// A namespace with a kubelet, and a witness of its pods.
struct World {
    harness: Harness,
    kubelet: Option<JoinHandle<()>>,
    witness: JoinHandle<anyhow::Result<()>>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.witness.abort();
        if let Some(kubelet) = &self.kubelet {
            kubelet.abort();
        }
    }
}

impl World {
    async fn new(name: &str) -> anyhow::Result<Self> {
        let mut harness = Harness::without_controller(name).await?;
        harness.start().await?;
        Ok(Self::with(harness))
    }

    fn with(harness: Harness) -> Self {
        let (pods, version) = (harness.api::<Pod>(), "0".to_owned());
        let witness = tokio::spawn(async move {
            let mut images = BTreeMap::new();
            let mut events = pin!(pods.watch(&WatchParams::default().timeout(290), &version).await?);
            while let Some(event) = events.try_next().await? {
                match event {
                    WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                        let image = pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone());
                        images.insert(pod.name_any(), image);
                        let first = images.values().next().cloned().flatten();
                        ensure!(
                            images.values().all(|image| *image == first),
                            "two versions at once: {images:?}"
                        );
                    }
                    WatchEvent::Deleted(pod) => {
                        images.remove(&pod.name_any());
                    }
                    _ => {}
                }
            }
            Ok(())
        });
        let mut world = Self { harness, kubelet: None, witness };
        world.run_kubelet();
        world
    }

    fn run_kubelet(&mut self) {
        let (client, namespace) = (self.harness.client.clone(), self.harness.namespace.clone());
        self.kubelet = Some(tokio::spawn(fake_kubelet(client, namespace)));
    }

    fn stop_kubelet(&mut self) {
        if let Some(kubelet) = self.kubelet.take() {
            kubelet.abort();
        }
    }

    /// Fails if there ever were two versions at once.
    async fn check(self) -> TestResult {
        ensure!(!self.witness.is_finished(), "two versions ran at once, or the watch of the pods ended");
        self.harness.settle().await?;
        self.harness.reconcile_all().await?;
        let writes = texts(&self.harness.recorder.take());
        ensure!(writes.is_empty(), "a steady state writes nothing: {writes:?}");
        Ok(())
    }

    async fn restart(&mut self) -> TestResult {
        self.harness.restart().await
    }

    /// Waits until all pods are ready and run this image.
    async fn runs(&self, image: &str, replicas: usize) -> TestResult {
        eventually(PATIENCE, async || {
            let pods = self.harness.api::<Pod>().list(&ListParams::default()).await?.items;
            let images: Vec<_> =
                pods.iter().filter_map(|pod| pod.spec.as_ref()?.containers[0].image.as_deref()).collect();
            ensure!(images.len() == replicas && images.iter().all(|it| *it == image), "{images:?}");
            Ok(())
        })
        .await?;
        self.harness.phase::<Function>("f", Phase::Ready).await.map(|_| ())
    }

    /// Waits until the stop is at this step.
    async fn step(&self, step: RecreateStep) -> anyhow::Result<ComponentStatus> {
        eventually(PATIENCE, async || {
            let status = self.harness.get::<Function>("f").await?.status().cloned().context("no status")?;
            let found = status.rollout.as_ref().and_then(|rollout| rollout.recreate.clone());
            ensure!(
                found.as_ref().is_some_and(|found| found.step == step),
                "{found:?}: {:?}",
                status.message
            );
            Ok(status)
        })
        .await
    }

    /// Keeps the pods from ending, or lets them.
    async fn hold(&self, is_held: bool) -> TestResult {
        let finalizers = if is_held { json!(["example.org/hold"]) } else { Value::Null };
        let change = Patch::Merge(json!({ "metadata": { "finalizers": finalizers } }));
        for pod in self.harness.api::<Pod>().list(&ListParams::default()).await?.items {
            self.harness.api::<Pod>().patch(&pod.name_any(), &PatchParams::default(), &change).await?;
        }
        Ok(())
    }

    async fn scale(&self, replicas: i32) -> TestResult {
        let scale = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        self.harness.api::<Function>().patch_scale("f", &PatchParams::default(), &scale).await?;
        Ok(())
    }

    async fn annotate(&self, key: &str, value: Option<&str>) -> TestResult {
        let change = json!({ "metadata": { "annotations": { key: value } } });
        self.harness.patch::<Function>("f", change).await.map(|_| ())
    }

    async fn set(&self) -> anyhow::Result<(Option<i32>, Option<String>)> {
        let spec = self.harness.get::<StatefulSet>("f-function").await?.spec.context("no spec")?;
        let image = spec.template.spec.context("no template")?.containers[0].image.clone();
        Ok((spec.replicas, image))
    }

    /// Waits until the StatefulSet has these replicas and this image.
    async fn has(&self, replicas: i32, image: &str) -> TestResult {
        eventually(PATIENCE, async || {
            let found = self.set().await?;
            ensure!(found == (Some(replicas), Some(image.to_owned())), "{found:?}");
            Ok(())
        })
        .await
    }
}

/// The function with this image and more fields.
fn function(image: &str, more: &Value) -> anyhow::Result<Function> {
    let mut spec = serde_json::to_value(fixtures::java_function("f"))?;
    spec["image"] = image.into();
    spec["rollout"] = json!({ "strategy": "Recreate" });
    spec["replicas"] = 3.into();
    for (field, value) in more.as_object().context("fields")? {
        spec[field] = value.clone();
    }
    fixtures::function(from_value(spec)?)
}

#[tokio::test]
async fn a_changed_image_starts_after_all_pods_are_gone() -> TestResult {
    let world = World::new("recreate").await?;
    world.harness.apply(&function("runner:1", &json!({}))?).await?;
    world.runs("runner:1", 3).await?;
    world.harness.apply(&function("runner:2", &json!({}))?).await?;
    world.runs("runner:2", 3).await?;
    let status = world.step(RecreateStep::Complete).await?;
    let recreate = status.rollout.and_then(|rollout| rollout.recreate).context("no status")?;
    ensure!(recreate.gap_seconds.is_some_and(|gap| gap < 30.0) && recreate.since.is_some(), "{recreate:?}");
    let events = world.harness.events("Function", "f").await?;
    for expected in [
        "Normal RecreateStopping: scaled to zero, from 3, to recreate the pods: \
         spec.template.spec.containers[pulsar-function].image: \"runner:1\" becomes \"runner:2\"",
        "Normal RecreateStarting: no pod is left; starting 3 pods",
        "Normal Recreated: the first pod is ready: ",
    ] {
        ensure!(events.iter().any(|event| event.starts_with(expected)), "no {expected}: {events:?}");
    }
    // A pod that is replaced later, and a change of the replicas, are none of its business.
    world.scale(4).await?;
    world.runs("runner:2", 4).await?;
    world.check().await
}

#[tokio::test]
async fn a_pod_that_does_not_end_is_waited_for_across_restarts() -> TestResult {
    let mut world = World::new("held").await?;
    world.harness.apply(&function("runner:1", &json!({}))?).await?;
    world.runs("runner:1", 3).await?;
    world.hold(true).await?;
    world.harness.apply(&function("runner:2", &json!({}))?).await?;
    let says_so = async |world: &World| {
        eventually(PATIENCE, async || {
            let status = world.step(RecreateStep::Stopping).await?;
            let message = status.message.clone().unwrap_or_default();
            ensure!(message == "waiting for pods f-function-0 and 2 more to terminate", "{message}");
            ensure!(status.phase == Phase::Progressing, "{}", status.phase);
            Ok(status)
        })
        .await
    };
    let before = says_so(&world).await?;
    world.restart().await?;
    let after = says_so(&world).await?;
    let since = |status: &ComponentStatus| {
        status.rollout.as_ref().and_then(|rollout| rollout.recreate.as_ref()?.since.clone())
    };
    ensure!(since(&before).is_some() && since(&before) == since(&after), "{before:?} {after:?}");
    world.has(0, "runner:1").await?;
    world.stop_kubelet();
    world.hold(false).await?;
    world.step(RecreateStep::Starting).await?;
    world.has(3, "runner:2").await?;
    world.restart().await?;
    world.step(RecreateStep::Starting).await?;
    world.run_kubelet();
    world.step(RecreateStep::Complete).await?;
    world.runs("runner:2", 3).await?;
    world.restart().await?;
    world.check().await
}

#[tokio::test]
async fn changes_while_it_is_stopped_take_effect_at_the_start() -> TestResult {
    let world = World::new("changed").await?;
    world.harness.apply(&function("runner:1", &json!({}))?).await?;
    world.runs("runner:1", 3).await?;
    world.hold(true).await?;
    world.harness.apply(&function("runner:2", &json!({}))?).await?;
    world.has(0, "runner:1").await?;
    // Another change.
    world.harness.apply(&function("runner:3", &json!({ "replicas": 2 }))?).await?;
    world.step(RecreateStep::Stopping).await?;
    world.harness.settle().await?;
    world.has(0, "runner:1").await?;
    world.hold(false).await?;
    world.runs("runner:3", 2).await?;
    // A change back.
    world.hold(true).await?;
    world.harness.apply(&function("runner:4", &json!({ "replicas": 2 }))?).await?;
    world.has(0, "runner:3").await?;
    world.harness.apply(&function("runner:3", &json!({ "replicas": 2 }))?).await?;
    world.harness.settle().await?;
    world.has(0, "runner:3").await?;
    world.hold(false).await?;
    world.runs("runner:3", 2).await?;
    world.step(RecreateStep::Complete).await?;
    world.check().await
}

#[tokio::test]
async fn the_operator_may_be_away_at_each_step() -> TestResult {
    let mut world = World::new("away").await?;
    world.harness.apply(&function("runner:1", &json!({}))?).await?;
    world.runs("runner:1", 3).await?;
    world.harness.stop().await?;
    world.harness.apply(&function("runner:2", &json!({}))?).await?;
    world.hold(true).await?;
    world.harness.start().await?;
    world.has(0, "runner:1").await?;
    world.harness.stop().await?;
    // The pods end while the operator is away.
    world.hold(false).await?;
    eventually(PATIENCE, async || {
        let left = world.harness.api::<Pod>().list(&ListParams::default()).await?.items.len();
        ensure!(left == 0, "{left} pods");
        Ok(())
    })
    .await?;
    world.harness.start().await?;
    world.runs("runner:2", 3).await?;
    world.step(RecreateStep::Complete).await?;
    world.check().await
}

#[tokio::test]
async fn an_autoscaler_keeps_its_number_and_may_change_it() -> TestResult {
    let world = World::new("autoscaled").await?;
    let fields = json!({ "replicas": null, "minReplicas": 1, "maxReplicas": 5 });
    world.harness.apply(&function("runner:1", &fields)?).await?;
    world.runs("runner:1", 1).await?;
    world.scale(3).await?;
    world.runs("runner:1", 3).await?;
    let before = world.harness.get::<HorizontalPodAutoscaler>("f-function").await?.uid();
    world.harness.apply(&function("runner:2", &fields)?).await?;
    world.runs("runner:2", 3).await?;
    world.hold(true).await?;
    world.harness.apply(&function("runner:3", &fields)?).await?;
    world.has(0, "runner:2").await?;
    world.scale(4).await?;
    world.harness.settle().await?;
    world.has(0, "runner:2").await?;
    world.hold(false).await?;
    world.runs("runner:3", 4).await?;
    let after = world.harness.get::<HorizontalPodAutoscaler>("f-function").await?;
    ensure!(after.uid() == before, "the autoscaler is another one");
    ensure!(world.harness.get::<Function>("f").await?.spec.replicas == Some(4));
    world.check().await
}

#[tokio::test]
async fn a_suspension_before_and_during_a_stop_holds() -> TestResult {
    let world = World::new("suspended").await?;
    world.harness.apply(&function("runner:1", &json!({}))?).await?;
    world.runs("runner:1", 3).await?;
    world.hold(true).await?;
    world.harness.apply(&function("runner:2", &json!({}))?).await?;
    world.has(0, "runner:1").await?;
    world.annotate(labels::SUSPEND, Some("true")).await?;
    world.harness.phase::<Function>("f", Phase::Suspended).await?;
    world.has(0, "runner:2").await?;
    // The end of the suspension starts nothing before the old pods are gone.
    world.annotate(labels::SUSPEND, None).await?;
    world.harness.phase::<Function>("f", Phase::Progressing).await?;
    world.harness.settle().await?;
    world.has(0, "runner:2").await?;
    world.hold(false).await?;
    world.runs("runner:2", 3).await?;
    world.annotate(labels::SUSPEND, Some("true")).await?;
    world.harness.phase::<Function>("f", Phase::Suspended).await?;
    world.harness.apply(&function("runner:3", &json!({}))?).await?;
    world.has(0, "runner:3").await?;
    world.annotate(labels::SUSPEND, None).await?;
    world.runs("runner:3", 3).await?;
    world.check().await
}

#[tokio::test]
async fn a_paused_rollout_stops_nothing_until_the_spec_changes() -> TestResult {
    let world = World::new("paused").await?;
    let mut paused = function("runner:1", &json!({}))?;
    paused.metadata.annotations = Some([(labels::PAUSE_ROLLOUT.to_owned(), "true".to_owned())].into());
    world.harness.apply(&paused).await?;
    world.runs("runner:1", 3).await?;
    let env = Some([("COLOUR".to_owned(), "red".to_owned())].into());
    let spec = BackendConfigSpec { env, auto_update: Some(true), ..BackendConfigSpec::default() };
    world.harness.apply(&BackendConfig::new("backend-config", spec)).await?;
    world.harness.phase::<Function>("f", Phase::Paused).await?;
    world.harness.settle().await?;
    world.has(3, "runner:1").await?;
    paused.spec.image = Some("runner:2".to_owned());
    world.harness.apply(&paused).await?;
    world.runs("runner:2", 3).await?;
    world.step(RecreateStep::Complete).await?;
    world.check().await
}

/// Without the claim's own policy a stop would delete the data.
#[tokio::test]
async fn volumes_outlive_a_stop() -> TestResult {
    let world = World::new("volumes").await?;
    let claim = json!({ "metadata": { "name": "data" }, "spec": { "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": "1Gi" } } } });
    let fields = json!({ "volumeClaimTemplates": [claim], "replicas": 2,
        "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Delete", "whenScaled": "Delete" } });
    world.harness.apply(&function("runner:1", &fields)?).await?;
    world.runs("runner:1", 2).await?;
    let claims = async || {
        let found = world.harness.api::<PersistentVolumeClaim>().list(&ListParams::default()).await?.items;
        anyhow::Ok(found.iter().map(|claim| (claim.name_any(), claim.uid())).collect::<BTreeMap<_, _>>())
    };
    let before = claims().await?;
    ensure!(before.len() == 2, "{before:?}");
    world.harness.apply(&function("runner:2", &fields)?).await?;
    world.runs("runner:2", 2).await?;
    ensure!(claims().await? == before, "other claims: {:?} {before:?}", claims().await?);
    let spec = world.harness.get::<StatefulSet>("f-function").await?.spec.context("no spec")?;
    let policy = spec.persistent_volume_claim_retention_policy.context("no policy")?;
    ensure!(policy.when_scaled.as_deref() == Some("Delete"), "{policy:?}");
    world.check().await
}
