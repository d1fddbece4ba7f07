//! What the status says of message traffic, on a real broker: numbers compared with what was sent.

#![allow(clippy::print_stdout, reason = "the output and the times are what the tests show")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::FunctionMesh;
use function_mesh_api::types::TrafficStatus;
use function_mesh_e2e::Scenario;
use serde_json::json;

const TIMEOUT: Duration = Duration::from_mins(3);

/// Plain and partitioned topics, Shared, Failover and Key_Shared, a pattern, and a component without pods.
#[tokio::test]
async fn numbers_are_those_of_the_messages() -> Result<()> {
    Scenario::run("traffic", async |scenario| {
        scenario.pulsar.partitioned("parts", 3).await?;
        let components = [
            scenario.python("plain", "mark.Mark", "plain", "out"),
            scenario.python("ordered", "mark.Mark", "parts", "out").with(json!({ "retainOrdering": true })),
            scenario.python("keyed", "mark.Mark", "keys", "out").with(json!({ "retainKeyOrdering": true })),
            scenario.python("pattern", "mark.Mark", "x", "out").with(json!({ "input": {
                "topics": null, "topicPattern": scenario.pulsar.topic("many-.*") } })),
            scenario.python("waits", "mark.Mark", "waits", "out"),
        ];
        // Its subscription exists before its pods stop.
        scenario.apply::<FunctionMesh>(scenario.mesh("m", &components)).await?;
        for topic in ["plain", "keys", "waits"] {
            scenario.pulsar.await_consumer(topic, TIMEOUT).await?;
        }
        scenario.kubectl(&["scale", "function", "m-waits", "--replicas=0"]).await?;
        scenario
            .eventually("m-waits has no consumer", TIMEOUT, async || {
                Ok(scenario.pulsar.consumers("waits").await?.values().sum::<usize>() == 0)
            })
            .await?;
        let texts: Vec<_> = (0..70).map(|number| format!("text {number}")).collect();
        for topic in ["plain", "parts", "keys", "many-1", "many-2", "waits"] {
            scenario.pulsar.send(topic, &texts).await?;
        }
        scenario.await_traffic("m-waits", "70 entries wait", |traffic| traffic.backlog == Some(70)).await?;
        scenario
            .await_traffic("m-waits", "they become older", |traffic| {
                traffic.lag_seconds.is_some_and(|lag| lag > 0)
            })
            .await?;
        for name in ["m-plain", "m-ordered", "m-keyed"] {
            let is_done = |traffic: &TrafficStatus| {
                traffic.backlog == Some(0)
                    && traffic.last_acked.is_some()
                    && traffic.in_rate.is_some()
                    && traffic.exceptions == Some(0)
            };
            scenario.await_traffic(name, "all is acknowledged", is_done).await?;
            scenario.await_stalled(name, "False", &["NotStalled"]).await?;
        }
        scenario.await_traffic("m-pattern", "both topics are worked off", |it| it.backlog == Some(0)).await?;
        scenario.kubectl(&["scale", "function", "m-waits", "--replicas=1"]).await?;
        scenario.await_traffic("m-waits", "the backlog is gone", |it| it.backlog == Some(0)).await?;
        scenario.await_ready("m", TIMEOUT).await?;
        let plugin = std::env::var("FUNCTION_MESH_CLI").context("set FUNCTION_MESH_CLI to kubectl-mesh")?;
        let output = scenario.harness.run(&plugin, &["status", "m", "-n", &scenario.namespace], "").await?;
        println!("{output}");
        ensure!(output.contains("waits") && output.contains("healthy"), "{output}");
        let wide = scenario.kubectl(&["get", "functions", "-o", "wide"]).await?;
        ensure!(wide.lines().next().is_some_and(|head| head.contains("LAG")), "{wide}");
        Ok(())
    })
    .await
}
