//! Pods of clean-up Jobs: beside sidecars that never end, and rejected by the API server.

use anyhow::ensure;
use function_mesh_api::Function;
use function_mesh_api::types::Phase;
use function_mesh_testkit::{PATIENCE, eventually, pretend_container_to_end};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use serde_json::{from_value, json};

use crate::deletion::{function_with_cleanup, has_event, is_up, job_appears, no_job};
use crate::harness::{Harness, TestResult};

const JOB: &str = "x-function-cleanup";

/// Waits until a Job has a pod other than `before`, and ends its container. Returns the pod's name.
async fn container_ends(harness: &Harness, before: &str, code: i32) -> anyhow::Result<String> {
    eventually(PATIENCE, async || {
        let pods = pretend_container_to_end(&harness.client, &harness.namespace, JOB, code).await?;
        let pod = pods.into_iter().find(|pod| pod != before);
        pod.ok_or_else(|| anyhow::anyhow!("no new pod"))
    })
    .await
}

#[tokio::test]
async fn cleanup_ends_with_its_container_beside_a_proxy() -> TestResult {
    let harness = Harness::new("proxied").await?;
    harness.apply(&function_with_cleanup("x")?).await?;
    is_up(&harness, "x").await?;
    harness.delete::<Function>("x").await?;
    job_appears(&harness, JOB).await?;
    // The first attempt fails, and the proxy keeps the Job from starting another pod.
    let first = container_ends(&harness, "", 1).await?;
    harness.gone::<Pod>(&first).await?;
    container_ends(&harness, &first, 0).await?;
    harness.gone::<Function>("x").await?;
    has_event(&harness, "Function", "x", "Normal CleanupSucceeded: removed subscription public/default/x")
        .await?;
    no_job(&harness, JOB).await
}

#[tokio::test]
async fn program_that_cannot_start_fails_at_once_beside_a_proxy() -> TestResult {
    let harness = Harness::new("proxied-127").await?;
    harness.apply(&function_with_cleanup("x")?).await?;
    is_up(&harness, "x").await?;
    harness.delete::<Function>("x").await?;
    job_appears(&harness, JOB).await?;
    container_ends(&harness, "", 127).await?;
    harness.gone::<Function>("x").await?;
    has_event(&harness, "Function", "x", "its program cannot be started").await
}

#[tokio::test]
async fn rejected_pods_are_reported_with_the_words_of_the_api_server() -> TestResult {
    let mut harness = Harness::without_controller("rejected").await?;
    harness.options.settings.cleanup_deadline = 15;
    harness.start().await?;
    harness.apply(&function_with_cleanup("x")?).await?;
    is_up(&harness, "x").await?;
    let quota: ResourceQuota = from_value(json!({
        "metadata": { "name": "no-pods" }, "spec": { "hard": { "pods": "0" } },
    }))?;
    harness.create(&quota).await?;
    harness.delete::<Function>("x").await?;
    eventually(PATIENCE, async || {
        let status = harness.phase::<Function>("x", Phase::Deleting).await?;
        let message = status.message.unwrap_or_default();
        ensure!(message.contains("are rejected: pods \"x-function-cleanup-"), "{message}");
        ensure!(message.contains("quota"), "{message}");
        ensure!(message.contains("; removing subscription public/default/x of words"), "{message}");
        Ok(())
    })
    .await?;
    harness.gone::<Function>("x").await?;
    has_event(&harness, "Function", "x", "Warning CleanupFailed: subscriptions not deleted").await?;
    has_event(&harness, "Function", "x", "are rejected: pods \"x-function-cleanup-").await
}
