//! A component whose pods are evicted, or rejected by the API server, says so.

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{Function, Sink};
use function_mesh_testkit::{PATIENCE, eventually, fixtures, mark_running};
use k8s_openapi::api::core::v1::{LimitRange, Pod, ResourceQuota};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{from_value, json};

use crate::harness::{Harness, TestResult, public_case};

/// Evicts a pod as the kubelet does, and waits until it is replaced and the new one runs.
async fn evict(harness: &Harness, pod: &str) -> TestResult {
    let before = harness.appears::<Pod>(pod).await?.uid();
    let message = "Usage of EmptyDir volume \"tmp\" exceeds the limit \"5Mi\". ";
    let status = json!({ "status": { "phase": "Failed", "reason": "Evicted", "message": message } });
    harness.api::<Pod>().patch_status(pod, &PatchParams::default(), &Patch::Merge(status)).await?;
    eventually(PATIENCE, async || {
        let now = harness.get::<Pod>(pod).await?.uid();
        ensure!(now != before, "not replaced");
        mark_running(&harness.client, &harness.namespace).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn case_22_no_room_to_unpack() -> TestResult {
    let harness = Harness::new("cramped").await?;
    harness.apply(&public_case::<Sink>("22-no-room-to-unpack.yaml")?).await?;
    harness.appears::<Pod>("cramped-sink-0").await?;
    mark_running(&harness.client, &harness.namespace).await?;
    harness.phase::<Sink>("cramped", Phase::Ready).await?;
    let evicted =
        "pod cramped-sink-0 failed: Evicted: Usage of EmptyDir volume \"tmp\" exceeds the limit \"5Mi\".";
    for expected in [evicted.to_owned(), format!("{evicted}, 2 times")] {
        evict(&harness, "cramped-sink-0").await?;
        // The new pod runs, and the component is not ready all the same.
        harness.settle().await?;
        let status = harness.phase::<Sink>("cramped", Phase::Degraded).await?;
        assert_eq!(status.message, Some(expected));
        assert_eq!(status.ready_replicas, 1);
    }
    let events = harness.events("Sink", "cramped").await?;
    assert!(events.contains(&format!("Warning Degraded: {evicted}")), "{events:?}");
    // A change of the pods is a new start.
    let change =
        json!({ "spec": { "pod": { "volumes": [{ "name": "tmp", "emptyDir": { "sizeLimit": "5Gi" } }] } } });
    harness.patch::<Sink>("cramped", change).await?;
    eventually(PATIENCE, async || {
        mark_running(&harness.client, &harness.namespace).await?;
        let status = harness.get::<Sink>("cramped").await?.status.context("no status")?;
        ensure!(status.phase == Phase::Ready, "{:?}", status.message);
        Ok(())
    })
    .await
}

/// The API server's words, for a quota and a limit range; and the pods are created once there is room.
#[tokio::test]
async fn rejected_pods_are_reported_in_the_api_servers_words() -> TestResult {
    let harness = Harness::new("rejected").await?;
    let quota: ResourceQuota =
        from_value(json!({ "metadata": { "name": "q" }, "spec": { "hard": { "pods": "0" } } }))?;
    harness.create(&quota).await?;
    eventually(PATIENCE, async || {
        let quota = harness.get::<ResourceQuota>("q").await?;
        ensure!(quota.status.and_then(|status| status.used).is_some(), "not counted yet");
        Ok(())
    })
    .await?;
    harness.apply(&fixtures::function(fixtures::java_function("f"))?).await?;
    rejected(&harness, "pod is not created: pods \"f-function-0\" is forbidden: exceeded quota: q").await?;
    harness.delete::<ResourceQuota>("q").await?;
    eventually(2 * PATIENCE, async || {
        mark_running(&harness.client, &harness.namespace).await?;
        let status = harness.get::<Function>("f").await?.status.context("no status")?;
        ensure!(status.phase == Phase::Ready, "{:?}", status.message);
        Ok(())
    })
    .await?;

    let limits = json!({ "metadata": { "name": "l" },
        "spec": { "limits": [{ "type": "Container", "max": { "memory": "1Mi" } }] } });
    harness.create(&from_value::<LimitRange>(limits)?).await?;
    harness.patch::<Function>("f", json!({ "spec": { "replicas": 2 } })).await?;
    rejected(&harness, "pod is not created: pods \"f-function-1\" is forbidden: maximum memory usage").await
}

async fn rejected(harness: &Harness, expected: &str) -> TestResult {
    eventually(PATIENCE, async || {
        let status = harness.get::<Function>("f").await?.status.context("no status")?;
        let message = status.message.unwrap_or_default();
        ensure!(
            status.phase == Phase::Degraded && message.starts_with(expected),
            "{}: {message}",
            status.phase
        );
        let events = harness.events("Function", "f").await?;
        let event = format!("Warning Degraded: {expected}");
        ensure!(events.iter().any(|it| it.starts_with(&event)), "{events:?}");
        Ok(())
    })
    .await
}
