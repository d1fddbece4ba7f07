//! Rollouts that fail, and what the operator does about them. No container runs: the image says what a pod does.

use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::types::{Phase, RolloutState, RolloutStatus};
use function_mesh_api::{Function, labels};
use function_mesh_testkit::{eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::{Harness, TestResult, texts};

pub(crate) const MINUTE: Duration = Duration::from_mins(1);

/// The policy of most tests.
pub(crate) fn rolls_back() -> Value {
    json!({ "progressDeadline": "10s", "minReady": "1s", "onFailure": "RollBack" })
}

pub(crate) async fn create(harness: &Harness, replicas: i32, image: &str, rollout: Value) -> TestResult {
    let mut spec = serde_json::to_value(fixtures::java_function("f"))?;
    (spec["image"], spec["replicas"], spec["rollout"]) = (json!(image), json!(replicas), rollout);
    let function = Box::new(fixtures::function(serde_json::from_value(spec)?)?);
    Box::pin(harness.apply(&*function)).await?;
    Ok(())
}

pub(crate) async fn change(harness: &Harness, spec: Value) -> TestResult {
    harness.patch::<Function>("f", json!({ "spec": spec })).await.map(|_| ())
}

/// Plays a kubelet: the image says what a pod does.
pub(crate) async fn play(harness: &Harness) -> TestResult {
    let api = harness.api::<Pod>();
    for pod in api.list(&ListParams::default()).await?.items {
        let image = image_of(pod.spec.as_ref().context("no spec")?);
        let wanted = status(&image);
        let now = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref()?.first());
        let is_marked = now.is_some_and(|now| now.image == image);
        if is_marked || pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let patch = json!({ "metadata": { "uid": pod.uid() }, "status": wanted });
        // It may have been deleted.
        _ = api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
    }
    Ok(())
}

pub(crate) fn image_of(spec: &k8s_openapi::api::core::v1::PodSpec) -> String {
    spec.containers.first().and_then(|container| container.image.clone()).unwrap_or_default()
}

fn status(image: &str) -> Value {
    let crashed = |code: i32, reason: &str| {
        json!({ "state": { "waiting": { "reason": "CrashLoopBackOff" } }, "restartCount": 3,
                "lastState": { "terminated": { "exitCode": code, "reason": reason } } })
    };
    let mut container = match image.split('-').next() {
        Some("missing") => {
            json!({ "state": { "waiting": { "reason": "ImagePullBackOff", "message": "not found" } } })
        }
        Some("crash") => crashed(1, "Error"),
        Some("oom") => crashed(137, "OOMKilled"),
        _ => json!({ "ready": true, "state": { "running": {} } }),
    };
    let is_ready = container["ready"] == json!(true);
    let defaults = json!({ "name": "pulsar-function", "image": image, "imageID": "none" });
    for (field, value) in defaults.as_object().into_iter().flatten() {
        container[field] = value.clone();
    }
    container["ready"] = json!(is_ready);
    container["restartCount"] = json!(container["restartCount"].as_i64().unwrap_or_default());
    json!({
        "phase": "Running",
        "conditions": [
            { "type": "PodScheduled", "status": "True" },
            // Long ago: a pod that has just become ready is not available yet.
            { "type": "Ready", "status": if is_ready { "True" } else { "False" },
              "lastTransitionTime": "2000-01-01T00:00:00Z" },
        ],
        "containerStatuses": [container],
    })
}

/// Waits until the function has this phase and state, while pods run.
pub(crate) async fn state(
    harness: &Harness,
    phase: Phase,
    state: RolloutState,
) -> anyhow::Result<RolloutStatus> {
    eventually(2 * MINUTE, async || {
        play(harness).await?;
        let status = harness.get::<Function>("f").await?.status.context("no status")?;
        let rollout = status.rollout.clone().context("no rollout")?;
        ensure!(
            status.phase == phase && rollout.state == state,
            "{}: {:?}, {rollout:?}",
            status.phase,
            status.message
        );
        Ok(rollout)
    })
    .await
}

async fn image(harness: &Harness) -> anyhow::Result<String> {
    let set = harness.get::<StatefulSet>("f-function").await?;
    Ok(image_of(set.spec.and_then(|spec| spec.template.spec).as_ref().context("no pods")?))
}

/// The images of the pods.
pub(crate) async fn images(harness: &Harness) -> anyhow::Result<Vec<String>> {
    let pods = harness.api::<Pod>().list(&ListParams::default()).await?.items;
    Ok(pods.iter().filter_map(|pod| pod.spec.as_ref()).map(image_of).collect())
}

/// Waits for an Event.
pub(crate) async fn is_reported(harness: &Harness, expected: &str) -> TestResult {
    eventually(MINUTE, async || {
        let events = harness.events("Function", "f").await?;
        ensure!(events.iter().any(|event| event.starts_with(expected)), "{events:?}");
        Ok(())
    })
    .await
}

/// Plays a kubelet until the phase is Degraded for this reason.
async fn degraded(harness: &Harness, expected: &str) -> TestResult {
    eventually(MINUTE, async || {
        play(harness).await?;
        let status = harness.get::<Function>("f").await?.status.context("no status")?;
        let message = status.message.unwrap_or_default();
        ensure!(status.phase == Phase::Degraded && message.contains(expected), "{}: {message}", status.phase);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_missing_image_is_rolled_back_once_and_the_spec_stays() -> TestResult {
    let harness = &mut Harness::new("rollback").await?;
    create(harness, 2, "good-1", rolls_back()).await?;
    let good = state(harness, Phase::Ready, RolloutState::Complete).await?;
    let writes = texts(&harness.settle().await?);
    assert!(writes.len() < 20, "{writes:?}");

    change(harness, json!({ "image": "missing-2" })).await?;
    degraded(harness, "failed to pull image").await?;
    let generation = harness.get::<Function>("f").await?.metadata.generation;
    let found = state(harness, Phase::RolledBack, RolloutState::RolledBack).await?;
    assert_eq!((found.generation, &found.good_revision), (generation, &good.good_revision));
    assert_ne!(found.failed_revision, found.good_revision);
    assert_eq!(found.reason.as_deref(), Some("RolledBack"));
    let message = found.message.context("a message")?;
    assert!(message.starts_with("no progress within 10s: pod f-function-"), "{message}");
    assert_eq!(image(harness).await?, "good-1");
    assert_eq!(harness.get::<Function>("f").await?.spec.image.as_deref(), Some("missing-2"));
    let conditions = harness.get::<Function>("f").await?.status.context("no status")?.standard_conditions;
    let ready = conditions.iter().find(|it| it.type_ == "Ready").context("no condition")?;
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "RolledBack"));
    is_reported(harness, "Warning RolledBack: generation 2 was rolled back: no progress").await?;
    eventually(MINUTE, async || {
        play(harness).await?;
        ensure!(images(harness).await? == ["good-1", "good-1"], "{:?}", images(harness).await?);
        Ok(())
    })
    .await?;
    state(harness, Phase::RolledBack, RolloutState::RolledBack).await?;

    // It stays so, whichever operator looks, and nothing is written.
    assert_eq!(harness.writes_of_restart().await?, Vec::<String>::new());
    assert_eq!(image(harness).await?, "good-1");

    // The same pods in another generation are not tried again.
    change(harness, json!({ "replicas": 3 })).await?;
    eventually(MINUTE, async || {
        play(harness).await?;
        ensure!(images(harness).await? == ["good-1", "good-1", "good-1"], "{:?}", images(harness).await?);
        Ok(())
    })
    .await?;
    let found = state(harness, Phase::RolledBack, RolloutState::RolledBack).await?;
    assert_eq!(found.generation, generation);

    // A repaired one is.
    change(harness, json!({ "image": "good-3" })).await?;
    let found = state(harness, Phase::Ready, RolloutState::Complete).await?;
    assert_eq!((image(harness).await?.as_str(), found.failed_revision), ("good-3", None));
    assert_ne!(found.good_revision, good.good_revision);
    Ok(())
}

#[tokio::test]
async fn crashes_are_rolled_back_whenever_the_operator_restarts() -> TestResult {
    let harness = &mut Harness::new("rollback-restart").await?;
    create(harness, 2, "good-1", rolls_back()).await?;
    state(harness, Phase::Ready, RolloutState::Complete).await?;
    for (bad, expected) in [("crash-2", "exited with code 1"), ("oom-3", "exceeded its memory limit")] {
        harness.restart().await?;
        change(harness, json!({ "image": bad })).await?;
        eventually(MINUTE, async || {
            ensure!(image(harness).await? == bad, "not applied");
            Ok(())
        })
        .await?;
        degraded(harness, expected).await?;
        harness.restart().await?;
        state(harness, Phase::RolledBack, RolloutState::RolledBack).await?;
        assert_eq!(image(harness).await?, "good-1");
    }
    Ok(())
}

/// The template before the last one was never good, so it is no way back.
#[tokio::test]
async fn two_bad_changes_in_a_row_lead_to_the_last_good_template() -> TestResult {
    let harness = &mut Harness::new("rollback-two").await?;
    create(harness, 1, "good-1", rolls_back()).await?;
    let good = state(harness, Phase::Ready, RolloutState::Complete).await?;
    change(harness, json!({ "image": "missing-2" })).await?;
    state(harness, Phase::Degraded, RolloutState::Progressing).await?;
    change(harness, json!({ "image": "crash-3" })).await?;
    let found = state(harness, Phase::RolledBack, RolloutState::RolledBack).await?;
    assert_eq!((found.good_revision, image(harness).await?.as_str()), (good.good_revision, "good-1"));
    Ok(())
}

/// Without `onFailure: RollBack`, with a mode that only recommends, without a good template, or while rollouts are paused.
#[tokio::test]
async fn a_failure_is_told_where_nothing_may_be_rolled_back() -> TestResult {
    let harness = &mut Harness::new("rollback-not").await?;
    create(harness, 1, "missing-0", rolls_back()).await?;
    let found = state(harness, Phase::Degraded, RolloutState::Failed).await?;
    assert!(found.message.as_ref().is_some_and(|it| it.ends_with("no earlier revision is known to be good")));
    is_reported(harness, "Warning ProgressDeadlineExceeded: no progress within 10s: pod").await?;
    let pauses = json!({ "progressDeadline": "10s", "minReady": "1s" });
    let mut recommends = rolls_back();
    recommends["mode"] = json!("Recommend");
    let mut unset = rolls_back();
    unset["mode"] = Value::Null;
    for (n, (policy, annotation, expected)) in [
        (pauses, None, "stay as they are"),
        (recommends, None, "recommended: roll back to revision f-function-"),
        (unset, Some("true"), "rollouts are paused"),
    ]
    .into_iter()
    .enumerate()
    {
        let annotations = |value| json!({ "metadata": { "annotations": { "compute.functionmesh.io/pause-rollout": value } } });
        harness.patch::<Function>("f", annotations(None::<&str>)).await?;
        let mut policy = policy;
        if policy.get("onFailure").is_none() {
            policy["onFailure"] = Value::Null;
        }
        change(harness, json!({ "rollout": policy, "image": format!("good-{n}") })).await?;
        state(harness, Phase::Ready, RolloutState::Complete).await?;
        harness.patch::<Function>("f", annotations(annotation)).await?;
        let bad = format!("missing-{n}");
        change(harness, json!({ "image": bad })).await?;
        let found = state(harness, Phase::Degraded, RolloutState::Failed).await?;
        assert!(found.message.as_ref().is_some_and(|it| it.contains(expected)), "{expected}: {found:?}");
        harness.settle().await?;
        assert_eq!(image(harness).await?, bad);
    }
    Ok(())
}

/// A StatefulSet that upstream's operator created waits for a pod that never gets ready before it repairs it.
#[tokio::test]
async fn a_pod_that_blocks_its_own_repair_is_deleted() -> TestResult {
    let harness = &mut Harness::new("unstick").await?;
    create(harness, 2, "missing-0", json!({ "progressDeadline": "10s", "minReady": "1s" })).await?;
    eventually(MINUTE, async || {
        play(harness).await?;
        ensure!(images(harness).await?.len() == 2, "no pods");
        Ok(())
    })
    .await?;
    harness.stop().await?;
    let mut ordered = harness.get::<StatefulSet>("f-function").await?;
    harness.delete::<StatefulSet>("f-function").await?;
    harness.gone::<StatefulSet>("f-function").await?;
    harness.gone::<Pod>("f-function-0").await?;
    harness.gone::<Pod>("f-function-1").await?;
    (ordered.metadata.resource_version, ordered.metadata.uid, ordered.status) = (None, None, None);
    ordered.metadata.managed_fields = None;
    ordered.spec.as_mut().context("no spec")?.pod_management_policy = Some("OrderedReady".to_owned());
    harness.create(&ordered).await?;
    harness.start().await?;
    state(harness, Phase::Degraded, RolloutState::Failed).await?;
    assert_eq!(images(harness).await?, ["missing-0"]);

    change(harness, json!({ "image": "good-1" })).await?;
    state(harness, Phase::Ready, RolloutState::Complete).await?;
    assert_eq!(images(harness).await?, ["good-1", "good-1"]);
    is_reported(
        harness,
        "Normal StuckPodDeleted: deleted pod f-function-0: it is not ready, and its revision",
    )
    .await?;
    // Another leader counts it too.
    let stateful_set = harness.get::<StatefulSet>("f-function").await?;
    let deletions = labels::annotation(&stateful_set.metadata, labels::POD_DELETIONS).context("no record")?;
    assert_eq!(deletions.split(',').count(), 1, "{deletions}");
    Ok(())
}

/// A person goes back, regardless of the policy, until the spec changes.
#[tokio::test]
async fn an_annotation_undoes_a_rollout_until_the_spec_changes() -> TestResult {
    let harness = &mut Harness::new("undo").await?;
    create(harness, 1, "good-1", json!({ "minReady": "1s" })).await?;
    let first = state(harness, Phase::Ready, RolloutState::Complete).await?.good_revision;
    change(harness, json!({ "image": "good-2" })).await?;
    let second = eventually(MINUTE, async || {
        let second = state(harness, Phase::Ready, RolloutState::Complete).await?.good_revision;
        ensure!(second != first, "not yet");
        Ok(second)
    })
    .await?;
    let (first, second) = (first.context("no revision")?, second.context("no revision")?);
    let undo = |value: Option<String>| json!({ "metadata": { "annotations": { "compute.functionmesh.io/undo-rollout": value } } });
    harness.patch::<Function>("f", undo(Some(format!("{second}/{first}")))).await?;
    let found = state(harness, Phase::RolledBack, RolloutState::RolledBack).await?;
    assert_eq!((found.failed_revision, image(harness).await?.as_str()), (Some(second.clone()), "good-1"));
    assert_eq!(harness.writes_of_restart().await?, Vec::<String>::new());

    // Without the annotation the spec is tried again; with it another spec is tried too.
    harness.patch::<Function>("f", undo(None)).await?;
    state(harness, Phase::Ready, RolloutState::Complete).await?;
    assert_eq!(image(harness).await?, "good-2");
    harness.patch::<Function>("f", undo(Some(format!("{second}/{first}")))).await?;
    state(harness, Phase::RolledBack, RolloutState::RolledBack).await?;
    change(harness, json!({ "image": "good-3" })).await?;
    state(harness, Phase::Ready, RolloutState::Complete).await?;
    assert_eq!(image(harness).await?, "good-3");
    Ok(())
}
