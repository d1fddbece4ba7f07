//! Clean-up of subscriptions: shared with other components, renamed, retired.

use anyhow::{Context, ensure};
use function_mesh_api::{Function, labels};
use function_mesh_testkit::{PATIENCE, TestNamespace, eventually, fixtures, test_options};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use serde_json::{from_value, json};

use crate::deletion::{function_with_cleanup, has_event, is_up, job_appears, job_ends, targets};
use crate::harness::{Harness, TestResult, json as to_json, texts};

fn consumer(name: &str) -> anyhow::Result<Function> {
    let mut function = function_with_cleanup(name)?;
    function.spec.subscription_name = Some("shared".to_owned());
    Ok(function)
}

#[tokio::test]
async fn cleanup_keeps_subscriptions_of_other_namespaces() -> TestResult {
    let mut harness = Harness::without_controller("first").await?;
    let other = TestNamespace::new("second").await?;
    harness.options = test_options(&[&harness.namespace, &other.namespace]);
    harness.start().await?;
    let topics = |topics: &[&str]| {
        let mut function = consumer("x")?;
        function.spec.input = from_value(json!({ "topics": topics, "typeClassName": "[B" }))?;
        anyhow::Ok(function)
    };
    // The other component uses one of the two topics.
    harness.apply(&topics(&["words", "others"])?).await?;
    other.apply(&topics(&["persistent://public/default/words"])?).await?;
    is_up(&harness, "x").await?;
    harness.delete::<Function>("x").await?;
    let job = job_appears(&harness, "x-function-cleanup-").await?;
    assert_eq!(targets(&job)?, ["subscription", "shared", "persistent://public/default/others"]);
    job_ends(&harness, "x-function-cleanup-", 0).await?;
    harness.gone::<Function>("x").await?;
    let kept = format!(
        "Normal CleanupSkipped: kept subscription shared of words: used by Function {}/x",
        other.namespace
    );
    has_event(&harness, "Function", "x", &kept).await?;
    let events = harness.events("Function", "x").await?;
    assert!(
        events.iter().any(|event| event == "Normal CleanupSucceeded: removed subscription shared of others"),
        "{events:?}"
    );
    // The last component deletes the subscription.
    other.delete::<Function>("x").await?;
    eventually(PATIENCE, async || {
        let jobs = other.api::<Job>().list(&ListParams::default()).await?.items;
        let job = jobs.first().context("no Job")?;
        ensure!(targets(job)? == ["subscription", "shared", "persistent://public/default/words"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn rename_in_a_mesh_keeps_the_subscription() -> TestResult {
    let harness = Harness::new("renamed").await?;
    let mesh = |name: &str| fixtures::mesh("m", [consumer(name)?.spec.into()]);
    harness.apply(&mesh("a")?).await?;
    harness.appears::<StatefulSet>("m-a-function").await?;
    harness.settle().await?;
    harness.apply(&mesh("b")?).await?;
    harness.gone::<Function>("m-a").await?;
    let kept = format!("kept subscription shared of words: used by Function {}/m-b", harness.namespace);
    has_event(&harness, "Function", "m-a", &kept).await?;
    let writes = texts(&harness.settle().await?);
    ensure!(!writes.iter().any(|write| write.contains("jobs")), "{writes:?}");
    Ok(())
}

#[tokio::test]
async fn retired_subscriptions_are_reported_and_deleted() -> TestResult {
    let harness = Harness::new("retired").await?;
    harness.apply(&function_with_cleanup("x")?).await?;
    is_up(&harness, "x").await?;
    let mut changed = function_with_cleanup("x")?;
    changed.spec.subscription_name = Some("another".to_owned());
    harness.apply(&changed).await?;
    let retired = json!([{ "name": "public/default/x", "topic": "words" }]);
    eventually(PATIENCE, async || {
        let status = to_json(&harness.get::<Function>("x").await?)?["status"]["retiredSubscriptions"].clone();
        ensure!(status == retired, "{status}");
        Ok(())
    })
    .await?;
    has_event(
        &harness,
        "Function",
        "x",
        "Normal SubscriptionRetired: no longer consumed: subscription public/default/x of words",
    )
    .await?;
    harness.settle().await?;
    harness.patch::<Function>("x", json!({ "metadata": { "annotations": { "a": "b" } } })).await?;
    assert_eq!(texts(&harness.settle().await?), [""; 0], "nothing changed");
    // A change that was not rolled out counts too: the running pods created the subscription.
    harness
        .patch::<Function>("x", json!({ "metadata": { "annotations": { labels::PAUSE_ROLLOUT: "true" } } }))
        .await?;
    harness.settle().await?;
    harness.delete::<Function>("x").await?;
    let job = job_appears(&harness, "x-function-cleanup-").await?;
    let topic = "persistent://public/default/words";
    assert_eq!(targets(&job)?, ["subscription", "another", topic, "subscription", "public/default/x", topic]);
    Ok(())
}

#[tokio::test]
async fn retired_subscription_without_cleanup_is_reported() -> TestResult {
    let harness = Harness::new("stays").await?;
    let function = |topic: &str| {
        let mut function = fixtures::function(fixtures::java_function("x"))?;
        function.spec.input = from_value(json!({ "topics": [topic], "typeClassName": "[B" }))?;
        anyhow::Ok(function)
    };
    harness.apply(&function("a")?).await?;
    harness.appears::<StatefulSet>("x-function").await?;
    harness.settle().await?;
    harness.apply(&function("b")?).await?;
    let expected = "Warning SubscriptionRetired: no longer consumed: subscription public/default/x of a; its backlog remains";
    has_event(&harness, "Function", "x", expected).await
}
