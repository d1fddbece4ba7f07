//! Rollouts on a control plane whose StatefulSets do not repair themselves.
//!
//! With the feature gate `MaxUnavailableStatefulSet`, on by default in Kubernetes 1.35.0 to 1.35.3 and off in 1.36, a
//! pod of an old revision that never gets ready uses up the budget of unavailable pods: a `Parallel` StatefulSet never
//! replaces it, so that neither a repaired spec nor a rollback reaches it.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use function_mesh_api::Function;
use function_mesh_api::types::{Phase, RolloutState};
use function_mesh_testkit::{ControlPlane, MISSING_IMAGE, SimulatedNode, eventually};
use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::{Value, json};

use crate::harness::{Harness, TestResult};
use crate::rollout::{change, create, images, is_reported, rolls_back};

const LIMIT: Duration = Duration::from_mins(2);

/// Waits until the function has this phase and state; KWOK runs its pods.
async fn state(harness: &Harness, phase: Phase, state: RolloutState) -> TestResult {
    eventually(LIMIT, async || {
        let status = harness.get::<Function>("f").await?.status.context("no status")?;
        let rollout = status.rollout.clone().context("no rollout")?;
        let message = status.message;
        ensure!(
            status.phase == phase && rollout.state == state,
            "{}: {message:?}, {rollout:?}",
            status.phase
        );
        Ok(())
    })
    .await
}

async fn all_run(harness: &Harness, image: &str) -> TestResult {
    eventually(LIMIT, async || {
        let found = images(harness).await?;
        ensure!(found == [image, image, image], "{found:?}");
        Ok(())
    })
    .await
}

/// Both tests share a control plane, since each start of one takes seconds.
#[tokio::test]
async fn stuck_pods_are_deleted_where_statefulsets_do_not_replace_them() -> TestResult {
    let plane: &'static ControlPlane =
        Box::leak(Box::new(ControlPlane::start_with_gates("MaxUnavailableStatefulSet=true").await?));
    let _node = SimulatedNode::start(plane).await?;
    a_repaired_spec_reaches_the_stuck_pod(plane).await.context("repair")?;
    a_rollback_reaches_the_stuck_pod(plane).await.context("rollback")
}

async fn a_repaired_spec_reaches_the_stuck_pod(plane: &'static ControlPlane) -> TestResult {
    let harness = &mut Harness::on(plane, "gate-repair").await?;
    harness.start().await?;
    let waits = json!({ "progressDeadline": "10s", "minReady": "1s" });
    create(harness, 3, "good-1", waits).await?;
    state(harness, Phase::Ready, RolloutState::Complete).await?;
    let policy =
        harness.get::<StatefulSet>("f-function").await?.spec.context("no spec")?.pod_management_policy;
    assert_eq!(policy.as_deref(), Some("Parallel"));

    change(harness, json!({ "image": MISSING_IMAGE })).await?;
    state(harness, Phase::Degraded, RolloutState::Failed).await?;
    repairs(harness, "good-2", json!({ "image": "good-2" })).await?;
    state(harness, Phase::Ready, RolloutState::Complete).await?;
    harness.stop().await
}

async fn a_rollback_reaches_the_stuck_pod(plane: &'static ControlPlane) -> TestResult {
    let harness = &mut Harness::on(plane, "gate-rollback").await?;
    harness.start().await?;
    create(harness, 3, "good-1", rolls_back()).await?;
    state(harness, Phase::Ready, RolloutState::Complete).await?;
    repairs(harness, "good-1", json!({ "image": MISSING_IMAGE })).await?;
    state(harness, Phase::RolledBack, RolloutState::RolledBack).await?;
    harness.stop().await
}

/// Makes this change, and waits until the pods run this image because the operator deleted the stuck one.
#[expect(clippy::print_stdout, reason = "how long a repair takes")]
async fn repairs(harness: &Harness, image: &str, spec: Value) -> TestResult {
    let begin = Instant::now();
    change(harness, spec).await?;
    is_reported(harness, "Normal StuckPodDeleted: deleted pod f-function-").await?;
    let deleted = begin.elapsed();
    all_run(harness, image).await?;
    println!("deleted after {deleted:.0?}, all pods run {image} after {:.0?}", begin.elapsed());
    Ok(())
}
