//! Objects that no parser likes, of every kind that is watched: they are their own problem, and nobody else's.

use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{BackendConfig, BackendConfigSpec, Function, FunctionMesh, Sink, Source};
use function_mesh_testkit::{Kind, SECONDS_10, eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Client;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use serde_json::{Value, from_value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::world::{Nothing, World};

/// Levels of the poison: more than a parser with recursion takes.
const LEVELS: usize = 160;

/// Field managers whose fields are nested deep, as a change of metadata alone.
fn poison(api_version: &str) -> Value {
    let mut deep = json!({ ".": {} });
    for _ in 0..LEVELS {
        deep = json!({ "f:a": deep });
    }
    json!({ "metadata": { "managedFields": [{
        "manager": "x", "operation": "Update", "apiVersion": api_version, "fieldsType": "FieldsV1",
        "time": "2026-01-01T00:00:00Z", "fieldsV1": { "f:spec": deep },
    }] } })
}

/// Changes an object whose answer this client cannot decode.
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

async fn poison_one<K: Kind>(world: &World, name: &str) -> Nothing {
    let answer = patch::<K>(&world.client, &world.namespace, name, &poison(&K::api_version(&()))).await?;
    ensure!(answer.contains(&"{\"f:a\":".repeat(LEVELS)), "{} is not poisoned", K::kind(&()));
    let decoded = world.find::<K>(name).await;
    ensure!(decoded.is_err(), "a client with recursion reads this {}: the test tests nothing", K::kind(&()));
    Ok(())
}

async fn create<K: Kind>(world: &World, object: Value) -> Nothing {
    world.api::<K>().create(&PostParams::default(), &from_value(object)?).await?;
    Ok(())
}

/// One poisoned object of each kind that the controller watches.
async fn poison_all(world: &World) -> Nothing {
    world.apply(&fixtures::function(fixtures::java_function("poison"))?).await?;
    world.apply(&Source::new("poison", fixtures::source("poison"))).await?;
    world.apply(&Sink::new("poison", fixtures::sink("poison"))).await?;
    world.apply(&fixtures::mesh("poison", [fixtures::java_function("part").into()])?).await?;
    world.apply(&BackendConfig::new("poison", BackendConfigSpec::default())).await?;
    poison_one::<Function>(world, "poison").await?;
    poison_one::<Source>(world, "poison").await?;
    poison_one::<Sink>(world, "poison").await?;
    poison_one::<FunctionMesh>(world, "poison").await?;
    poison_one::<BackendConfig>(world, "poison").await?;
    for role in ["function", "source", "sink"] {
        let name = format!("poison-{role}-of-nobody");
        let labels = json!({
            "compute.functionmesh.io/component": role, "compute.functionmesh.io/name": "nobody", "owner": "nobody",
        });
        let metadata = json!({ "name": name, "labels": labels });
        let pod = json!({ "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] });
        create::<Pod>(world, json!({ "metadata": metadata, "spec": pod })).await?;
        create::<Service>(world, json!({ "metadata": metadata, "spec": { "ports": [{ "port": 1 }] } }))
            .await?;
        let mut of_set = pod.clone();
        of_set["restartPolicy"] = json!("Always");
        create::<StatefulSet>(
            world,
            json!({ "metadata": metadata, "spec": {
            "replicas": 0, "serviceName": "s", "selector": { "matchLabels": { "a": "b" } },
            "template": { "metadata": { "labels": { "a": "b" } }, "spec": of_set },
        } }),
        )
        .await?;
        create::<HorizontalPodAutoscaler>(world, json!({ "metadata": metadata, "spec": {
            "maxReplicas": 2, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "none" },
        } }))
        .await?;
        create::<Job>(
            world,
            json!({ "metadata": metadata, "spec": { "suspend": true, "template": { "spec": pod } } }),
        )
        .await?;
        poison_one::<Pod>(world, &name).await?;
        poison_one::<Service>(world, &name).await?;
        poison_one::<StatefulSet>(world, &name).await?;
        poison_one::<HorizontalPodAutoscaler>(world, &name).await?;
        poison_one::<Job>(world, &name).await?;
    }
    Ok(())
}

/// How long a component of somebody else waits for its StatefulSet.
async fn bystander(world: &World, name: &str) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    world.apply(&fixtures::function(fixtures::java_function(name))?).await?;
    world.appears::<StatefulSet>(&format!("{name}-function")).await?;
    Ok(begun.elapsed())
}

/// Changes poisoned objects, until this is dropped.
struct Tenant(Vec<JoinHandle<()>>);

impl Drop for Tenant {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

fn annotate<K: Kind + 'static>(world: &World, name: &str) -> JoinHandle<()> {
    let (client, namespace, name) = (world.client.clone(), world.namespace.clone(), name.to_owned());
    tokio::spawn(async move {
        for number in 0_u64.. {
            let change = json!({ "metadata": { "annotations": { "n": number.to_string() } } });
            _ = patch::<K>(&client, &namespace, &name, &change).await;
        }
    })
}

/// Without the mend it takes minutes, or for ever. Six tests share two cores here; hack/attack measures the real program.
const SOON: Duration = Duration::from_secs(8);

#[tokio::test]
async fn s1_a_poisoned_object_of_each_kind_holds_up_nobody_before_the_start_and_while_it_runs() -> Nothing {
    let mut world = World::without_controller("poison").await?;
    poison_all(&world).await?;
    // It fails unless all caches are full within ten seconds.
    world.start().await?;
    let took = bystander(&world, "early").await?;
    ensure!(took < SOON, "after the start: {took:?}");
    let name = "poison-function-of-nobody";
    let tenant = Tenant(vec![
        annotate::<Function>(&world, "poison"),
        annotate::<Service>(&world, name),
        annotate::<StatefulSet>(&world, name),
        annotate::<Pod>(&world, name),
        annotate::<HorizontalPodAutoscaler>(&world, name),
        annotate::<BackendConfig>(&world, "poison"),
    ]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    for number in 0..3 {
        let took = bystander(&world, &format!("late-{number}")).await?;
        ensure!(took < SOON, "while the tenant writes: {took:?}");
    }
    drop(tenant);
    // What is poisoned is looked after, too: nothing of it that is read is odd.
    world.appears::<StatefulSet>("poison-function").await?;
    world.appears::<StatefulSet>("poison-sink").await?;
    world.appears::<Function>("poison-part").await?;
    Ok(())
}

#[tokio::test]
async fn s1_a_component_with_poisoned_children_and_a_poisoned_self_is_reconciled_and_deleted() -> Nothing {
    let world = World::new("poisoned-children").await?;
    let mut spec = fixtures::java_function("x");
    spec.cleanup_subscription = Some(true);
    let mut function = fixtures::function(spec)?;
    world.apply(&function).await?;
    world.appears::<StatefulSet>("x-function").await?;
    world.settle().await?;
    poison_one::<StatefulSet>(&world, "x-function").await?;
    poison_one::<Service>(&world, "x-function-headless").await?;
    poison_one::<Function>(&world, "x").await?;
    function.spec.image = Some("another:1".to_owned());
    let mut change = serde_json::to_value(&function)?;
    change["metadata"] = json!({ "name": "x" });
    patch::<Function>(&world.client, &world.namespace, "x", &change).await?;
    let set = Request::new(<StatefulSet as kube::Resource>::url_path(&(), Some(&world.namespace)));
    let set = async || -> anyhow::Result<String> {
        Ok(world.client.request_text(set.get("x-function", &kube::api::GetParams::default())?).await?)
    };
    eventually(SECONDS_10, async || {
        ensure!(set().await?.contains("\"another:1\""), "its pods have the old image");
        Ok(())
    })
    .await?;
    // Nor does it write for ever.
    world.settle().await?;
    let request = Request::new(<Function as kube::Resource>::url_path(&(), Some(&world.namespace)));
    let request = request.delete("x", &kube::api::DeleteParams::background())?;
    world.client.request_text(request).await?;
    eventually(SECONDS_10, async || {
        ensure!(set().await.is_err(), "the StatefulSet is there");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_s3_objects_of_any_size_are_looked_after_and_hold_up_nobody() -> Nothing {
    let mut world = World::without_controller("large").await?;
    for number in 0..4 {
        // Far below what an argument of a command may take, and far above what a cache holds.
        let mut function = fixtures::function(fixtures::java_function(&format!("large-{number}")))?;
        function.spec.func_config = None;
        function.metadata.annotations = Some([("note".to_owned(), "x".repeat(200_000))].into());
        world.apply(&function).await?;
    }
    let mut spec = fixtures::java_function("huge");
    spec.func_config = Some(from_value(json!({ "a": "x".repeat(1_300_000) })).context("funcConfig")?);
    world.apply(&Function::new("huge", spec)).await?;
    world.start().await?;
    let took = bystander(&world, "bystander").await?;
    // A program without optimisation takes seconds for what is large; hack/attack measures the real one.
    ensure!(took < Duration::from_secs(8), "{took:?}");
    for number in 0..4 {
        world.appears::<StatefulSet>(&format!("large-{number}-function")).await?;
    }
    eventually(SECONDS_10, async || {
        let status = world.get::<Function>("huge").await?.status.context("no status")?;
        ensure!(matches!(status.phase, Phase::Invalid | Phase::Degraded), "{}", status.phase);
        Ok(())
    })
    .await?;
    world.settle().await?;
    Ok(())
}
