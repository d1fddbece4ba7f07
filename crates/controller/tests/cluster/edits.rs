//! A change of one thing changes that thing.

use anyhow::{Context, ensure};
use function_mesh_api::{Function, FunctionMesh, FunctionSpec};
use function_mesh_testkit::{SECONDS_10, eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use serde_json::{Value, from_value, json};

use crate::world::{Nothing, World, json, texts};

/// A function with an environment and resources of its own.
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
async fn one_edited_field_is_one_write_of_its_component_and_one_of_its_stateful_set() -> Nothing {
    let world = World::new("one-edit").await?;
    world.apply(&mesh(detailed("shout")?)?).await?;
    world.appears::<StatefulSet>("m-scream-function").await?;
    world.settle().await?;
    let mut edited = detailed("shout")?;
    edited.log_topic = Some("logs".to_owned());
    world.apply(&mesh(edited)?).await?;
    let writes = world.settle().await?;
    let mut specs = texts(&writes);
    specs.retain(|text| !text.contains("/status"));
    assert_eq!(specs, ["PATCH functions m-shout", "PATCH statefulsets m-shout-function"]);
    let statuses: std::collections::BTreeSet<_> =
        writes.iter().filter(|it| it.resource.ends_with("/status")).map(|it| it.name.as_str()).collect();
    assert_eq!(statuses, ["m", "m-shout"].into());
    Ok(())
}

#[tokio::test]
async fn what_is_taken_out_of_the_manifest_is_taken_out_of_its_pods() -> Nothing {
    let world = World::new("taken-out").await?;
    world.apply(&mesh(detailed("shout")?)?).await?;
    world
        .stateful_set("m-shout-function", async |set| {
            let names = env(set)?;
            ensure!(names.iter().any(|name| name == "DROP"), "{names:?}");
            Ok(())
        })
        .await?;
    let mut less = detailed("shout")?;
    less.pod = from_value(json!({ "env": [{ "name": "KEEP", "value": "1" }] }))?;
    less.resources = from_value(json!({ "limits": { "memory": "1Gi" } }))?;
    world.apply(&mesh(less)?).await?;
    world
        .stateful_set("m-shout-function", async |set| {
            let names = env(set)?;
            ensure!(names.iter().any(|name| name == "KEEP"), "{names:?}");
            ensure!(!names.iter().any(|name| name == "DROP"), "{names:?}");
            let limits = container(set)?["resources"]["limits"].clone();
            ensure!(limits == json!({ "memory": "1Gi" }), "{limits}");
            Ok(())
        })
        .await?;
    let function = json(&world.get::<Function>("m-shout").await?)?;
    assert_eq!(function["spec"]["pod"]["env"], json!([{ "name": "KEEP", "value": "1" }]));
    assert_eq!(function["spec"]["resources"]["limits"], json!({ "memory": "1Gi" }));
    Ok(())
}

#[tokio::test]
async fn drift_by_hand_is_repaired() -> Nothing {
    let world = World::new("drift").await?;
    world.apply(&mesh(detailed("shout")?)?).await?;
    let set = world.appears::<StatefulSet>("m-shout-function").await?;
    world.settle().await?;
    let image = container(&set)?["image"].clone();

    let other = json!({ "spec": { "template": { "spec": { "containers": [
        { "name": "pulsar-function", "image": "other" },
    ] } } } });
    let patch = kube::api::Patch::Strategic(&other);
    world.api::<StatefulSet>().patch(&set.name_any(), &kube::api::PatchParams::default(), &patch).await?;
    world
        .stateful_set("m-shout-function", async |set| {
            let found = container(set)?["image"].clone();
            ensure!(found == image, "{found}");
            Ok(())
        })
        .await?;

    let service = world.get::<Service>("m-shout-function-headless").await?;
    world.delete::<Service>("m-shout-function-headless").await?;
    world.delete::<StatefulSet>("m-shout-function").await?;
    eventually(SECONDS_10, async || {
        let (new_set, new_service) = (
            world.get::<StatefulSet>("m-shout-function").await?,
            world.get::<Service>("m-shout-function-headless").await?,
        );
        ensure!(new_set.uid() != set.uid() && new_service.uid() != service.uid(), "the old ones");
        Ok(())
    })
    .await?;

    // A component is the mesh's, too.
    world.patch::<Function>("m-shout", json!({ "spec": { "className": "Other" } })).await?;
    eventually(SECONDS_10, async || {
        let class = world.get::<Function>("m-shout").await?.spec.class_name;
        ensure!(class == fixtures::java_function("shout").class_name, "{class:?}");
        Ok(())
    })
    .await?;
    let writes = world.settle().await?;
    assert!(!writes.is_empty());
    let events = world.events("Function", "m-shout").await?;
    assert!(events.iter().any(|event| event == "Normal Applied: StatefulSet updated"), "{events:?}");
    Ok(())
}
