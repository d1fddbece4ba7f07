//! Scaling: who owns `replicas`.

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{Function, FunctionMesh, labels};
use function_mesh_testkit::{PATIENCE, Webhook, eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{from_value, json};

use crate::harness::{Harness, TestResult, texts};

fn mesh(most: Option<i32>) -> anyhow::Result<FunctionMesh> {
    let mut spec = fixtures::java_function("shout");
    spec.replicas = Some(1);
    spec.max_replicas = most;
    fixtures::mesh("m", [spec.into()])
}

async fn replicas(harness: &Harness, name: &str, count: i32) -> TestResult {
    let check = async |set: &StatefulSet| {
        let found = set.spec.as_ref().and_then(|spec| spec.replicas);
        ensure!(found == Some(count), "{found:?}");
        Ok(())
    };
    harness.stateful_set(name, check).await.map(|_| ())
}

async fn scale(harness: &Harness, name: &str, count: i32) -> TestResult {
    let scale = Patch::Merge(json!({ "spec": { "replicas": count } }));
    harness.api::<Function>().patch_scale(name, &PatchParams::default(), &scale).await?;
    Ok(())
}

#[tokio::test]
async fn autoscaler_exists_while_autoscaling_is_enabled() -> TestResult {
    let harness = Harness::new("autoscaled").await?;
    harness.apply(&mesh(Some(5))?).await?;
    let autoscaler = harness.appears::<HorizontalPodAutoscaler>("m-shout-function").await?;
    let spec = autoscaler.spec.context("no spec")?;
    assert_eq!((spec.max_replicas, spec.scale_target_ref.name.as_str()), (5, "m-shout"));
    eventually(PATIENCE, async || {
        let status = harness.get::<Function>("m-shout").await?.status.context("no status")?;
        ensure!(status.conditions.contains_key("HorizontalPodAutoscaler"), "{:?}", status.conditions);
        Ok(())
    })
    .await?;
    harness.settle().await?;

    scale(&harness, "m-shout", 3).await?;
    replicas(&harness, "m-shout-function", 3).await?;
    let writes = texts(&harness.settle().await?);
    assert!(!writes.contains(&"PATCH functions m-shout".to_owned()), "{writes:?}");
    assert_eq!(harness.get::<Function>("m-shout").await?.spec.replicas, Some(3));

    harness.apply(&mesh(None)?).await?;
    harness.gone::<HorizontalPodAutoscaler>("m-shout-function").await?;
    replicas(&harness, "m-shout-function", 1).await?;
    eventually(PATIENCE, async || {
        let status = harness.get::<Function>("m-shout").await?.status.context("no status")?;
        ensure!(!status.conditions.contains_key("HorizontalPodAutoscaler"), "{:?}", status.conditions);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn enabling_autoscaling_keeps_pods() -> TestResult {
    let harness = Harness::new("turned-on").await?;
    let mut of_three = mesh(None)?;
    of_three.spec.functions.as_mut().context("functions")?[0].replicas = Some(3);
    harness.apply(&of_three).await?;
    replicas(&harness, "m-shout-function", 3).await?;
    harness.settle().await?;
    of_three.spec.functions.as_mut().context("functions")?[0].max_replicas = Some(5);
    harness.apply(&of_three).await?;
    harness.appears::<HorizontalPodAutoscaler>("m-shout-function").await?;
    harness.settle().await?;
    let set = harness.get::<StatefulSet>("m-shout-function").await?;
    // The replicas were never changed in between.
    assert_eq!((set.metadata.generation, set.spec.and_then(|spec| spec.replicas)), (Some(1), Some(3)));
    Ok(())
}

#[tokio::test]
async fn narrower_bounds_clamp_replicas() -> TestResult {
    let harness = Harness::new("bounds").await?;
    let _webhook = Webhook::start(&harness.client, &harness.namespace).await?;
    harness.apply(&mesh(Some(5))?).await?;
    harness.appears::<HorizontalPodAutoscaler>("m-shout-function").await?;
    scale(&harness, "m-shout", 4).await?;
    replicas(&harness, "m-shout-function", 4).await?;
    harness.apply(&mesh(Some(3))?).await?;
    replicas(&harness, "m-shout-function", 3).await?;
    eventually(PATIENCE, async || {
        let autoscaler = harness.get::<HorizontalPodAutoscaler>("m-shout-function").await?;
        let most = autoscaler.spec.context("no spec")?.max_replicas;
        ensure!(most == 3, "{most}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn foreign_autoscaler_is_not_changed_or_deleted() -> TestResult {
    let harness = Harness::new("foreign-hpa").await?;
    let foreign: HorizontalPodAutoscaler = from_value(json!({
        "metadata": { "name": "x-function", "labels": { "compute.functionmesh.io/component": "function" } },
        "spec": { "maxReplicas": 9, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "y" } },
    }))?;
    let before = harness.create(&foreign).await?;
    let mut spec = fixtures::java_function("x");
    spec.max_replicas = Some(5);
    harness.apply(&fixtures::function(spec)?).await?;
    let message = harness.phase::<Function>("x", Phase::Degraded).await?.message.unwrap_or_default();
    assert!(
        message.starts_with("HorizontalPodAutoscaler \"x-function\" already exists and is not ours"),
        "{message}"
    );

    harness.apply(&fixtures::function(fixtures::java_function("x"))?).await?;
    eventually(PATIENCE, async || {
        let function = harness.get::<Function>("x").await?;
        let status = function.status.context("no status")?;
        let is_current = status.observed_generation == function.metadata.generation;
        ensure!(is_current && status.phase == Phase::Progressing, "{}: {:?}", status.phase, status.message);
        ensure!(status.message.iter().all(|message| !message.contains("ours")), "{:?}", status.message);
        Ok(())
    })
    .await?;
    let after = harness.get::<HorizontalPodAutoscaler>("x-function").await?;
    assert_eq!((after.uid(), after.spec.context("no spec")?.max_replicas), (before.uid(), 9));
    Ok(())
}

#[tokio::test]
async fn standalone_component_scales_to_zero_and_back() -> TestResult {
    let harness = Harness::new("to-nothing").await?;
    harness.apply(&fixtures::function(fixtures::java_function("x"))?).await?;
    replicas(&harness, "x-function", 1).await?;
    scale(&harness, "x", 0).await?;
    replicas(&harness, "x-function", 0).await?;
    harness.phase::<Function>("x", Phase::Suspended).await?;
    scale(&harness, "x", 2).await?;
    replicas(&harness, "x-function", 2).await
}

#[tokio::test]
async fn manual_scaling_holds_until_the_mesh_changes_replicas() -> TestResult {
    let harness = Harness::new("say").await?;
    let of = |count: i32, image: &str| {
        let mut mesh = mesh(None)?;
        let function = &mut mesh.spec.functions.as_mut().context("functions")?[0];
        (function.replicas, function.image) = (Some(count), Some(image.to_owned()));
        anyhow::Ok(mesh)
    };
    harness.apply(&of(2, "a")?).await?;
    replicas(&harness, "m-shout-function", 2).await?;
    harness.settle().await?;
    harness
        .plane
        .kubectl(&["scale", "functions/m-shout", "--replicas=4", "-n", &harness.namespace], "")
        .await?;
    replicas(&harness, "m-shout-function", 4).await?;
    // The same mesh is applied again, as GitOps does every few minutes, and then a changed one.
    harness.apply(&of(2, "a")?).await?;
    let writes = texts(&harness.settle().await?);
    assert!(!writes.contains(&"PATCH functions m-shout".to_owned()), "{writes:?}");
    harness.apply(&of(2, "b")?).await?;
    harness
        .stateful_set("m-shout-function", async |set| {
            ensure!(crate::harness::json(set)?.to_string().contains("\"image\":\"b\""), "not yet");
            Ok(())
        })
        .await?;
    replicas(&harness, "m-shout-function", 4).await?;
    harness.apply(&of(3, "b")?).await?;
    replicas(&harness, "m-shout-function", 3).await
}

/// A mesh of one function with these fields.
#[allow(clippy::needless_pass_by_value, reason = "fixtures read better so")]
fn mesh_with(fields: serde_json::Value) -> anyhow::Result<FunctionMesh> {
    let mut mesh = serde_json::to_value(mesh(None)?)?;
    let function = &mut mesh["spec"]["functions"][0];
    for (name, value) in fields.as_object().into_iter().flatten() {
        function[name] = value.clone();
    }
    Ok(from_value(mesh)?)
}

/// Sets the replicas as the operator's own autoscaler does.
async fn autoscale(harness: &Harness, name: &str, count: i32) -> TestResult {
    let scale = Patch::Merge(json!({ "spec": { "replicas": count } }));
    let manager = Some(labels::managers::AUTOSCALER.to_owned());
    let params = PatchParams { field_manager: manager, ..PatchParams::default() };
    harness.api::<Function>().patch_scale(name, &params, &scale).await?;
    Ok(())
}

/// Replicas of the StatefulSet, and how often its spec was changed.
async fn set_and_changes(harness: &Harness) -> anyhow::Result<(Option<i32>, Option<i64>)> {
    harness.settle().await?;
    let set = harness.get::<StatefulSet>("m-shout-function").await?;
    Ok((set.spec.and_then(|spec| spec.replicas), set.metadata.generation))
}

#[tokio::test]
async fn scaling_by_the_operator_begins_and_ends_without_a_jump() -> TestResult {
    let harness = Harness::new("to-messages").await?;
    let scaling = json!({ "minReplicas": 0, "maxReplicas": 9 });
    harness.apply(&mesh_with(json!({ "replicas": 3 }))?).await?;
    replicas(&harness, "m-shout-function", 3).await?;
    let scaled = mesh_with(json!({ "replicas": 3, "scaling": scaling }))?;
    harness.apply(&scaled).await?;
    assert_eq!(set_and_changes(&harness).await?, (Some(3), Some(1)));

    autoscale(&harness, "m-shout", 5).await?;
    replicas(&harness, "m-shout-function", 5).await?;
    // No write of the mesh touches them: GitOps applies it again, and then another image.
    harness.apply(&scaled).await?;
    assert_eq!(set_and_changes(&harness).await?, (Some(5), Some(2)));
    harness.apply(&mesh_with(json!({ "replicas": 3, "scaling": scaling, "image": "b" }))?).await?;
    assert_eq!(set_and_changes(&harness).await?, (Some(5), Some(3)));
    let function = harness.get::<Function>("m-shout").await?;
    let owners = function.metadata.managed_fields.unwrap_or_default().into_iter().filter(|entry| {
        entry.fields_v1.as_ref().is_some_and(|fields| fields.0["f:spec"].get("f:replicas").is_some())
    });
    let owners: Vec<_> = owners.filter_map(|entry| entry.manager).collect();
    assert_eq!(owners, [labels::managers::AUTOSCALER]);

    // Only recommended: the pods stay. Another number in the mesh counts.
    let recommended = json!({ "mode": "Recommend" });
    harness.apply(&mesh_with(json!({ "replicas": 3, "scaling": recommended, "image": "b" }))?).await?;
    assert_eq!(set_and_changes(&harness).await?, (Some(5), Some(3)));
    harness.apply(&mesh_with(json!({ "replicas": 2, "image": "b" }))?).await?;
    replicas(&harness, "m-shout-function", 2).await
}

#[tokio::test]
async fn scaling_by_the_operator_takes_over_from_an_autoscaler_and_hands_back() -> TestResult {
    let harness = Harness::new("from-hpa").await?;
    harness.apply(&mesh(Some(5))?).await?;
    harness.appears::<HorizontalPodAutoscaler>("m-shout-function").await?;
    scale(&harness, "m-shout", 4).await?;
    replicas(&harness, "m-shout-function", 4).await?;
    let before = set_and_changes(&harness).await?;
    harness.apply(&mesh_with(json!({ "scaling": { "maxReplicas": 9 } }))?).await?;
    harness.gone::<HorizontalPodAutoscaler>("m-shout-function").await?;
    assert_eq!(set_and_changes(&harness).await?, before);
    autoscale(&harness, "m-shout", 7).await?;
    replicas(&harness, "m-shout-function", 7).await?;
    harness.apply(&mesh(Some(5))?).await?;
    harness.appears::<HorizontalPodAutoscaler>("m-shout-function").await?;
    replicas(&harness, "m-shout-function", 5).await
}

#[tokio::test]
async fn a_sleeping_component_gets_pods_when_nobody_wakes_it_any_more() -> TestResult {
    let harness = Harness::new("awake").await?;
    let scaling = json!({ "minReplicas": 0 });
    harness.apply(&mesh_with(json!({ "replicas": 2, "scaling": scaling }))?).await?;
    replicas(&harness, "m-shout-function", 1).await?;
    autoscale(&harness, "m-shout", 0).await?;
    // This operator observes nothing, so it says that no message wakes it.
    let message = harness.phase::<Function>("m-shout", Phase::Suspended).await?.message.unwrap_or_default();
    assert!(message.contains("no message wakes it"), "{message}");
    harness.apply(&mesh_with(json!({ "replicas": 2 }))?).await?;
    replicas(&harness, "m-shout-function", 2).await
}

/// Uses the real HPA controller. Without metrics it still enforces its bounds, which this test changes
/// at run time.
#[tokio::test]
async fn hpa_scaling_is_not_reverted() -> TestResult {
    let harness = Harness::new("real-hpa").await?;
    let scaled = mesh(Some(5))?;
    harness.apply(&scaled).await?;
    harness.appears::<HorizontalPodAutoscaler>("m-shout-function").await?;
    let managed = |value: Option<&str>| json!({ "metadata": { "annotations": { labels::MANAGED: value } } });
    harness.patch::<Function>("m-shout", managed(Some("false"))).await?;
    harness.settle().await?;
    let bounds = json!({ "spec": { "minReplicas": 3 } });
    harness.patch::<HorizontalPodAutoscaler>("m-shout-function", bounds).await?;
    eventually(std::time::Duration::from_mins(1), async || {
        let function = harness.get::<Function>("m-shout").await?;
        ensure!(function.spec.replicas == Some(3), "{:?}", function.spec.replicas);
        Ok(())
    })
    .await?;
    harness.patch::<Function>("m-shout", managed(None)).await?;
    replicas(&harness, "m-shout-function", 3).await?;
    harness.apply(&scaled).await?;
    harness.settle().await?;
    replicas(&harness, "m-shout-function", 3).await?;
    let function = harness.get::<Function>("m-shout").await?;
    let owners = function.metadata.managed_fields.unwrap_or_default();
    let of_replicas = owners.iter().filter(|entry| {
        entry.fields_v1.as_ref().is_some_and(|fields| fields.0["f:spec"].get("f:replicas").is_some())
    });
    let managers: Vec<_> = of_replicas.filter_map(|entry| entry.manager.as_deref()).collect();
    assert!(!managers.iter().any(|manager| manager.starts_with("functionmesh.io")), "{managers:?}");
    Ok(())
}
