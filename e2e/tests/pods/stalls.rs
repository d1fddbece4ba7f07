//! Stalls and what is unknown, on a real broker: a function that blocks, one that raises always, an output whose quota
//! holds producers, and a broker that is away.

#![allow(clippy::print_stdout, reason = "the times are what the tests show")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use function_mesh_api::{FunctionMesh, Sink};
use function_mesh_e2e::{Broker, BrokerPlan, Component, Harness, Scenario, condition};
use k8s_openapi::api::core::v1::{Event, Pod, PodStatus};
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;

const TIMEOUT: Duration = Duration::from_mins(6);
/// How a call that does not return looks from outside.
const STALLED: [&str; 2] = ["NotReceiving", "ReceivingNotAcking"];

fn impatient(component: Component) -> Component {
    component.with(json!({ "stallAfter": "1m" }))
}

/// A pod that is Ready and does nothing is reported, and restarted with `onStall: Restart`.
#[tokio::test]
async fn a_blocked_function_is_told_and_its_pod_restarted() -> Result<()> {
    Scenario::run("blocked", async |scenario| {
        let function = scenario
            .python("blocks", "stall.Stall", "in", "out")
            .with(json!({ "stallAfter": "1m", "onStall": "Restart" }));
        scenario.apply::<FunctionMesh>(scenario.mesh("m", &[function])).await?;
        scenario.await_ready("m", TIMEOUT).await?;
        let pod = async || anyhow::Ok(scenario.api::<Pod>().get("m-blocks-function-0").await?.uid());
        let before = pod().await?;
        let began = std::time::Instant::now();
        let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() + 150;
        let texts = [format!("block-until:{until}"), "after".to_owned()];
        scenario.pulsar.send("in", &texts).await?;
        scenario.await_stalled("m-blocks", "True", &STALLED).await?;
        // The mesh follows its component.
        let names_it = |mesh: &FunctionMesh| {
            condition(mesh, "Stalled")
                .is_some_and(|it| it.status == "True" && it.message.contains("function blocks"))
        };
        scenario.await_mesh("m", TIMEOUT, names_it).await?;
        let plugin = std::env::var("FUNCTION_MESH_CLI").context("set FUNCTION_MESH_CLI to kubectl-mesh")?;
        let status = ["status", "m", "-n", &scenario.namespace];
        // Its exit code says that the mesh is not healthy.
        let output = scenario.harness.run(&plugin, &status, "").await.err().context("it is healthy")?;
        let output = output.to_string();
        println!("{output}");
        ensure!(STALLED.iter().any(|it| output.contains(it)), "{output}");

        scenario
            .eventually("the pod is another one", TIMEOUT, async || {
                Ok(pod().await.is_ok_and(|it| it != before))
            })
            .await?;
        println!("restarted {} s after the message", began.elapsed().as_secs());
        let received = scenario.pulsar.receive("out", 2, TIMEOUT).await?;
        ensure!(received.contains(&"after!".to_owned()), "{received:?}");
        scenario.await_stalled("m-blocks", "False", &["NotStalled"]).await?;
        println!("over {} s after the message", began.elapsed().as_secs());
        let events = scenario.api::<Event>().list(&ListParams::default()).await?;
        let reasons: Vec<_> = events.items.iter().filter_map(|event| event.reason.as_deref()).collect();
        ensure!(reasons.contains(&"PodRestarted"), "{reasons:?}");
        ensure!(STALLED.iter().any(|it| reasons.contains(it)), "{reasons:?}");
        let traffic = scenario.status("m-blocks").await?.traffic.context("no traffic")?;
        ensure!(traffic.restarts == Some(1), "{traffic:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_function_that_always_raises_is_failing() -> Result<()> {
    Scenario::run("raises", async |scenario| {
        let function = impatient(scenario.python("raises", "stall.Stall", "in", "out"));
        scenario.start(&function, "in", TIMEOUT).await?;
        let mut producer = scenario.pulsar.producer("in").await?;
        for _ in 0..5 {
            producer.send(&"raise".into()).await?;
        }
        // Python's runner acknowledges what raises unless a retry is configured, so that new messages keep coming.
        let message = scenario.await_stalled("raises", "True", &["Failing"]).await;
        let traffic = scenario.status("raises").await?.traffic.context("no traffic")?;
        println!("{message:?} {traffic:?}");
        message.map(|_| ())
    })
    .await
}

/// A connector whose own thread ended: the process runs, the pod is Ready, and no message is acknowledged. An error in the
/// runner's thread ends the process instead, so that Kubernetes restarts it.
#[tokio::test]
async fn a_java_sink_whose_thread_ended_is_told_and_one_whose_runner_failed_restarts() -> Result<()> {
    Scenario::run("thread", async |scenario| {
        let sink = |name: &str| {
            let sink = scenario.sink(name, "e2e.Handover", "/functions/functions.jar", name);
            // A sink requires a configuration.
            impatient(sink).with(json!({ "sinkConfig": { "a": "b" } }))
        };
        for name in ["ends", "fails"] {
            scenario.apply::<Sink>(sink(name).alone()).await?;
        }
        let texts: Vec<_> = (0..10).map(|number| format!("text {number}")).collect();
        for name in ["ends", "fails"] {
            scenario.pulsar.await_consumer(name, TIMEOUT).await?;
            scenario.pulsar.send(name, &texts).await?;
            scenario.await_read(name, TIMEOUT).await?;
        }
        scenario.pulsar.send("fails", &["error"]).await?;
        let began = Instant::now();
        scenario.pulsar.send("ends", &["end", "after", "that"]).await?;
        let pod = async |name: &str| {
            let status = scenario.api::<Pod>().get(&format!("{name}-sink-0")).await?.status;
            status.context("no status")
        };
        let restarts = |status: &PodStatus| {
            status.container_statuses.iter().flatten().map(|it| it.restart_count).sum::<i32>()
        };
        scenario
            .eventually("the runner ended", TIMEOUT, async || Ok(restarts(&pod("fails").await?) > 0))
            .await?;
        println!("an error ends the runner: restarted {} s after the message", began.elapsed().as_secs());

        scenario.await_stalled_of::<Sink>("ends", "True", &["ReceivingNotAcking"]).await?;
        println!("the thread ended {} s ago", began.elapsed().as_secs());
        let status = pod("ends").await?;
        let conditions = status.conditions.as_deref().unwrap_or_default();
        ensure!(conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True"), "{conditions:?}");
        ensure!(restarts(&status) == 0, "{status:?}");
        let traffic = scenario.status_of::<Sink>("ends").await?.traffic.context("no traffic")?;
        println!("pod Ready, no restart: {traffic:?}");
        ensure!(traffic.backlog == Some(3), "{traffic:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_output_whose_quota_holds_producers_is_named() -> Result<()> {
    Scenario::run("quota", async |scenario| {
        let full = scenario.harness.broker().namespace(&format!("{}-full", scenario.namespace)).await?;
        let function = impatient(scenario.python("fills", "mark.Mark", "in", "out"))
            .with(json!({ "output": { "topic": full.topic("out") } }));
        scenario.start(&function, "in", TIMEOUT).await?;
        let quota = json!({ "limitSize": 1, "limit": 1, "policy": "producer_request_hold" });
        full.policy("backlogQuota?backlogQuotaType=destination_storage", &quota).await?;
        // A subscription without a consumer.
        full.consumer("out", "idle").await?;
        let texts: Vec<_> = (0..100).map(|number| format!("text {number}")).collect();
        let began = Instant::now();
        while began.elapsed() < Duration::from_mins(4) {
            scenario.pulsar.send("in", &texts).await?;
            let conditions =
                scenario.status("fills").await.map(|it| it.standard_conditions).unwrap_or_default();
            if conditions.iter().any(|it| it.type_ == "Stalled" && it.status == "True") {
                break;
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        scenario.await_stalled("fills", "True", &["OutputBlocked"]).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_broker_that_is_away_makes_it_unknown_and_not_stalled() -> Result<()> {
    let harness = Harness::find().await?;
    let broker = Broker::start(&harness, BrokerPlan { port: 7300, ..BrokerPlan::default() }).await?;
    let result = Scenario::run_with(&harness, &broker, "away", async |scenario| {
        let function = impatient(scenario.python("waits", "mark.Mark", "in", "out"));
        scenario.start(&function, "in", TIMEOUT).await?;
        scenario.await_stalled("waits", "False", &["NotStalled"]).await?;
        broker.kill().await?;
        scenario.await_stalled("waits", "Unknown", &["PulsarUnavailable"]).await?;
        let traffic = scenario.status("waits").await?.traffic.context("no traffic")?;
        ensure!(traffic.backlog.is_none() && traffic.in_rate.is_none(), "unknown is not zero: {traffic:?}");
        broker.restart().await?;
        scenario.await_stalled("waits", "False", &["NotStalled"]).await?;
        Ok(())
    })
    .await;
    broker.stop().await?;
    result
}
