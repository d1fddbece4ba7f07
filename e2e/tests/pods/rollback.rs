//! Rollouts that fail on real pods while messages flow: reported, rolled back, and not one message lost.

#![allow(clippy::print_stdout, reason = "the table is what the tests show")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use function_mesh_api::Function;
use function_mesh_api::types::{ComponentStatus, Phase, RolloutState};
use function_mesh_e2e::{DeliveryReport, Scenario, Traffic};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::time::sleep;

const TIMEOUT: Duration = Duration::from_mins(6);
/// Time without any output after which no more is expected.
const QUIET: Duration = Duration::from_secs(15);

/// A bad change, and what the status says about it.
struct Change {
    name: &'static str,
    /// Another bad change, shortly before.
    before: Option<Value>,
    spec: Value,
    reason: &'static str,
}

/// How a bad change ended.
struct Row {
    change: &'static str,
    reported: Duration,
    back: Duration,
    report: DeliveryReport,
}

#[tokio::test]
async fn a_missing_image_is_rolled_back_without_loss() -> Result<()> {
    survives(Change {
        name: "missing image",
        before: None,
        spec: json!({ "image": "localhost/not-there:1" }),
        reason: "failed to pull image",
    })
    .await
}

#[tokio::test]
async fn a_missing_class_is_rolled_back_without_loss() -> Result<()> {
    survives(Change {
        name: "missing class",
        before: None,
        spec: json!({ "className": "mark.NotThere" }),
        reason: "no progress within",
    })
    .await
}

#[tokio::test]
async fn a_memory_limit_too_low_is_rolled_back_without_loss() -> Result<()> {
    survives(Change {
        name: "memory too low",
        before: None,
        spec: json!({ "resources": { "requests": { "memory": "8Mi" }, "limits": { "memory": "8Mi" } } }),
        reason: "no progress within",
    })
    .await
}

#[tokio::test]
async fn two_bad_changes_in_a_row_are_rolled_back_without_loss() -> Result<()> {
    survives(Change {
        name: "two in a row",
        before: Some(json!({ "image": "localhost/not-there:1" })),
        spec: json!({ "className": "mark.NotThere" }),
        reason: "no progress within",
    })
    .await
}

async fn survives(change: Change) -> Result<()> {
    let scenario = change.name.replace(' ', "-");
    Scenario::run(&scenario, async |scenario| {
        let policy = json!({ "onFailure": "RollBack", "progressDeadline": "30s", "minReady": "10s" });
        let function = scenario
            .python("keeps", "mark.Mark", "in", "out")
            .with(json!({ "replicas": 2, "rollout": policy }));
        scenario.start(&function, "in", TIMEOUT).await?;
        await_state(scenario, RolloutState::Complete).await?;
        let good = images(scenario).await?;
        let traffic = Traffic::start(&scenario.pulsar, "in", Duration::from_millis(50));
        scenario
            .eventually("messages flow", TIMEOUT, async || {
                Ok(scenario.published("out").await.is_ok_and(|count| count >= 100))
            })
            .await?;

        if let Some(before) = &change.before {
            scenario.apply::<Function>(function.clone().with(before.clone()).alone()).await?;
            await_state(scenario, RolloutState::Progressing).await?;
            sleep(Duration::from_secs(5)).await;
        }
        let (began, bad) = (Instant::now(), function.clone().with(change.spec.clone()));
        scenario.apply::<Function>(bad.alone()).await?;
        let status = await_state(scenario, RolloutState::RolledBack).await?;
        let reported = began.elapsed();
        let message = status.message.clone().unwrap_or_default();
        ensure!(status.phase == Phase::RolledBack && message.contains(change.reason), "{message}");
        scenario
            .eventually("the good version runs everywhere", TIMEOUT, async || {
                let status = scenario.status("keeps").await?;
                Ok(status.ready_replicas == 2
                    && status.updated_replicas == 2
                    && images(scenario).await? == good)
            })
            .await?;
        let back = began.elapsed();
        let live = scenario.api::<Function>().get("keeps").await?;
        ensure!(is_within(&change.spec, &serde_json::to_value(&live.spec)?), "the spec has changed");
        let events = scenario.api::<Event>().list(&ListParams::default()).await?;
        ensure!(events.items.iter().any(|event| event.reason.as_deref() == Some("RolledBack")), "no Event");

        // The repaired spec is tried.
        scenario.apply::<Function>(function.alone()).await?;
        await_state(scenario, RolloutState::Complete).await?;
        let sent = traffic.stop().await?;
        let received = scenario.pulsar.receive_all("out", QUIET).await?;
        let received: Vec<_> = received.iter().map(function_mesh_e2e::Message::text).collect();
        let report = DeliveryReport::compare(&sent, &received, |text| format!("{text}!"));
        report.record(&scenario.harness, &format!("rolled back: {}", change.name))?;
        let row = Row { change: change.name, reported, back, report };
        print(&row);
        ensure!(row.report.lost.is_empty() && row.report.unexpected.is_empty(), "{:?}", row.report);
        Ok(())
    })
    .await
}

fn print(row: &Row) {
    let Row { change, reported, back, report } = row;
    println!("BAD CHANGE      REPORTED    BACK AFTER  SENT  LOST  DUPLICATED");
    println!(
        "{change:<15} {:>8} s  {:>8} s  {:>4}  {:>4}  {:>10}",
        reported.as_secs(),
        back.as_secs(),
        report.sent,
        report.lost.len(),
        report.duplicated
    );
}

async fn await_state(scenario: &Scenario, state: RolloutState) -> Result<ComponentStatus> {
    scenario
        .eventually(&format!("the rollout is {state:?}"), TIMEOUT, async || {
            // A component has no status at first.
            let status = scenario.status("keeps").await.unwrap_or_default();
            Ok(status.rollout.is_some_and(|rollout| rollout.state == state))
        })
        .await?;
    scenario.status("keeps").await
}

/// The images of the pods.
async fn images(scenario: &Scenario) -> Result<Vec<String>> {
    let mut pods = scenario.api::<Pod>().list(&ListParams::default()).await?.items;
    pods.sort_by_key(ResourceExt::name_any);
    let image = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.containers.first()?.image.clone());
    pods.iter().map(|pod| image(pod).context("no image")).collect()
}

/// Whether an object has all these fields, and those within them.
fn is_within(fields: &Value, object: &Value) -> bool {
    match fields.as_object() {
        Some(fields) => {
            fields.iter().all(|(name, value)| object.get(name).is_some_and(|found| is_within(value, found)))
        }
        None => fields == object,
    }
}
