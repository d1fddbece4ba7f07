//! In a steady state the controller writes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::FunctionMesh;
use function_mesh_testkit::{
    ControlPlane, ControllerHarness, PATIENCE, ServerWrites, apply, eventually, fixtures, mark_running,
    test_options,
};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::Api;
use kube::api::ListParams;

use crate::harness::{Harness, TestResult, texts};

fn rich() -> anyhow::Result<FunctionMesh> {
    let mut scaled = fixtures::java_function("shout");
    scaled.max_replicas = Some(5);
    scaled.resources = serde_json::from_value(serde_json::json!({
        "requests": { "cpu": "0.1", "memory": "1G" }, "limits": { "cpu": 1, "memory": "1000M" },
    }))?;
    scaled.pod = serde_json::from_value(serde_json::json!({
        "env": [{ "name": "A", "value": "1" }, { "name": "A", "value": "2" }, { "name": "E", "value": "" }],
        "labels": {}, "tolerations": [], "terminationGracePeriodSeconds": 30,
        "liveness": { "periodSeconds": 10 },
        "volumes": [{ "name": "v", "emptyDir": { "sizeLimit": "0.5Gi" } }],
        "sidecars": [{ "name": "s", "image": "s", "ports": [{ "containerPort": 80 }] }],
    }))?;
    scaled.volume_claim_templates = serde_json::from_value(serde_json::json!([{
        "metadata": { "name": "data" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "0.5Gi" } } },
    }]))?;
    let mut stateful = fixtures::python_function("scream");
    stateful.log_topic = Some("logs".to_owned());
    let functions = [scaled.into(), stateful.into()];
    fixtures::mesh(
        "m",
        functions.into_iter().chain([fixtures::source("feed").into(), fixtures::sink("drain").into()]),
    )
}

#[tokio::test]
async fn steady_state_and_restart_cause_no_writes() -> TestResult {
    let mut harness = Harness::new("quiet").await?;
    harness.apply(&rich()?).await?;
    harness.unschedulable(4).await?;
    harness.condition("m", "Degraded", ("True", "ComponentsDegraded")).await?;
    tokio::time::sleep(Duration::from_secs(6)).await;
    harness.settle().await?;
    harness.reconcile_all().await?;
    assert_eq!(texts(&harness.recorder.take()), [""; 0]);

    let generations = async |harness: &Harness| {
        let sets = harness.api::<StatefulSet>().list(&ListParams::default()).await?.items;
        let generation = |set: StatefulSet| (set.metadata.name, set.metadata.generation);
        anyhow::Ok(sets.into_iter().map(generation).collect::<Vec<_>>())
    };
    let before = generations(&harness).await?;
    assert_eq!(before.len(), 4);
    harness.restart().await?;
    harness.reconcile_all().await?;
    assert_eq!(harness.recorder.take(), []);
    assert_eq!(generations(&harness).await?, before);
    Ok(())
}

/// On its own control plane, so that the API server's metrics count this controller only.
#[tokio::test]
async fn crds_can_be_installed_later() -> TestResult {
    let plane = ControlPlane::start().await?;
    let client = plane.client().await?;
    let controller = ControllerHarness::start(client.clone(), test_options(&[]));
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(!controller.has_ended(), "it gave up");
    let missing = controller.missing();
    assert!(missing.contains(&"cache of functionmeshes".to_owned()), "{missing:?}");

    plane.install_definitions().await?;
    let namespace = plane.namespace(&client, "late").await?;
    apply(&client, &namespace, &rich()?).await?;
    let meshes = Api::<FunctionMesh>::namespaced(client.clone(), &namespace);
    eventually(PATIENCE, async || {
        mark_running(&client, &namespace).await?;
        let status = meshes.get("m").await?.status.context("no status")?;
        ensure!(status.components.as_deref() == Some("4/4"), "{:?}", status.conditions);
        Ok(())
    })
    .await?;
    assert_eq!(controller.missing(), [""; 0]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = ServerWrites::read(&client).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut writes = ServerWrites::read(&client).await?.since(&before);
    // Kubernetes writes too: the scheduler and the HPA controller report missing nodes and metrics, and controllers
    // request tokens.
    writes.retain(|resource, _| {
        !["pods/status", "horizontalpodautoscalers/status", "serviceaccounts/token"]
            .contains(&resource.as_str())
    });
    assert_eq!(writes, BTreeMap::new());
    controller.stop().await
}
