//! Fairness: one tenant does not starve others.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use function_mesh_api::Function;
use function_mesh_api::types::Phase;
use function_mesh_testkit::{ControllerHarness, PATIENCE, TestNamespace, eventually, fixtures, test_options};
use futures::stream::{self, StreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use serde_json::json;

use crate::connection::{Connection, Fault};
use crate::harness::{Harness, TestResult};

/// Functions of the busy tenant.
const CROWD: usize = 300;
/// Maximum delay of another tenant. Without fairness it waits behind most of the queue, for more than a minute.
const BYSTANDER: Duration = Duration::from_secs(10);

async fn create(namespace: &TestNamespace, name: &str) -> TestResult {
    namespace.apply(&fixtures::function(fixtures::python_function(name))?).await.map(drop)
}

#[tokio::test]
async fn busy_namespace_does_not_delay_others() -> TestResult {
    let (crowd, bystander) = (TestNamespace::new("crowd").await?, TestNamespace::new("bystander").await?);
    let made: Vec<_> = (0..CROWD).map(|index| format!("f{index}")).collect();
    let made = stream::iter(&made).map(|name| create(&crowd, name)).buffer_unordered(16);
    for result in made.collect::<Vec<_>>().await {
        result?;
    }
    // Each request for the busy namespace takes half a second, as for expensive objects.
    let connection = Connection::default();
    connection.fault(&format!("/namespaces/{}/", crowd.namespace), Fault::Delay(Duration::from_millis(500)));
    let options = test_options(&[&crowd.namespace, &bystander.namespace]);
    let controller = ControllerHarness::start(connection.client(crowd.plane.config().await?)?, options);
    eventually(PATIENCE, async || {
        ensure!(
            controller.is_ready() && connection.writes().len() > 8,
            "the busy namespace has no reconciles"
        );
        Ok(())
    })
    .await?;
    create(&bystander, "b").await?;
    let begun = Instant::now();
    let set = async || bystander.get::<StatefulSet>("b-function").await.context("it waits");
    eventually(PATIENCE * 2, set).await?;
    let waited = begun.elapsed();
    println!("the bystander's StatefulSet after {:.2} s", waited.as_secs_f64());
    let of_crowd = crowd.api::<StatefulSet>().list(&ListParams::default()).await?;
    controller.kill().await;
    ensure!(of_crowd.items.len() < CROWD, "the crowd was done already");
    ensure!(waited < BYSTANDER, "it waited for {waited:?}");
    Ok(())
}

#[tokio::test]
async fn alternating_invalid_specs_cause_few_events() -> TestResult {
    let harness = Harness::new("alternates").await?;
    harness.apply::<Function>(&fixtures::function(fixtures::python_function("f"))?).await?;
    for edit in 0..80 {
        // Passes CEL; there is no webhook in this test. The topic name is invalid.
        let topic = format!("persistent://public/{}", if edit % 2 == 0 { "a" } else { "b" });
        harness.patch::<Function>("f", json!({ "spec": { "output": { "topic": topic } } })).await?;
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
