//! What annotations make the operator do: hold back, stop, start anew, leave alone.

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{BackendConfig, BackendConfigSpec, Function, FunctionMesh, labels};
use function_mesh_testkit::{SECONDS_10, eventually, fixtures, pretend_to_run};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::world::{Nothing, World, json as to_json, texts};

fn mesh() -> anyhow::Result<FunctionMesh> {
    fixtures::mesh("m", [fixtures::java_function("shout").into(), fixtures::sink("drain").into()])
}

async fn annotate(world: &World, key: &str, value: Option<&str>) -> Nothing {
    world
        .patch::<FunctionMesh>("m", json!({ "metadata": { "annotations": { key: value } } }))
        .await
        .map(|_| ())
}

/// Waits until an annotation of the mesh has reached a component.
async fn passed_on(world: &World, key: &str, value: Option<&str>) -> Nothing {
    eventually(SECONDS_10, async || {
        let function = world.get::<Function>("m-shout").await?;
        let found = labels::annotation(&function.metadata, key);
        ensure!(found == value, "{key}: {found:?}");
        Ok(())
    })
    .await
}

/// Gives all components of the namespace a variable, as a new version of the operator might.
async fn change_defaults(world: &World, value: &str) -> Nothing {
    let env = Some([("COLOUR".to_owned(), value.to_owned())].into());
    let spec = BackendConfigSpec { env, auto_update: Some(true), ..BackendConfigSpec::default() };
    world.apply(&BackendConfig::new("backend-config", spec)).await.map(|_| ())
}

async fn has_colour(world: &World, value: Option<&str>) -> Nothing {
    let check = async |set: &StatefulSet| {
        let text = to_json(set)?.to_string();
        match value {
            Some(value) => ensure!(text.contains(&format!("\"{value}\"")), "not {value}"),
            None => ensure!(!text.contains("COLOUR"), "it has one"),
        }
        Ok(())
    };
    world.stateful_set("m-shout-function", check).await.map(|_| ())
}

async fn all_run(world: &World) -> Nothing {
    eventually(SECONDS_10, async || {
        pretend_to_run(&world.client, &world.namespace).await?;
        let status = world.get::<FunctionMesh>("m").await?.status.context("no status")?;
        ensure!(status.components.as_deref() == Some("2/2"), "{:?}", status.conditions);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_paused_rollout_is_held_back_and_told_until_the_component_itself_changes() -> Nothing {
    let world = World::new("paused").await?;
    world.apply(&mesh()?).await?;
    all_run(&world).await?;
    annotate(&world, labels::PAUSE_ROLLOUT, Some("true")).await?;
    passed_on(&world, labels::PAUSE_ROLLOUT, Some("true")).await?;

    change_defaults(&world, "red").await?;
    let status = world.phase::<Function>("m-shout", Phase::Paused).await?;
    let pending = status.pending_change.context("nothing is pending")?;
    assert!(pending.contains(".env[COLOUR]: changes"), "{pending}");
    assert_eq!(status.conditions["StatefulSet"].action.as_deref(), Some("Update"));
    // One component comes after the other.
    eventually(SECONDS_10, async || {
        let message = world.condition("m", "Paused", ("True", "RolloutPaused")).await?.message;
        ensure!(
            message == "rollouts are paused, and changes held back of function shout, sink drain",
            "{message}"
        );
        Ok(())
    })
    .await?;
    // What runs goes on, and the mesh says so.
    world.condition("m", "Ready", ("True", "ComponentsReady")).await?;
    has_colour(&world, None).await?;

    // Scaling is no rollout, and releases none.
    let scale = Patch::Merge(json!({ "spec": { "replicas": 2 } }));
    world.api::<Function>().patch_scale("m-shout", &PatchParams::default(), &scale).await?;
    world
        .stateful_set("m-shout-function", async |set| {
            ensure!(set.spec.as_ref().and_then(|spec| spec.replicas) == Some(2), "{:?}", set.spec);
            Ok(())
        })
        .await?;
    world.settle().await?;
    has_colour(&world, None).await?;

    // A change of its own takes effect, and all that was held back with it.
    let mut changed = mesh()?;
    changed.spec.functions.as_mut().context("functions")?[0].log_topic = Some("logs".to_owned());
    world.apply(&changed).await?;
    has_colour(&world, Some("red")).await?;
    eventually(SECONDS_10, async || {
        let status = world.get::<Function>("m-shout").await?.status.context("no status")?;
        ensure!(status.pending_change.is_none(), "{:?}", status.pending_change);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_paused_operator_makes_what_is_new_and_changes_nothing_that_runs() -> Nothing {
    let mut world = World::without_controller("all-paused").await?;
    world.start().await?;
    world.apply(&mesh()?).await?;
    all_run(&world).await?;
    world.settle().await?;
    world.stop().await?;

    world.pause_rollout = true;
    // A new version would render something else.
    world.settings.resource_labels.insert("generation".to_owned(), "two".to_owned());
    world.start().await?;
    world.phase::<Function>("m-shout", Phase::Paused).await?;
    world.apply(&fixtures::function(fixtures::java_function("new"))?).await?;
    world.appears::<StatefulSet>("new-function").await?;
    let set = world.get::<StatefulSet>("m-shout-function").await?;
    assert_eq!(set.metadata.generation, Some(1));
    world.settle().await?;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(texts(&world.recorder.take()), [""; 0]);
    world.stop().await?;

    world.pause_rollout = false;
    world.start().await?;
    let check = async |set: &StatefulSet| {
        ensure!(to_json(set)?["spec"]["template"]["metadata"]["labels"]["generation"] == "two", "not yet");
        Ok(())
    };
    world.stateful_set("m-shout-function", check).await.map(|_| ())
}

#[tokio::test]
async fn a_suspended_mesh_has_no_pods_and_comes_back_as_it_was() -> Nothing {
    let world = World::new("suspended").await?;
    let mut scaled = mesh()?;
    scaled.spec.functions.as_mut().context("functions")?[0].max_replicas = Some(5);
    world.apply(&scaled).await?;
    world.appears::<HorizontalPodAutoscaler>("m-shout-function").await?;
    let scale = Patch::Merge(json!({ "spec": { "replicas": 3 } }));
    world.api::<Function>().patch_scale("m-shout", &PatchParams::default(), &scale).await?;
    let count = async |expected: i32| {
        let check = async |set: &StatefulSet| {
            let found = set.spec.as_ref().and_then(|spec| spec.replicas);
            ensure!(found == Some(expected), "{found:?}");
            Ok(())
        };
        world.stateful_set("m-shout-function", check).await.map(|_| ())
    };
    count(3).await?;
    annotate(&world, labels::SUSPEND, Some("true")).await?;
    count(0).await?;
    world.gone::<HorizontalPodAutoscaler>("m-shout-function").await?;
    world.phase::<Function>("m-shout", Phase::Suspended).await?;
    world.phase::<function_mesh_api::Sink>("m-drain", Phase::Suspended).await?;
    assert_eq!(world.get::<Function>("m-shout").await?.spec.replicas, Some(3));

    annotate(&world, labels::SUSPEND, None).await?;
    count(3).await?;
    world.appears::<HorizontalPodAutoscaler>("m-shout-function").await.map(|_| ())
}

#[tokio::test]
async fn a_restart_replaces_pods_even_while_rollouts_are_paused() -> Nothing {
    let world = World::new("restarted").await?;
    world.apply(&mesh()?).await?;
    world.appears::<StatefulSet>("m-shout-function").await?;
    annotate(&world, labels::PAUSE_ROLLOUT, Some("true")).await?;
    passed_on(&world, labels::PAUSE_ROLLOUT, Some("true")).await?;
    world.settle().await?;
    annotate(&world, labels::RESTARTED_AT, Some("2026-01-01T00:00:00Z")).await?;
    let check = async |set: &StatefulSet| {
        let annotations = &to_json(set)?["spec"]["template"]["metadata"]["annotations"];
        ensure!(annotations[labels::RESTARTED_AT] == "2026-01-01T00:00:00Z", "{annotations}");
        Ok(())
    };
    world.stateful_set("m-shout-function", check).await?;
    world.stateful_set("m-drain-sink", check).await?;

    // kubectl's own way is left alone.
    let template = json!({ "metadata": { "annotations": { "mine": "x" } } });
    world.patch::<StatefulSet>("m-shout-function", json!({ "spec": { "template": template } })).await?;
    world.settle().await?;
    let set = to_json(&world.get::<StatefulSet>("m-shout-function").await?)?;
    assert_eq!(set["spec"]["template"]["metadata"]["annotations"]["mine"], "x");
    Ok(())
}

#[tokio::test]
async fn a_mesh_that_is_not_managed_lets_go_of_its_components_and_takes_them_back() -> Nothing {
    let world = World::new("let-go").await?;
    world.apply(&mesh()?).await?;
    world.appears::<StatefulSet>("m-drain-sink").await?;
    world.settle().await?;
    annotate(&world, labels::MANAGED, Some("false")).await?;
    passed_on(&world, labels::MANAGED, Some("false")).await?;
    world.settle().await?;
    // Whatever is done to them now is left as it is.
    world.patch::<StatefulSet>("m-shout-function", json!({ "spec": { "replicas": 4 } })).await?;
    let mut changed = mesh()?;
    changed.spec.functions.as_mut().context("functions")?[0].log_topic = Some("logs".to_owned());
    world.apply(&changed).await?;
    annotate(&world, labels::MANAGED, Some("false")).await?;
    assert_eq!(texts(&world.settle().await?), [""; 0]);
    let replicas = world.get::<StatefulSet>("m-shout-function").await?.spec.and_then(|spec| spec.replicas);
    assert_eq!(replicas, Some(4));

    annotate(&world, labels::MANAGED, None).await?;
    passed_on(&world, labels::MANAGED, None).await?;
    passed_on(&world, labels::RELEASED_BY, None).await?;
    let check = async |set: &StatefulSet| {
        ensure!(set.spec.as_ref().and_then(|spec| spec.replicas) == Some(1), "not repaired");
        ensure!(to_json(set)?.to_string().contains("logs"), "not changed");
        Ok(())
    };
    world.stateful_set("m-shout-function", check).await?;
    world.settle().await?;
    // A component that somebody took out of management alone stays so.
    let alone = json!({ "metadata": { "annotations": { labels::MANAGED: "false" } } });
    world.patch::<Function>("m-shout", alone).await?;
    world.apply(&mesh()?).await?;
    world.settle().await?;
    passed_on(&world, labels::MANAGED, Some("false")).await
}
