//! Drift and edits: a change of one field changes nothing else.

use anyhow::{Context, ensure};
use function_mesh_api::{Function, FunctionMesh, FunctionSpec};
use function_mesh_testkit::{PATIENCE, eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use serde_json::{Value, from_value, json};

use crate::harness::{Harness, TestResult, json, texts};

/// A function with environment variables and resources.
fn detailed(name: &str) -> anyhow::Result<FunctionSpec> {
    let mut spec = fixtures::java_function(name);
    spec.pod =
        from_value(json!({ "env": [{ "name": "KEEP", "value": "1" }, { "name": "DROP", "value": "1" }] }))?;
    spec.resources = from_value(json!({ "limits": { "cpu": "1", "memory": "1Gi" } }))?;
    Ok(spec)
}

fn mesh(function: FunctionSpec) -> anyhow::Result<FunctionMesh> {
    fixtures::mesh("m", [function.into(), fixtures::python_function("scream").into()])
}

fn container(set: &StatefulSet) -> anyhow::Result<Value> {
    Ok(json(set)?["spec"]["template"]["spec"]["containers"][0].clone())
}

fn env(set: &StatefulSet) -> anyhow::Result<Vec<String>> {
    let container = container(set)?;
    let names = container["env"].as_array().context("no env")?.iter();
    Ok(names.filter_map(|it| it["name"].as_str().map(str::to_owned)).collect())
}

#[tokio::test]
async fn one_edit_causes_one_write_per_object() -> TestResult {
    let harness = Harness::new("one-edit").await?;
    harness.apply(&mesh(detailed("shout")?)?).await?;
    harness.appears::<StatefulSet>("m-scream-function").await?;
    harness.settle().await?;
    let mut edited = detailed("shout")?;
    edited.log_topic = Some("logs".to_owned());
    harness.apply(&mesh(edited)?).await?;
    let writes = harness.settle().await?;
    let mut specs = texts(&writes);
    specs.retain(|text| !text.contains("/status"));
    assert_eq!(specs, ["PATCH functions m-shout", "PATCH statefulsets m-shout-function"]);
    let statuses: std::collections::BTreeSet<_> =
        writes.iter().filter(|it| it.resource.ends_with("/status")).map(|it| it.name.as_str()).collect();
    assert_eq!(statuses, ["m", "m-shout"].into());
    Ok(())
}

#[tokio::test]
async fn removed_fields_are_removed_from_pods() -> TestResult {
    let harness = Harness::new("taken-out").await?;
    harness.apply(&mesh(detailed("shout")?)?).await?;
    harness
        .stateful_set("m-shout-function", async |set| {
            let names = env(set)?;
            ensure!(names.iter().any(|name| name == "DROP"), "{names:?}");
            Ok(())
        })
        .await?;
    let mut less = detailed("shout")?;
    less.pod = from_value(json!({ "env": [{ "name": "KEEP", "value": "1" }] }))?;
    less.resources = from_value(json!({ "limits": { "memory": "1Gi" } }))?;
    harness.apply(&mesh(less)?).await?;
    harness
        .stateful_set("m-shout-function", async |set| {
            let names = env(set)?;
            ensure!(names.iter().any(|name| name == "KEEP"), "{names:?}");
            ensure!(!names.iter().any(|name| name == "DROP"), "{names:?}");
            let limits = container(set)?["resources"]["limits"].clone();
            ensure!(limits == json!({ "memory": "1Gi" }), "{limits}");
            Ok(())
        })
        .await?;
    let function = json(&harness.get::<Function>("m-shout").await?)?;
    assert_eq!(function["spec"]["pod"]["env"], json!([{ "name": "KEEP", "value": "1" }]));
    assert_eq!(function["spec"]["resources"]["limits"], json!({ "memory": "1Gi" }));
    Ok(())
}

#[tokio::test]
async fn manual_drift_is_reverted() -> TestResult {
    let harness = Harness::new("drift").await?;
    harness.apply(&mesh(detailed("shout")?)?).await?;
    let set = harness.appears::<StatefulSet>("m-shout-function").await?;
    harness.settle().await?;
    let image = container(&set)?["image"].clone();

    let other = json!({ "spec": { "template": { "spec": { "containers": [
        { "name": "pulsar-function", "image": "other" },
    ] } } } });
    let patch = kube::api::Patch::Strategic(&other);
    harness.api::<StatefulSet>().patch(&set.name_any(), &kube::api::PatchParams::default(), &patch).await?;
    harness
        .stateful_set("m-shout-function", async |set| {
            let found = container(set)?["image"].clone();
            ensure!(found == image, "{found}");
            Ok(())
        })
        .await?;

    let service = harness.get::<Service>("m-shout-function-headless").await?;
    harness.delete::<Service>("m-shout-function-headless").await?;
    harness.delete::<StatefulSet>("m-shout-function").await?;
    eventually(PATIENCE, async || {
        let (new_set, new_service) = (
            harness.get::<StatefulSet>("m-shout-function").await?,
            harness.get::<Service>("m-shout-function-headless").await?,
        );
        ensure!(new_set.uid() != set.uid() && new_service.uid() != service.uid(), "the old ones");
        Ok(())
    })
    .await?;

    // The mesh reverts drift of a component too.
    harness.patch::<Function>("m-shout", json!({ "spec": { "className": "Other" } })).await?;
    eventually(PATIENCE, async || {
        let class = harness.get::<Function>("m-shout").await?.spec.class_name;
        ensure!(class == fixtures::java_function("shout").class_name, "{class:?}");
        Ok(())
    })
    .await?;
    let writes = harness.settle().await?;
    assert!(!writes.is_empty());
    let events = harness.events("Function", "m-shout").await?;
    assert!(events.iter().any(|event| event == "Normal Applied: StatefulSet updated"), "{events:?}");
    Ok(())
}
