//! Editions of the pod template: an upgrade of the operator restarts no pod.

use anyhow::{Context, ensure};
use function_mesh_api::validate::valid_component;
use function_mesh_api::{Function, labels};
use function_mesh_testkit::{PATIENCE, eventually, fixtures};
use function_mesh_workloads::{Backends, Edition, Settings, render_edition};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::{Harness, TestResult, json as to_json};

fn template(set: &StatefulSet) -> anyhow::Result<Value> {
    Ok(to_json(set)?["spec"]["template"].clone())
}

fn default_container(set: &StatefulSet) -> anyhow::Result<bool> {
    Ok(!template(set)?["metadata"]["annotations"][labels::DEFAULT_CONTAINER].is_null())
}

/// Writes a StatefulSet as the release before editions did.
async fn as_earlier_release(harness: &Harness, name: &str) -> anyhow::Result<StatefulSet> {
    let live = harness.get::<StatefulSet>(&format!("{name}-function")).await?;
    let function = harness.get::<Function>(name).await?;
    let valid = valid_component(function).map_err(|violations| anyhow::anyhow!("{violations}"))?;
    let settings = Settings { min_ready_seconds: 0, ..Settings::default() };
    let mut set = render_edition(&valid, Backends::default(), &settings, Edition::First).stateful_set;
    let known = [labels::POD_SPEC_HASH, labels::SUBSCRIPTIONS]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), live.annotations().get(key)?.clone())));
    let mut annotations: std::collections::BTreeMap<_, _> = known.collect();
    annotations.insert(labels::APPLIED_HASH.to_owned(), "of an earlier release".to_owned());
    set.metadata.annotations = Some(annotations);
    let params = PatchParams::apply(labels::managers::WORKLOAD).force();
    let api = harness.api::<StatefulSet>();
    Ok(api.patch(&set.name_any(), &params, &Patch::Apply(&set)).await?)
}

async fn revision(harness: &Harness, name: &str) -> anyhow::Result<String> {
    eventually(PATIENCE, async || {
        let set = harness.get::<StatefulSet>(name).await?;
        let status = set.status.context("no status")?;
        ensure!(status.observed_generation == set.metadata.generation, "not observed yet");
        status.update_revision.context("no revision")
    })
    .await
}

#[tokio::test]
async fn upgrade_restarts_nobody_and_the_next_change_brings_the_new_template() -> TestResult {
    let mut harness = Harness::new("editions").await?;
    let spec = fixtures::java_function("f");
    harness.apply(&fixtures::function(spec.clone())?).await?;
    let new = harness.appears::<StatefulSet>("f-function").await?;
    assert_eq!(new.annotations()[labels::TEMPLATE_EDITION], "2");
    assert!(default_container(&new)?, "a new StatefulSet has the newest edition");
    harness.settle().await?;
    harness.stop().await?;

    let old = as_earlier_release(&harness, "f").await?;
    assert!(!default_container(&old)?);
    let before = revision(&harness, "f-function").await?;
    harness.start().await?;
    harness.settle().await?;
    let kept = harness.get::<StatefulSet>("f-function").await?;
    assert_eq!(kept.annotations()[labels::TEMPLATE_EDITION], "1");
    assert_eq!(template(&kept)?, template(&old)?, "the template is as before");
    assert_eq!(kept.spec.context("a spec")?.min_ready_seconds, Some(10));
    assert_eq!(revision(&harness, "f-function").await?, before, "no pod restarts");

    // Another operator process decides the same, and so does a change that is not one of the template.
    harness.restart().await?;
    harness.patch::<Function>("f", json!({ "spec": { "replicas": 2 } })).await?;
    harness
        .stateful_set("f-function", async |set| {
            ensure!(set.spec.as_ref().and_then(|spec| spec.replicas) == Some(2), "not scaled");
            Ok(())
        })
        .await?;
    harness.settle().await?;
    assert_eq!(revision(&harness, "f-function").await?, before, "no pod restarts");

    harness.patch::<Function>("f", json!({ "spec": { "image": "new:1" } })).await?;
    let changed = harness
        .stateful_set("f-function", async |set| {
            ensure!(set.annotations()[labels::TEMPLATE_EDITION] == "2", "the edition is old");
            ensure!(default_container(set)?, "no default container");
            Ok(())
        })
        .await?;
    assert_eq!(template(&changed)?["spec"]["containers"][0]["image"], "new:1");
    Ok(())
}
