//! Orphans with our mark are adopted: after a restore from a backup, and after `--cascade=orphan`.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use function_mesh_api::{Function, FunctionMesh, labels};
use function_mesh_testkit::{Kind, PATIENCE, eventually, fixtures, mark_running};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, PostParams, PropagationPolicy};
use serde_json::{from_value, json};

use crate::harness::{Harness, TestResult, json, public_case};

/// UIDs of the pods, by name.
async fn pods(harness: &Harness) -> anyhow::Result<BTreeMap<String, Option<String>>> {
    let pods = harness.api::<Pod>().list(&ListParams::default()).await?.items;
    Ok(pods.into_iter().map(|pod| (pod.name_any(), pod.uid())).collect())
}

/// Waits until a mesh is ready while its pods run.
async fn ready(harness: &Harness, mesh: &str) -> TestResult {
    eventually(PATIENCE, async || {
        mark_running(&harness.client, &harness.namespace).await?;
        let status = harness.get::<FunctionMesh>(mesh).await?.status.context("no status")?;
        let is_ready =
            status.conditions.iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True");
        ensure!(is_ready, "{:?}", status.conditions);
        Ok(())
    })
    .await
}

/// Removes owner references and finalizers, as a restore does.
async fn strip<K: Kind>(harness: &Harness, name: &str) -> TestResult {
    let change = json!({ "metadata": { "ownerReferences": null, "finalizers": null } });
    harness.patch::<K>(name, change).await.map(|_| ())
}

async fn orphan<K: Kind>(harness: &Harness, name: &str) -> TestResult {
    let params =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    harness.api::<K>().delete(name, &params).await?;
    harness.gone::<K>(name).await
}

/// The garbage collector discovers new kinds every 30 seconds, and until then ignores owners of these kinds. It deletes
/// an object whose owner never existed.
async fn garbage_collector(harness: &Harness) -> TestResult {
    let mut probe = fixtures::function(fixtures::java_function("probe"))?;
    probe.metadata.annotations = Some([(labels::MANAGED.to_owned(), "false".to_owned())].into());
    let owner =
        json!([{ "apiVersion": labels::API_VERSION, "kind": "FunctionMesh", "name": "none", "uid": "none" }]);
    probe.metadata.owner_references = from_value(owner)?;
    harness.create::<Function>(&probe).await?;
    eventually(PATIENCE, async || {
        ensure!(
            harness.find::<Function>("probe").await?.is_none(),
            "the garbage collector does not know the kinds"
        );
        Ok(())
    })
    .await
}

async fn is_owned<K: Kind>(harness: &Harness, name: &str, owner: &str) -> TestResult {
    eventually(PATIENCE, async || {
        let owners = harness.get::<K>(name).await?.owner_references().to_vec();
        ensure!(owners.iter().any(|it| it.uid == owner && it.controller == Some(true)), "{name}: {owners:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn case_16_restored_from_backup() -> TestResult {
    let mut harness = Harness::new("restored").await?;
    let mesh: FunctionMesh = public_case("16-restored-from-backup.yaml")?;
    harness.apply(&mesh).await?;
    ready(&harness, "restored").await?;
    harness.settle().await?;
    let before = (pods(&harness).await?, harness.get::<StatefulSet>("restored-one-function").await?);
    assert_eq!(before.0.len(), 1);

    harness.stop().await?;
    strip::<Function>(&harness, "restored-one").await?;
    strip::<StatefulSet>(&harness, "restored-one-function").await?;
    strip::<Service>(&harness, "restored-one-function-headless").await?;
    harness.start().await?;
    let mesh = harness.get::<FunctionMesh>("restored").await?;
    is_owned::<Function>(&harness, "restored-one", &mesh.uid().unwrap_or_default()).await?;
    let function = harness.get::<Function>("restored-one").await?.uid().unwrap_or_default();
    is_owned::<StatefulSet>(&harness, "restored-one-function", &function).await?;
    is_owned::<Service>(&harness, "restored-one-function-headless", &function).await?;
    ready(&harness, "restored").await?;
    let set = harness.get::<StatefulSet>("restored-one-function").await?;
    assert_eq!(set.metadata.generation, before.1.metadata.generation);
    assert_eq!(pods(&harness).await?, before.0);
    eventually(PATIENCE, async || {
        let (of_mesh, of_function) = (
            harness.events("FunctionMesh", "restored").await?,
            harness.events("Function", "restored-one").await?,
        );
        ensure!(of_mesh.contains(&"Normal Adopted: Function restored-one".to_owned()), "{of_mesh:?}");
        let expected =
            "Normal Adopted: Service restored-one-function-headless, StatefulSet restored-one-function";
        ensure!(of_function.iter().any(|event| event == expected), "{of_function:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn children_stripped_while_the_operator_runs_are_adopted() -> TestResult {
    let harness = Harness::new("stripped").await?;
    harness.apply(&fixtures::mesh("m", [fixtures::java_function("f").into()])?).await?;
    ready(&harness, "m").await?;
    harness.settle().await?;
    strip::<StatefulSet>(&harness, "m-f-function").await?;
    strip::<Function>(&harness, "m-f").await?;
    let mesh = harness.get::<FunctionMesh>("m").await?.uid().unwrap_or_default();
    let function = harness.get::<Function>("m-f").await?.uid().unwrap_or_default();
    is_owned::<Function>(&harness, "m-f", &mesh).await?;
    is_owned::<StatefulSet>(&harness, "m-f-function", &function).await
}

#[tokio::test]
async fn cascade_orphan_and_apply_again_keep_pods() -> TestResult {
    let harness = Harness::new("orphaned").await?;
    garbage_collector(&harness).await?;
    let mut function = fixtures::java_function("one");
    function.max_replicas = Some(3);
    function.replicas = Some(1);
    let mesh = fixtures::mesh("m", [function.into()])?;
    harness.apply(&mesh).await?;
    ready(&harness, "m").await?;
    harness.settle().await?;
    let (before, set) = (pods(&harness).await?, harness.get::<StatefulSet>("m-one-function").await?);
    orphan::<FunctionMesh>(&harness, "m").await?;
    orphan::<Function>(&harness, "m-one").await?;
    assert_eq!(pods(&harness).await?, before);
    // Without the autoscaler: the orphaned one would keep scaling.
    harness.apply(&fixtures::mesh("m", [fixtures::java_function("one").into()])?).await?;
    ready(&harness, "m").await?;
    let function = harness.get::<Function>("m-one").await?.uid().unwrap_or_default();
    is_owned::<StatefulSet>(&harness, "m-one-function", &function).await?;
    is_owned::<Service>(&harness, "m-one-function-headless", &function).await?;
    harness.gone::<HorizontalPodAutoscaler>("m-one-function").await?;
    assert_eq!(json(&harness.get::<StatefulSet>("m-one-function").await?.spec)?, json(&set.spec)?);
    assert_eq!(pods(&harness).await?, before);
    Ok(())
}

/// A tool restores objects with labels and annotations, as their owner: fields that the spec no longer has are removed
/// all the same.
#[tokio::test]
async fn restored_copies_belong_to_the_operator() -> TestResult {
    let mut harness = Harness::new("copies").await?;
    garbage_collector(&harness).await?;
    let mut function = fixtures::java_function("f");
    function.pod =
        from_value(json!({ "env": [{ "name": "KEEP", "value": "1" }, { "name": "DROP", "value": "1" }] }))?;
    let mesh = fixtures::mesh("m", [function.into()])?;
    harness.apply(&mesh).await?;
    ready(&harness, "m").await?;
    let (set, component) =
        (harness.get::<StatefulSet>("m-f-function").await?, harness.get::<Function>("m-f").await?);
    harness.stop().await?;
    harness.delete::<FunctionMesh>("m").await?;
    harness.gone::<StatefulSet>("m-f-function").await?;

    let tool = PostParams { field_manager: Some("velero-server".to_owned()), ..PostParams::default() };
    let copy = |meta: &kube::api::ObjectMeta| json!({ "name": meta.name, "labels": meta.labels, "annotations": meta.annotations });
    let restored = json!({ "metadata": copy(&set.metadata), "spec": set.spec });
    harness.api::<StatefulSet>().create(&tool, &from_value(restored)?).await?;
    let restored = json!({ "apiVersion": labels::API_VERSION, "kind": "Function",
        "metadata": copy(&component.metadata), "spec": component.spec });
    harness.api::<Function>().create(&tool, &from_value(restored)?).await?;
    harness.apply(&mesh).await?;
    harness.start().await?;
    ready(&harness, "m").await?;
    let after = harness.get::<StatefulSet>("m-f-function").await?;
    assert_eq!(json(&after.spec)?, json(&set.spec)?);
    assert_eq!(after.metadata.generation, Some(1));

    let mut less = fixtures::java_function("f");
    less.pod = from_value(json!({ "env": [{ "name": "KEEP", "value": "1" }] }))?;
    harness.apply(&fixtures::mesh("m", [less.into()])?).await?;
    harness
        .stateful_set("m-f-function", async |set| {
            let text = json(set)?.to_string();
            ensure!(text.contains("KEEP") && !text.contains("DROP"), "{text}");
            Ok(())
        })
        .await?;
    Ok(())
}

/// While rollouts are paused, an orphan is adopted and not changed.
#[tokio::test]
async fn paused_orphan_is_adopted_unchanged() -> TestResult {
    let mut harness = Harness::new("paused-orphan").await?;
    harness.apply(&fixtures::function(fixtures::java_function("f"))?).await?;
    harness.appears::<StatefulSet>("f-function").await?;
    harness.settle().await?;
    harness.stop().await?;
    let pause = json!({ "metadata": { "annotations": { (labels::PAUSE_ROLLOUT): "true" } } });
    harness.patch::<Function>("f", pause).await?;
    strip::<StatefulSet>(&harness, "f-function").await?;
    strip::<Service>(&harness, "f-function-headless").await?;
    let before = harness.get::<StatefulSet>("f-function").await?;
    // An upgrade that would change the pods.
    harness.options.settings.resource_labels.insert("version".to_owned(), "two".to_owned());
    harness.start().await?;
    let function = harness.get::<Function>("f").await?.uid().unwrap_or_default();
    is_owned::<StatefulSet>(&harness, "f-function", &function).await?;
    is_owned::<Service>(&harness, "f-function-headless", &function).await?;
    assert_eq!(
        harness.get::<StatefulSet>("f-function").await?.metadata.generation,
        before.metadata.generation
    );
    Ok(())
}

/// Our mark on an object of another component, or of another namespace, makes it not ours.
#[tokio::test]
async fn marked_objects_of_others_stay_foreign() -> TestResult {
    let harness = Harness::new("marked").await?;
    let foreign = |name: &str, label: &str| {
        from_value::<Service>(json!({
            "metadata": {
                "name": name,
                "labels": { (labels::COMPONENT): "function", (labels::NAME): "x", (labels::NAMESPACE): label },
                "annotations": { (labels::APPLIED_HASH): "0123456789abcdef0123456789abcdef" },
            },
            "spec": { "clusterIP": "None", "selector": { "app": "x" }, "ports": [{ "port": 1 }] },
        }))
    };
    let service = foreign("x-function-headless", "elsewhere")?;
    let before = harness.create(&service).await?;
    harness.apply(&fixtures::function(fixtures::java_function("x"))?).await?;
    let status = harness.phase::<Function>("x", function_mesh_api::types::Phase::Degraded).await?;
    let message = status.message.unwrap_or_default();
    assert!(message.contains("already exists and is not ours: it has no owner"), "{message}");
    let after = harness.get::<Service>("x-function-headless").await?;
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
    Ok(())
}
