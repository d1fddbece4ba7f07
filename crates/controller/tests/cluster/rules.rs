//! Objects that break a rule and came in all the same, and objects that are to be left alone.

use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{Function, FunctionMesh, FunctionMeshSpec};
use function_mesh_testkit::{SECONDS_10, eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;
use serde_json::{from_value, json};

use crate::world::{Nothing, World, json as to_json};

/// Two faults in one component, and one in the mesh, of the kind that the definitions alone do not find.
fn broken() -> anyhow::Result<FunctionMesh> {
    let mut shout = to_json(&fixtures::java_function("shout"))?;
    shout["input"]["topics"] = json!(["persistent://words"]);
    shout["java"]["jarLocation"] = json!("nowhere");
    let functions = json!([shout, fixtures::python_function("shout")]);
    let spec: FunctionMeshSpec = from_value(json!({ "functions": functions }))?;
    Ok(FunctionMesh::new("m", spec))
}

#[tokio::test]
async fn an_invalid_mesh_is_told_each_fault_and_nothing_is_made() -> Nothing {
    let world = World::new("invalid").await?;
    world.apply(&broken()?).await?;
    let valid = world.condition("m", "Accepted", ("False", "ValidationFailed")).await?;
    let ready = world.condition("m", "Ready", ("False", "Invalid")).await?;
    for field in
        ["spec.functions[0].java.jarLocation", "spec.functions[0].input.topics[0]", "spec.functions[1].name"]
    {
        assert!(valid.message.contains(field) && ready.message.contains(field), "{field}: {}", valid.message);
    }
    assert!(world.find::<Function>("m-shout").await?.is_none());
    // The status comes first.
    eventually(SECONDS_10, async || {
        let events = world.events("FunctionMesh", "m").await?;
        let told = events.iter().any(|event| event.starts_with("Warning Invalid: spec.functions[0]"));
        ensure!(told, "{events:?}");
        Ok(())
    })
    .await?;

    world.apply(&fixtures::mesh("m", [fixtures::java_function("shout").into()])?).await?;
    world.appears::<StatefulSet>("m-shout-function").await?;
    world.condition("m", "Accepted", ("True", "ValidationSucceeded")).await?;
    Ok(())
}

#[tokio::test]
async fn what_runs_goes_on_while_its_mesh_is_invalid() -> Nothing {
    let world = World::new("goes-on").await?;
    world.apply(&fixtures::mesh("m", [fixtures::java_function("shout").into()])?).await?;
    let before = world.appears::<StatefulSet>("m-shout-function").await?;
    world.settle().await?;
    world.apply(&broken()?).await?;
    world.condition("m", "Accepted", ("False", "ValidationFailed")).await?;
    world.settle().await?;
    let after = world.get::<StatefulSet>("m-shout-function").await?;
    assert_eq!((before.uid(), before.metadata.generation), (after.uid(), after.metadata.generation));
    let status = world.get::<FunctionMesh>("m").await?.status.context("no status")?;
    assert_eq!(status.observed_generation, Some(1), "the second generation was not acted on");
    Ok(())
}

#[tokio::test]
async fn an_invalid_component_says_so_and_keeps_its_pods() -> Nothing {
    let world = World::new("invalid-function").await?;
    let mut spec = fixtures::java_function("x");
    spec.replicas = Some(2);
    world.apply(&fixtures::function(spec)?).await?;
    let before = world.appears::<StatefulSet>("x-function").await?;
    world.settle().await?;
    let bad = json!({ "spec": { "java": { "jarLocation": "nowhere" }, "output": { "topic": "a/b" }, "replicas": 1 } });
    world.patch::<Function>("x", bad).await?;
    let status = world.phase::<Function>("x", Phase::Invalid).await?;
    let message = status.message.unwrap_or_default();
    assert!(message.contains("spec.java.jarLocation") && message.contains("spec.output.topic"), "{message}");
    assert_eq!((status.replicas, status.observed_generation), (2, Some(1)));
    let after = world.get::<StatefulSet>("x-function").await?;
    assert_eq!((before.uid(), before.metadata.generation), (after.uid(), after.metadata.generation));

    let good = json!({ "spec": { "java": { "jarLocation": null }, "output": { "topic": "b" } } });
    world.patch::<Function>("x", good).await?;
    world
        .stateful_set("x-function", async |set| {
            ensure!(set.spec.as_ref().and_then(|spec| spec.replicas) == Some(1), "not scaled");
            Ok(())
        })
        .await?;
    eventually(SECONDS_10, async || {
        let status = world.get::<Function>("x").await?.status.context("no status")?;
        ensure!(status.phase != Phase::Invalid && status.observed_generation == Some(3), "{status:?}");
        Ok(())
    })
    .await
}

/// The schema takes any whole number for an amount, the type behind it only small ones; the webhook mends that.
#[tokio::test]
async fn what_cannot_be_read_is_told_and_keeps_nothing_else_back() -> Nothing {
    let world = World::new("unreadable").await?;
    let mut raw = to_json(&fixtures::function(fixtures::java_function("x"))?)?;
    raw["spec"]["pod"] = json!({ "vpa": { "resourcePolicy": { "containerPolicies": [
        { "containerName": "*", "maxAllowed": { "memory": 8_589_934_592_i64 } },
    ] } } });
    raw["metadata"]["namespace"] = json!(world.namespace);
    world.plane.kubectl(&["create", "-f", "-"], &raw.to_string()).await?;
    eventually(SECONDS_10, async || {
        let events = world.events("Function", "x").await?;
        ensure!(events.iter().any(|event| event.starts_with("Warning InvalidObject")), "{events:?}");
        Ok(())
    })
    .await?;
    // Its status says it too, once. It has another type than ours, so it is read as JSON.
    eventually(SECONDS_10, async || {
        let args = ["get", "functions", "x", "-n", &world.namespace, "-o", "jsonpath={.status}"];
        let status = world.plane.kubectl(&args, "").await?;
        ensure!(status.contains("\"phase\":\"Invalid\""), "{status}");
        ensure!(status.contains("maxAllowed") && status.contains("wrong type or value"), "{status}");
        ensure!(!status.contains("8589934592"), "{status}");
        Ok(())
    })
    .await?;
    world.settle().await?;
    world.apply(&fixtures::function(fixtures::java_function("y"))?).await?;
    world.appears::<StatefulSet>("y-function").await?;
    Ok(())
}

#[tokio::test]
async fn what_is_not_managed_is_left_alone() -> Nothing {
    let world = World::new("unmanaged").await?;
    let off = || Some([("compute.functionmesh.io/managed".to_owned(), "false".to_owned())].into());
    let mut mesh = fixtures::mesh("m", [fixtures::java_function("shout").into()])?;
    mesh.metadata.annotations = off();
    world.apply(&mesh).await?;
    let mut function = fixtures::function(fixtures::java_function("x"))?;
    function.metadata.annotations = off();
    world.apply(&function).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.recorder.take(), []);

    function.metadata.annotations = None;
    world.apply(&function).await?;
    world.appears::<StatefulSet>("x-function").await?;
    world.settle().await?;
    // Not even drift is repaired.
    function.metadata.annotations = off();
    world.apply(&function).await?;
    world.patch::<StatefulSet>("x-function", json!({ "spec": { "replicas": 3 } })).await?;
    world.delete::<StatefulSet>("x-function").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.recorder.take(), []);
    assert!(world.find::<StatefulSet>("x-function").await?.is_none());
    Ok(())
}
