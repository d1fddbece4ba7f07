//! Rollouts that break: one pod is down at a time, the phase is never Ready meanwhile, and a fixed spec recovers without a
//! hand on any pod.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use function_mesh_api::{Function, FunctionMesh};
use function_mesh_e2e::Scenario;
use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::{Value, json};
use tokio::time::sleep;

const TIMEOUT: Duration = Duration::from_mins(3);
/// Longer than a runner needs to fail, and than `minReadySeconds`.
const BROKEN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_broken_rollout_stops_at_one_pod_and_recovers_when_it_is_fixed() -> Result<()> {
    Scenario::run("broken", async |scenario| {
        let three = scenario.python("three", "double.Double", "in", "out").with(json!({ "replicas": 3 }));
        let apply = async |more: Value| {
            let mesh = scenario.mesh("broken", &[three.clone().with(more)]);
            scenario.apply::<FunctionMesh>(mesh).await
        };
        apply(json!({})).await?;
        scenario.await_ready("broken", TIMEOUT).await?;
        for (what, broken) in [
            ("an image that is not there", json!({ "image": "localhost/not-there:1" })),
            ("a program that is not there", json!({ "python": { "py": "/pulsar/not-there.py" } })),
            ("a CPU request that no node has", json!({ "resources": { "requests": { "cpu": "1000" } } })),
        ] {
            apply(broken).await?;
            let is_replacing = async || {
                let status = stateful_set(scenario).await?.status.unwrap_or_default();
                Ok(status.update_revision != status.current_revision)
            };
            scenario.eventually(&format!("{what}: the rollout starts"), TIMEOUT, is_replacing).await?;
            let until = Instant::now() + BROKEN;
            while Instant::now() < until {
                let ready = stateful_set(scenario).await?.status.and_then(|status| status.ready_replicas);
                ensure!(ready.is_some_and(|ready| ready >= 2), "{what}: {ready:?} pods are ready");
                let phase = phase(scenario).await?;
                ensure!(phase != "Ready", "{what}: the phase is {phase}");
                sleep(Duration::from_millis(500)).await;
            }
            scenario
                .eventually(&format!("{what}: Degraded"), TIMEOUT, async || {
                    Ok(phase(scenario).await? == "Degraded")
                })
                .await?;
            apply(json!({})).await?;
            scenario.await_ready("broken", TIMEOUT).await?;
        }
        Ok(())
    })
    .await
}

async fn stateful_set(scenario: &Scenario) -> Result<StatefulSet> {
    Ok(scenario.api().get("broken-three-function").await?)
}

async fn phase(scenario: &Scenario) -> Result<String> {
    let status = scenario.api::<Function>().get("broken-three").await?.status;
    Ok(serde_json::to_value(status)?["phase"].as_str().unwrap_or_default().to_owned())
}
