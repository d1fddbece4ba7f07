//! The start waits for the subscription, as far as Pulsar reports it; scaling and rolling back meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::types::{Phase, RecreateStep, RolloutState};
use function_mesh_api::{Component, Function};
use function_mesh_controller::traffic::{Intervals, ObserverSettings};
use function_mesh_observer::WriteLimits;
use function_mesh_observer::requests::PlanLimits;
use function_mesh_pulsar::AccessFile;
use function_mesh_testkit::{PATIENCE, WebServer, eventually};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, from_value, json};

use super::{World, function};
use crate::harness::{Harness, TestResult};

/// A namespace whose components are observed, and its broker.
struct Observed {
    world: World,
    server: WebServer,
    /// Consumers of the subscription; the maximum for a broker that denies access.
    consumers: Arc<AtomicU64>,
}

impl Observed {
    async fn new(name: &str) -> anyhow::Result<Self> {
        let consumers = Arc::new(AtomicU64::new(3));
        let answer = Arc::clone(&consumers);
        let server = WebServer::start(move |path| stats(path, answer.load(Ordering::Relaxed))).await?;
        let mut harness = Harness::without_controller(name).await?;
        harness.options.observer = Some(settings(server.url())?);
        harness.start().await?;
        let data = json!({ "webServiceURL": server.url(), "brokerServiceURL": "pulsar://pulsar:6650" });
        let config_map: ConfigMap = from_value(json!({ "metadata": { "name": "pulsar" }, "data": data }))?;
        harness.apply(&config_map).await?;
        Ok(Self { world: World::with(harness), server, consumers })
    }

    fn set(&self, consumers: u64) {
        self.consumers.store(consumers, Ordering::Relaxed);
    }

    /// Waits until the status has the step and this text.
    async fn says(&self, step: RecreateStep, text: &str) -> TestResult {
        eventually(PATIENCE, async || {
            let message = self.world.step(step).await?.message.unwrap_or_default();
            ensure!(message.contains(text), "{message}");
            Ok(())
        })
        .await
    }

    /// Waits until the broker was asked a few times more.
    async fn rounds(&self) -> TestResult {
        let requests = || self.server.asked().values().sum::<usize>();
        let later = requests() + 6;
        eventually(PATIENCE, async || {
            ensure!(requests() >= later, "{} requests", requests());
            Ok(())
        })
        .await
    }

    async fn event(&self, expected: &str) -> TestResult {
        let events = self.world.harness.events("Function", "f").await?;
        ensure!(events.iter().any(|event| event.contains(expected)), "no {expected}: {events:?}");
        Ok(())
    }
}

fn settings(url: &str) -> anyhow::Result<ObserverSettings> {
    let short = Duration::from_millis(500);
    let limits = PlanLimits {
        awake: short,
        asleep: short,
        backoff: (short, short),
        denied_backoff: (short, short),
        ..PlanLimits::default()
    };
    let write = WriteLimits { min_interval: Duration::from_mins(5), ..WriteLimits::default() };
    let intervals = Intervals { tick: short / 5, ..Intervals::default() };
    let access = AccessFile::parse(&format!("clusters: [{{url: '{url}'}}]"))?;
    Ok(ObserverSettings { access, limits, write, intervals, ..ObserverSettings::default() })
}

fn stats(path: &str, consumers: u64) -> (u16, String) {
    if path.ends_with("/partitions") {
        return (200, r#"{"partitions": 0}"#.to_owned());
    }
    if consumers == u64::MAX {
        return (403, String::new());
    }
    let consumers: Vec<_> = (0..consumers).map(|_| json!({ "unackedMessages": 0 })).collect();
    let subscription = json!({ "msgBacklog": 0, "msgBacklogNoDelayed": 0, "msgDelayed": 0, "type": "Failover",
        "msgOutCounter": 10, "lastAckedTimestamp": 1_700_000_000_000_u64, "unackedMessages": 0,
        "consumers": consumers });
    let subscriptions = json!({ "public/default/f": subscription });
    (200, json!({ "msgInCounter": 10, "subscriptions": subscriptions }).to_string())
}

fn observed(image: &str, more: &Value) -> anyhow::Result<Function> {
    let mut fields = json!({ "input": { "topics": ["in"] }, "pulsar": { "pulsarConfig": "pulsar" } });
    for (field, value) in more.as_object().context("fields")? {
        fields[field] = value.clone();
    }
    function(image, &fields)
}

#[tokio::test]
async fn the_start_waits_until_nothing_consumes_the_subscription() -> TestResult {
    let mut drained = Observed::new("drained").await?;
    let ordered = json!({ "retainOrdering": true });
    drained.world.harness.apply(&observed("runner:1", &ordered)?).await?;
    drained.world.runs("runner:1", 3).await?;
    drained.set(1);
    drained.world.harness.apply(&observed("runner:2", &ordered)?).await?;
    drained.says(RecreateStep::Draining, "consumers: 1").await?;
    drained.rounds().await?;
    drained.world.has(0, "runner:1").await?;
    drained.world.restart().await?;
    drained.rounds().await?;
    drained.says(RecreateStep::Draining, "consumers: 1").await?;
    drained.world.has(0, "runner:1").await?;
    drained.set(0);
    drained.world.runs("runner:2", 3).await?;
    drained.event("Normal RecreateDraining: no pod is left; waiting").await?;
    drained.event("Normal RecreateStarting: no pod is left, and nothing consumes the subscription").await?;
    drained.world.step(RecreateStep::Complete).await?;
    drained.world.check().await
}

#[tokio::test]
async fn a_subscription_that_pulsar_does_not_report_is_unknown() -> TestResult {
    let denied = Observed::new("denied").await?;
    denied.world.harness.apply(&observed("runner:1", &json!({}))?).await?;
    denied.world.runs("runner:1", 3).await?;
    denied.set(u64::MAX);
    denied.world.harness.apply(&observed("runner:2", &json!({}))?).await?;
    denied.says(RecreateStep::Draining, "unknown: Pulsar denies the operator access; starting at ").await?;
    denied.world.has(0, "runner:1").await?;
    // The way out.
    let rolling = json!({ "rollout": { "strategy": "RollingUpdate" } });
    denied.world.harness.apply(&observed("runner:2", &rolling)?).await?;
    denied.world.runs("runner:2", 3).await?;
    denied.world.check().await
}

/// Its number would fall to zero, since there is nothing to do, if a stop were no rollout.
#[tokio::test]
async fn scaling_on_messages_pauses_and_its_number_comes_back() -> TestResult {
    let scaled = Observed::new("scaled").await?;
    let fields = |idle_after: &str| json!({ "replicas": 2, "scaling": { "minReplicas": 0, "maxReplicas": 4, "idleAfter": idle_after } });
    scaled.world.harness.apply(&observed("runner:1", &fields("1h"))?).await?;
    scaled.world.runs("runner:1", 2).await?;
    scaled.world.hold(true).await?;
    scaled.world.harness.apply(&observed("runner:2", &fields("5s"))?).await?;
    scaled.world.has(0, "runner:1").await?;
    scaled.rounds().await?;
    scaled.rounds().await?;
    let held = scaled.world.harness.get::<Function>("f").await?;
    ensure!(held.spec.replicas == Some(2), "{:?}", held.status().and_then(|status| status.scaling.clone()));
    scaled.world.has(0, "runner:1").await?;
    let status = scaled.world.step(RecreateStep::Stopping).await?;
    ensure!(status.phase == Phase::Progressing, "{}", status.phase);
    scaled.set(0);
    // It must not fall asleep before this test has seen its number.
    scaled.world.harness.apply(&observed("runner:2", &fields("1h"))?).await?;
    scaled.world.hold(false).await?;
    scaled.world.has(2, "runner:2").await?;
    scaled.world.step(RecreateStep::Complete).await.map(|_| ())
}

#[tokio::test]
async fn a_failed_change_is_rolled_back_without_two_versions() -> TestResult {
    let mut world = World::new("back").await?;
    let rollout = json!({ "strategy": "Recreate", "onFailure": "RollBack", "progressDeadline": "10s", "minReady": "0s" });
    let fields = json!({ "rollout": rollout });
    world.harness.apply(&function("runner:1", &fields)?).await?;
    world.runs("runner:1", 3).await?;
    let state = async |world: &World, expected: RolloutState| {
        eventually(PATIENCE, async || {
            let status = world.harness.get::<Function>("f").await?.status().cloned().context("no status")?;
            let found = status.rollout.context("no rollout")?;
            ensure!(found.state == expected, "{found:?}");
            Ok(())
        })
        .await
    };
    state(&world, RolloutState::Complete).await?;
    world.stop_kubelet();
    world.harness.apply(&function("runner:bad", &fields)?).await?;
    world.has(3, "runner:bad").await?;
    world.restart().await?;
    state(&world, RolloutState::RolledBack).await?;
    world.has(3, "runner:1").await?;
    world.run_kubelet();
    world.step(RecreateStep::Complete).await?;
    world.harness.phase::<Function>("f", Phase::RolledBack).await?;
    // A repaired one is tried.
    world.harness.apply(&function("runner:2", &fields)?).await?;
    world.runs("runner:2", 3).await?;
    state(&world, RolloutState::Complete).await?;
    world.check().await
}
