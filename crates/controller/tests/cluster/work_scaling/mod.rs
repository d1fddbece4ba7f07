//! Scaling on the work: what the operator does to the replicas, and what it says about that.

mod broker;
mod writers;

use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::types::ScalingStatus;
use function_mesh_api::{Component, Function, Spec as _};
use function_mesh_controller::traffic::{Intervals, ObserverSettings};
use function_mesh_observer::WriteLimits;
use function_mesh_observer::requests::PlanLimits;
use function_mesh_pulsar::AccessFile;
use function_mesh_testkit::{PATIENCE, eventually, fake_kubelet, fixtures};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, from_value, json};
use tokio::task::JoinHandle;

use crate::deletion::has_event;
use crate::harness::{Harness, TestResult};
use broker::{Broker, Topic};

/// A namespace with a broker, and a kubelet that marks pods as ready.
struct World {
    harness: Harness,
    broker: Broker,
    kubelet: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.kubelet.abort();
    }
}

impl World {
    async fn new(name: &str) -> anyhow::Result<Self> {
        let broker = Broker::start().await?;
        let mut harness = Harness::without_controller(name).await?;
        harness.options.observer = Some(settings(broker.url())?);
        harness.start().await?;
        let data = json!({ "webServiceURL": broker.url(), "brokerServiceURL": "pulsar://pulsar:6650" });
        let config_map: ConfigMap = from_value(json!({ "metadata": { "name": "pulsar" }, "data": data }))?;
        harness.apply(&config_map).await?;
        let kubelet = tokio::spawn(fake_kubelet(harness.client.clone(), harness.namespace.clone()));
        Ok(Self { harness, broker, kubelet })
    }

    async fn replicas(&self, name: &str) -> anyhow::Result<i32> {
        let function: Function = self.harness.get(name).await?;
        function.spec.view().common.replicas.context("no replicas")
    }

    /// Waits until the replicas pass a check.
    async fn scaled(&self, name: &str, check: impl Fn(i32) -> bool) -> anyhow::Result<i32> {
        eventually(PATIENCE * 2, async || {
            let replicas = self.replicas(name).await?;
            let status = self.harness.get::<Function>(name).await?.status().cloned();
            ensure!(check(replicas), "{name} has {replicas}: {:?}", status.and_then(|it| it.scaling));
            Ok(replicas)
        })
        .await
    }

    /// Waits until the status says something about scaling.
    async fn says(
        &self,
        name: &str,
        check: impl Fn(&ScalingStatus) -> bool,
    ) -> anyhow::Result<ScalingStatus> {
        eventually(PATIENCE * 2, async || {
            let function = self.harness.get::<Function>(name).await?;
            let scaling = function.status().and_then(|status| status.scaling.clone());
            let scaling = scaling.context("no status.scaling")?;
            ensure!(check(&scaling), "{scaling:?}");
            Ok(scaling)
        })
        .await
    }
}

fn settings(url: &str) -> anyhow::Result<ObserverSettings> {
    let seconds = Duration::from_secs;
    let limits = PlanLimits {
        awake: seconds(1),
        asleep: seconds(1),
        slow: seconds(2),
        backoff: (seconds(1), seconds(2)),
        ..PlanLimits::default()
    };
    let write = WriteLimits { min_interval: seconds(1), ..WriteLimits::default() };
    let intervals = Intervals {
        grace: seconds(3),
        start_time: seconds(1),
        round_without_cluster: seconds(1),
        config_map_retry: seconds(1),
        ..Intervals::default()
    };
    let access = AccessFile::parse(&format!("clusters: [{{url: '{url}'}}]"))?;
    Ok(ObserverSettings { access, limits, write, intervals, ..ObserverSettings::default() })
}

/// A function that reads a topic, with more fields.
fn function(name: &str, topic: &str, more: &Value) -> anyhow::Result<Function> {
    let mut spec = serde_json::to_value(fixtures::java_function(name))?;
    spec["input"] = json!({ "topics": [topic] });
    spec["pulsar"] = json!({ "pulsarConfig": "pulsar" });
    for (field, value) in more.as_object().context("fields")? {
        spec[field] = value.clone();
    }
    fixtures::function(from_value(spec)?)
}

fn subscription(name: &str) -> String {
    format!("public/default/{name}")
}

fn is_reason(scaling: &ScalingStatus, reason: &str) -> bool {
    scaling.reason.as_deref() == Some(reason)
}

#[tokio::test]
async fn a_burst_scales_up_and_what_is_idle_sleeps_until_a_message() -> TestResult {
    let world = World::new("work").await?;
    let (broker, harness) = (&world.broker, &world.harness);
    broker.set("in", &subscription("f"), Topic::burst());
    let scaling = json!({ "minReplicas": 0, "maxReplicas": 3, "lag": "5s", "idleAfter": "5s" });
    harness.apply(&function("f", "in", &json!({ "scaling": scaling }))?).await?;
    world.scaled("f", |replicas| replicas > 1).await?;
    let said = world.says("f", |scaling| scaling.last_scale_time.is_some()).await?;
    ensure!(!said.explanation.is_empty() && said.decided_at.is_some(), "{said:?}");
    world.scaled("f", |replicas| replicas == 3).await?;
    let owner = |manager: &str| {
        let manager = manager.to_owned();
        async move {
            let function: Function = harness.get("f").await?;
            let entries = function.metadata.managed_fields.unwrap_or_default();
            let owns = entries.iter().filter(|entry| {
                let fields = entry.fields_v1.as_ref();
                fields.is_some_and(|fields| fields.0["f:spec"].get("f:replicas").is_some())
            });
            let names: Vec<_> = owns.filter_map(|entry| entry.manager.clone()).collect();
            ensure!(names == [manager], "{names:?}");
            anyhow::Ok(())
        }
    };
    owner("functionmesh.io/autoscaler").await?;

    broker.set("in", &subscription("f"), Topic::idle());
    world.scaled("f", |replicas| replicas == 0).await?;
    let asleep = world.says("f", |scaling| scaling.desired_replicas == Some(0)).await?;
    ensure!(is_reason(&asleep, "Sleep") || is_reason(&asleep, "Asleep"), "{asleep:?}");
    // What sleeps and has nothing to do writes nothing, once the rates of the last minute are zero.
    eventually(PATIENCE * 2, async || {
        let status = harness.get::<Function>("f").await?.status().cloned().context("no status")?;
        let traffic = status.traffic.context("no traffic")?;
        ensure!(traffic.in_rate == Some(0.0), "{traffic:?}");
        Ok(())
    })
    .await?;
    harness.settle().await?;
    broker.asked(6).await?;
    let writes = crate::harness::texts(&harness.recorder.take());
    ensure!(writes.is_empty(), "{writes:?}");

    broker.set("in", &subscription("f"), Topic::waiting(1.0));
    world.scaled("f", |replicas| replicas == 1).await?;
    let woken = "Scaled: 0 -> 1 replicas";
    has_event(harness, "Function", "f", woken).await?;
    let events = harness.events("Function", "f").await?;
    ensure!(events.iter().filter(|event| event.contains(woken)).count() == 1, "{events:?}");
    ensure!(events.iter().all(|event| !event.contains("ScaleFailed")), "{events:?}");
    Ok(())
}

#[tokio::test]
async fn recommendations_are_only_said() -> TestResult {
    let world = World::new("recommend").await?;
    world.broker.set("in", &subscription("f"), Topic::burst());
    let scaling = json!({ "mode": "Recommend", "maxReplicas": 3, "lag": "5s" });
    world.harness.apply(&function("f", "in", &json!({ "replicas": 1, "scaling": scaling }))?).await?;
    let said = world.says("f", |scaling| scaling.desired_replicas > Some(1)).await?;
    ensure!(said.last_scale_time.is_none(), "{said:?}");
    world.broker.asked(4).await?;
    ensure!(world.replicas("f").await? == 1);
    let writes = crate::harness::texts(&world.harness.recorder.take());
    ensure!(writes.iter().all(|write| !write.contains("scale")), "{writes:?}");
    Ok(())
}

#[tokio::test]
async fn a_sleeping_chain_wakes_as_one() -> TestResult {
    let world = World::new("chain").await?;
    let (broker, harness) = (&world.broker, &world.harness);
    let mut specs = Vec::new();
    for (name, input, output) in [("a", "in", "x"), ("b", "x", "y"), ("c", "y", "out")] {
        broker.set(input, &subscription(name), Topic::idle());
        let scaling = json!({ "minReplicas": 0, "maxReplicas": 2, "idleAfter": "5s" });
        let more = json!({ "scaling": scaling, "output": { "topic": output } });
        specs.push(function(name, input, &more)?.spec.into());
    }
    harness.apply(&fixtures::mesh("m", specs)?).await?;
    for name in ["m-a", "m-b", "m-c"] {
        eventually(PATIENCE, async || harness.get::<Function>(name).await.map(|_| ())).await?;
        world.scaled(name, |replicas| replicas == 0).await?;
    }
    broker.set("in", &subscription("a"), Topic::waiting(1.0));
    for name in ["m-a", "m-b", "m-c"] {
        world.scaled(name, |replicas| replicas == 1).await?;
    }
    for (name, reason) in [("m-b", "a component that produces to it wakes"), ("m-a", "messages wait")] {
        eventually(PATIENCE, async || {
            let events = harness.events("Function", name).await?;
            ensure!(events.iter().any(|event| event.contains(reason)), "{name}: {events:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_mesh_shares_its_replicas_and_partitions_limit() -> TestResult {
    let world = World::new("shared").await?;
    let (broker, harness) = (&world.broker, &world.harness);
    let burst = Topic::burst();
    broker.set("in-a", &subscription("a"), burst);
    broker.set("in-b", &subscription("b"), burst);
    broker.set("in-c", &subscription("c"), Topic { partitions: 2, ..burst });
    let scaling = |most: i32| json!({ "maxReplicas": most, "lag": "5s" });
    let a = function("a", "in-a", &json!({ "scaling": scaling(8) }))?;
    let b = function("b", "in-b", &json!({ "scaling": scaling(8) }))?;
    let mut mesh = fixtures::mesh("m", [a.spec.into(), b.spec.into()])?;
    mesh.spec.scaling = from_value(json!({ "maxTotalReplicas": 5 }))?;
    harness.apply(&mesh).await?;
    let more = json!({ "scaling": scaling(8), "retainOrdering": true });
    harness.apply(&function("c", "in-c", &more)?).await?;
    let limited = |scaling: &ScalingStatus, by: &str| {
        scaling.limited_by.as_ref().is_some_and(|limit| limit.contains(by))
    };
    world.scaled("c", |replicas| replicas == 2).await?;
    world.says("c", |scaling| limited(scaling, "subscription")).await?;
    eventually(PATIENCE * 2, async || {
        for name in ["m-a", "m-b"] {
            let status = harness.get::<Function>(name).await?.status().cloned().context("no status")?;
            let scaling = status.scaling.context("no scaling")?;
            if limited(&scaling, "maxTotalReplicas") {
                return Ok(());
            }
        }
        anyhow::bail!("no budget yet: {:?}", (world.replicas("m-a").await?, world.replicas("m-b").await?))
    })
    .await?;
    broker.asked(20).await?;
    let all = (world.replicas("m-a").await?, world.replicas("m-b").await?);
    ensure!(all.0 + all.1 <= 5 && all.0 >= 1 && all.1 >= 1, "{all:?}");
    ensure!(world.replicas("c").await? == 2);
    Ok(())
}

#[tokio::test]
async fn a_broker_that_is_away_scales_nothing() -> TestResult {
    let world = World::new("away").await?;
    let (broker, harness) = (&world.broker, &world.harness);
    broker.set("in", &subscription("f"), Topic::burst());
    let scaling = json!({ "minReplicas": 0, "maxReplicas": 2, "lag": "5s", "idleAfter": "5s" });
    harness.apply(&function("f", "in", &json!({ "scaling": scaling }))?).await?;
    world.scaled("f", |replicas| replicas == 2).await?;
    broker.go_away();
    world.says("f", |scaling| is_reason(scaling, "MissingData")).await?;
    ensure!(world.replicas("f").await? == 2);
    // Nothing waits any more: what was not known meanwhile does not count as idle.
    broker.set("in", &subscription("f"), Topic::idle());
    broker.come_back();
    world.scaled("f", |replicas| replicas == 0).await?;
    broker.go_away();
    world.says("f", |scaling| is_reason(scaling, "MissingData")).await?;
    ensure!(world.replicas("f").await? == 0, "it stays as it is");
    Ok(())
}

#[tokio::test]
async fn without_observing_the_status_says_so() -> TestResult {
    let harness = Harness::new("unobserved").await?;
    harness.apply(&function("f", "in", &json!({ "replicas": 2, "scaling": {} }))?).await?;
    eventually(PATIENCE, async || {
        let status = harness.get::<Function>("f").await?.status().cloned().context("no status")?;
        let scaling = status.scaling.context("no scaling")?;
        ensure!(is_reason(&scaling, "ObserverOff"), "{scaling:?}");
        ensure!(scaling.message.is_some_and(|message| message.contains("--observe")));
        Ok(())
    })
    .await?;
    ensure!(harness.get::<Function>("f").await?.spec.replicas == Some(2));
    Ok(())
}
