//! Foreign objects are not changed.

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{Function, FunctionMesh};
use function_mesh_testkit::{PATIENCE, eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use serde_json::{from_value, json};

use crate::harness::{Harness, TestResult, json};

#[tokio::test]
async fn component_of_another_mesh_is_not_adopted() -> TestResult {
    let harness = Harness::new("two-meshes").await?;
    harness.apply(&fixtures::mesh("a", [fixtures::java_function("b-c").into()])?).await?;
    harness.appears::<StatefulSet>("a-b-c-function").await?;
    harness.settle().await?;
    let before = harness.get::<Function>("a-b-c").await?;

    let other = [fixtures::python_function("c").into(), fixtures::python_function("d").into()];
    harness.apply(&fixtures::mesh("a-b", other)?).await?;
    let ready = harness.condition("a-b", "Ready", ("False", "ApplyFailed")).await?;
    let expected = "Function \"a-b-c\" already exists and is not ours: it is owned by FunctionMesh \"a\"";
    assert!(ready.message.starts_with(expected), "{}", ready.message);
    harness.condition("a-b", "Degraded", ("True", "ApplyFailed")).await?;
    let after = harness.get::<Function>("a-b-c").await?;
    assert_eq!((before.uid(), before.spec), (after.uid(), after.spec));
    // Other components are not affected.
    harness.appears::<StatefulSet>("a-b-d-function").await?;
    // Deleting the second mesh does not delete the component of the first.
    harness.delete::<FunctionMesh>("a-b").await?;
    harness.gone::<StatefulSet>("a-b-d-function").await?;
    assert_eq!(harness.get::<Function>("a-b-c").await?.uid(), after.metadata.uid);
    Ok(())
}

#[tokio::test]
async fn foreign_stateful_set_is_not_changed() -> TestResult {
    let harness = Harness::new("foreign-set").await?;
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
    let before = harness.create(&foreign).await?;
    harness.apply(&fixtures::function(fixtures::java_function("x"))?).await?;
    let status = harness.phase::<Function>("x", Phase::Degraded).await?;
    let message = status.message.unwrap_or_default();
    assert!(
        message.starts_with("StatefulSet \"x-function\" already exists and is not ours: it has no owner"),
        "{message}"
    );
    eventually(PATIENCE, async || {
        let events = harness.events("Function", "x").await?;
        let is_reported = events
            .iter()
            .any(|event| event.starts_with("Warning Degraded: StatefulSet \"x-function\" already exists"));
        ensure!(is_reported, "{events:?}");
        Ok(())
    })
    .await?;
    let after = harness.get::<StatefulSet>("x-function").await?;
    assert_eq!(json(&before.spec)?, json(&after.spec)?);
    assert_eq!(
        (before.metadata.labels, before.metadata.annotations),
        (after.metadata.labels, after.metadata.annotations)
    );
    assert_eq!(after.metadata.owner_references, None);

    harness.delete::<StatefulSet>("x-function").await?;
    eventually(PATIENCE, async || {
        let set = harness.get::<StatefulSet>("x-function").await?;
        ensure!(!set.owner_references().is_empty(), "not ours yet");
        let status = harness.get::<Function>("x").await?.status.context("no status")?;
        ensure!(!status.message.as_ref().is_some_and(|it| it.contains("not ours")), "{:?}", status.message);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn foreign_service_is_not_changed() -> TestResult {
    let harness = Harness::new("foreign-service").await?;
    let foreign: Service = from_value(json!({
        "metadata": { "name": "x-function-headless" },
        "spec": { "clusterIP": "None", "selector": { "app": "x" }, "ports": [{ "port": 1 }] },
    }))?;
    let before = harness.create(&foreign).await?;
    harness.apply(&fixtures::function(fixtures::java_function("x"))?).await?;
    let status = harness.phase::<Function>("x", Phase::Degraded).await?;
    let message = status.message.unwrap_or_default();
    assert!(
        message.starts_with("Service \"x-function-headless\" already exists and is not ours"),
        "{message}"
    );
    assert_eq!(
        harness.get::<Service>("x-function-headless").await?.metadata.resource_version,
        before.metadata.resource_version
    );
    harness.delete::<Service>("x-function-headless").await?;
    harness.appears::<StatefulSet>("x-function").await?;
    Ok(())
}
