//! Fairness: one tenant does not starve others.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use function_mesh_api::Function;
use function_mesh_api::types::Phase;
use function_mesh_controller::{CONTROLLERS, Options, ProtectedNamespaces, run};
use function_mesh_serving::Readiness;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_testkit::{ControlPlane, PATIENCE, apply, eventually, fixtures};
use function_mesh_workloads::Settings;
use futures::stream::{self, StreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Event;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::connection::{Connection, Fault};
use crate::harness::{Harness, TestResult};

/// Functions of the busy tenant.
const CROWD: usize = 300;
/// Maximum delay of another tenant. Without fairness it waits behind most of the queue, for more than a minute.
const BYSTANDER: Duration = Duration::from_secs(10);

async fn create(client: &Client, namespace: &str, name: &str) -> TestResult {
    let function: Function = fixtures::function(fixtures::python_function(name))?;
    apply(client, namespace, &function).await?;
    Ok(())
}

#[tokio::test]
async fn busy_namespace_does_not_delay_others() -> TestResult {
    let plane = ControlPlane::shared().await?;
    let client = plane.client().await?;
    let (crowd, bystander) =
        (plane.namespace(&client, "crowd").await?, plane.namespace(&client, "bystander").await?);
    let made: Vec<_> = (0..CROWD).map(|index| format!("f{index}")).collect();
    let made = stream::iter(&made).map(|name| create(&client, &crowd, name)).buffer_unordered(16);
    for result in made.collect::<Vec<_>>().await {
        result?;
    }
    // Each request for the busy namespace takes half a second, as for expensive objects.
    let connection = Connection::default();
    connection.fault(&format!("/namespaces/{crowd}/"), Fault::Delay(Duration::from_millis(500)));
    let options = Options {
        settings: Settings::default(),
        namespaces: format!("{crowd},{bystander}").parse()?,
        protected: ProtectedNamespaces::default(),
        concurrency: 4,
        pause_rollout: false,
        candidate: None,
        publish_settings: None,
        observer: None,
    };
    let end = CancellationToken::new();
    let readiness = Readiness::new(end.clone());
    readiness.gate(CONTROLLERS);
    let (token, ready, slow) = (end.clone(), readiness.clone(), connection.client(plane.config().await?)?);
    let running =
        tokio::spawn(async move { run(slow, options, &prometheus::Registry::new(), &ready, token).await });
    eventually(PATIENCE, async || {
        ensure!(
            readiness.missing().is_empty() && connection.writes().len() > 8,
            "the busy namespace has no reconciles"
        );
        Ok(())
    })
    .await?;
    create(&client, &bystander, "b").await?;
    let begun = Instant::now();
    let sets = Api::<StatefulSet>::namespaced(client.clone(), &bystander);
    eventually(PATIENCE * 2, async || sets.get("b-function").await.context("it waits")).await?;
    let waited = begun.elapsed();
    println!("the bystander's StatefulSet after {:.2} s", waited.as_secs_f64());
    let of_crowd = Api::<StatefulSet>::namespaced(client, &crowd).list(&ListParams::default()).await?;
    end.cancel();
    running.abort();
    ensure!(of_crowd.items.len() < CROWD, "the crowd was done already");
    ensure!(waited < BYSTANDER, "it waited for {waited:?}");
    Ok(())
}

#[tokio::test]
async fn alternating_invalid_specs_cause_few_events() -> TestResult {
    let harness = Harness::new("alternates").await?;
    harness.apply::<Function>(&fixtures::function(fixtures::python_function("f"))?).await?;
    let functions = harness.api::<Function>();
    for edit in 0..80 {
        // Passes CEL; there is no webhook in this test. The topic name is invalid.
        let topic = format!("persistent://public/{}", if edit % 2 == 0 { "a" } else { "b" });
        let change = json!({ "spec": { "output": { "topic": topic } } });
        functions.patch("f", &PatchParams::default(), &Patch::Merge(change)).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    harness.phase::<Function>("f", Phase::Invalid).await?;
    harness.settle().await?;
    let events = harness.api::<Event>().list(&ListParams::default()).await?.items;
    let published: i32 = events
        .iter()
        .filter(|event| event.involved_object.name.as_deref() == Some("f"))
        .map(|event| event.series.as_ref().and_then(|series| series.count).unwrap_or(1))
        .sum();
    ensure!((1..=26).contains(&published), "{published} events");
    Ok(())
}
