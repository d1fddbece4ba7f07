//! The life of a mesh: components, pods, deletion.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{Function, FunctionMesh, Sink, Source};
use function_mesh_testkit::{Kind, PATIENCE, eventually, fixtures, mark_running};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::harness::{Harness, TestResult};

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
async fn mesh_creates_components_and_their_children() -> TestResult {
    let harness = Harness::new("becomes").await?;
    let mesh = harness.apply(&three()?).await?;
    harness.appears::<StatefulSet>("m-drain-sink").await?;
    harness.appears::<StatefulSet>("m-shout-function").await?;
    let scream = harness.appears::<StatefulSet>("m-scream-function").await?;
    let function = harness.get::<Function>("m-scream").await?;
    harness.get::<Sink>("m-drain").await?;

    assert_eq!(owner(&function)?, ("FunctionMesh".to_owned(), mesh.uid().context("no uid")?));
    assert_eq!(function.labels()["compute.functionmesh.io/mesh"], "m");
    assert_eq!(owner(&scream)?, ("Function".to_owned(), function.uid().context("no uid")?));
    let service = harness.get::<Service>("m-scream-function-headless").await?;
    assert_eq!(owner(&service)?, owner(&scream)?);
    let labels = json!(scream.labels());
    assert_eq!(labels["compute.functionmesh.io/component"], "function");
    assert_eq!(labels["compute.functionmesh.io/name"], "m-scream");

    // One field manager per purpose, so that managedFields show the origin of each field.
    harness.phase::<Function>("m-scream", Phase::Progressing).await?;
    let ours = |manager: &str, subresource: &str| (manager.to_owned(), subresource.to_owned());
    let function = harness.get::<Function>("m-scream").await?;
    let expected = [ours("functionmesh.io/mesh", ""), ours("functionmesh.io/status", "status")];
    assert_eq!(managers(&function), expected.into());
    let of_set = managers(&harness.get::<StatefulSet>("m-scream-function").await?);
    assert!(of_set.contains(&ours("functionmesh.io/workload", "")), "{of_set:?}");
    assert_eq!(managers(&service), [ours("functionmesh.io/workload", "")].into());
    let of_mesh = managers(&harness.get::<FunctionMesh>("m").await?);
    assert_eq!(of_mesh, [ours("author", ""), ours("functionmesh.io/status", "status")].into());
    Ok(())
}

#[tokio::test]
async fn status_and_printer_columns_show_observed_state() -> TestResult {
    let harness = Harness::new("status").await?;
    harness.apply(&three()?).await?;
    harness.unschedulable(3).await?;
    let status = harness.phase::<Function>("m-shout", Phase::Degraded).await?;
    let message = status.message.unwrap_or_default();
    assert!(message.starts_with("pod m-shout-function-0: unschedulable"), "{message}");
    assert_eq!((status.replicas, status.ready_replicas, status.observed_generation), (1, 0, Some(1)));
    assert_eq!(status.conditions["StatefulSet"].status.as_deref(), Some("False"));
    assert_eq!(status.conditions["Service"].status.as_deref(), Some("True"));
    assert!(status.selector.contains("compute.functionmesh.io/name=m-shout"), "{}", status.selector);

    eventually(PATIENCE, async || {
        let ready = harness.condition("m", "Ready", ("False", "ComponentsDegraded")).await?;
        ensure!(ready.message.contains("function shout: pod m-shout-function-0"), "{}", ready.message);
        Ok(())
    })
    .await?;
    let mesh = harness.get::<FunctionMesh>("m").await?.status.context("no status")?;
    assert_eq!(mesh.components.as_deref(), Some("0/3"));
    assert_eq!(mesh.observed_generation, Some(1));
    let kinds: Vec<_> = mesh.conditions.iter().flatten().map(|it| it.type_.as_str()).collect();
    assert_eq!(kinds, ["Ready", "Progressing", "Degraded", "Paused", "Accepted"]);

    let shown = async |kind| harness.plane.kubectl(&["get", kind, "-n", &harness.namespace], "").await;
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
async fn mesh_with_running_pods_is_ready() -> TestResult {
    let harness = Harness::new("runs").await?;
    harness.apply(&three()?).await?;
    eventually(PATIENCE, async || {
        mark_running(&harness.client, &harness.namespace).await?;
        let status = harness.get::<FunctionMesh>("m").await?.status.context("no status")?;
        ensure!(status.components.as_deref() == Some("3/3"), "{:?}", status.components);
        Ok(())
    })
    .await?;
    harness.condition("m", "Ready", ("True", "ComponentsReady")).await?;
    let status = harness.phase::<Function>("m-shout", Phase::Ready).await?;
    assert_eq!((status.ready_replicas, status.message), (1, None));
    assert_eq!(status.conditions["StatefulSet"].status.as_deref(), Some("True"));
    let events = harness.events("FunctionMesh", "m").await?;
    assert!(events.iter().any(|event| event.starts_with("Normal ComponentsReady")), "{events:?}");
    Ok(())
}

#[tokio::test]
async fn removed_component_is_deleted_and_others_untouched() -> TestResult {
    let mut harness = Harness::new("leaves").await?;
    harness.apply(&three()?).await?;
    harness.appears::<StatefulSet>("m-drain-sink").await?;
    harness.settle().await?;
    let before =
        (harness.get::<Function>("m-shout").await?, harness.get::<StatefulSet>("m-shout-function").await?);

    // A mesh without its status still knows its components.
    harness.stop().await?;
    let nothing = Patch::Merge(json!({ "status": null }));
    harness.api::<FunctionMesh>().patch_status("m", &PatchParams::default(), &nothing).await?;
    assert_eq!(harness.get::<FunctionMesh>("m").await?.status, None);
    let mut mesh = three()?;
    mesh.spec.sinks = None;
    harness.apply(&mesh).await?;
    harness.start().await?;
    harness.gone::<Sink>("m-drain").await?;
    harness.gone::<StatefulSet>("m-drain-sink").await?;
    harness.gone::<Service>("m-drain-sink-headless").await?;

    let after =
        (harness.get::<Function>("m-shout").await?, harness.get::<StatefulSet>("m-shout-function").await?);
    assert_eq!((before.0.uid(), before.0.metadata.generation), (after.0.uid(), after.0.metadata.generation));
    assert_eq!((before.1.uid(), before.1.metadata.generation), (after.1.uid(), after.1.metadata.generation));
    let events = harness.events("FunctionMesh", "m").await?;
    assert!(events.iter().any(|event| event.contains("sink m-drain deleted")), "{events:?}");
    Ok(())
}

#[tokio::test]
async fn renamed_component_is_replaced() -> TestResult {
    let harness = Harness::new("renamed").await?;
    harness.apply(&three()?).await?;
    let old = harness.appears::<StatefulSet>("m-shout-function").await?;
    let mut mesh = three()?;
    mesh.spec.functions.as_mut().context("functions")?[0].name = Some("cry".to_owned());
    harness.apply(&mesh).await?;
    let new = harness.appears::<StatefulSet>("m-cry-function").await?;
    harness.gone::<Function>("m-shout").await?;
    harness.gone::<StatefulSet>("m-shout-function").await?;
    assert_ne!(old.uid(), new.uid());
    eventually(PATIENCE, async || {
        let status = harness.get::<FunctionMesh>("m").await?.status.context("no status")?;
        let names: Vec<_> =
            status.function_conditions.iter().flatten().map(|(name, _)| name.as_str()).collect();
        ensure!(names == ["cry", "scream"], "{names:?}");
        Ok(())
    })
    .await
}

async fn none<K: Kind>(harness: &Harness) -> TestResult {
    let left = harness.api::<K>().list(&ListParams::default()).await?.items;
    ensure!(left.is_empty(), "{} left: {:?}", K::kind(&()), left.iter().map(K::name_any).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn deleting_the_mesh_deletes_all_children() -> TestResult {
    let harness = Harness::new("all-goes").await?;
    let mut mesh = three()?;
    mesh.spec.sources = Some(vec![fixtures::source("feed")]);
    harness.apply(&mesh).await?;
    harness.appears::<StatefulSet>("m-feed-source").await?;
    harness.appears::<StatefulSet>("m-drain-sink").await?;
    harness.delete::<FunctionMesh>("m").await?;
    eventually(PATIENCE, async || {
        none::<Function>(&harness).await?;
        none::<Source>(&harness).await?;
        none::<Sink>(&harness).await?;
        none::<StatefulSet>(&harness).await?;
        none::<Service>(&harness).await
    })
    .await?;
    // Deleted children are not recreated: the controller hears of their deletion before it hears of another mesh.
    harness.apply(&fixtures::mesh("later", [fixtures::java_function("shout").into()])?).await?;
    harness.appears::<StatefulSet>("later-shout-function").await?;
    let sets = harness.api::<StatefulSet>().list(&ListParams::default()).await?.items;
    assert_eq!(sets.iter().map(StatefulSet::name_any).collect::<Vec<_>>(), ["later-shout-function"]);
    Ok(())
}
