//! Replicas, and who may say how many.

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{Function, FunctionMesh, labels};
use function_mesh_testkit::{SECONDS_10, Webhook, eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{from_value, json};

use crate::world::{Nothing, World, texts};

fn mesh(most: Option<i32>) -> anyhow::Result<FunctionMesh> {
    let mut spec = fixtures::java_function("shout");
    spec.replicas = Some(1);
    spec.max_replicas = most;
    fixtures::mesh("m", [spec.into()])
}

async fn replicas(world: &World, name: &str, count: i32) -> Nothing {
    let check = async |set: &StatefulSet| {
        let found = set.spec.as_ref().and_then(|spec| spec.replicas);
        ensure!(found == Some(count), "{found:?}");
        Ok(())
    };
    world.stateful_set(name, check).await.map(|_| ())
}

async fn scale(world: &World, name: &str, count: i32) -> Nothing {
    let scale = Patch::Merge(json!({ "spec": { "replicas": count } }));
    world.api::<Function>().patch_scale(name, &PatchParams::default(), &scale).await?;
    Ok(())
}

#[tokio::test]
async fn an_autoscaled_component_has_its_autoscaler_for_as_long_as_it_is_one() -> Nothing {
    let world = World::new("autoscaled").await?;
    world.apply(&mesh(Some(5))?).await?;
    let autoscaler = world.appears::<HorizontalPodAutoscaler>("m-shout-function").await?;
    let spec = autoscaler.spec.context("no spec")?;
    assert_eq!((spec.max_replicas, spec.scale_target_ref.name.as_str()), (5, "m-shout"));
    eventually(SECONDS_10, async || {
        let status = world.get::<Function>("m-shout").await?.status.context("no status")?;
        ensure!(status.conditions.contains_key("HorizontalPodAutoscaler"), "{:?}", status.conditions);
        Ok(())
    })
    .await?;
    world.settle().await?;

    scale(&world, "m-shout", 3).await?;
    replicas(&world, "m-shout-function", 3).await?;
    let writes = texts(&world.settle().await?);
    assert!(!writes.contains(&"PATCH functions m-shout".to_owned()), "{writes:?}");
    assert_eq!(world.get::<Function>("m-shout").await?.spec.replicas, Some(3));

    world.apply(&mesh(None)?).await?;
    world.gone::<HorizontalPodAutoscaler>("m-shout-function").await?;
    replicas(&world, "m-shout-function", 1).await?;
    eventually(SECONDS_10, async || {
        let status = world.get::<Function>("m-shout").await?.status.context("no status")?;
        ensure!(!status.conditions.contains_key("HorizontalPodAutoscaler"), "{:?}", status.conditions);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn pods_stay_when_autoscaling_is_turned_on() -> Nothing {
    let world = World::new("turned-on").await?;
    let mut of_three = mesh(None)?;
    of_three.spec.functions.as_mut().context("functions")?[0].replicas = Some(3);
    world.apply(&of_three).await?;
    replicas(&world, "m-shout-function", 3).await?;
    world.settle().await?;
    of_three.spec.functions.as_mut().context("functions")?[0].max_replicas = Some(5);
    world.apply(&of_three).await?;
    world.appears::<HorizontalPodAutoscaler>("m-shout-function").await?;
    world.settle().await?;
    let set = world.get::<StatefulSet>("m-shout-function").await?;
    // The number of replicas was not even changed for a moment.
    assert_eq!((set.metadata.generation, set.spec.and_then(|spec| spec.replicas)), (Some(1), Some(3)));
    Ok(())
}

#[tokio::test]
async fn narrower_bounds_move_the_replicas_into_them() -> Nothing {
    let world = World::new("bounds").await?;
    let _webhook = Webhook::start(&world.client, &world.namespace).await?;
    world.apply(&mesh(Some(5))?).await?;
    world.appears::<HorizontalPodAutoscaler>("m-shout-function").await?;
    scale(&world, "m-shout", 4).await?;
    replicas(&world, "m-shout-function", 4).await?;
    world.apply(&mesh(Some(3))?).await?;
    replicas(&world, "m-shout-function", 3).await?;
    eventually(SECONDS_10, async || {
        let autoscaler = world.get::<HorizontalPodAutoscaler>("m-shout-function").await?;
        let most = autoscaler.spec.context("no spec")?.max_replicas;
        ensure!(most == 3, "{most}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_foreign_autoscaler_is_neither_changed_nor_deleted() -> Nothing {
    let world = World::new("foreign-hpa").await?;
    let foreign: HorizontalPodAutoscaler = from_value(json!({
        "metadata": { "name": "x-function", "labels": { "compute.functionmesh.io/component": "function" } },
        "spec": { "maxReplicas": 9, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "y" } },
    }))?;
    let before = world.api().create(&PostParams::default(), &foreign).await?;
    let mut spec = fixtures::java_function("x");
    spec.max_replicas = Some(5);
    world.apply(&fixtures::function(spec)?).await?;
    let message = world.phase::<Function>("x", Phase::Degraded).await?.message.unwrap_or_default();
    assert!(
        message.starts_with("HorizontalPodAutoscaler \"x-function\" exists and is not ours"),
        "{message}"
    );

    world.apply(&fixtures::function(fixtures::java_function("x"))?).await?;
    eventually(SECONDS_10, async || {
        let function = world.get::<Function>("x").await?;
        let status = function.status.context("no status")?;
        let is_current = status.observed_generation == function.metadata.generation;
        ensure!(is_current && status.phase == Phase::Degraded, "{:?}", status.message);
        ensure!(status.message.iter().all(|message| !message.contains("ours")), "{:?}", status.message);
        Ok(())
    })
    .await?;
    let after = world.get::<HorizontalPodAutoscaler>("x-function").await?;
    assert_eq!((after.uid(), after.spec.context("no spec")?.max_replicas), (before.uid(), 9));
    Ok(())
}

#[tokio::test]
async fn a_component_of_its_own_may_be_scaled_to_nothing_and_back() -> Nothing {
    let world = World::new("to-nothing").await?;
    world.apply(&fixtures::function(fixtures::java_function("x"))?).await?;
    replicas(&world, "x-function", 1).await?;
    scale(&world, "x", 0).await?;
    replicas(&world, "x-function", 0).await?;
    world.phase::<Function>("x", Phase::Suspended).await?;
    scale(&world, "x", 2).await?;
    replicas(&world, "x-function", 2).await
}

#[tokio::test]
async fn who_scales_a_component_of_a_mesh_keeps_the_say_until_the_mesh_says_something_new() -> Nothing {
    let world = World::new("say").await?;
    let of = |count: i32, image: &str| {
        let mut mesh = mesh(None)?;
        let function = &mut mesh.spec.functions.as_mut().context("functions")?[0];
        (function.replicas, function.image) = (Some(count), Some(image.to_owned()));
        anyhow::Ok(mesh)
    };
    world.apply(&of(2, "a")?).await?;
    replicas(&world, "m-shout-function", 2).await?;
    world.settle().await?;
    world.plane.kubectl(&["scale", "functions/m-shout", "--replicas=4", "-n", &world.namespace], "").await?;
    replicas(&world, "m-shout-function", 4).await?;
    // Somebody applies the same mesh again, as GitOps does every few minutes, and then a changed one.
    world.apply(&of(2, "a")?).await?;
    let writes = texts(&world.settle().await?);
    assert!(!writes.contains(&"PATCH functions m-shout".to_owned()), "{writes:?}");
    world.apply(&of(2, "b")?).await?;
    world
        .stateful_set("m-shout-function", async |set| {
            ensure!(crate::world::json(set)?.to_string().contains("\"image\":\"b\""), "not yet");
            Ok(())
        })
        .await?;
    replicas(&world, "m-shout-function", 4).await?;
    world.apply(&of(3, "b")?).await?;
    replicas(&world, "m-shout-function", 3).await
}

/// The control plane runs the real autoscaler. Without metrics it still sees to its bounds, and it is given others
/// while nobody looks.
#[tokio::test]
async fn a_real_autoscaler_scales_and_nobody_writes_it_back() -> Nothing {
    let world = World::new("real-hpa").await?;
    let scaled = mesh(Some(5))?;
    world.apply(&scaled).await?;
    world.appears::<HorizontalPodAutoscaler>("m-shout-function").await?;
    let managed = |value: Option<&str>| json!({ "metadata": { "annotations": { labels::MANAGED: value } } });
    world.patch::<Function>("m-shout", managed(Some("false"))).await?;
    world.settle().await?;
    let bounds = json!({ "spec": { "minReplicas": 3 } });
    world.patch::<HorizontalPodAutoscaler>("m-shout-function", bounds).await?;
    eventually(std::time::Duration::from_mins(1), async || {
        let function = world.get::<Function>("m-shout").await?;
        ensure!(function.spec.replicas == Some(3), "{:?}", function.spec.replicas);
        Ok(())
    })
    .await?;
    world.patch::<Function>("m-shout", managed(None)).await?;
    replicas(&world, "m-shout-function", 3).await?;
    world.apply(&scaled).await?;
    world.settle().await?;
    replicas(&world, "m-shout-function", 3).await?;
    let function = world.get::<Function>("m-shout").await?;
    let owners = function.metadata.managed_fields.unwrap_or_default();
    let of_replicas = owners.iter().filter(|entry| {
        entry.fields_v1.as_ref().is_some_and(|fields| fields.0["f:spec"].get("f:replicas").is_some())
    });
    let managers: Vec<_> = of_replicas.filter_map(|entry| entry.manager.as_deref()).collect();
    assert!(!managers.iter().any(|manager| manager.starts_with("functionmesh.io")), "{managers:?}");
    Ok(())
}
