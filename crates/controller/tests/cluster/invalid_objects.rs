//! Invalid and large objects of every watched kind: they do not affect other objects.

use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{BackendConfig, BackendConfigSpec, Function, FunctionMesh, Sink, Source};
use function_mesh_testkit::{Kind, PATIENCE, eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Client;
use kube::api::{Patch, PatchParams};
use kube::core::Request;
use serde_json::{Value, from_value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::harness::{Harness, TestResult};

/// Nesting levels, above the recursion limit of any parser.
const LEVELS: usize = 160;

/// Deeply nested managedFields, as a metadata-only patch.
fn invalid_object(api_version: &str) -> Value {
    let mut deep = json!({ ".": {} });
    for _ in 0..LEVELS {
        deep = json!({ "f:a": deep });
    }
    json!({ "metadata": { "managedFields": [{
        "manager": "x", "operation": "Update", "apiVersion": api_version, "fieldsType": "FieldsV1",
        "time": "2026-01-01T00:00:00Z", "fieldsV1": { "f:spec": deep },
    }] } })
}

/// Patches an object whose response this client cannot decode.
async fn patch<K: Kind>(
    client: &Client,
    namespace: &str,
    name: &str,
    change: &Value,
) -> anyhow::Result<String> {
    let request = Request::new(K::url_path(&(), Some(namespace)));
    let request = request.patch(name, &PatchParams::default(), &Patch::Merge(change))?;
    Ok(client.request_text(request).await?)
}

async fn poison_one<K: Kind>(harness: &Harness, name: &str) -> TestResult {
    let answer =
        patch::<K>(&harness.client, &harness.namespace, name, &invalid_object(&K::api_version(&()))).await?;
    ensure!(answer.contains(&"{\"f:a\":".repeat(LEVELS)), "{} is not poisoned", K::kind(&()));
    let decoded = harness.find::<K>(name).await;
    ensure!(decoded.is_err(), "a client with recursion reads this {}: the test tests nothing", K::kind(&()));
    Ok(())
}

async fn create<K: Kind>(harness: &Harness, object: Value) -> TestResult {
    harness.create::<K>(&from_value(object)?).await?;
    Ok(())
}

/// One invalid object of each watched kind.
async fn poison_all(harness: &Harness) -> TestResult {
    harness.apply(&fixtures::function(fixtures::java_function("poison"))?).await?;
    harness.apply(&Source::new("poison", fixtures::source("poison"))).await?;
    harness.apply(&Sink::new("poison", fixtures::sink("poison"))).await?;
    harness.apply(&fixtures::mesh("poison", [fixtures::java_function("part").into()])?).await?;
    harness.apply(&BackendConfig::new("poison", BackendConfigSpec::default())).await?;
    poison_one::<Function>(harness, "poison").await?;
    poison_one::<Source>(harness, "poison").await?;
    poison_one::<Sink>(harness, "poison").await?;
    poison_one::<FunctionMesh>(harness, "poison").await?;
    poison_one::<BackendConfig>(harness, "poison").await?;
    for role in ["function", "source", "sink"] {
        let name = format!("poison-{role}-without-owner");
        let labels = json!({
            "compute.functionmesh.io/component": role, "compute.functionmesh.io/name": "missing", "owner": "missing",
        });
        let metadata = json!({ "name": name, "labels": labels });
        let pod = json!({ "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] });
        create::<Pod>(harness, json!({ "metadata": metadata, "spec": pod })).await?;
        create::<Service>(harness, json!({ "metadata": metadata, "spec": { "ports": [{ "port": 1 }] } }))
            .await?;
        let mut of_set = pod.clone();
        of_set["restartPolicy"] = json!("Always");
        create::<StatefulSet>(
            harness,
            json!({ "metadata": metadata, "spec": {
            "replicas": 0, "serviceName": "s", "selector": { "matchLabels": { "a": "b" } },
            "template": { "metadata": { "labels": { "a": "b" } }, "spec": of_set },
        } }),
        )
        .await?;
        create::<HorizontalPodAutoscaler>(harness, json!({ "metadata": metadata, "spec": {
            "maxReplicas": 2, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "none" },
        } }))
        .await?;
        create::<Job>(
            harness,
            json!({ "metadata": metadata, "spec": { "suspend": true, "template": { "spec": pod } } }),
        )
        .await?;
        poison_one::<Pod>(harness, &name).await?;
        poison_one::<Service>(harness, &name).await?;
        poison_one::<StatefulSet>(harness, &name).await?;
        poison_one::<HorizontalPodAutoscaler>(harness, &name).await?;
        poison_one::<Job>(harness, &name).await?;
    }
    Ok(())
}

/// How long another component waits for its StatefulSet.
async fn bystander(harness: &Harness, name: &str) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    harness.apply(&fixtures::function(fixtures::java_function(name))?).await?;
    harness.appears::<StatefulSet>(&format!("{name}-function")).await?;
    Ok(begun.elapsed())
}

/// Updates invalid objects until this is dropped.
struct Tenant(Vec<JoinHandle<()>>);

impl Drop for Tenant {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

fn annotate<K: Kind + 'static>(harness: &Harness, name: &str) -> JoinHandle<()> {
    let (client, namespace, name) = (harness.client.clone(), harness.namespace.clone(), name.to_owned());
    tokio::spawn(async move {
        for number in 0_u64.. {
            let change = json!({ "metadata": { "annotations": { "n": number.to_string() } } });
            _ = patch::<K>(&client, &namespace, &name, &change).await;
        }
    })
}

/// A blocked cache takes minutes or never syncs. Tests run concurrently; hack/attack measures the release build.
const SOON: Duration = Duration::from_secs(8);

#[tokio::test]
async fn invalid_object_of_each_kind_does_not_block_others() -> TestResult {
    let mut harness = Harness::without_controller("poison").await?;
    poison_all(&harness).await?;
    // Fails unless all caches sync within ten seconds.
    harness.start().await?;
    let took = bystander(&harness, "early").await?;
    ensure!(took < SOON, "after the start: {took:?}");
    let name = "poison-function-without-owner";
    let tenant = Tenant(vec![
        annotate::<Function>(&harness, "poison"),
        annotate::<Service>(&harness, name),
        annotate::<StatefulSet>(&harness, name),
        annotate::<Pod>(&harness, name),
        annotate::<HorizontalPodAutoscaler>(&harness, name),
        annotate::<BackendConfig>(&harness, "poison"),
    ]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    for number in 0..3 {
        let took = bystander(&harness, &format!("late-{number}")).await?;
        ensure!(took < SOON, "while the tenant writes: {took:?}");
    }
    drop(tenant);
    // Invalid objects are reconciled too: the fields that the controller reads are valid.
    harness.appears::<StatefulSet>("poison-function").await?;
    harness.appears::<StatefulSet>("poison-sink").await?;
    harness.appears::<Function>("poison-part").await?;
    Ok(())
}

#[tokio::test]
async fn invalid_component_and_children_are_reconciled() -> TestResult {
    let harness = Harness::new("poisoned-children").await?;
    let mut spec = fixtures::java_function("x");
    spec.cleanup_subscription = Some(true);
    let mut function = fixtures::function(spec)?;
    harness.apply(&function).await?;
    harness.appears::<StatefulSet>("x-function").await?;
    harness.settle().await?;
    poison_one::<StatefulSet>(&harness, "x-function").await?;
    poison_one::<Service>(&harness, "x-function-headless").await?;
    poison_one::<Function>(&harness, "x").await?;
    function.spec.image = Some("another:1".to_owned());
    let mut change = serde_json::to_value(&function)?;
    change["metadata"] = json!({ "name": "x" });
    patch::<Function>(&harness.client, &harness.namespace, "x", &change).await?;
    let set = Request::new(<StatefulSet as kube::Resource>::url_path(&(), Some(&harness.namespace)));
    let set = async || -> anyhow::Result<String> {
        Ok(harness.client.request_text(set.get("x-function", &kube::api::GetParams::default())?).await?)
    };
    eventually(PATIENCE, async || {
        ensure!(set().await?.contains("\"another:1\""), "its pods have the old image");
        Ok(())
    })
    .await?;
    // The controller reaches a steady state.
    harness.settle().await?;
    let request = Request::new(<Function as kube::Resource>::url_path(&(), Some(&harness.namespace)));
    let request = request.delete("x", &kube::api::DeleteParams::background())?;
    harness.client.request_text(request).await?;
    eventually(PATIENCE, async || {
        ensure!(set().await.is_err(), "the StatefulSet is there");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_objects_do_not_block_others() -> TestResult {
    let mut harness = Harness::without_controller("large").await?;
    for number in 0..4 {
        // Below the limit of a command argument, and above the size that is cached.
        let mut function = fixtures::function(fixtures::java_function(&format!("large-{number}")))?;
        function.spec.func_config = None;
        function.metadata.annotations = Some([("note".to_owned(), "x".repeat(200_000))].into());
        harness.apply(&function).await?;
    }
    let mut spec = fixtures::java_function("huge");
    spec.func_config = Some(from_value(json!({ "a": "x".repeat(1_300_000) })).context("funcConfig")?);
    harness.apply(&Function::new("huge", spec)).await?;
    harness.start().await?;
    let took = bystander(&harness, "bystander").await?;
    // A debug build takes seconds for large objects; hack/attack measures the release build.
    ensure!(took < Duration::from_secs(8), "{took:?}");
    for number in 0..4 {
        harness.appears::<StatefulSet>(&format!("large-{number}-function")).await?;
    }
    eventually(PATIENCE, async || {
        let status = harness.get::<Function>("huge").await?.status.context("no status")?;
        ensure!(matches!(status.phase, Phase::Invalid | Phase::Degraded), "{}", status.phase);
        Ok(())
    })
    .await?;
    harness.settle().await?;
    Ok(())
}
