//! From a mesh to pods, and to nothing again.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{Function, FunctionMesh, Sink, Source};
use function_mesh_testkit::{Kind, SECONDS_10, SECONDS_30, eventually, fixtures, pretend_to_run};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::world::{Nothing, World};

fn three() -> anyhow::Result<FunctionMesh> {
    let functions = [fixtures::java_function("shout").into(), fixtures::python_function("scream").into()];
    fixtures::mesh("m", functions.into_iter().chain([fixtures::sink("drain").into()]))
}

fn managers<K: Kind>(object: &K) -> BTreeSet<(String, String)> {
    let fields = object.meta().managed_fields.iter().flatten();
    fields
        .map(|entry| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            (text(&entry.manager), text(&entry.subresource))
        })
        .collect()
}

fn owner<K: Kind>(object: &K) -> anyhow::Result<(String, String)> {
    let owner = object.owner_references().first().context("no owner")?;
    ensure!(owner.controller == Some(true), "{owner:?}");
    Ok((owner.kind.clone(), owner.uid.clone()))
}

#[tokio::test]
async fn a_mesh_becomes_components_and_they_become_stateful_sets_and_services() -> Nothing {
    let world = World::new("becomes").await?;
    let mesh = world.apply(&three()?).await?;
    world.appears::<StatefulSet>("m-drain-sink").await?;
    world.appears::<StatefulSet>("m-shout-function").await?;
    let scream = world.appears::<StatefulSet>("m-scream-function").await?;
    let function = world.get::<Function>("m-scream").await?;
    world.get::<Sink>("m-drain").await?;

    assert_eq!(owner(&function)?, ("FunctionMesh".to_owned(), mesh.uid().context("no uid")?));
    assert_eq!(function.labels()["compute.functionmesh.io/mesh"], "m");
    assert_eq!(owner(&scream)?, ("Function".to_owned(), function.uid().context("no uid")?));
    let service = world.get::<Service>("m-scream-function-headless").await?;
    assert_eq!(owner(&service)?, owner(&scream)?);
    let labels = json!(scream.labels());
    assert_eq!(labels["compute.functionmesh.io/component"], "function");
    assert_eq!(labels["compute.functionmesh.io/name"], "m-scream");

    // One manager a purpose: who only reads them sees who is to blame.
    world.phase::<Function>("m-scream", Phase::Degraded).await?;
    let ours = |manager: &str, subresource: &str| (manager.to_owned(), subresource.to_owned());
    let function = world.get::<Function>("m-scream").await?;
    let expected = [ours("functionmesh.io/mesh", ""), ours("functionmesh.io/status", "status")];
    assert_eq!(managers(&function), expected.into());
    let of_set = managers(&world.get::<StatefulSet>("m-scream-function").await?);
    assert!(of_set.contains(&ours("functionmesh.io/workload", "")), "{of_set:?}");
    assert_eq!(managers(&service), [ours("functionmesh.io/workload", "")].into());
    let of_mesh = managers(&world.get::<FunctionMesh>("m").await?);
    assert_eq!(of_mesh, [ours("author", ""), ours("functionmesh.io/status", "status")].into());
    Ok(())
}

#[tokio::test]
async fn the_status_says_what_was_seen_and_columns_show_it() -> Nothing {
    let world = World::new("status").await?;
    world.apply(&three()?).await?;
    // No node takes the pods, and that is what the status has to say.
    let status = world.phase::<Function>("m-shout", Phase::Degraded).await?;
    let message = status.message.unwrap_or_default();
    assert!(message.starts_with("pod m-shout-function-0: cannot be scheduled"), "{message}");
    assert_eq!((status.replicas, status.ready_replicas, status.observed_generation), (1, 0, Some(1)));
    assert_eq!(status.conditions["StatefulSet"].status.as_deref(), Some("False"));
    assert_eq!(status.conditions["Service"].status.as_deref(), Some("True"));
    assert!(status.selector.contains("compute.functionmesh.io/name=m-shout"), "{}", status.selector);

    eventually(SECONDS_10, async || {
        let ready = world.condition("m", "Ready", ("False", "ComponentsDegraded")).await?;
        ensure!(ready.message.contains("function shout: pod m-shout-function-0"), "{}", ready.message);
        Ok(())
    })
    .await?;
    let mesh = world.get::<FunctionMesh>("m").await?.status.context("no status")?;
    assert_eq!(mesh.components.as_deref(), Some("0/3"));
    assert_eq!(mesh.observed_generation, Some(1));
    let kinds: Vec<_> = mesh.conditions.iter().flatten().map(|it| it.type_.as_str()).collect();
    assert_eq!(kinds, ["Ready", "Progressing", "Degraded", "Paused", "Accepted"]);

    let shown = async |kind| world.plane.kubectl(&["get", kind, "-n", &world.namespace], "").await;
    let (meshes, functions) = (shown("fm").await?, shown("functions").await?);
    let has = |table: &str, words: &[&str]| {
        let found = words.iter().all(|word| table.split_whitespace().any(|it| it == *word));
        assert!(found, "{table}");
    };
    has(&meshes, &["NAME", "READY", "REASON", "COMPONENTS", "m", "False", "ComponentsDegraded", "0/3"]);
    has(&functions, &["PHASE", "READY", "REPLICAS", "m-shout", "Degraded", "0", "1"]);
    Ok(())
}

#[tokio::test]
async fn a_mesh_whose_pods_run_is_ready() -> Nothing {
    let world = World::new("runs").await?;
    world.apply(&three()?).await?;
    eventually(SECONDS_30, async || {
        pretend_to_run(&world.client, &world.namespace).await?;
        let status = world.get::<FunctionMesh>("m").await?.status.context("no status")?;
        ensure!(status.components.as_deref() == Some("3/3"), "{:?}", status.components);
        Ok(())
    })
    .await?;
    world.condition("m", "Ready", ("True", "ComponentsReady")).await?;
    let status = world.phase::<Function>("m-shout", Phase::Ready).await?;
    assert_eq!((status.ready_replicas, status.message), (1, None));
    assert_eq!(status.conditions["StatefulSet"].status.as_deref(), Some("True"));
    let events = world.events("FunctionMesh", "m").await?;
    assert!(events.iter().any(|event| event.starts_with("Normal ComponentsReady")), "{events:?}");
    Ok(())
}

#[tokio::test]
async fn what_leaves_the_manifest_goes_and_the_rest_stays_untouched() -> Nothing {
    let mut world = World::new("leaves").await?;
    world.apply(&three()?).await?;
    world.appears::<StatefulSet>("m-drain-sink").await?;
    world.settle().await?;
    let before =
        (world.get::<Function>("m-shout").await?, world.get::<StatefulSet>("m-shout-function").await?);

    // A mesh that lost its status still knows what is its own.
    world.stop().await?;
    let nothing = Patch::Merge(json!({ "status": null }));
    world.api::<FunctionMesh>().patch_status("m", &PatchParams::default(), &nothing).await?;
    assert_eq!(world.get::<FunctionMesh>("m").await?.status, None);
    let mut mesh = three()?;
    mesh.spec.sinks = None;
    world.apply(&mesh).await?;
    world.start().await?;
    world.gone::<Sink>("m-drain").await?;
    world.gone::<StatefulSet>("m-drain-sink").await?;
    world.gone::<Service>("m-drain-sink-headless").await?;

    let after =
        (world.get::<Function>("m-shout").await?, world.get::<StatefulSet>("m-shout-function").await?);
    assert_eq!((before.0.uid(), before.0.metadata.generation), (after.0.uid(), after.0.metadata.generation));
    assert_eq!((before.1.uid(), before.1.metadata.generation), (after.1.uid(), after.1.metadata.generation));
    let events = world.events("FunctionMesh", "m").await?;
    assert!(events.iter().any(|event| event.contains("sink m-drain deleted")), "{events:?}");
    Ok(())
}

#[tokio::test]
async fn a_renamed_component_is_a_new_one_and_the_old_one_goes() -> Nothing {
    let world = World::new("renamed").await?;
    world.apply(&three()?).await?;
    let old = world.appears::<StatefulSet>("m-shout-function").await?;
    let mut mesh = three()?;
    mesh.spec.functions.as_mut().context("functions")?[0].name = Some("cry".to_owned());
    world.apply(&mesh).await?;
    let new = world.appears::<StatefulSet>("m-cry-function").await?;
    world.gone::<Function>("m-shout").await?;
    world.gone::<StatefulSet>("m-shout-function").await?;
    assert_ne!(old.uid(), new.uid());
    eventually(SECONDS_10, async || {
        let status = world.get::<FunctionMesh>("m").await?.status.context("no status")?;
        let names: Vec<_> =
            status.function_conditions.iter().flatten().map(|(name, _)| name.as_str()).collect();
        ensure!(names == ["cry", "scream"], "{names:?}");
        Ok(())
    })
    .await
}

async fn none<K: Kind>(world: &World) -> Nothing {
    let left = world.api::<K>().list(&ListParams::default()).await?.items;
    ensure!(left.is_empty(), "{} left: {:?}", K::kind(&()), left.iter().map(K::name_any).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn with_the_mesh_all_goes() -> Nothing {
    let world = World::new("all-goes").await?;
    let mut mesh = three()?;
    mesh.spec.sources = Some(vec![fixtures::source("feed")]);
    world.apply(&mesh).await?;
    world.appears::<StatefulSet>("m-feed-source").await?;
    world.appears::<StatefulSet>("m-drain-sink").await?;
    world.delete::<FunctionMesh>("m").await?;
    eventually(SECONDS_30, async || {
        none::<Function>(&world).await?;
        none::<Source>(&world).await?;
        none::<Sink>(&world).await?;
        none::<StatefulSet>(&world).await?;
        none::<Service>(&world).await
    })
    .await?;
    // What was deleted is not made again.
    tokio::time::sleep(Duration::from_secs(1)).await;
    none::<StatefulSet>(&world).await
}
