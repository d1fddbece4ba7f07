//! The controller's comparison is that of the API server, and an apply that admission rewrites is sent once.

use std::time::Duration;

use anyhow::{Context, ensure};
use function_mesh_api::Function;
use function_mesh_testkit::{PATIENCE, eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use serde_json::{Value, from_value, json};

use crate::harness::{Harness, TestResult, json, public_case, texts};

/// Reconciles a function ten times, and returns the writes of other objects.
async fn writes_of_ten_reconciles(harness: &Harness, function: &str) -> anyhow::Result<Vec<String>> {
    for n in 0..10 {
        let change = json!({ "metadata": { "annotations": { "look": n.to_string() } } });
        harness.patch::<Function>(function, change).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let mut writes = texts(&harness.settle().await?);
    writes.retain(|write| !write.contains("/status"));
    Ok(writes)
}

#[tokio::test]
async fn case_17_metric_in_other_digits() -> TestResult {
    let harness = Harness::new("measured").await?;
    harness.apply(&public_case::<Function>("17-metric-in-other-digits.yaml")?).await?;
    harness.appears::<HorizontalPodAutoscaler>("measured-function").await?;
    harness.settle().await?;
    assert_eq!(writes_of_ten_reconciles(&harness, "measured").await?, [""; 0]);
    Ok(())
}

/// Amounts in every embedded type, each as the API server does not write it.
#[tokio::test]
async fn amounts_in_other_digits_cause_no_writes() -> TestResult {
    let harness = Harness::new("digits").await?;
    let mut spec = fixtures::java_function("f");
    (spec.min_replicas, spec.max_replicas) = (Some(1), Some(4));
    spec.resources = from_value(json!({
        "requests": { "cpu": "0.29", "memory": "1.5G", "ephemeral-storage": "1024Ki" },
        "limits": { "cpu": "0.7000", "memory": "2000M", "ephemeral-storage": "0.0009765625Ti" },
    }))?;
    spec.pod = from_value(json!({
        "volumes": [
            { "name": "v", "emptyDir": { "sizeLimit": "1024Mi" } },
            { "name": "e", "ephemeral": { "volumeClaimTemplate": { "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "0.5Gi" } } } } } },
        ],
        "env": [{ "name": "CPU", "valueFrom": { "resourceFieldRef": { "resource": "limits.cpu", "divisor": "0.001" } } }],
        "sidecars": [{ "name": "s", "image": "s", "resources": { "requests": { "cpu": "0.1", "memory": "1e6" } } }],
        "autoScalingMetrics": [
            { "type": "ContainerResource", "containerResource": { "name": "memory", "container": "s",
                "target": { "type": "AverageValue", "averageValue": "1024Mi" } } },
            { "type": "External", "external": { "metric": { "name": "m" }, "target": { "type": "Value", "value": "1e3" } } },
        ],
        "autoScalingBehavior": { "scaleUp": { "tolerance": "0.050" }, "scaleDown": { "tolerance": "100m" } },
    }))?;
    spec.volume_claim_templates = from_value(json!([{ "metadata": { "name": "data" }, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1024Mi" } } } }]))?;
    harness.apply(&fixtures::function(spec)?).await?;
    harness.appears::<HorizontalPodAutoscaler>("f-function").await?;
    harness.settle().await?;
    assert_eq!(writes_of_ten_reconciles(&harness, "f").await?, [""; 0]);
    Ok(())
}

/// Creates an object of `admissionregistration.k8s.io/v1`.
async fn admission(harness: &Harness, kind: &str, object: Value) -> TestResult {
    let gvk = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
    let api = Api::<DynamicObject>::all_with(harness.client.clone(), &ApiResource::from_gvk(&gvk));
    api.create(&PostParams::default(), &from_value(object)?).await?;
    Ok(())
}

/// A policy that replaces the image of StatefulSets of this namespace.
async fn replace_images(harness: &Harness) -> TestResult {
    let name = format!("images-of-{}", harness.namespace);
    let expression = r#"[JSONPatch{op: "replace", path: "/spec/template/spec/containers/0/image", value: "mirror/" +
        object.spec.template.spec.containers[0].image.split("/")[size(object.spec.template.spec.containers[0].image.split("/")) - 1]}]"#;
    let rules = json!([{ "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
        "resources": ["statefulsets"] }]);
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": { "name": name },
        "spec": {
            "matchConstraints": { "resourceRules": rules }, "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": expression } }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": { "name": name },
        "spec": { "policyName": name, "matchResources": { "namespaceSelector": { "matchLabels": {
            "kubernetes.io/metadata.name": harness.namespace } } } },
    });
    admission(harness, "MutatingAdmissionPolicy", policy).await?;
    admission(harness, "MutatingAdmissionPolicyBinding", binding).await?;
    // It takes effect within seconds: a dry run shows when.
    eventually(PATIENCE, async || {
        let set: StatefulSet = from_value(json!({
            "metadata": { "name": "probe" },
            "spec": { "selector": { "matchLabels": { "app": "x" } }, "template": {
                "metadata": { "labels": { "app": "x" } }, "spec": { "containers": [{ "name": "x", "image": "a/x" }] } } },
        }))?;
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let found = json(&harness.api::<StatefulSet>().create(&params, &set).await?)?;
        let image = &found["spec"]["template"]["spec"]["containers"][0]["image"];
        ensure!(image == "mirror/x", "{image}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn rewritten_apply_is_sent_once_and_reported() -> TestResult {
    let harness = Harness::new("rewritten").await?;
    replace_images(&harness).await?;
    let mut spec = fixtures::java_function("f");
    spec.image = Some("example/runner:1".to_owned());
    harness.apply(&fixtures::function(spec.clone())?).await?;
    harness.appears::<StatefulSet>("f-function").await?;
    harness.settle().await?;
    assert_eq!(writes_of_ten_reconciles(&harness, "f").await?, [""; 0]);
    let event = "Warning FieldsRewritten: a mutating webhook or policy rewrites StatefulSet \
        spec.template.spec.containers[pulsar-function].image";
    eventually(PATIENCE, async || {
        function_mesh_testkit::mark_running(&harness.client, &harness.namespace).await?;
        let status = harness.get::<Function>("f").await?.status.context("no status")?;
        let message = status.message.unwrap_or_default();
        ensure!(event.ends_with(&message) && !message.is_empty(), "{} {message}", status.phase);
        let events = harness.events("Function", "f").await?;
        ensure!(events.iter().any(|it| it == event), "{events:?}");
        Ok(())
    })
    .await?;
    // What we want changes: it is written again.
    spec.image = Some("example/runner:2".to_owned());
    harness.apply(&fixtures::function(spec)?).await?;
    harness
        .stateful_set("f-function", async |set| {
            let image = json(set)?["spec"]["template"]["spec"]["containers"][0]["image"].clone();
            ensure!(image == "mirror/runner:2", "{image}");
            Ok(())
        })
        .await?;
    Ok(())
}
