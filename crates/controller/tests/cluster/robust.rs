//! A world that is not as it should be: kinds that come late, a status that is lost, names that get free.

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{BackendConfig, BackendConfigSpec, Function, FunctionMesh};
use function_mesh_testkit::{SECONDS_10, SECONDS_30, apply, eventually, fixtures, pretend_to_run};
use function_mesh_workloads::VerticalPodAutoscaler;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{from_value, json};

use crate::world::{Nothing, World, json as to_json, texts};

fn definition_of_vertical_autoscalers() -> anyhow::Result<CustomResourceDefinition> {
    let schema =
        json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
    Ok(from_value(json!({
        "metadata": {
            "name": "verticalpodautoscalers.autoscaling.k8s.io",
            "annotations": { "api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/63797" },
        },
        "spec": {
            "group": "autoscaling.k8s.io", "scope": "Namespaced",
            "names": { "kind": "VerticalPodAutoscaler", "plural": "verticalpodautoscalers" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": schema }],
        },
    }))?)
}

#[tokio::test]
async fn vertical_autoscalers_may_be_installed_late() -> Nothing {
    let world = World::new("late-vpa").await?;
    let mut spec = fixtures::java_function("x");
    spec.pod = from_value(json!({ "vpa": { "updatePolicy": { "updateMode": "Off" } } }))?;
    let scaled = fixtures::function(spec)?;
    world.apply(&scaled).await?;
    let status = world.phase::<Function>("x", Phase::Degraded).await?;
    let message = status.message.unwrap_or_default();
    assert!(message.contains("VerticalPodAutoscaler"), "{message}");
    assert!(message.contains("the cluster has no such kind"), "{message}");
    // All else is there.
    world.appears::<StatefulSet>("x-function").await?;
    world.appears::<Service>("x-function-headless").await?;

    let definitions = Api::<CustomResourceDefinition>::all(world.client.clone());
    definitions.create(&PostParams::default(), &definition_of_vertical_autoscalers()?).await?;
    eventually(SECONDS_30, async || {
        world.get::<VerticalPodAutoscaler>("x-function").await?;
        let status = world.get::<Function>("x").await?.status.context("no status")?;
        ensure!(status.conditions.contains_key("VerticalPodAutoscaler"), "{:?}", status.message);
        Ok(())
    })
    .await?;
    // And what it made goes with the wish for it.
    let plain = fixtures::function(fixtures::java_function("x"))?;
    world.apply(&plain).await?;
    world.gone::<VerticalPodAutoscaler>("x-function").await?;

    // A kind that goes holds up nobody who no longer wants it.
    world.apply(&scaled).await?;
    world.appears::<VerticalPodAutoscaler>("x-function").await?;
    let kind = "verticalpodautoscalers.autoscaling.k8s.io";
    definitions.delete(kind, &DeleteParams::default()).await?;
    eventually(SECONDS_30, async || {
        ensure!(definitions.get_opt(kind).await?.is_none(), "the kind is there");
        Ok(())
    })
    .await?;
    world.apply(&plain).await?;
    eventually(SECONDS_30, async || {
        let status = world.get::<Function>("x").await?.status.context("no status")?;
        ensure!(!status.conditions.contains_key("VerticalPodAutoscaler"), "{:?}", status.message);
        ensure!(!status.message.unwrap_or_default().contains("VerticalPodAutoscaler"));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_status_that_is_lost_comes_back_and_nothing_else_is_written() -> Nothing {
    let world = World::new("wiped").await?;
    let parts = [fixtures::java_function("shout").into(), fixtures::sink("drain").into()];
    world.apply(&fixtures::mesh("m", parts)?).await?;
    eventually(SECONDS_10, async || {
        pretend_to_run(&world.client, &world.namespace).await?;
        let status = world.get::<FunctionMesh>("m").await?.status.context("no status")?;
        ensure!(status.components.as_deref() == Some("2/2"), "{:?}", status.conditions);
        Ok(())
    })
    .await?;
    world.settle().await?;
    let wipe = Patch::Merge(json!({ "status": null }));
    world.api::<FunctionMesh>().patch_status("m", &PatchParams::default(), &wipe).await?;
    world.api::<Function>().patch_status("m-shout", &PatchParams::default(), &wipe).await?;
    world.phase::<Function>("m-shout", Phase::Ready).await?;
    world.condition("m", "Ready", ("True", "ComponentsReady")).await?;
    let writes = texts(&world.settle().await?);
    assert!(writes.iter().all(|write| write.contains("/status")), "{writes:?}");

    // A component that left the mesh while its status was lost goes all the same.
    world.api::<FunctionMesh>().patch_status("m", &PatchParams::default(), &wipe).await?;
    world.apply(&fixtures::mesh("m", [fixtures::java_function("shout").into()])?).await?;
    world.gone::<function_mesh_api::Sink>("m-drain").await
}

#[tokio::test]
async fn a_name_that_gets_free_is_taken_soon() -> Nothing {
    let world = World::new("freed").await?;
    let foreign: Service = from_value(json!({
        "metadata": { "name": "x-function-headless" }, "spec": { "clusterIP": "None", "selector": { "app": "y" } },
    }))?;
    let foreign = world.api::<Service>().create(&PostParams::default(), &foreign).await?;
    world.apply(&fixtures::function(fixtures::java_function("x"))?).await?;
    world.phase::<Function>("x", Phase::Degraded).await?;
    world.delete::<Service>("x-function-headless").await?;
    eventually(SECONDS_30, async || {
        let ours = world.get::<Service>("x-function-headless").await?;
        ensure!(ours.uid() != foreign.uid(), "it is still there");
        Ok(())
    })
    .await?;
    world.appears::<StatefulSet>("x-function").await.map(|_| ())
}

#[tokio::test]
async fn a_mesh_that_waits_for_its_components_to_go_says_so() -> Nothing {
    let world = World::new("foreground").await?;
    let mut sink = fixtures::sink("drain");
    sink.cleanup_subscription = Some(true);
    world.apply(&fixtures::mesh("m", [sink.into()])?).await?;
    world.appears::<StatefulSet>("m-drain-sink").await?;
    world.settle().await?;
    world.api::<FunctionMesh>().delete("m", &DeleteParams::foreground()).await?;
    world.condition("m", "Ready", ("False", "Deleting")).await?;
    eventually(SECONDS_30, async || {
        function_mesh_testkit::pretend_to_end(&world.client, &world.namespace, "m-drain-sink-cleanup", 0)
            .await?;
        ensure!(world.find::<FunctionMesh>("m").await?.is_none(), "it is there");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_clusters_own_defaults_may_stand_outside_of_the_one_namespace_that_is_looked_after() -> Nothing {
    let mut world = World::without_controller("elsewhere").await?;
    let elsewhere = world.plane.namespace(&world.client, "defaults").await?;
    let config = |value: &str| {
        let env = Some([("COLOUR".to_owned(), value.to_owned())].into());
        let spec = BackendConfigSpec { env, auto_update: Some(true), ..BackendConfigSpec::default() };
        BackendConfig::new("global", spec)
    };
    apply(&world.client, &elsewhere, &config("red")).await?;
    world.settings.global_backend_config = Some("global".to_owned());
    world.settings.global_backend_config_namespace.clone_from(&elsewhere);
    world.start().await?;
    world.apply(&fixtures::function(fixtures::java_function("x"))?).await?;
    for colour in ["red", "blue"] {
        apply(&world.client, &elsewhere, &config(colour)).await?;
        let check = async |set: &StatefulSet| {
            ensure!(to_json(set)?.to_string().contains(&format!("\"{colour}\"")), "not {colour}");
            Ok(())
        };
        world.stateful_set("x-function", check).await?;
    }
    Ok(())
}
