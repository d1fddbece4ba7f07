//! Autoscalers beside other containers than the runner.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::FunctionMesh;
use function_mesh_e2e::{Scenario, Traffic};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{TIMEOUT, await_replicas};

/// The autoscaler of a component measures the runner alone: neither a sidecar of the component nor a proxy that the
/// cluster injects has a request, or counts.
#[tokio::test]
async fn replicas_follow_the_load_beside_a_sidecar_and_an_injected_proxy() -> Result<()> {
    Scenario::run("beside", async |scenario| {
        scenario.harness.hack("metrics", &[]).await?;
        let image = scenario.harness.runner_image()?;
        let policy = proxy_policy(&scenario.namespace, &image).to_string();
        scenario.harness.run("kubectl", &["apply", "--server-side", "-f", "-"], &policy).await?;
        // The API server compiles a new policy within seconds.
        let is_injected = async || {
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "probe", "namespace": scenario.namespace },
                "spec": { "containers": [{ "name": "probe", "image": image }] },
            });
            let probe = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
            let made: Value = serde_json::from_str(&scenario.harness.run("kubectl", &probe, &pod.to_string()).await?)?;
            Ok(made["spec"]["containers"].as_array().is_some_and(|containers| containers.len() == 2))
        };
        scenario.eventually("the proxy is injected", TIMEOUT, is_injected).await?;

        let scaled = json!({
            "funcConfig": { "busyMs": 30 }, "minReplicas": 1, "maxReplicas": 2,
            "resources": { "requests": { "cpu": "25m" }, "limits": { "cpu": "300m" } },
            "pod": { "sidecars": [{ "name": "helper", "image": image, "command": ["sleep", "infinity"] }] },
        });
        let busy = scenario.python("busy", "busy.Busy", "work", "done").with(scaled);
        scenario.apply::<FunctionMesh>(scenario.mesh("beside", &[busy])).await?;
        scenario.await_ready("beside", TIMEOUT).await?;
        let pod = scenario.api::<Pod>().get("beside-busy-function-0").await?;
        let containers = pod.spec.context("a pod without a spec")?.containers;
        ensure!(containers.len() == 3, "runner, helper and proxy: {containers:?}");

        let traffic = Traffic::start(&scenario.pulsar, "work", Duration::from_millis(100));
        await_replicas(scenario, "beside-busy", 2).await?;
        let autoscaler = scenario.api::<HorizontalPodAutoscaler>().get("beside-busy-function").await?;
        let conditions = autoscaler.status.and_then(|status| status.conditions).unwrap_or_default();
        let active = conditions.iter().find(|condition| condition.type_ == "ScalingActive");
        ensure!(active.is_some_and(|active| active.status == "True"), "{conditions:?}");
        traffic.stop().await?;
        scenario.harness.run("kubectl", &["delete", "-f", "-"], &policy).await.map(|_| ())
    })
    .await
}

/// A policy that adds a container to each pod of a namespace, as a service mesh does.
fn proxy_policy(namespace: &str, image: &str) -> Value {
    let expression = format!(
        r#"[JSONPatch{{op: "add", path: "/spec/containers/-", value: Object.spec.containers{{name: "proxy", image: "{image}", command: ["sleep", "infinity"]}}}}]"#
    );
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
            "metadata": { "name": "proxy" },
            "spec": {
                "reinvocationPolicy": "Never", "failurePolicy": "Fail",
                "matchConstraints": { "resourceRules": [
                    { "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] },
                ] },
                "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": expression } }],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
            "metadata": { "name": "proxy" },
            "spec": { "policyName": "proxy", "matchResources": { "namespaceSelector": {
                "matchLabels": { "kubernetes.io/metadata.name": namespace },
            } } },
        },
    ] })
}
