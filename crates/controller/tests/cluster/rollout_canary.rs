//! `rollout.canary`: pods of a new version one step after the other, judged by what a stand-in for their metrics says.
//!
//! All pods that report have one address, since an observer asks no loopback address: a test says which images report.

mod world;

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::Function;
use function_mesh_api::types::{CanaryState, ComponentStatus, Phase};
use function_mesh_testkit::{eventually, fixtures};
use serde_json::{Value, json};

use crate::harness::{Harness, TestResult};
use crate::rollout::play;
use crate::rollout_autoscaler::autoscaler;

use world::{ENDS, LASTS, World, steps};

/// Two steps: a test that looks at one lets it last, since a busy machine needs minutes for what takes a second here.
fn policy(on_failure: &str, min_messages: u64, durations: [&str; 2]) -> Value {
    json!({ "minReady": "1s", "progressDeadline": "1m", "onFailure": on_failure,
        "canary": { "steps": steps(durations), "analysis": { "minMessages": min_messages } } })
}

#[tokio::test]
async fn a_good_version_gets_all_pods_step_by_step() -> TestResult {
    let mut world = World::new("canary-good", policy("RollBack", 50, [LASTS; 2])).await?;
    assert_eq!(world.partition().await?.unwrap_or_default(), 0);
    world.change(json!({ "minReplicas": 1, "maxReplicas": 6 })).await?;
    autoscaler(&world.harness, None).await?;
    world.try_version("good-2", 0).await?;
    let first = world.canary(CanaryState::Analyzing, 1).await?;
    assert_eq!((first.of, first.replicas), (Some(3), Some(1)));
    world.has_images(&["good-1", "good-1", "good-1", "good-2"]).await?;
    assert_eq!(world.partition().await?, Some(3));
    autoscaler(&world.harness, Some("Disabled")).await?;
    world.durations([ENDS, LASTS]).await?;
    world.canary(CanaryState::Analyzing, 2).await?;
    // A new operator continues where the one before was.
    world.restart().await?;
    let second = world.canary(CanaryState::Analyzing, 2).await?;
    assert_eq!(second.replicas, Some(2));
    assert_eq!(world.partition().await?, Some(2));
    world.has_images(&["good-1", "good-1", "good-2", "good-2"]).await?;
    world.durations([ENDS; 2]).await?;
    world.has_images(&["good-2"; 4]).await?;
    let found = world.canary(CanaryState::Promoted, 3).await?;
    assert!(found.message.as_ref().is_some_and(|it| it.contains("0 exceptions in")), "{found:?}");
    autoscaler(&world.harness, None).await?;
    let status = world.status("ready", |status| status.phase == Phase::Ready).await?;
    assert_eq!(status.rollout.and_then(|rollout| rollout.good_revision), found.revision);
    for expected in [
        "Normal CanaryStarted: step 1 of 3, 1 pod with revision f-function-",
        "Normal CanaryStepped: step 2 of 3",
        "Normal CanaryStepped: step 3 of 3",
        "Normal CanaryPromoted: revision f-function-",
    ] {
        world.is_reported(expected).await?;
    }
    let events = world.events().await?;
    assert!(events.iter().all(|event| event.starts_with("Normal")), "{events:?}");
    assert_eq!(world.harness.writes_of_restart().await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_version_that_raises_is_rolled_back_and_not_tried_again() -> TestResult {
    let mut world = World::new("canary-bad", policy("RollBack", 50, [LASTS; 2])).await?;
    world.try_version("good-2", 30).await?;
    let status = world.status("rolled back", |status| status.phase == Phase::RolledBack).await?;
    let message = status.message.context("a message")?;
    assert!(message.contains("canary failed: ") && message.contains("(30%)"), "{message}");
    let rollout = status.rollout.context("no rollout")?;
    let canary = rollout.canary.context("no canary")?;
    assert_eq!(
        (canary.state, canary.step, &canary.revision),
        (CanaryState::Failed, Some(1), &rollout.failed_revision)
    );
    world.is_reported("Warning CanaryFailed: step 1 of 3, 1 pod with revision f-function-").await?;
    world.has_images(&["good-1"; 4]).await?;
    assert_eq!(world.partition().await?.unwrap_or_default(), 0);
    assert_eq!(world.harness.get::<Function>("f").await?.spec.image.as_deref(), Some("good-2"));
    assert_eq!(world.harness.writes_of_restart().await?, Vec::<String>::new());
    world.change(json!({ "replicas": 5 })).await?;
    world.has_images(&["good-1"; 5]).await?;
    // A person has the last word.
    world.promote(canary.revision.as_deref()).await?;
    world.canary(CanaryState::Promoted, 3).await?;
    world.has_images(&["good-2"; 5]).await
}

#[tokio::test]
async fn a_failed_canary_stays_until_a_person_promotes_it_or_the_spec_changes() -> TestResult {
    let mut world = World::new("canary-pause", policy("Pause", 50, [LASTS; 2])).await?;
    world.try_version("good-2", 30).await?;
    let failed = world.canary(CanaryState::Failed, 1).await?;
    // A pod that has yet to be scheduled is another reason.
    let is_told = |status: &ComponentStatus| {
        let end = "the pods stay as they are, since `onFailure` is `Pause`";
        status.phase == Phase::Degraded && status.message.as_ref().is_some_and(|it| it.ends_with(end))
    };
    let status = world.status("degraded", is_told).await?;
    let progressing =
        status.standard_conditions.iter().find(|it| it.type_ == "Progressing").context("none")?;
    assert_eq!((progressing.status.as_str(), progressing.reason.as_str()), ("False", "CanaryFailed"));
    // It does well now, and is not tried again.
    world.counters.percent.store(0, Ordering::Relaxed);
    world.restart().await?;
    world.counted(4).await?;
    assert_eq!(world.canary(CanaryState::Failed, 1).await?.revision, failed.revision);
    world.has_images(&["good-1", "good-1", "good-1", "good-2"]).await?;
    world.promote(failed.revision.as_deref()).await?;
    world.has_images(&["good-2"; 4]).await?;
    world.canary(CanaryState::Promoted, 3).await?;
    world.status("ready", |status| status.phase == Phase::Ready).await?;
    // The next change is another canary.
    world.try_version("good-3", 0).await?;
    let found = world.canary(CanaryState::Analyzing, 1).await?;
    assert_ne!(found.revision, failed.revision);
    world.has_images(&["good-2", "good-2", "good-2", "good-3"]).await
}

#[tokio::test]
async fn too_little_traffic_waits_while_replicas_change_and_rollouts_pause() -> TestResult {
    let mut world = World::new("canary-wait", policy("RollBack", 1_000_000_000, [ENDS; 2])).await?;
    world.try_version("good-2", 0).await?;
    let found = world.canary(CanaryState::Inconclusive, 1).await?;
    assert!(
        found.message.as_ref().is_some_and(|it| it.contains("of at least 1000000000 messages")),
        "{found:?}"
    );
    world.is_reported("Warning CanaryInconclusive: step 1 of 3").await?;
    // The pod that has the new version keeps it, although the last one is that of the step now.
    world.change(json!({ "replicas": 6 })).await?;
    world.has_images(&["good-1", "good-1", "good-1", "good-2", "good-1", "good-2"]).await?;
    assert_eq!(world.partition().await?, Some(5));
    world.change(json!({ "replicas": 3 })).await?;
    world.has_images(&["good-1", "good-1", "good-2"]).await?;
    world.canary(CanaryState::Inconclusive, 1).await?;
    // While rollouts are paused, a promotion waits.
    let pause = |value: Option<&str>| json!({ "metadata": { "annotations": { "compute.functionmesh.io/pause-rollout": value } } });
    world.harness.patch::<Function>("f", pause(Some("true"))).await?;
    world.promote(found.revision.as_deref()).await?;
    world.harness.settle().await?;
    assert_eq!(world.partition().await?, Some(2));
    world.harness.patch::<Function>("f", pause(None)).await?;
    world.has_images(&["good-2"; 3]).await?;
    let found = world.canary(CanaryState::Promoted, 3).await?;
    assert!(found.message.is_some_and(|it| it.ends_with("was promoted by a person")));
    let events = world.events().await?;
    let count = events.iter().filter(|event| event.contains("CanaryInconclusive")).count();
    // Once for each change of the pods that are judged.
    assert!((1..=3).contains(&count), "{events:?}");
    Ok(())
}

#[tokio::test]
async fn a_second_change_begins_again_and_a_change_of_the_input_is_no_canary() -> TestResult {
    let mut world = World::new("canary-two", policy("RollBack", 50, [LASTS; 2])).await?;
    world.try_version("good-2", 0).await?;
    let first = world.canary(CanaryState::Analyzing, 1).await?;
    world.try_version("good-3", 0).await?;
    world.has_images(&["good-1", "good-1", "good-1", "good-3"]).await?;
    let is_second = |status: &ComponentStatus| {
        let canary = status.rollout.as_ref().and_then(|rollout| rollout.canary.as_ref());
        canary.is_some_and(|canary| canary.step == Some(1) && canary.revision != first.revision)
    };
    world.status("the second version", is_second).await?;
    world.durations([ENDS; 2]).await?;
    world.has_images(&["good-3"; 4]).await?;
    world.canary(CanaryState::Promoted, 3).await?;

    // A new process has a new budget of Events for each object.
    world.restart().await?;
    world.change(json!({ "image": "good-4", "input": { "topics": ["another"] } })).await?;
    let status = world
        .status("skipped", |status| {
            let canary = status.rollout.as_ref().and_then(|rollout| rollout.canary.as_ref());
            canary.is_some_and(|canary| canary.state == CanaryState::Skipped)
        })
        .await?;
    let canary = status.rollout.and_then(|rollout| rollout.canary).context("no canary")?;
    assert_eq!(canary.step, None);
    world.has_images(&["good-4"; 4]).await?;
    world.is_reported("Normal CanarySkipped: revision f-function-").await
}

/// Without the observer nothing is known, and a restart of a container is a failure all the same.
#[tokio::test]
async fn without_the_observer_only_restarts_are_judged() -> TestResult {
    let mut harness = Harness::without_controller("canary-blind").await?;
    harness.start().await?;
    let mut spec = serde_json::to_value(fixtures::java_function("f"))?;
    let rollout = policy("RollBack", 50, [ENDS; 2]);
    (spec["image"], spec["replicas"], spec["rollout"]) = (json!("good-1"), json!(2), rollout);
    let function = Box::new(fixtures::function(serde_json::from_value(spec)?)?);
    Box::pin(harness.apply(&*function)).await?;
    let wait = async |what: &str, check: fn(&ComponentStatus) -> bool| {
        eventually(Duration::from_mins(2), async || {
            play(&harness).await?;
            let status = harness.get::<Function>("f").await?.status.context("no status")?;
            ensure!(check(&status), "{what}: {} {:?} {:?}", status.phase, status.message, status.rollout);
            Ok(status)
        })
        .await
    };
    wait("good", |status| status.rollout.as_ref().is_some_and(|it| it.good_revision.is_some())).await?;
    harness.patch::<Function>("f", json!({ "spec": { "image": "good-2" } })).await?;
    let canary = |status: &ComponentStatus| status.rollout.as_ref().and_then(|it| it.canary.clone());
    let found = wait("inconclusive", |status| {
        let canary = status.rollout.as_ref().and_then(|it| it.canary.as_ref());
        canary.is_some_and(|it| it.state == CanaryState::Inconclusive)
    })
    .await?;
    let message = canary(&found).and_then(|it| it.message).context("a message")?;
    assert!(message.contains("does not observe Pulsar"), "{message}");
    harness.patch::<Function>("f", json!({ "spec": { "image": "crash-3" } })).await?;
    let found = wait("rolled back", |status| status.phase == Phase::RolledBack).await?;
    let message = canary(&found).and_then(|it| it.message).context("a message")?;
    assert!(message.contains("containers restarted 3 times"), "{message}");
    Ok(())
}
