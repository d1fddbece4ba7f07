//! Recovery: CRDs that are installed later, a lost status, names that become free.

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{BackendConfig, BackendConfigSpec, Function, FunctionMesh};
use function_mesh_testkit::{PATIENCE, TestNamespace, eventually, fixtures, mark_running};
use function_mesh_workloads::VerticalPodAutoscaler;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{from_value, json};

use crate::harness::{Harness, TestResult, json as to_json, texts};

fn definition_of_vertical_autoscalers() -> anyhow::Result<CustomResourceDefinition> {
    let schema =
        json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
    Ok(from_value(json!({
        "metadata": {
            "name": "verticalpodautoscalers.autoscaling.k8s.io",
            "annotations": { "api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/63797" },
        },
        "spec": {
            "group": "autoscaling.k8s.io", "scope": "Namespaced",
            "names": { "kind": "VerticalPodAutoscaler", "plural": "verticalpodautoscalers" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": schema }],
        },
    }))?)
}

#[tokio::test]
async fn vpa_crd_can_be_installed_later() -> TestResult {
    let harness = Harness::new("late-vpa").await?;
    let mut spec = fixtures::java_function("x");
    spec.pod = from_value(json!({ "vpa": { "updatePolicy": { "updateMode": "Off" } } }))?;
    let scaled = fixtures::function(spec)?;
    harness.apply(&scaled).await?;
    let status = harness.phase::<Function>("x", Phase::Degraded).await?;
    let message = status.message.unwrap_or_default();
    assert!(message.contains("VerticalPodAutoscaler"), "{message}");
    assert!(message.contains("CRD not installed"), "{message}");
    // All other children exist.
    harness.appears::<StatefulSet>("x-function").await?;
    harness.appears::<Service>("x-function-headless").await?;

    let definitions = Api::<CustomResourceDefinition>::all(harness.client.clone());
    definitions.create(&PostParams::default(), &definition_of_vertical_autoscalers()?).await?;
    eventually(PATIENCE, async || {
        harness.get::<VerticalPodAutoscaler>("x-function").await?;
        let status = harness.get::<Function>("x").await?.status.context("no status")?;
        ensure!(status.conditions.contains_key("VerticalPodAutoscaler"), "{:?}", status.message);
        Ok(())
    })
    .await?;
    // The VPA is deleted when it is no longer wanted.
    let plain = fixtures::function(fixtures::java_function("x"))?;
    harness.apply(&plain).await?;
    harness.gone::<VerticalPodAutoscaler>("x-function").await?;

    // A removed CRD does not block objects that no longer need it.
    harness.apply(&scaled).await?;
    harness.appears::<VerticalPodAutoscaler>("x-function").await?;
    let kind = "verticalpodautoscalers.autoscaling.k8s.io";
    definitions.delete(kind, &DeleteParams::default()).await?;
    eventually(PATIENCE, async || {
        ensure!(definitions.get_opt(kind).await?.is_none(), "the kind is there");
        Ok(())
    })
    .await?;
    harness.apply(&plain).await?;
    eventually(PATIENCE, async || {
        let status = harness.get::<Function>("x").await?.status.context("no status")?;
        ensure!(!status.conditions.contains_key("VerticalPodAutoscaler"), "{:?}", status.message);
        ensure!(!status.message.unwrap_or_default().contains("VerticalPodAutoscaler"));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn lost_status_is_rewritten_without_other_writes() -> TestResult {
    let harness = Harness::new("wiped").await?;
    let parts = [fixtures::java_function("shout").into(), fixtures::sink("drain").into()];
    harness.apply(&fixtures::mesh("m", parts)?).await?;
    eventually(PATIENCE, async || {
        mark_running(&harness.client, &harness.namespace).await?;
        let status = harness.get::<FunctionMesh>("m").await?.status.context("no status")?;
        ensure!(status.components.as_deref() == Some("2/2"), "{:?}", status.conditions);
        Ok(())
    })
    .await?;
    harness.settle().await?;
    let wipe = Patch::Merge(json!({ "status": null }));
    harness.api::<FunctionMesh>().patch_status("m", &PatchParams::default(), &wipe).await?;
    harness.api::<Function>().patch_status("m-shout", &PatchParams::default(), &wipe).await?;
    harness.phase::<Function>("m-shout", Phase::Ready).await?;
    harness.condition("m", "Ready", ("True", "ComponentsReady")).await?;
    let writes = texts(&harness.settle().await?);
    assert!(writes.iter().all(|write| write.contains("/status")), "{writes:?}");

    // A component removed from the mesh while the status was lost is deleted too.
    harness.api::<FunctionMesh>().patch_status("m", &PatchParams::default(), &wipe).await?;
    harness.apply(&fixtures::mesh("m", [fixtures::java_function("shout").into()])?).await?;
    harness.gone::<function_mesh_api::Sink>("m-drain").await
}

#[tokio::test]
async fn freed_name_is_used_soon() -> TestResult {
    let harness = Harness::new("freed").await?;
    let foreign: Service = from_value(json!({
        "metadata": { "name": "x-function-headless" }, "spec": { "clusterIP": "None", "selector": { "app": "y" } },
    }))?;
    let foreign = harness.create::<Service>(&foreign).await?;
    harness.apply(&fixtures::function(fixtures::java_function("x"))?).await?;
    harness.phase::<Function>("x", Phase::Degraded).await?;
    harness.delete::<Service>("x-function-headless").await?;
    eventually(PATIENCE, async || {
        let ours = harness.get::<Service>("x-function-headless").await?;
        ensure!(ours.uid() != foreign.uid(), "it is still there");
        Ok(())
    })
    .await?;
    harness.appears::<StatefulSet>("x-function").await.map(|_| ())
}

#[tokio::test]
async fn mesh_reports_waiting_for_deleted_components() -> TestResult {
    let harness = Harness::new("foreground").await?;
    let mut sink = fixtures::sink("drain");
    sink.cleanup_subscription = Some(true);
    harness.apply(&fixtures::mesh("m", [sink.into()])?).await?;
    harness.appears::<StatefulSet>("m-drain-sink").await?;
    harness.settle().await?;
    harness.api::<FunctionMesh>().delete("m", &DeleteParams::foreground()).await?;
    harness.condition("m", "Ready", ("False", "Deleting")).await?;
    eventually(PATIENCE, async || {
        function_mesh_testkit::mark_ended(&harness.client, &harness.namespace, "m-drain-sink-cleanup", 0)
            .await?;
        ensure!(harness.find::<FunctionMesh>("m").await?.is_none(), "it is there");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn global_backend_config_outside_watched_namespaces() -> TestResult {
    let mut harness = Harness::without_controller("elsewhere").await?;
    let elsewhere = TestNamespace::new("defaults").await?;
    let config = |value: &str| {
        let env = Some([("COLOUR".to_owned(), value.to_owned())].into());
        let spec = BackendConfigSpec { env, auto_update: Some(true), ..BackendConfigSpec::default() };
        BackendConfig::new("global", spec)
    };
    elsewhere.apply(&config("red")).await?;
    harness.options.settings.global_backend_config = Some("global".to_owned());
    harness.options.settings.global_backend_config_namespace.clone_from(&elsewhere.namespace);
    harness.start().await?;
    harness.apply(&fixtures::function(fixtures::java_function("x"))?).await?;
    for colour in ["red", "blue"] {
        elsewhere.apply(&config(colour)).await?;
        let check = async |set: &StatefulSet| {
            ensure!(to_json(set)?.to_string().contains(&format!("\"{colour}\"")), "not {colour}");
            Ok(())
        };
        harness.stateful_set("x-function", check).await?;
    }
    Ok(())
}
