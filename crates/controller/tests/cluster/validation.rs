//! Invalid objects that bypassed admission, and unmanaged objects.

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{Function, FunctionMesh, FunctionMeshSpec};
use function_mesh_testkit::{PATIENCE, eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;
use serde_json::{from_value, json};

use crate::harness::{Harness, TestResult, json as to_json};

/// Two violations in one component, and one in the mesh, which the CRD schema alone does not find.
fn broken() -> anyhow::Result<FunctionMesh> {
    let mut shout = to_json(&fixtures::java_function("shout"))?;
    shout["input"]["topics"] = json!(["persistent://words"]);
    shout["java"]["jarLocation"] = json!("nowhere");
    let functions = json!([shout, fixtures::python_function("shout")]);
    let spec: FunctionMeshSpec = from_value(json!({ "functions": functions }))?;
    Ok(FunctionMesh::new("m", spec))
}

#[tokio::test]
async fn invalid_mesh_reports_all_violations() -> TestResult {
    let harness = Harness::new("invalid").await?;
    harness.apply(&broken()?).await?;
    let valid = harness.condition("m", "Accepted", ("False", "ValidationFailed")).await?;
    let ready = harness.condition("m", "Ready", ("False", "ValidationFailed")).await?;
    for field in
        ["spec.functions[0].java.jarLocation", "spec.functions[0].input.topics[0]", "spec.functions[1].name"]
    {
        assert!(valid.message.contains(field) && ready.message.contains(field), "{field}: {}", valid.message);
    }
    assert!(harness.find::<Function>("m-shout").await?.is_none());
    // The status is written first.
    eventually(PATIENCE, async || {
        let events = harness.events("FunctionMesh", "m").await?;
        let is_reported =
            events.iter().any(|event| event.starts_with("Warning ValidationFailed: spec.functions[0]"));
        ensure!(is_reported, "{events:?}");
        Ok(())
    })
    .await?;

    harness.apply(&fixtures::mesh("m", [fixtures::java_function("shout").into()])?).await?;
    harness.appears::<StatefulSet>("m-shout-function").await?;
    harness.condition("m", "Accepted", ("True", "ValidationSucceeded")).await?;
    Ok(())
}

#[tokio::test]
async fn invalid_mesh_keeps_running_components() -> TestResult {
    let harness = Harness::new("goes-on").await?;
    harness.apply(&fixtures::mesh("m", [fixtures::java_function("shout").into()])?).await?;
    let before = harness.appears::<StatefulSet>("m-shout-function").await?;
    harness.settle().await?;
    harness.apply(&broken()?).await?;
    harness.condition("m", "Accepted", ("False", "ValidationFailed")).await?;
    harness.settle().await?;
    let after = harness.get::<StatefulSet>("m-shout-function").await?;
    assert_eq!((before.uid(), before.metadata.generation), (after.uid(), after.metadata.generation));
    let status = harness.get::<FunctionMesh>("m").await?.status.context("no status")?;
    assert_eq!(status.observed_generation, Some(1), "the second generation was not acted on");
    Ok(())
}

#[tokio::test]
async fn invalid_component_keeps_its_pods() -> TestResult {
    let harness = Harness::new("invalid-function").await?;
    let mut spec = fixtures::java_function("x");
    spec.replicas = Some(2);
    harness.apply(&fixtures::function(spec)?).await?;
    let before = harness.appears::<StatefulSet>("x-function").await?;
    harness.settle().await?;
    let bad = json!({ "spec": { "java": { "jarLocation": "nowhere" }, "output": { "topic": "a/b" }, "replicas": 1 } });
    harness.patch::<Function>("x", bad).await?;
    let status = harness.phase::<Function>("x", Phase::Invalid).await?;
    let message = status.message.unwrap_or_default();
    assert!(message.contains("spec.java.jarLocation") && message.contains("spec.output.topic"), "{message}");
    assert_eq!((status.replicas, status.observed_generation), (2, Some(1)));
    let after = harness.get::<StatefulSet>("x-function").await?;
    assert_eq!((before.uid(), before.metadata.generation), (after.uid(), after.metadata.generation));

    let good = json!({ "spec": { "java": { "jarLocation": null }, "output": { "topic": "b" } } });
    harness.patch::<Function>("x", good).await?;
    harness
        .stateful_set("x-function", async |set| {
            ensure!(set.spec.as_ref().and_then(|spec| spec.replicas) == Some(1), "not scaled");
            Ok(())
        })
        .await?;
    eventually(PATIENCE, async || {
        let status = harness.get::<Function>("x").await?.status.context("no status")?;
        ensure!(status.phase != Phase::Invalid && status.observed_generation == Some(3), "{status:?}");
        Ok(())
    })
    .await
}

/// The schema accepts any integer as a port, the type only small ones; the webhook rejects the rest.
#[tokio::test]
async fn undecodable_object_is_reported_and_blocks_no_other() -> TestResult {
    let harness = Harness::new("unreadable").await?;
    let mut raw = to_json(&fixtures::function(fixtures::java_function("x"))?)?;
    raw["spec"]["pod"] = json!({ "startupProbe": { "httpGet": { "port": 8_589_934_592_i64 } } });
    raw["metadata"]["namespace"] = json!(harness.namespace);
    harness.plane.kubectl(&["create", "-f", "-"], &raw.to_string()).await?;
    eventually(PATIENCE, async || {
        let events = harness.events("Function", "x").await?;
        ensure!(events.iter().any(|event| event.starts_with("Warning InvalidObject")), "{events:?}");
        Ok(())
    })
    .await?;
    // The status reports it too, once. It does not have our type, so it is read as JSON.
    eventually(PATIENCE, async || {
        let args = ["get", "functions", "x", "-n", &harness.namespace, "-o", "jsonpath={.status}"];
        let status = harness.plane.kubectl(&args, "").await?;
        ensure!(status.contains("\"phase\":\"Invalid\""), "{status}");
        ensure!(status.contains("startupProbe") && status.contains("wrong type or value"), "{status}");
        ensure!(!status.contains("8589934592"), "{status}");
        Ok(())
    })
    .await?;
    harness.settle().await?;
    harness.apply(&fixtures::function(fixtures::java_function("y"))?).await?;
    harness.appears::<StatefulSet>("y-function").await?;
    Ok(())
}

#[tokio::test]
async fn unmanaged_objects_are_not_changed() -> TestResult {
    let harness = Harness::new("unmanaged").await?;
    let off = || Some([("compute.functionmesh.io/managed".to_owned(), "false".to_owned())].into());
    let mut mesh = fixtures::mesh("m", [fixtures::java_function("shout").into()])?;
    mesh.metadata.annotations = off();
    harness.apply(&mesh).await?;
    let mut function = fixtures::function(fixtures::java_function("x"))?;
    function.metadata.annotations = off();
    harness.apply(&function).await?;
    harness.reconcile_all().await?;
    assert_eq!(harness.recorder.take(), []);

    function.metadata.annotations = None;
    harness.apply(&function).await?;
    harness.appears::<StatefulSet>("x-function").await?;
    harness.settle().await?;
    // Drift is not reverted either.
    function.metadata.annotations = off();
    harness.apply(&function).await?;
    harness.patch::<StatefulSet>("x-function", json!({ "spec": { "replicas": 3 } })).await?;
    harness.delete::<StatefulSet>("x-function").await?;
    harness.reconcile_all().await?;
    assert_eq!(harness.recorder.take(), []);
    assert!(harness.find::<StatefulSet>("x-function").await?.is_none());
    Ok(())
}
