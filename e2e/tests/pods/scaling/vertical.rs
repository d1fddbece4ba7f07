//! VerticalPodAutoscalers.

use anyhow::{Result, ensure};
use function_mesh_api::FunctionMesh;
use function_mesh_e2e::{Harness, Scenario, not_ready};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{TIMEOUT, pods, stateful_set};

#[tokio::test]
async fn a_vertical_autoscaler_comes_with_its_kind_and_follows_the_function() -> Result<()> {
    let harness = Harness::find().await?;
    let crds = vpa_crds(&harness).await?;
    let result = Scenario::run("vertical", async |scenario| {
        let policies = json!({
            "updatePolicy": { "updateMode": "Initial", "minReplicas": 1 },
            "resourcePolicy": { "containerPolicies": [{
                "containerName": "pulsar-function", "mode": "Auto", "controlledResources": ["cpu"],
                "maxAllowed": { "cpu": "1", "memory": "200Mi" }, "controlledValues": "RequestsOnly",
            }] },
        });
        let plain = scenario.python("double", "double.Double", "numbers", "doubled");
        let mut component = plain.clone().with(json!({ "pod": { "vpa": policies } }));
        scenario.apply::<FunctionMesh>(scenario.mesh("v", std::slice::from_ref(&component))).await?;
        let pending = scenario
            .await_mesh("v", TIMEOUT, |mesh| ready_message(mesh).contains("VerticalPodAutoscaler"))
            .await?;
        ensure!(ready_message(&pending).contains("CRD not installed"), "{:?}", pending.status);
        // The function runs without it.
        scenario.pulsar.await_consumer("numbers", TIMEOUT).await?;
        let before = (stateful_set(scenario, "v-double").await?.uid(), pods(scenario, "v-double").await?);

        // The operator notices the new kind by itself.
        harness.kubectl(&["apply", "--server-side", "-f", &crds]).await?;
        let mut expected = policies;
        expected["targetRef"] =
            json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "v-double-function" });
        await_vertical(scenario, Some(&expected)).await?;
        scenario.await_ready("v", TIMEOUT).await?;

        let mode = json!({ "updatePolicy": { "updateMode": "Off" } });
        component = component.with(json!({ "pod": { "vpa": mode } }));
        expected["updatePolicy"]["updateMode"] = json!("Off");
        scenario.apply::<FunctionMesh>(scenario.mesh("v", &[component])).await?;
        await_vertical(scenario, Some(&expected)).await?;

        scenario.apply::<FunctionMesh>(scenario.mesh("v", &[plain])).await?;
        await_vertical(scenario, None).await?;
        scenario.await_ready("v", TIMEOUT).await?;
        let after = (stateful_set(scenario, "v-double").await?.uid(), pods(scenario, "v-double").await?);
        ensure!(after == before, "the function was restarted: {before:?}, then {after:?}");
        Ok(())
    })
    .await;
    let gone = harness.kubectl(&["delete", "--ignore-not-found", "-f", &crds]).await;
    result?;
    gone.map(|_| ())
}

/// The file with the CRDs of VerticalPodAutoscalers, after removing them from the cluster. No other test uses them.
async fn vpa_crds(harness: &Harness) -> Result<String> {
    let file = harness.hack("vpa", &[]).await?;
    harness.kubectl(&["delete", "--ignore-not-found", "-f", &file]).await?;
    Ok(file)
}

/// Waits until the VerticalPodAutoscaler has this spec, or until there is none.
async fn await_vertical(scenario: &Scenario, expected: Option<&Value>) -> Result<()> {
    // With the raw path, since kubectl caches discovery.
    let path =
        format!("/apis/autoscaling.k8s.io/v1/namespaces/{}/verticalpodautoscalers", scenario.namespace);
    scenario
        .eventually(&format!("its spec is {expected:?}"), TIMEOUT, async || {
            let request = http::Request::get(&path).body(Vec::new())?;
            let found = match scenario.harness.client.request::<Value>(request).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Value::Null,
                found => found?,
            };
            let found = found["items"].as_array().cloned().unwrap_or_default();
            let names: Vec<_> = found.iter().map(|one| one["metadata"]["name"].clone()).collect();
            Ok(match expected {
                Some(expected) => names == ["v-double-function"] && found[0]["spec"] == *expected,
                None => names.is_empty(),
            })
        })
        .await
}

/// The message of a mesh's condition Ready while it is False.
fn ready_message(mesh: &FunctionMesh) -> &str {
    not_ready(mesh).map_or("", |ready| &ready.message)
}
