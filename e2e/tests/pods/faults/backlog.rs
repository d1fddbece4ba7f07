//! Scaling on messages while something else fails: the broker, or the operator itself.

#![allow(clippy::print_stdout, reason = "the times are what the tests show")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use function_mesh_api::Function;
use function_mesh_e2e::{Broker, Scenario};
use serde_json::json;

const TIMEOUT: Duration = Duration::from_mins(4);

async fn replicas(scenario: &Scenario) -> Result<i32> {
    Ok(scenario.api::<Function>().get("waits").await?.spec.replicas.unwrap_or(1))
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("text-{number}")).collect()
}

/// Waits for a result of each message; some may come twice.
async fn receive_all(scenario: &Scenario, count: usize) -> Result<()> {
    let received = scenario.pulsar.receive("out", count, TIMEOUT).await?;
    let ids: BTreeSet<_> = received.iter().map(|it| it.trim_end_matches('!')).collect();
    ensure!(ids.len() == count, "{} of {count}", ids.len());
    Ok(())
}

/// Without its broker a function keeps its replicas, and afterwards no message is lost.
#[tokio::test]
async fn a_restarted_broker_scales_nothing() -> Result<()> {
    Broker::run(7310, async |harness, broker| {
        Scenario::run_with(harness, broker, "broker-away", async |scenario| {
            let policy = json!({ "scaling": { "maxReplicas": 3, "minReplicas": 2, "lag": "10s" } });
            let function = scenario.python("waits", "wait.Wait", "in", "out").with(policy);
            scenario.start(&function, "in", TIMEOUT).await?;
            scenario.eventually("two replicas", TIMEOUT, async || Ok(replicas(scenario).await? == 2)).await?;
            broker.kill().await?;
            let began = Instant::now();
            scenario
                .eventually("it is reported", TIMEOUT, async || {
                    let scaling = scenario.status("waits").await.ok().and_then(|status| status.scaling);
                    Ok(scaling.and_then(|it| it.reason).as_deref() == Some("MissingData"))
                })
                .await?;
            println!("reported after {:.1} s", began.elapsed().as_secs_f64());
            ensure!(replicas(scenario).await? == 2);
            broker.restart().await?;
            scenario.pulsar.send("in", &texts(500)).await?;
            receive_all(scenario, 500).await?;
            ensure!(replicas(scenario).await? >= 2);
            Ok(())
        })
        .await
    })
    .await
}

/// An operator that is killed again and again decides the same, and scales.
#[tokio::test]
async fn a_killed_operator_scales_all_the_same() -> Result<()> {
    Scenario::run("killed", async |scenario| {
        let policy = json!({ "scaling": { "maxReplicas": 3, "lag": "5s" } });
        let function = scenario.python("waits", "wait.Wait", "in", "out").with(policy);
        scenario.start(&function, "in", TIMEOUT).await?;
        scenario.pulsar.send("in", &texts(2000)).await?;
        let began = Instant::now();
        for _ in 0..3 {
            scenario.harness.crash_operator().await?;
            tokio::time::sleep(Duration::from_secs(8)).await;
        }
        scenario.eventually("it is scaled up", TIMEOUT, async || Ok(replicas(scenario).await? > 1)).await?;
        println!("killed three times, scaled up after {:.1} s", began.elapsed().as_secs_f64());
        receive_all(scenario, 2000).await
    })
    .await
}
