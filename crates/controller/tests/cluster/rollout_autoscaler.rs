//! A HorizontalPodAutoscaler while a rollout fails: more replicas would be more pods that fail.

use anyhow::ensure;
use function_mesh_api::types::{Phase, RolloutState};
use function_mesh_testkit::eventually;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde_json::{Value, json};

use crate::harness::{Harness, TestResult, texts};
use crate::rollout::{MINUTE, change, create, play, state};

/// Waits until the autoscaler has this policy in both directions, while pods run.
pub(crate) async fn autoscaler(harness: &Harness, policy: Option<&str>) -> TestResult {
    eventually(MINUTE, async || {
        play(harness).await?;
        let found = harness.get::<HorizontalPodAutoscaler>("f-function").await?;
        let behavior = found.spec.and_then(|spec| spec.behavior).unwrap_or_default();
        let rules = [behavior.scale_up, behavior.scale_down];
        let found =
            rules.map(|rules| rules.and_then(|rules| rules.select_policy).filter(|it| it == "Disabled"));
        ensure!(found.iter().all(|it| it.as_deref() == policy), "{found:?}");
        Ok(())
    })
    .await
}

fn pauses() -> Value {
    json!({ "progressDeadline": "10s", "minReady": "1s" })
}

/// A good version, with an autoscaler.
async fn autoscaled(name: &str, rollout: Value) -> anyhow::Result<Harness> {
    let harness = Harness::new(name).await?;
    create(&harness, 2, "good-1", rollout).await?;
    change(&harness, json!({ "minReplicas": 1, "maxReplicas": 6 })).await?;
    state(&harness, Phase::Ready, RolloutState::Complete).await?;
    autoscaler(&harness, None).await?;
    Ok(harness)
}

#[tokio::test]
async fn an_autoscaler_waits_while_a_rollout_has_failed() -> TestResult {
    let mut harness = autoscaled("hpa-failed", pauses()).await?;
    change(&harness, json!({ "image": "crash-2" })).await?;
    state(&harness, Phase::Degraded, RolloutState::Failed).await?;
    autoscaler(&harness, Some("Disabled")).await?;
    // Another operator knows it from the status.
    assert_eq!(harness.writes_of_restart().await?, Vec::<String>::new());
    autoscaler(&harness, Some("Disabled")).await?;
    // It is no rollout: the same version still fails.
    change(&harness, json!({ "maxReplicas": 7 })).await?;
    eventually(MINUTE, async || {
        let found = harness.get::<HorizontalPodAutoscaler>("f-function").await?;
        ensure!(found.spec.is_some_and(|it| it.max_replicas == 7), "the old bounds");
        Ok(())
    })
    .await?;
    let writes = texts(&harness.settle().await?);
    let autoscalers = writes.iter().filter(|write| write.contains("horizontalpodautoscalers")).count();
    assert_eq!(autoscalers, 1, "{writes:?}");
    autoscaler(&harness, Some("Disabled")).await?;
    change(&harness, json!({ "image": "good-3" })).await?;
    state(&harness, Phase::Ready, RolloutState::Complete).await?;
    autoscaler(&harness, None).await
}

#[tokio::test]
async fn an_autoscaler_continues_where_the_policy_recommends_or_rolls_back() -> TestResult {
    let mut recommends = pauses();
    recommends["mode"] = json!("Recommend");
    let harness = autoscaled("hpa-goes-on", recommends).await?;
    change(&harness, json!({ "image": "crash-2" })).await?;
    state(&harness, Phase::Degraded, RolloutState::Failed).await?;
    harness.settle().await?;
    autoscaler(&harness, None).await?;
    let rolls_back = json!({ "mode": "Auto", "onFailure": "RollBack" });
    change(&harness, json!({ "rollout": rolls_back, "image": "good-3" })).await?;
    state(&harness, Phase::Ready, RolloutState::Complete).await?;
    change(&harness, json!({ "image": "crash-4" })).await?;
    state(&harness, Phase::RolledBack, RolloutState::RolledBack).await?;
    autoscaler(&harness, None).await
}
