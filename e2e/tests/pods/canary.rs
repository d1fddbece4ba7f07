//! A canary on real pods while messages flow: versions that raise, never acknowledge or are slower are stopped, a good one gets
//! all pods, and not one message is lost.

#![allow(clippy::print_stdout, reason = "the table is what the tests show")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use function_mesh_api::Function;
use function_mesh_api::types::{CanaryState, ComponentStatus, RolloutState};
use function_mesh_e2e::{DeliveryReport, Message, Scenario, Traffic};
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_mins(8);
/// Time without any output after which no more is expected.
const QUIET: Duration = Duration::from_secs(15);

/// A change, and how its canary ends.
struct Change {
    name: &'static str,
    spec: Value,
    end: CanaryState,
    state: RolloutState,
    event: &'static str,
}

#[tokio::test]
async fn a_version_that_raises_on_three_of_ten_messages_is_stopped() -> Result<()> {
    judged(Change {
        name: "raises on 30 %",
        spec: json!({ "className": "mark.Raises" }),
        end: CanaryState::Failed,
        state: RolloutState::RolledBack,
        event: "CanaryFailed",
    })
    .await
}

#[tokio::test]
async fn a_good_version_gets_all_pods() -> Result<()> {
    judged(Change {
        name: "good",
        spec: json!({ "funcConfig": { "other": "setting" } }),
        end: CanaryState::Promoted,
        state: RolloutState::Complete,
        event: "CanaryPromoted",
    })
    .await
}

#[tokio::test]
async fn a_version_that_never_acknowledges_is_stopped() -> Result<()> {
    judged(Change {
        name: "never acknowledges",
        spec: json!({ "className": "mark.Stuck" }),
        end: CanaryState::Failed,
        state: RolloutState::RolledBack,
        event: "CanaryFailed",
    })
    .await
}

#[tokio::test]
async fn a_version_that_is_only_slower_is_stopped() -> Result<()> {
    judged(Change {
        name: "slower",
        spec: json!({ "className": "mark.Slow" }),
        end: CanaryState::Failed,
        state: RolloutState::RolledBack,
        event: "CanaryFailed",
    })
    .await
}

async fn judged(change: Change) -> Result<()> {
    Scenario::run("canary", async |scenario| {
        let steps = json!([{ "replicas": 1, "duration": "30s" }, { "replicas": "50%", "duration": "30s" }]);
        let canary = json!({ "steps": steps, "analysis": { "minMessages": 50, "maxLatencyMs": 150 } });
        let policy =
            json!({ "onFailure": "RollBack", "progressDeadline": "2m", "minReady": "10s", "canary": canary });
        let function = scenario
            .python("keeps", "mark.Mark", "in", "out")
            .with(json!({ "replicas": 3, "rollout": policy }));
        scenario.start(&function, "in", TIMEOUT).await?;
        scenario
            .eventually("the first version is good", TIMEOUT, async || {
                // There is no status until the operator has seen it.
                let rollout = scenario.status("keeps").await.ok().and_then(|status| status.rollout);
                Ok(rollout.is_some_and(|rollout| rollout.state == RolloutState::Complete))
            })
            .await?;
        let traffic = Traffic::start(&scenario.pulsar, "in", Duration::from_millis(50));
        scenario
            .eventually("messages flow", TIMEOUT, async || {
                Ok(scenario.published("out").await.is_ok_and(|count| count >= 300))
            })
            .await?;

        let (began, changed) = (Instant::now(), function.clone().with(change.spec.clone()));
        scenario.apply::<Function>(changed.alone()).await?;
        let status = ended(scenario, change.end).await?;
        let judged = began.elapsed();
        scenario
            .eventually("all pods have one version", TIMEOUT, async || {
                let status = scenario.status("keeps").await?;
                let is_state = status.rollout.is_some_and(|rollout| rollout.state == change.state);
                Ok(is_state && status.ready_replicas == 3 && status.updated_replicas == 3)
            })
            .await?;
        let settled = began.elapsed();
        let events = scenario.api::<Event>().list(&ListParams::default()).await?;
        ensure!(events.items.iter().any(|event| event.reason.as_deref() == Some(change.event)), "no Event");
        let sent = traffic.stop().await?;
        let received = scenario.pulsar.receive_all("out", QUIET).await?;
        let received: Vec<_> = received.iter().map(Message::text).collect();
        let report = DeliveryReport::compare(&sent, &received, |text| format!("{text}!"));
        report.record(&scenario.harness, &format!("canary: {}", change.name))?;
        let canary = status.rollout.and_then(|rollout| rollout.canary).context("no canary")?;
        println!(
            "VERSION             CANARY      JUDGED AFTER  ONE VERSION AFTER  IDS IN  IDS OUT  LOST  DUPLICATED"
        );
        println!(
            "{:<19} {:<10}  {:>10} s  {:>15} s  {:>6}  {:>7}  {:>4}  {:>10}",
            change.name,
            format!("{:?}", canary.state),
            judged.as_secs(),
            settled.as_secs(),
            report.sent,
            report.sent - report.lost.len(),
            report.lost.len(),
            report.duplicated
        );
        println!("{}", canary.message.unwrap_or_default());
        ensure!(report.lost.is_empty() && report.unexpected.is_empty(), "{report:?}");
        Ok(())
    })
    .await
}

async fn ended(scenario: &Scenario, end: CanaryState) -> Result<ComponentStatus> {
    scenario
        .eventually(&format!("the canary is {end:?}"), TIMEOUT, async || {
            let status = scenario.status("keeps").await?;
            let canary = status.rollout.and_then(|rollout| rollout.canary);
            Ok(canary.is_some_and(|canary| canary.state == end))
        })
        .await?;
    scenario.status("keeps").await
}
