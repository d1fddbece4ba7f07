//! What happens in Pulsar when a component goes: subscriptions are removed when that was asked for, and the
//! deletion always comes to an end.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{Function, FunctionMesh, Role, Sink, labels};
use function_mesh_testkit::{SECONDS_10, SECONDS_30, apply, eventually, fixtures, pretend_to_end};
use function_mesh_workloads::names;
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
        job(world, name).await?;
        ensure!(pretend_to_end(&world.client, &world.namespace, name, code).await? > 0, "it has no pods");
        Ok(())
    })
    .await
}

/// The Job whose name begins so: what follows is of the component's UID.
async fn job(world: &World, name: &str) -> anyhow::Result<Job> {
    let jobs = jobs(world, name).await?;
    ensure!(jobs.len() == 1, "{} Jobs", jobs.len());
    jobs.into_iter().next().context("none")
}

async fn jobs(world: &World, name: &str) -> anyhow::Result<Vec<Job>> {
    let jobs = world.api::<Job>().list(&ListParams::default()).await?.items;
    Ok(jobs.into_iter().filter(|job| job.name_any().starts_with(name)).collect())
}

async fn job_appears(world: &World, name: &str) -> anyhow::Result<Job> {
    eventually(SECONDS_30, async || job(world, name).await).await
}

async fn no_job(world: &World, name: &str) -> Nothing {
    eventually(SECONDS_30, async || {
        let jobs = jobs(world, name).await?;
        ensure!(jobs.is_empty(), "{} Jobs", jobs.len());
        Ok(())
    })
    .await
}

/// The words of what a Job is to remove.
fn targets(job: &Job) -> anyhow::Result<Vec<String>> {
    let job = to_json(job)?;
    let command =
        job["spec"]["template"]["spec"]["containers"][0]["command"].as_array().context("a command")?;
    let words = command.iter().skip(4).filter_map(|word| word.as_str());
    Ok(words.filter(|word| !word.is_empty()).map(str::to_owned).collect())
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
    no_job(&world, "x-function-cleanup").await.context("nothing sleeps while it lives")?;

    world.delete::<Function>("x").await?;
    let job = job_appears(&world, "x-function-cleanup-").await?;
    assert_eq!(pods_of_set(&world).await?, [""; 0], "no pod consumes any more");
    assert_eq!(job.labels()[labels::OWNER], function.uid().unwrap_or_default());
    let status = world.phase::<Function>("x", Phase::Deleting).await?;
    let message = status.message.unwrap_or_default();
    assert_eq!(message, "removing subscription public/default/x of words");

    job_ends(&world, "x-function-cleanup", 0).await?;
    world.gone::<Function>("x").await?;
    says(&world, "Function", "x", "Normal CleanupSucceeded: removed subscription public/default/x").await?;
    no_job(&world, "x-function-cleanup").await?;
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
    let left = "Warning CleanupFailed: left in Pulsar: subscription public/default/x of words; \
        Job x-function-cleanup-";
    says(&world, "Function", "x", left).await?;
    says(&world, "Function", "x", "Job was active longer than specified deadline").await?;
    job(&world, "x-function-cleanup-").await.context("its log can be read for an hour").map(|_| ())
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
    job_appears(&world, "x-function-cleanup-").await?;
    world.patch::<Function>("x", annotation(Some("false"))).await?;
    world.gone::<Function>("x").await?;
    // And with it goes what was under way: it would remove the subscription after all.
    no_job(&world, "x-function-cleanup").await
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
async fn somebody_elses_job_is_neither_deleted_nor_taken_for_ours() -> Nothing {
    let world = World::new("foreign-job").await?;
    let function = world.apply(&cleaned("x")?).await?;
    is_up(&world, "x").await?;
    let uid = function.uid().context("no UID")?;
    // One under the name of before, finished, with labels as near to ours as can be; and one under the name of now.
    let foreign = async |name: &str| {
        let job: Job = from_value(json!({
            "metadata": { "name": name, "labels": {
                labels::OWNER: uid, labels::COMPONENT: "function", labels::NAME: "x", labels::APP_NAME: name,
                labels::NAMESPACE: world.namespace,
            } },
            "spec": { "template": { "spec": {
                "restartPolicy": "Never", "containers": [{ "name": "report", "image": "i" }],
            } } },
        }))?;
        anyhow::Ok(world.api::<Job>().create(&PostParams::default(), &job).await?)
    };
    let finished = foreign("x-function-cleanup").await?;
    job_ends(&world, "x-function-cleanup", 0).await?;
    let name = names::cleanup_job("x", Role::Function, Some(&uid));
    let taken = foreign(&name).await?;
    world.delete::<Function>("x").await?;
    world.gone::<Function>("x").await?;
    let told = format!(
        "Warning CleanupFailed: left in Pulsar: subscription public/default/x of words; Job {name:?} exists and is not ours"
    );
    says(&world, "Function", "x", &told).await?;
    for job in [finished, taken] {
        let live = world.get::<Job>(&job.name_any()).await?;
        assert_eq!((live.uid(), live.metadata.deletion_timestamp), (job.uid(), None));
    }
    Ok(())
}

#[tokio::test]
async fn a_left_over_job_of_an_earlier_object_ends_before_new_pods_start() -> Nothing {
    let world = World::new("left-over").await?;
    world.apply(&cleaned("x")?).await?;
    is_up(&world, "x").await?;
    world.delete::<Function>("x").await?;
    let old = job_appears(&world, "x-function-cleanup-").await?;
    world.patch::<Function>("x", json!({ "metadata": { "finalizers": null } })).await?;
    world.gone::<Function>("x").await?;
    world.settle().await?;
    world.apply(&cleaned("x")?).await?;
    // The garbage collector looks for new kinds each half a minute, and until then sees no owner of this kind go.
    eventually(3 * SECONDS_30, async || world.get::<StatefulSet>("x-function").await).await?;
    assert!(world.find::<Job>(&old.name_any()).await?.is_none(), "it would remove the new subscription");
    let writes = texts(&world.settle().await?);
    let place = |part: &str| writes.iter().position(|write| write.contains(part));
    let (deleted, made) = (place("DELETE jobs"), place("statefulsets x-function"));
    ensure!(deleted.is_some() && deleted < made, "{writes:?}");
    says(&world, "Function", "x", "Warning CleanupCancelled: stopped Job x-function-cleanup-").await
}

fn reader(name: &str) -> anyhow::Result<Function> {
    let mut function = cleaned(name)?;
    function.spec.subscription_name = Some("shared".to_owned());
    Ok(function)
}

#[tokio::test]
async fn a_twin_in_another_namespace_keeps_its_subscription() -> Nothing {
    let mut world = World::without_controller("twin-a").await?;
    let other = world.plane.namespace(&world.client, "twin-b").await?;
    world.second = Some(other.clone());
    world.start().await?;
    let topics = |topics: &[&str]| {
        let mut function = reader("x")?;
        function.spec.input = from_value(json!({ "topics": topics, "typeClassName": "[B" }))?;
        anyhow::Ok(function)
    };
    // Of two topics one is the twin's too.
    world.apply(&topics(&["words", "others"])?).await?;
    apply(&world.client, &other, &topics(&["persistent://public/default/words"])?).await?;
    is_up(&world, "x").await?;
    world.delete::<Function>("x").await?;
    let job = job_appears(&world, "x-function-cleanup-").await?;
    assert_eq!(targets(&job)?, ["subscription", "shared", "persistent://public/default/others"]);
    job_ends(&world, "x-function-cleanup-", 0).await?;
    world.gone::<Function>("x").await?;
    let kept =
        format!("Normal CleanupSkipped: kept subscription shared of words: Function {other}/x uses it");
    says(&world, "Function", "x", &kept).await?;
    let events = world.events("Function", "x").await?;
    assert!(
        events.iter().any(|event| event == "Normal CleanupSucceeded: removed subscription shared of others"),
        "{events:?}"
    );
    // The last one that reads it takes it along.
    let api = Api::<Function>::namespaced(world.client.clone(), &other);
    api.delete("x", &DeleteParams::default()).await?;
    let jobs = Api::<Job>::namespaced(world.client.clone(), &other);
    eventually(SECONDS_30, async || {
        let jobs = jobs.list(&ListParams::default()).await?.items;
        let job = jobs.first().context("no Job")?;
        ensure!(targets(job)? == ["subscription", "shared", "persistent://public/default/words"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_rename_in_a_mesh_keeps_the_subscription() -> Nothing {
    let world = World::new("renamed").await?;
    let mesh = |name: &str| fixtures::mesh("m", [reader(name)?.spec.into()]);
    world.apply(&mesh("a")?).await?;
    world.appears::<StatefulSet>("m-a-function").await?;
    world.settle().await?;
    world.apply(&mesh("b")?).await?;
    world.gone::<Function>("m-a").await?;
    let kept = format!("kept subscription shared of words: Function {}/m-b uses it", world.namespace);
    says(&world, "Function", "m-a", &kept).await?;
    let writes = texts(&world.settle().await?);
    ensure!(!writes.iter().any(|write| write.contains("jobs")), "{writes:?}");
    Ok(())
}

#[tokio::test]
async fn subscriptions_of_before_are_in_the_status_and_go_at_the_end() -> Nothing {
    let world = World::new("retired").await?;
    world.apply(&cleaned("x")?).await?;
    is_up(&world, "x").await?;
    let mut changed = cleaned("x")?;
    changed.spec.subscription_name = Some("another".to_owned());
    world.apply(&changed).await?;
    let retired = json!([{ "name": "public/default/x", "topic": "words" }]);
    eventually(SECONDS_10, async || {
        let status = to_json(&world.get::<Function>("x").await?)?["status"]["retiredSubscriptions"].clone();
        ensure!(status == retired, "{status}");
        Ok(())
    })
    .await?;
    says(
        &world,
        "Function",
        "x",
        "Normal SubscriptionRetired: no longer read: subscription public/default/x of words",
    )
    .await?;
    world.settle().await?;
    world.patch::<Function>("x", json!({ "metadata": { "annotations": { "a": "b" } } })).await?;
    assert_eq!(texts(&world.settle().await?), [""; 0], "nothing changed");
    // A change that is not rolled out any more counts as well: what ran is what subscribed.
    world
        .patch::<Function>("x", json!({ "metadata": { "annotations": { labels::PAUSE_ROLLOUT: "true" } } }))
        .await?;
    world.settle().await?;
    world.delete::<Function>("x").await?;
    let job = job_appears(&world, "x-function-cleanup-").await?;
    let topic = "persistent://public/default/words";
    assert_eq!(targets(&job)?, ["subscription", "another", topic, "subscription", "public/default/x", topic]);
    Ok(())
}

#[tokio::test]
async fn a_subscription_that_stays_without_a_reader_is_told() -> Nothing {
    let world = World::new("stays").await?;
    let function = |topic: &str| {
        let mut function = fixtures::function(fixtures::java_function("x"))?;
        function.spec.input = from_value(json!({ "topics": [topic], "typeClassName": "[B" }))?;
        anyhow::Ok(function)
    };
    world.apply(&function("a")?).await?;
    world.appears::<StatefulSet>("x-function").await?;
    world.settle().await?;
    world.apply(&function("b")?).await?;
    let told = "Warning SubscriptionRetired: no longer read: subscription public/default/x of a; it keeps its backlog";
    says(&world, "Function", "x", told).await
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
    no_job(&world, "x-function-cleanup").await
}

#[tokio::test]
async fn a_deletion_goes_on_where_another_controller_left_it() -> Nothing {
    let mut world = World::new("goes-on").await?;
    world.apply(&cleaned("x")?).await?;
    is_up(&world, "x").await?;
    world.stop().await?;
    world.delete::<Function>("x").await?;
    world.start().await?;
    let job = job_appears(&world, "x-function-cleanup-").await?;
    world.stop().await?;
    job_ends(&world, "x-function-cleanup-", 0).await?;
    world.recorder.take();
    world.start().await?;
    world.gone::<Function>("x").await?;
    let writes = texts(&world.settle().await?);
    let mut counted = BTreeMap::new();
    for write in &writes {
        *counted.entry(write.as_str()).or_insert(0) += 1;
    }
    let deleted = format!("DELETE jobs {}", job.name_any());
    assert_eq!(counted, BTreeMap::from([("PATCH functions x", 1), (deleted.as_str(), 1)]), "{writes:?}");
    assert_eq!(job.spec.context("no spec")?.ttl_seconds_after_finished, Some(3600));
    Ok(())
}
