//! What belongs to somebody else stays as it is.

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{Function, FunctionMesh};
use function_mesh_testkit::{SECONDS_10, eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use serde_json::{from_value, json};

use crate::world::{Nothing, World, json};

#[tokio::test]
async fn a_component_of_another_mesh_is_not_taken_over() -> Nothing {
    let world = World::new("two-meshes").await?;
    world.apply(&fixtures::mesh("a", [fixtures::java_function("b-c").into()])?).await?;
    world.appears::<StatefulSet>("a-b-c-function").await?;
    world.settle().await?;
    let before = world.get::<Function>("a-b-c").await?;

    let other = [fixtures::python_function("c").into(), fixtures::python_function("d").into()];
    world.apply(&fixtures::mesh("a-b", other)?).await?;
    let ready = world.condition("a-b", "Ready", ("False", "ApplyFailed")).await?;
    let expected = "Function \"a-b-c\" exists and is not ours: it belongs to FunctionMesh \"a\"";
    assert!(ready.message.starts_with(expected), "{}", ready.message);
    world.condition("a-b", "Degraded", ("True", "ApplyFailed")).await?;
    let after = world.get::<Function>("a-b-c").await?;
    assert_eq!((before.uid(), before.spec), (after.uid(), after.spec));
    // What has no such trouble goes on.
    world.appears::<StatefulSet>("a-b-d-function").await?;
    // And with the second mesh the first one's component does not go.
    world.delete::<FunctionMesh>("a-b").await?;
    world.gone::<StatefulSet>("a-b-d-function").await?;
    assert_eq!(world.get::<Function>("a-b-c").await?.uid(), after.metadata.uid);
    Ok(())
}

#[tokio::test]
async fn a_foreign_stateful_set_is_never_changed() -> Nothing {
    let world = World::new("foreign-set").await?;
    let foreign: StatefulSet = from_value(json!({
        "metadata": { "name": "x-function", "labels": { "compute.functionmesh.io/component": "function" } },
        "spec": {
            "replicas": 0, "serviceName": "x", "selector": { "matchLabels": { "app": "x" } },
            "template": {
                "metadata": { "labels": { "app": "x" } },
                "spec": { "containers": [{ "name": "x", "image": "x" }] },
            },
        },
    }))?;
    let before = world.api().create(&kube::api::PostParams::default(), &foreign).await?;
    world.apply(&fixtures::function(fixtures::java_function("x"))?).await?;
    let status = world.phase::<Function>("x", Phase::Degraded).await?;
    let message = status.message.unwrap_or_default();
    assert!(
        message.starts_with("StatefulSet \"x-function\" exists and is not ours: nothing owns it"),
        "{message}"
    );
    eventually(SECONDS_10, async || {
        let events = world.events("Function", "x").await?;
        let told = events
            .iter()
            .any(|event| event.starts_with("Warning Degraded: StatefulSet \"x-function\" exists"));
        ensure!(told, "{events:?}");
        Ok(())
    })
    .await?;
    let after = world.get::<StatefulSet>("x-function").await?;
    assert_eq!(json(&before.spec)?, json(&after.spec)?);
    assert_eq!(
        (before.metadata.labels, before.metadata.annotations),
        (after.metadata.labels, after.metadata.annotations)
    );
    assert_eq!(after.metadata.owner_references, None);

    world.delete::<StatefulSet>("x-function").await?;
    eventually(SECONDS_10, async || {
        let set = world.get::<StatefulSet>("x-function").await?;
        ensure!(!set.owner_references().is_empty(), "not ours yet");
        let status = world.get::<Function>("x").await?.status.context("no status")?;
        ensure!(!status.message.as_ref().is_some_and(|it| it.contains("not ours")), "{:?}", status.message);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_foreign_service_is_never_changed() -> Nothing {
    let world = World::new("foreign-service").await?;
    let foreign: Service = from_value(json!({
        "metadata": { "name": "x-function-headless" },
        "spec": { "clusterIP": "None", "selector": { "app": "x" }, "ports": [{ "port": 1 }] },
    }))?;
    let before = world.api().create(&kube::api::PostParams::default(), &foreign).await?;
    world.apply(&fixtures::function(fixtures::java_function("x"))?).await?;
    let status = world.phase::<Function>("x", Phase::Degraded).await?;
    let message = status.message.unwrap_or_default();
    assert!(message.starts_with("Service \"x-function-headless\" exists and is not ours"), "{message}");
    assert_eq!(
        world.get::<Service>("x-function-headless").await?.metadata.resource_version,
        before.metadata.resource_version
    );
    world.delete::<Service>("x-function-headless").await?;
    world.appears::<StatefulSet>("x-function").await?;
    Ok(())
}
