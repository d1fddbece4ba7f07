//! Deletion: subscriptions are deleted if the spec says so, and every deletion finishes.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{Function, FunctionMesh, Role, Sink, labels};
use function_mesh_testkit::{PATIENCE, eventually, fixtures, mark_ended};
use function_mesh_workloads::names;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{from_value, json};

use crate::harness::{Harness, TestResult, json as to_json, public_case, texts};

pub(crate) fn function_with_cleanup(name: &str) -> anyhow::Result<Function> {
    let mut spec = fixtures::java_function(name);
    spec.cleanup_subscription = Some(true);
    fixtures::function(spec)
}

/// Waits until a function exists with its pods and the finalizer.
pub(crate) async fn is_up(harness: &Harness, name: &str) -> anyhow::Result<Function> {
    harness.appears::<StatefulSet>(&format!("{name}-function")).await?;
    harness.settle().await?;
    let function = harness.get::<Function>(name).await?;
    ensure!(function.finalizers() == [labels::CLEANUP_FINALIZER], "{:?}", function.finalizers());
    Ok(function)
}

/// Sets the exit code of all pods of clean-up Jobs.
pub(crate) async fn job_ends(harness: &Harness, name: &str, code: i32) -> TestResult {
    eventually(PATIENCE, async || {
        job(harness, name).await?;
        ensure!(mark_ended(&harness.client, &harness.namespace, name, code).await? > 0, "it has no pods");
        Ok(())
    })
    .await
}

/// The Job with this name prefix; the rest of the name is derived from the component's UID.
pub(crate) async fn job(harness: &Harness, name: &str) -> anyhow::Result<Job> {
    let jobs = jobs(harness, name).await?;
    ensure!(jobs.len() == 1, "{} Jobs", jobs.len());
    jobs.into_iter().next().context("none")
}

pub(crate) async fn jobs(harness: &Harness, name: &str) -> anyhow::Result<Vec<Job>> {
    let jobs = harness.api::<Job>().list(&ListParams::default()).await?.items;
    Ok(jobs.into_iter().filter(|job| job.name_any().starts_with(name)).collect())
}

pub(crate) async fn job_appears(harness: &Harness, name: &str) -> anyhow::Result<Job> {
    eventually(PATIENCE, async || job(harness, name).await).await
}

pub(crate) async fn no_job(harness: &Harness, name: &str) -> TestResult {
    eventually(PATIENCE, async || {
        let jobs = jobs(harness, name).await?;
        ensure!(jobs.is_empty(), "{} Jobs", jobs.len());
        Ok(())
    })
    .await
}

/// The arguments of a Job: what it deletes.
pub(crate) fn targets(job: &Job) -> anyhow::Result<Vec<String>> {
    let job = to_json(job)?;
    let command =
        job["spec"]["template"]["spec"]["containers"][0]["command"].as_array().context("a command")?;
    let words = command.iter().skip(4).filter_map(|word| word.as_str());
    Ok(words.filter(|word| !word.is_empty()).map(str::to_owned).collect())
}

async fn component_pods(harness: &Harness) -> anyhow::Result<Vec<String>> {
    let pods = harness.api::<Pod>().list(&ListParams::default()).await?.items;
    Ok(pods.into_iter().map(|pod| pod.name_any()).filter(|name| !name.contains("cleanup")).collect())
}

pub(crate) async fn has_event(harness: &Harness, kind: &str, name: &str, part: &str) -> TestResult {
    eventually(PATIENCE, async || {
        let events = harness.events(kind, name).await?;
        ensure!(events.iter().any(|event| event.contains(part)), "{events:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn deletes_pods_then_subscriptions_then_the_component() -> TestResult {
    let harness = Harness::new("cleaned").await?;
    harness.apply(&function_with_cleanup("x")?).await?;
    let function = is_up(&harness, "x").await?;
    no_job(&harness, "x-function-cleanup").await.context("no Job while it exists")?;

    harness.delete::<Function>("x").await?;
    let job = job_appears(&harness, "x-function-cleanup-").await?;
    assert_eq!(component_pods(&harness).await?, [""; 0], "no pod consumes any more");
    assert_eq!(job.labels()[labels::OWNER], function.uid().unwrap_or_default());
    // The Job comes first.
    eventually(PATIENCE, async || {
        let status = harness.get::<Function>("x").await?.status.context("no status")?;
        let message = status.message.unwrap_or_default();
        ensure!(status.phase == Phase::Deleting, "{}", status.phase);
        ensure!(message == "removing subscription public/default/x of words", "{message}");
        Ok(())
    })
    .await?;

    job_ends(&harness, "x-function-cleanup", 0).await?;
    harness.gone::<Function>("x").await?;
    has_event(&harness, "Function", "x", "Normal CleanupSucceeded: removed subscription public/default/x")
        .await?;
    no_job(&harness, "x-function-cleanup").await?;
    harness.settle().await?;
    assert!(harness.find::<StatefulSet>("x-function").await?.is_none(), "it was recreated");
    Ok(())
}

#[tokio::test]
async fn failed_cleanup_is_reported_with_its_subscriptions() -> TestResult {
    let mut harness = Harness::without_controller("fails").await?;
    harness.options.settings.cleanup_deadline = 3;
    harness.start().await?;
    harness.apply(&function_with_cleanup("x")?).await?;
    is_up(&harness, "x").await?;
    harness.delete::<Function>("x").await?;
    // The Job's pods never start, since there are no nodes; its own deadline ends it.
    harness.gone::<Function>("x").await?;
    let left = "Warning CleanupFailed: subscriptions not deleted: subscription public/default/x of words; \
        Job x-function-cleanup-";
    has_event(&harness, "Function", "x", left).await?;
    has_event(&harness, "Function", "x", "Job was active longer than specified deadline").await?;
    job(&harness, "x-function-cleanup-").await.context("its log is kept for a while").map(|_| ())
}

#[tokio::test]
async fn cleanup_can_be_toggled_until_it_runs() -> TestResult {
    let harness = Harness::new("decided").await?;
    let annotation =
        |value: Option<&str>| json!({ "metadata": { "annotations": { labels::NEED_CLEANUP: value } } });
    let has_finalizer = async |expected: bool| {
        eventually(PATIENCE, async || {
            let finalizers = harness.get::<Function>("x").await?.finalizers().to_vec();
            ensure!(finalizers.is_empty() != expected, "{finalizers:?}");
            Ok(())
        })
        .await
    };
    harness.apply(&function_with_cleanup("x")?).await?;
    has_finalizer(true).await?;
    harness.patch::<Function>("x", annotation(Some("false"))).await?;
    has_finalizer(false).await?;
    harness.patch::<Function>("x", annotation(None)).await?;
    has_finalizer(true).await?;
    harness.patch::<Function>("x", json!({ "spec": { "cleanupSubscription": false } })).await?;
    has_finalizer(false).await?;
    harness.patch::<Function>("x", json!({ "spec": { "cleanupSubscription": true } })).await?;
    has_finalizer(true).await?;
    // Even during the deletion, as a way out of a stuck clean-up.
    harness.delete::<Function>("x").await?;
    job_appears(&harness, "x-function-cleanup-").await?;
    harness.patch::<Function>("x", annotation(Some("false"))).await?;
    harness.gone::<Function>("x").await?;
    // The running Job is deleted: otherwise it would delete the subscription after all.
    no_job(&harness, "x-function-cleanup").await
}

#[tokio::test]
async fn cleanup_runs_for_removed_components_and_meshes() -> TestResult {
    let harness = Harness::new("leaves").await?;
    let mesh = |sinks: &[&str]| {
        let sinks = sinks.iter().map(|name| {
            let mut sink = fixtures::sink(name);
            sink.cleanup_subscription = Some(true);
            sink.into()
        });
        fixtures::mesh("m", sinks)
    };
    harness.apply(&mesh(&["a", "b"])?).await?;
    harness.appears::<StatefulSet>("m-a-sink").await?;
    harness.appears::<StatefulSet>("m-b-sink").await?;
    harness.apply(&mesh(&["b"])?).await?;
    job_ends(&harness, "m-a-sink-cleanup", 0).await?;
    harness.gone::<Sink>("m-a").await?;
    harness.delete::<FunctionMesh>("m").await?;
    job_ends(&harness, "m-b-sink-cleanup", 0).await?;
    harness.gone::<Sink>("m-b").await
}

#[tokio::test]
async fn upstream_finalizer_and_job_are_replaced() -> TestResult {
    let mut harness = Harness::without_controller("taken-over").await?;
    let mut old = function_with_cleanup("x")?;
    old.metadata.finalizers =
        Some(vec![labels::LEGACY_CLEANUP_FINALIZER.to_owned(), "others.example/own".to_owned()]);
    let old = harness.create::<Function>(&old).await?;
    let labels = json!({
        labels::APP_NAME: "x-function", labels::COMPONENT: "function", labels::NAME: "x", labels::OWNER: old.uid(),
    });
    let container = json!({ "name": "cleanup", "image": "i", "command": ["sleep", "infinity"] });
    let sleeping: Job = from_value(json!({
        "metadata": { "name": "x-function-cleanup", "labels": labels },
        "spec": { "template": { "metadata": { "labels": labels },
            "spec": { "restartPolicy": "OnFailure", "containers": [container] } } },
    }))?;
    harness.create::<Job>(&sleeping).await?;
    harness.start().await?;
    harness.gone::<Job>("x-function-cleanup").await?;
    eventually(PATIENCE, async || {
        let finalizers = harness.get::<Function>("x").await?.finalizers().to_vec();
        ensure!(finalizers == ["others.example/own", labels::CLEANUP_FINALIZER], "{finalizers:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn foreign_job_is_neither_deleted_nor_adopted() -> TestResult {
    let harness = Harness::new("foreign-job").await?;
    let function = harness.apply(&function_with_cleanup("x")?).await?;
    is_up(&harness, "x").await?;
    let uid = function.uid().context("no UID")?;
    // One with the old name, finished, with labels similar to ours; and one with the current name.
    let foreign = async |name: &str| {
        let job: Job = from_value(json!({
            "metadata": { "name": name, "labels": {
                labels::OWNER: uid, labels::COMPONENT: "function", labels::NAME: "x", labels::APP_NAME: name,
                labels::NAMESPACE: harness.namespace,
            } },
            "spec": { "template": { "spec": {
                "restartPolicy": "Never", "containers": [{ "name": "report", "image": "i" }],
            } } },
        }))?;
        anyhow::Ok(harness.create::<Job>(&job).await?)
    };
    let finished = foreign("x-function-cleanup").await?;
    job_ends(&harness, "x-function-cleanup", 0).await?;
    let name = names::cleanup_job("x", Role::Function, Some(&uid));
    let taken = foreign(&name).await?;
    harness.delete::<Function>("x").await?;
    harness.gone::<Function>("x").await?;
    let expected = format!(
        "Warning CleanupFailed: subscriptions not deleted: subscription public/default/x of words; Job {name:?} already exists and is not ours"
    );
    has_event(&harness, "Function", "x", &expected).await?;
    for job in [finished, taken] {
        let live = harness.get::<Job>(&job.name_any()).await?;
        assert_eq!((live.uid(), live.metadata.deletion_timestamp), (job.uid(), None));
    }
    Ok(())
}

#[tokio::test]
async fn job_of_a_previous_object_ends_before_new_pods_start() -> TestResult {
    let harness = Harness::new("left-over").await?;
    harness.apply(&function_with_cleanup("x")?).await?;
    is_up(&harness, "x").await?;
    harness.delete::<Function>("x").await?;
    let old = job_appears(&harness, "x-function-cleanup-").await?;
    harness.patch::<Function>("x", json!({ "metadata": { "finalizers": null } })).await?;
    harness.gone::<Function>("x").await?;
    harness.settle().await?;
    harness.apply(&function_with_cleanup("x")?).await?;
    // The garbage collector discovers new kinds every 30 seconds, and until then ignores owners of this kind.
    eventually(2 * PATIENCE, async || harness.get::<StatefulSet>("x-function").await).await?;
    assert!(harness.find::<Job>(&old.name_any()).await?.is_none(), "it would remove the new subscription");
    let writes = texts(&harness.settle().await?);
    let place = |part: &str| writes.iter().position(|write| write.contains(part));
    let (deleted, created) = (place("DELETE jobs"), place("statefulsets x-function"));
    ensure!(deleted.is_some() && deleted < created, "{writes:?}");
    has_event(&harness, "Function", "x", "Warning CleanupCancelled: deleted Job x-function-cleanup-").await
}

/// A Job that its user deletes is gone at once, and its pod cleans up until its grace period is over.
#[tokio::test]
async fn case_36_left_over_job() -> TestResult {
    let harness = Harness::new("again").await?;
    let function: Function = public_case("36-left-over-job.yaml")?;
    harness.apply(&function).await?;
    is_up(&harness, "again").await?;
    harness.delete::<Function>("again").await?;
    let job = job_appears(&harness, "again-function-cleanup-").await?.name_any();
    let pod = eventually(PATIENCE, async || {
        let pods =
            harness.api::<Pod>().list(&ListParams::default().labels(&format!("job-name={job}"))).await?;
        pods.items.into_iter().next().context("no pod")
    })
    .await?
    .name_any();
    let container = json!({ "name": "cleanup", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
        "state": { "running": {} } });
    let status = Patch::Merge(json!({ "status": { "phase": "Running", "containerStatuses": [container] } }));
    harness.api::<Pod>().patch_status(&pod, &PatchParams::default(), &status).await?;
    // As a kubelet does, the finalizer keeps the pod for a while.
    harness.patch::<Pod>(&pod, json!({ "metadata": { "finalizers": ["example.com/grace"] } })).await?;

    harness.patch::<Function>("again", json!({ "metadata": { "finalizers": null } })).await?;
    harness.delete::<Job>(&job).await?;
    harness.gone::<Job>(&job).await?;
    harness.gone::<Function>("again").await?;
    harness.apply(&function).await?;
    eventually(2 * PATIENCE, async || {
        let status = harness.get::<Function>("again").await?.status.context("no status")?;
        let message = status.message.unwrap_or_default();
        ensure!(message.contains(&format!("waiting for pod {pod}")), "{message}");
        Ok(())
    })
    .await?;
    harness.settle().await?;
    let set = harness.find::<StatefulSet>("again-function").await?;
    assert!(
        set.is_none_or(|set| set.metadata.deletion_timestamp.is_some()),
        "its pods would lose the subscription"
    );
    harness.patch::<Pod>(&pod, json!({ "metadata": { "finalizers": null } })).await?;
    // The garbage collector discovers new kinds every 30 seconds, and until then keeps the old Service.
    eventually(2 * PATIENCE, async || harness.get::<StatefulSet>("again-function").await).await?;
    Ok(())
}

#[tokio::test]
async fn namespace_deletion_is_not_delayed() -> TestResult {
    let harness = Harness::new("namespace").await?;
    harness.apply(&function_with_cleanup("x")?).await?;
    is_up(&harness, "x").await?;
    let namespaces = Api::<Namespace>::all(harness.client.clone());
    namespaces.delete(&harness.namespace, &DeleteParams::default()).await?;
    eventually(PATIENCE, async || {
        let there = namespaces.get_opt(&harness.namespace).await?;
        ensure!(there.is_none(), "{:?}", there.and_then(|namespace| namespace.status));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn orphaned_children_are_kept() -> TestResult {
    let harness = Harness::new("orphans").await?;
    harness.apply(&function_with_cleanup("x")?).await?;
    is_up(&harness, "x").await?;
    harness.api::<Function>().delete("x", &DeleteParams::orphan()).await?;
    // The garbage collector discovers new kinds every 30 seconds, and orphans children of known kinds only.
    eventually(PATIENCE, async || {
        let there = harness.find::<Function>("x").await?;
        ensure!(there.is_none(), "held by {:?}", there.map(|it| it.finalizers().to_vec()));
        Ok(())
    })
    .await?;
    harness.settle().await?;
    let set = to_json(&harness.get::<StatefulSet>("x-function").await?)?;
    assert_eq!(set["metadata"]["deletionTimestamp"], json!(null));
    no_job(&harness, "x-function-cleanup").await
}

#[tokio::test]
async fn deletion_continues_after_a_restart() -> TestResult {
    let mut harness = Harness::new("goes-on").await?;
    harness.apply(&function_with_cleanup("x")?).await?;
    is_up(&harness, "x").await?;
    harness.stop().await?;
    harness.delete::<Function>("x").await?;
    harness.start().await?;
    let job = job_appears(&harness, "x-function-cleanup-").await?;
    // The status says so too, before the operator stops.
    harness.settle().await?;
    harness.stop().await?;
    job_ends(&harness, "x-function-cleanup-", 0).await?;
    // The Job controller counts the pod, too; a deletion meanwhile would be a conflict.
    harness.settle().await?;
    harness.start().await?;
    harness.gone::<Function>("x").await?;
    let writes = texts(&harness.settle().await?);
    let mut counted = BTreeMap::new();
    for write in &writes {
        *counted.entry(write.as_str()).or_insert(0) += 1;
    }
    let deleted = format!("DELETE jobs {}", job.name_any());
    assert_eq!(counted, BTreeMap::from([("PATCH functions x", 1), (deleted.as_str(), 1)]), "{writes:?}");
    assert_eq!(job.spec.context("no spec")?.ttl_seconds_after_finished, Some(600));
    Ok(())
}
