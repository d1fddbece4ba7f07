//! Message traffic: what the status says of a Pulsar that answers, denies, is away, or must not be asked.

use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::types::{ComponentStatus, TrafficStatus};
use function_mesh_api::{Component, Function, FunctionMesh};
use function_mesh_controller::traffic::{Intervals, ObserverSettings};
use function_mesh_observer::WriteLimits;
use function_mesh_observer::requests::PlanLimits;
use function_mesh_pulsar::AccessFile;
use function_mesh_testkit::{PATIENCE, WebServer, eventually, fixtures, mark_running};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{from_value, json};

use crate::harness::{Harness, TestResult};

/// As the default, but faster.
fn settings(access: &str) -> anyhow::Result<ObserverSettings> {
    // A rate needs answers half a second apart.
    let short = Duration::from_millis(700);
    let limits = PlanLimits { awake: short, denied_backoff: (short, short), ..PlanLimits::default() };
    let write = WriteLimits { min_interval: short, ..WriteLimits::default() };
    let intervals = Intervals {
        tick: short / 7,
        grace: Duration::from_secs(3),
        start_time: short,
        round_without_cluster: short,
        config_map_retry: short,
        ..Intervals::default()
    };
    let access = AccessFile::parse(access)?;
    Ok(ObserverSettings { access, limits, write, intervals, ..ObserverSettings::default() })
}

async fn config_map(harness: &Harness, url: &str) -> TestResult {
    let data = json!({ "webServiceURL": url, "brokerServiceURL": "pulsar://pulsar:6650" });
    let config_map: ConfigMap = from_value(json!({ "metadata": { "name": "pulsar" }, "data": data }))?;
    harness.apply(&config_map).await?;
    Ok(())
}

fn function() -> anyhow::Result<Function> {
    let mut spec = fixtures::java_function("f");
    spec.input = from_value(json!({ "topics": ["in"] }))?;
    spec.pulsar = from_value(json!({ "pulsarConfig": "pulsar" }))?;
    fixtures::function(spec)
}

fn pulsar(backlog: u64, counter: u64) -> impl Fn(&str) -> (u16, String) {
    move |path| {
        if path.ends_with("/partitions") {
            return (200, r#"{"partitions": 0}"#.to_owned());
        }
        let subscription = json!({ "msgBacklog": backlog, "msgBacklogNoDelayed": backlog, "type": "Shared",
            "msgOutCounter": counter, "lastAckedTimestamp": 1_700_000_000_000_u64, "unackedMessages": 0 });
        (
            200,
            json!({ "msgInCounter": counter, "subscriptions": { "public/default/f": subscription } })
                .to_string(),
        )
    }
}

async fn status(harness: &Harness, name: &str) -> anyhow::Result<ComponentStatus> {
    mark_running(&harness.client, &harness.namespace).await?;
    harness.get::<Function>(name).await?.status().cloned().context("no status")
}

/// Waits for traffic that passes a check.
async fn traffic(harness: &Harness, check: impl Fn(&TrafficStatus) -> bool) -> anyhow::Result<TrafficStatus> {
    eventually(PATIENCE * 2, async || {
        let traffic = status(harness, "f").await?.traffic.context("no traffic")?;
        ensure!(check(&traffic), "{traffic:?}");
        Ok(traffic)
    })
    .await
}

/// Waits for the condition Stalled with this status and reason.
async fn stalled(harness: &Harness, status_and_reason: (&str, &str)) -> anyhow::Result<String> {
    eventually(PATIENCE * 2, async || {
        let status = status(harness, "f").await?;
        let found = status.standard_conditions.iter().find(|it| it.type_ == "Stalled");
        let found = found.context("no condition")?;
        ensure!((found.status.as_str(), found.reason.as_str()) == status_and_reason, "{found:?}");
        Ok(found.message.clone())
    })
    .await
}

#[tokio::test]
async fn traffic_is_in_the_status_and_changes_are_told() -> TestResult {
    let server = WebServer::start(pulsar(1_234, 10)).await?;
    let mut harness = Harness::without_controller("traffic").await?;
    harness.options.observer = Some(settings(&format!("clusters: [{{url: '{}'}}]", server.url()))?);
    harness.start().await?;
    config_map(&harness, server.url()).await?;
    harness.apply(&function()?).await?;
    let first = traffic(&harness, |traffic| traffic.backlog.is_some()).await?;
    ensure!(first.backlog == Some(1_200), "two digits: {first:?}");
    ensure!(
        first.observed_at.is_some() && first.last_acked.is_some() && first.message.is_none(),
        "{first:?}"
    );
    let (path, _) = server.asked().into_iter().find(|(path, _)| path.contains("/stats")).context("stats")?;
    ensure!(path.starts_with("/admin/v2/persistent/public/default/in/stats?"), "{path}");

    server.answer(pulsar(0, 10));
    traffic(&harness, |traffic| traffic.backlog == Some(0) && traffic.lag_seconds == Some(0)).await?;
    stalled(&harness, ("False", "NotStalled")).await?;

    // A quiet component writes nothing.
    harness.settle().await?;
    let requests = || server.asked().values().sum::<usize>();
    let later = requests() + 4;
    eventually(PATIENCE, async || {
        ensure!(requests() >= later, "{} requests", requests());
        Ok(())
    })
    .await?;
    let writes = harness.recorder.take();
    ensure!(writes.is_empty(), "{writes:?}");

    // The operator restarts: the status stays as it is until something is known again.
    let before = status(&harness, "f").await?;
    harness.stop().await?;
    server.answer(|_| (403, String::new()));
    harness.start().await?;
    ensure!(status(&harness, "f").await?.traffic == before.traffic);
    let message = stalled(&harness, ("Unknown", "AccessDenied")).await?;
    ensure!(message.contains("without credentials") && message.contains(server.url()), "{message}");
    let denied = traffic(&harness, |traffic| traffic.message.is_some()).await?;
    ensure!(denied.backlog.is_none() && denied.in_rate.is_none(), "unknown is not zero: {denied:?}");

    // Each transition is an Event, and the start of the component and of the operator is none.
    server.answer(pulsar(0, 10));
    stalled(&harness, ("False", "NotStalled")).await?;
    let events = eventually(PATIENCE, async || {
        let mut events = harness.events("Function", "f").await?;
        events.retain(|event| STALL_REASONS.iter().any(|reason| event.contains(reason)));
        ensure!(events.iter().any(|event| event.starts_with("Normal NotStalled: ")), "{events:?}");
        Ok(events)
    })
    .await?;
    let denied = events.iter().filter(|event| event.starts_with(&format!("Warning AccessDenied: {message}")));
    ensure!(denied.count() == 1 && events.len() == 2, "{events:?}");
    Ok(())
}

/// Reasons of the condition Stalled while pods are wanted and nothing is stalled.
const STALL_REASONS: [&str; 4] = ["NotStalled", "AccessDenied", "PulsarUnavailable", "TrafficUnknown"];

#[tokio::test]
async fn a_mesh_tells_what_is_unknown() -> TestResult {
    let mut harness = Harness::without_controller("unknown").await?;
    harness.options.observer = Some(settings("{}")?);
    harness.start().await?;
    let mut spec = fixtures::java_function("f");
    spec.pulsar = from_value(json!({ "pulsarConfig": "pulsar" }))?;
    harness.apply(&fixtures::mesh("m", [spec.into()])?).await?;
    let unknown = async |expected: &str| {
        eventually(PATIENCE, async || {
            mark_running(&harness.client, &harness.namespace).await?;
            let conditions = harness.get::<FunctionMesh>("m").await?.status.context("no status")?.conditions;
            let found = conditions.unwrap_or_default().into_iter().find(|it| it.type_ == "Stalled");
            let found = found.context("no condition")?;
            ensure!(
                (found.status.as_str(), found.reason.as_str()) == ("Unknown", "TrafficUnknown"),
                "{found:?}"
            );
            ensure!(found.message.contains(expected), "{}", found.message);
            Ok(())
        })
        .await
    };
    unknown("function f: ConfigMap pulsar not found").await?;
    // A tenant may not make the operator ask itself.
    config_map(&harness, "http://127.0.0.1:8000").await?;
    unknown("loopback").await
}

#[tokio::test]
async fn without_observing_the_status_has_no_traffic() -> TestResult {
    let server = WebServer::start(pulsar(7, 10)).await?;
    let mut harness = Harness::without_controller("off").await?;
    let settings = settings(&format!("clusters: [{{url: '{}'}}]", server.url()))?;
    harness.options.observer = Some(settings);
    harness.start().await?;
    config_map(&harness, server.url()).await?;
    harness.apply(&function()?).await?;
    traffic(&harness, |traffic| traffic.backlog == Some(7)).await?;
    harness.stop().await?;
    // Turned off, the operator leaves no old numbers behind.
    harness.options.observer = None;
    let asked = server.asked();
    harness.start().await?;
    eventually(PATIENCE, async || {
        let status = status(&harness, "f").await?;
        ensure!(status.traffic.is_none(), "{:?}", status.traffic);
        ensure!(status.standard_conditions.iter().all(|it| it.type_ != "Stalled"));
        Ok(())
    })
    .await?;
    ensure!(server.asked() == asked, "it still asks");
    Ok(())
}
