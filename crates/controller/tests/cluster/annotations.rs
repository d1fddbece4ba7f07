//! Annotations: pause, suspend, restart, unmanage.

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{BackendConfig, BackendConfigSpec, Function, FunctionMesh, Sink, labels};
use function_mesh_testkit::{PATIENCE, eventually, fixtures, mark_running};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::harness::{Harness, TestResult, json as to_json, texts};

fn mesh() -> anyhow::Result<FunctionMesh> {
    fixtures::mesh("m", [fixtures::java_function("shout").into(), fixtures::sink("drain").into()])
}

async fn annotate(harness: &Harness, key: &str, value: Option<&str>) -> TestResult {
    harness
        .patch::<FunctionMesh>("m", json!({ "metadata": { "annotations": { key: value } } }))
        .await
        .map(|_| ())
}

/// Waits until an annotation of the mesh has reached both components.
async fn passed_on(harness: &Harness, key: &str, value: Option<&str>) -> TestResult {
    eventually(PATIENCE, async || {
        let function = harness.get::<Function>("m-shout").await?.metadata;
        let sink = harness.get::<Sink>("m-drain").await?.metadata;
        for component in [&function, &sink] {
            let found = labels::annotation(component, key);
            ensure!(found == value, "{key}: {found:?}");
        }
        Ok(())
    })
    .await
}

/// Adds a variable to all components of the namespace, as an operator upgrade might.
async fn change_defaults(harness: &Harness, value: &str) -> TestResult {
    let env = Some([("COLOUR".to_owned(), value.to_owned())].into());
    let spec = BackendConfigSpec { env, auto_update: Some(true), ..BackendConfigSpec::default() };
    harness.apply(&BackendConfig::new("backend-config", spec)).await.map(|_| ())
}

async fn has_colour(harness: &Harness, value: Option<&str>) -> TestResult {
    let check = async |set: &StatefulSet| {
        let text = to_json(set)?.to_string();
        match value {
            Some(value) => ensure!(text.contains(&format!("\"{value}\"")), "not {value}"),
            None => ensure!(!text.contains("COLOUR"), "it has one"),
        }
        Ok(())
    };
    harness.stateful_set("m-shout-function", check).await.map(|_| ())
}

async fn all_run(harness: &Harness) -> TestResult {
    eventually(PATIENCE, async || {
        mark_running(&harness.client, &harness.namespace).await?;
        let status = harness.get::<FunctionMesh>("m").await?.status.context("no status")?;
        ensure!(status.components.as_deref() == Some("2/2"), "{:?}", status.conditions);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn paused_rollout_is_deferred_until_the_spec_changes() -> TestResult {
    let harness = Harness::new("paused").await?;
    harness.apply(&mesh()?).await?;
    all_run(&harness).await?;
    annotate(&harness, labels::PAUSE_ROLLOUT, Some("true")).await?;
    passed_on(&harness, labels::PAUSE_ROLLOUT, Some("true")).await?;

    change_defaults(&harness, "red").await?;
    let status = harness.phase::<Function>("m-shout", Phase::Paused).await?;
    let pending = status.pending_change.context("nothing is pending")?;
    assert!(pending.contains(".env[COLOUR]: changes"), "{pending}");
    assert_eq!(status.conditions["StatefulSet"].action.as_deref(), Some("Update"));
    // The components report one after the other.
    eventually(PATIENCE, async || {
        let message = harness.condition("m", "Paused", ("True", "RolloutPaused")).await?.message;
        ensure!(message == "rollouts are paused; pending changes: function shout, sink drain", "{message}");
        Ok(())
    })
    .await?;
    // The pods continue to run, and the mesh reports it.
    harness.condition("m", "Ready", ("True", "ComponentsReady")).await?;
    has_colour(&harness, None).await?;

    // Scaling is not a rollout and does not release one.
    let scale = Patch::Merge(json!({ "spec": { "replicas": 2 } }));
    harness.api::<Function>().patch_scale("m-shout", &PatchParams::default(), &scale).await?;
    harness
        .stateful_set("m-shout-function", async |set| {
            ensure!(set.spec.as_ref().and_then(|spec| spec.replicas) == Some(2), "{:?}", set.spec);
            Ok(())
        })
        .await?;
    harness.settle().await?;
    has_colour(&harness, None).await?;

    // A change of the component rolls out, including the deferred change.
    let mut changed = mesh()?;
    changed.spec.functions.as_mut().context("functions")?[0].log_topic = Some("logs".to_owned());
    harness.apply(&changed).await?;
    has_colour(&harness, Some("red")).await?;
    eventually(PATIENCE, async || {
        let status = harness.get::<Function>("m-shout").await?.status.context("no status")?;
        ensure!(status.pending_change.is_none(), "{:?}", status.pending_change);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn paused_operator_creates_but_does_not_roll_out() -> TestResult {
    let mut harness = Harness::without_controller("all-paused").await?;
    harness.start().await?;
    harness.apply(&mesh()?).await?;
    all_run(&harness).await?;
    harness.settle().await?;
    harness.stop().await?;

    harness.options.pause_rollout = true;
    // An operator upgrade renders something else.
    harness.options.settings.resource_labels.insert("generation".to_owned(), "two".to_owned());
    harness.start().await?;
    harness.phase::<Function>("m-shout", Phase::Paused).await?;
    harness.apply(&fixtures::function(fixtures::java_function("new"))?).await?;
    harness.appears::<StatefulSet>("new-function").await?;
    let set = harness.get::<StatefulSet>("m-shout-function").await?;
    assert_eq!(set.metadata.generation, Some(1));
    harness.settle().await?;
    harness.reconcile_all().await?;
    assert_eq!(texts(&harness.recorder.take()), [""; 0]);
    harness.stop().await?;

    harness.options.pause_rollout = false;
    harness.start().await?;
    let check = async |set: &StatefulSet| {
        ensure!(to_json(set)?["spec"]["template"]["metadata"]["labels"]["generation"] == "two", "not yet");
        Ok(())
    };
    harness.stateful_set("m-shout-function", check).await.map(|_| ())
}

#[tokio::test]
async fn suspended_mesh_scales_to_zero_and_back() -> TestResult {
    let harness = Harness::new("suspended").await?;
    let mut scaled = mesh()?;
    scaled.spec.functions.as_mut().context("functions")?[0].max_replicas = Some(5);
    harness.apply(&scaled).await?;
    harness.appears::<HorizontalPodAutoscaler>("m-shout-function").await?;
    let scale = Patch::Merge(json!({ "spec": { "replicas": 3 } }));
    harness.api::<Function>().patch_scale("m-shout", &PatchParams::default(), &scale).await?;
    let count = async |expected: i32| {
        let check = async |set: &StatefulSet| {
            let found = set.spec.as_ref().and_then(|spec| spec.replicas);
            ensure!(found == Some(expected), "{found:?}");
            Ok(())
        };
        harness.stateful_set("m-shout-function", check).await.map(|_| ())
    };
    count(3).await?;
    annotate(&harness, labels::SUSPEND, Some("true")).await?;
    count(0).await?;
    harness.gone::<HorizontalPodAutoscaler>("m-shout-function").await?;
    harness.phase::<Function>("m-shout", Phase::Suspended).await?;
    harness.phase::<function_mesh_api::Sink>("m-drain", Phase::Suspended).await?;
    assert_eq!(harness.get::<Function>("m-shout").await?.spec.replicas, Some(3));

    annotate(&harness, labels::SUSPEND, None).await?;
    count(3).await?;
    harness.appears::<HorizontalPodAutoscaler>("m-shout-function").await.map(|_| ())
}

#[tokio::test]
async fn restart_rolls_pods_while_rollouts_are_paused() -> TestResult {
    let harness = Harness::new("restarted").await?;
    harness.apply(&mesh()?).await?;
    harness.appears::<StatefulSet>("m-shout-function").await?;
    annotate(&harness, labels::PAUSE_ROLLOUT, Some("true")).await?;
    passed_on(&harness, labels::PAUSE_ROLLOUT, Some("true")).await?;
    harness.settle().await?;
    annotate(&harness, labels::RESTARTED_AT, Some("2026-01-01T00:00:00Z")).await?;
    let check = async |set: &StatefulSet| {
        let annotations = &to_json(set)?["spec"]["template"]["metadata"]["annotations"];
        ensure!(annotations[labels::RESTARTED_AT] == "2026-01-01T00:00:00Z", "{annotations}");
        Ok(())
    };
    harness.stateful_set("m-shout-function", check).await?;
    harness.stateful_set("m-drain-sink", check).await?;

    // `kubectl rollout restart` is preserved.
    let template = json!({ "metadata": { "annotations": { "mine": "x" } } });
    harness.patch::<StatefulSet>("m-shout-function", json!({ "spec": { "template": template } })).await?;
    harness.settle().await?;
    let set = to_json(&harness.get::<StatefulSet>("m-shout-function").await?)?;
    assert_eq!(set["spec"]["template"]["metadata"]["annotations"]["mine"], "x");
    Ok(())
}

#[tokio::test]
async fn unmanaged_mesh_releases_and_readopts_components() -> TestResult {
    let harness = Harness::new("let-go").await?;
    harness.apply(&mesh()?).await?;
    harness.appears::<StatefulSet>("m-drain-sink").await?;
    harness.settle().await?;
    annotate(&harness, labels::MANAGED, Some("false")).await?;
    passed_on(&harness, labels::MANAGED, Some("false")).await?;
    harness.settle().await?;
    // Later changes of the components are not reverted.
    harness.patch::<StatefulSet>("m-shout-function", json!({ "spec": { "replicas": 4 } })).await?;
    let mut changed = mesh()?;
    changed.spec.functions.as_mut().context("functions")?[0].log_topic = Some("logs".to_owned());
    harness.apply(&changed).await?;
    annotate(&harness, labels::MANAGED, Some("false")).await?;
    assert_eq!(texts(&harness.settle().await?), [""; 0]);
    let replicas = harness.get::<StatefulSet>("m-shout-function").await?.spec.and_then(|spec| spec.replicas);
    assert_eq!(replicas, Some(4));

    annotate(&harness, labels::MANAGED, None).await?;
    passed_on(&harness, labels::MANAGED, None).await?;
    passed_on(&harness, labels::RELEASED_BY, None).await?;
    let check = async |set: &StatefulSet| {
        ensure!(set.spec.as_ref().and_then(|spec| spec.replicas) == Some(1), "not repaired");
        ensure!(to_json(set)?.to_string().contains("logs"), "not changed");
        Ok(())
    };
    harness.stateful_set("m-shout-function", check).await?;
    harness.settle().await?;
    // A component that a user unmanaged stays unmanaged.
    let alone = json!({ "metadata": { "annotations": { labels::MANAGED: "false" } } });
    harness.patch::<Function>("m-shout", alone).await?;
    harness.apply(&mesh()?).await?;
    harness.settle().await?;
    let function = harness.get::<Function>("m-shout").await?;
    assert_eq!(labels::annotation(&function.metadata, labels::MANAGED), Some("false"));
    Ok(())
}
