//! What happens in Pulsar when a component goes: subscriptions are removed when that was asked for, and the
//! deletion always comes to an end.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{Function, FunctionMesh, Sink, labels};
use function_mesh_testkit::{SECONDS_10, SECONDS_30, eventually, fixtures, pretend_to_end};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{from_value, json};

use crate::world::{Nothing, World, json as to_json, texts};

fn cleaned(name: &str) -> anyhow::Result<Function> {
    let mut spec = fixtures::java_function(name);
    spec.cleanup_subscription = Some(true);
    fixtures::function(spec)
}

/// Waits until a function is there with its pods and the finalizer.
async fn is_up(world: &World, name: &str) -> anyhow::Result<Function> {
    world.appears::<StatefulSet>(&format!("{name}-function")).await?;
    world.settle().await?;
    let function = world.get::<Function>(name).await?;
    ensure!(function.finalizers() == [labels::CLEANUP_FINALIZER], "{:?}", function.finalizers());
    Ok(function)
}

/// Lets all pods of clean-up Jobs end with this exit code.
async fn job_ends(world: &World, name: &str, code: i32) -> Nothing {
    eventually(SECONDS_30, async || {
        world.get::<Job>(name).await?;
        ensure!(pretend_to_end(&world.client, &world.namespace, name, code).await? > 0, "it has no pods");
        Ok(())
    })
    .await
}

async fn pods_of_set(world: &World) -> anyhow::Result<Vec<String>> {
    let pods = world.api::<Pod>().list(&ListParams::default()).await?.items;
    Ok(pods.into_iter().map(|pod| pod.name_any()).filter(|name| !name.contains("cleanup")).collect())
}

async fn says(world: &World, kind: &str, name: &str, part: &str) -> Nothing {
    eventually(SECONDS_10, async || {
        let events = world.events(kind, name).await?;
        ensure!(events.iter().any(|event| event.contains(part)), "{events:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn pods_stop_then_a_job_cleans_up_then_the_component_goes() -> Nothing {
    let world = World::new("cleaned").await?;
    world.apply(&cleaned("x")?).await?;
    let function = is_up(&world, "x").await?;
    assert!(world.find::<Job>("x-function-cleanup").await?.is_none(), "nothing sleeps while it lives");

    world.delete::<Function>("x").await?;
    let job = world.appears::<Job>("x-function-cleanup").await?;
    assert_eq!(pods_of_set(&world).await?, [""; 0], "no pod consumes any more");
    assert_eq!(job.labels()[labels::OWNER], function.uid().unwrap_or_default());
    let status = world.phase::<Function>("x", Phase::Deleting).await?;
    let message = status.message.unwrap_or_default();
    assert_eq!(message, "removing subscription public/default/x of words");

    job_ends(&world, "x-function-cleanup", 0).await?;
    world.gone::<Function>("x").await?;
    says(&world, "Function", "x", "Normal CleanedUp: removed subscription public/default/x").await?;
    world.settle().await?;
    assert!(world.find::<StatefulSet>("x-function").await?.is_none(), "it was made again");
    Ok(())
}

#[tokio::test]
async fn a_clean_up_that_fails_is_told_with_what_is_left() -> Nothing {
    let mut world = World::without_controller("fails").await?;
    world.settings.cleanup_deadline = 3;
    world.start().await?;
    world.apply(&cleaned("x")?).await?;
    is_up(&world, "x").await?;
    world.delete::<Function>("x").await?;
    // The Job's pods never start, since there are no nodes; its own limit ends it.
    world.gone::<Function>("x").await?;
    let left = "Warning NotCleanedUp: left in Pulsar: subscription public/default/x of words; \
        Job x-function-cleanup: Job was active longer than specified deadline";
    says(&world, "Function", "x", left).await
}

#[tokio::test]
async fn whether_to_clean_up_may_be_decided_at_any_time() -> Nothing {
    let world = World::new("decided").await?;
    let annotation =
        |value: Option<&str>| json!({ "metadata": { "annotations": { labels::NEED_CLEANUP: value } } });
    let has_finalizer = async |expected: bool| {
        eventually(SECONDS_10, async || {
            let finalizers = world.get::<Function>("x").await?.finalizers().to_vec();
            ensure!(finalizers.is_empty() != expected, "{finalizers:?}");
            Ok(())
        })
        .await
    };
    world.apply(&cleaned("x")?).await?;
    has_finalizer(true).await?;
    world.patch::<Function>("x", annotation(Some("false"))).await?;
    has_finalizer(false).await?;
    world.patch::<Function>("x", annotation(None)).await?;
    has_finalizer(true).await?;
    world.patch::<Function>("x", json!({ "spec": { "cleanupSubscription": false } })).await?;
    has_finalizer(false).await?;
    world.patch::<Function>("x", json!({ "spec": { "cleanupSubscription": true } })).await?;
    has_finalizer(true).await?;
    // Also while it is being deleted, as the way out of a clean-up that is stuck.
    world.delete::<Function>("x").await?;
    world.appears::<Job>("x-function-cleanup").await?;
    world.patch::<Function>("x", annotation(Some("false"))).await?;
    world.gone::<Function>("x").await?;
    // And with it goes what was under way: it would remove the subscription after all.
    world.gone::<Job>("x-function-cleanup").await
}

#[tokio::test]
async fn a_component_that_leaves_its_mesh_is_cleaned_up_after_and_so_is_a_whole_mesh() -> Nothing {
    let world = World::new("leaves").await?;
    let mesh = |sinks: &[&str]| {
        let sinks = sinks.iter().map(|name| {
            let mut sink = fixtures::sink(name);
            sink.cleanup_subscription = Some(true);
            sink.into()
        });
        fixtures::mesh("m", sinks)
    };
    world.apply(&mesh(&["a", "b"])?).await?;
    world.appears::<StatefulSet>("m-a-sink").await?;
    world.appears::<StatefulSet>("m-b-sink").await?;
    world.apply(&mesh(&["b"])?).await?;
    job_ends(&world, "m-a-sink-cleanup", 0).await?;
    world.gone::<Sink>("m-a").await?;
    world.delete::<FunctionMesh>("m").await?;
    job_ends(&world, "m-b-sink-cleanup", 0).await?;
    world.gone::<Sink>("m-b").await
}

#[tokio::test]
async fn what_the_original_operator_left_is_taken_over() -> Nothing {
    let mut world = World::without_controller("taken-over").await?;
    let mut old = cleaned("x")?;
    old.metadata.finalizers =
        Some(vec![labels::LEGACY_CLEANUP_FINALIZER.to_owned(), "others.example/own".to_owned()]);
    let old = world.api::<Function>().create(&PostParams::default(), &old).await?;
    let labels = json!({
        labels::APP_NAME: "x-function", labels::COMPONENT: "function", labels::NAME: "x", labels::OWNER: old.uid(),
    });
    let container = json!({ "name": "cleanup", "image": "i", "command": ["sleep", "infinity"] });
    let sleeping: Job = from_value(json!({
        "metadata": { "name": "x-function-cleanup", "labels": labels },
        "spec": { "template": { "metadata": { "labels": labels },
            "spec": { "restartPolicy": "OnFailure", "containers": [container] } } },
    }))?;
    world.api::<Job>().create(&PostParams::default(), &sleeping).await?;
    world.start().await?;
    world.gone::<Job>("x-function-cleanup").await?;
    eventually(SECONDS_10, async || {
        let finalizers = world.get::<Function>("x").await?.finalizers().to_vec();
        ensure!(finalizers == ["others.example/own", labels::CLEANUP_FINALIZER], "{finalizers:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_job_of_that_name_that_is_not_ours_is_not_touched() -> Nothing {
    let mut world = World::without_controller("foreign-job").await?;
    world.settings.cleanup_deadline = 1;
    world.start().await?;
    let container = json!({ "name": "c", "image": "i" });
    let foreign: Job = from_value(json!({
        "metadata": { "name": "x-function-cleanup" },
        "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [container] } } },
    }))?;
    let foreign = world.api::<Job>().create(&PostParams::default(), &foreign).await?;
    world.apply(&cleaned("x")?).await?;
    is_up(&world, "x").await?;
    world.delete::<Function>("x").await?;
    world.gone::<Function>("x").await?;
    says(&world, "Function", "x", "Job \"x-function-cleanup\" exists and is not ours").await?;
    assert_eq!(world.get::<Job>("x-function-cleanup").await?.uid(), foreign.uid());
    Ok(())
}

#[tokio::test]
async fn a_namespace_goes_without_delay() -> Nothing {
    let world = World::new("namespace").await?;
    world.apply(&cleaned("x")?).await?;
    is_up(&world, "x").await?;
    let namespaces = Api::<Namespace>::all(world.client.clone());
    namespaces.delete(&world.namespace, &DeleteParams::default()).await?;
    eventually(SECONDS_30, async || {
        let there = namespaces.get_opt(&world.namespace).await?;
        ensure!(there.is_none(), "{:?}", there.and_then(|namespace| namespace.status));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn children_may_outlive_a_component_on_request() -> Nothing {
    let world = World::new("orphans").await?;
    world.apply(&cleaned("x")?).await?;
    is_up(&world, "x").await?;
    world.api::<Function>().delete("x", &DeleteParams::orphan()).await?;
    // The garbage collector gets to know new kinds every 30 seconds, and leaves children only of those it knows.
    eventually(SECONDS_30 * 2, async || {
        let there = world.find::<Function>("x").await?;
        ensure!(there.is_none(), "held by {:?}", there.map(|it| it.finalizers().to_vec()));
        Ok(())
    })
    .await?;
    world.settle().await?;
    let set = to_json(&world.get::<StatefulSet>("x-function").await?)?;
    assert_eq!(set["metadata"]["deletionTimestamp"], json!(null));
    assert!(world.find::<Job>("x-function-cleanup").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_deletion_goes_on_where_another_controller_left_it() -> Nothing {
    let mut world = World::new("goes-on").await?;
    world.apply(&cleaned("x")?).await?;
    is_up(&world, "x").await?;
    world.stop().await?;
    world.delete::<Function>("x").await?;
    world.start().await?;
    world.appears::<Job>("x-function-cleanup").await?;
    world.stop().await?;
    job_ends(&world, "x-function-cleanup", 0).await?;
    world.recorder.take();
    world.start().await?;
    world.gone::<Function>("x").await?;
    let writes = texts(&world.settle().await?);
    let mut counted = BTreeMap::new();
    for write in &writes {
        *counted.entry(write.as_str()).or_insert(0) += 1;
    }
    assert_eq!(counted, BTreeMap::from([("PATCH functions x", 1)]), "{writes:?}");
    let job = world.get::<Job>("x-function-cleanup").await?;
    assert_eq!(job.spec.context("no spec")?.ttl_seconds_after_finished, Some(3600));
    Ok(())
}
