//! Clean-ups at a real broker: each deletes its own subscriptions and no other, and reports the result.

use std::time::Duration;

use anyhow::{Result, ensure};
use function_mesh_api::{Function, FunctionMesh, labels};
use function_mesh_e2e::{Component, Scenario};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Namespace};
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

const TIMEOUT: Duration = Duration::from_mins(3);

/// A function that reads `in` with this subscription and deletes it when it is deleted.
fn reader(scenario: &Scenario, name: &str, subscription: &str) -> Component {
    let asks = json!({ "cleanupSubscription": true, "subscriptionName": subscription });
    scenario.python(name, "mark.Mark", "in", "out").with(asks)
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("message {number}")).collect()
}

#[tokio::test]
async fn a_rename_in_a_mesh_with_the_same_subscription_loses_no_message() -> Result<()> {
    Scenario::run("rename", async |scenario| {
        let slow = json!({ "pod": { "initContainers": [{
            "name": "wait", "image": scenario.harness.runner_image()?, "command": ["sleep", "15"],
        }] } });
        scenario.apply::<FunctionMesh>(scenario.mesh("m", &[reader(scenario, "before", "team")])).await?;
        scenario.await_ready("m", TIMEOUT).await?;
        scenario.pulsar.await_consumer("in", TIMEOUT).await?;

        scenario
            .apply::<FunctionMesh>(scenario.mesh("m", &[reader(scenario, "after", "team").with(slow)]))
            .await?;
        gone(scenario, "m-before").await?;
        let sent = numbered(100);
        scenario.pulsar.send("in", &sent).await?;
        let mut received = scenario.pulsar.receive("out", sent.len(), TIMEOUT).await?;
        received.sort();
        let mut expected: Vec<_> = sent.iter().map(|text| format!("{text}!")).collect();
        expected.sort();
        ensure!(received == expected, "{received:?}");
        let kept = format!("used by Function {}/m-after", scenario.namespace);
        let skipped = event_messages(scenario, "m-before", "CleanupSkipped").await?;
        ensure!(skipped.len() == 1 && skipped[0].contains(&kept), "{skipped:?}");
        ensure!(event_messages(scenario, "m-before", "CleanupSucceeded").await?.is_empty());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_image_without_an_admin_program_fails_the_clean_up() -> Result<()> {
    Scenario::run("no-program", async |scenario| {
        let component = reader(scenario, "bare", "left");
        let (code_volume, code_mount) =
            (&component.spec()["pod"]["volumes"][0], &component.spec()["volumeMounts"][0]);
        // The mount hides the image's folder.
        let hidden = json!({
            "pod": { "volumes": [code_volume, { "name": "empty", "emptyDir": {} }] },
            "volumeMounts": [code_mount, { "name": "empty", "mountPath": "/pulsar/bin" }],
            "imageHasPulsarctl": true,
        });
        let component = component.clone().with(hidden);
        scenario.start(&component, "in", TIMEOUT).await?;
        scenario.api::<Function>().delete("bare", &DeleteParams::default()).await?;
        gone(scenario, "bare").await?;
        let failed = event_messages(scenario, "bare", "CleanupFailed").await?;
        let why = format!("image {} has neither pulsarctl nor ", scenario.harness.runner_image()?);
        ensure!(
            failed.len() == 1 && failed[0].contains("subscription left of ") && failed[0].contains(&why),
            "{failed:?}"
        );
        ensure!(event_messages(scenario, "bare", "CleanupSucceeded").await?.is_empty());
        ensure!(scenario.pulsar.subscriptions("in").await? == ["left"], "it is not there");
        let jobs = scenario.api::<Job>().list(&ListParams::default()).await?.items;
        ensure!(
            jobs.len() == 1 && jobs[0].name_any().starts_with("bare-function-cleanup-"),
            "its log is gone"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_pattern_keeps_foreign_subscriptions_of_the_same_name() -> Result<()> {
    Scenario::run("foreign", async |scenario| {
        let wide =
            json!({ "input": { "topics": null, "topicPattern": scenario.pulsar.topic("orders-(?!x).*") } });
        let narrow = json!({ "input": { "topics": [scenario.pulsar.topic("orders-by-hand")] } });
        let wide = reader(scenario, "wide", "team").with(wide);
        let narrow = reader(scenario, "narrow", "team").with(narrow);
        scenario.pulsar.partitioned("orders-parts", 2).await?;
        for topic in ["orders-1", "orders-parts", "payments"] {
            scenario.pulsar.consumer(topic, "foreign").await?;
        }
        // A foreign subscription without a consumer, and one of another, suspended component.
        scenario.pulsar.consumer("payments", "team").await?;
        scenario.start(&narrow, "orders-by-hand", TIMEOUT).await?;
        suspend(scenario, "narrow", "true").await?;
        scenario
            .eventually("the narrow function has no consumer", TIMEOUT, async || {
                Ok(scenario.pulsar.consumers("orders-by-hand").await?.values().sum::<usize>() == 0)
            })
            .await?;
        scenario.start(&wide, "orders-1", TIMEOUT).await?;
        scenario
            .eventually("all orders are read", TIMEOUT, async || {
                Ok(scenario.pulsar.subscriptions("orders-parts").await?.contains(&"team".to_owned()))
            })
            .await?;
        let sent = numbered(20);
        scenario.pulsar.send("payments", &sent).await?;

        scenario.api::<Function>().delete("wide", &DeleteParams::default()).await?;
        gone(scenario, "wide").await?;
        scenario.pulsar.send("orders-by-hand", &sent).await?;
        for topic in ["orders-1", "orders-parts"] {
            let left = scenario.pulsar.subscriptions(topic).await?;
            ensure!(left == ["foreign"], "{topic}: {left:?}");
        }
        ensure!(
            scenario.pulsar.backlog("payments", "team").await? == 20,
            "the foreign subscription lost messages"
        );
        ensure!(
            scenario.pulsar.backlog("orders-by-hand", "team").await? == 20,
            "the neighbour lost messages"
        );
        let cleaned = event_messages(scenario, "wide", "CleanupSucceeded").await?;
        ensure!(
            cleaned.len() == 1,
            "{cleaned:?}; {:?}",
            event_messages(scenario, "wide", "CleanupFailed").await?
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn equal_components_in_two_namespaces_share_a_subscription_until_the_last_is_deleted() -> Result<()> {
    Scenario::run("twins", async |scenario| {
        let namespaces = Api::<Namespace>::all(scenario.harness.client.clone());
        let name = format!("{}-other", scenario.namespace);
        let meta = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        namespaces
            .create(&PostParams::default(), &Namespace { metadata: meta, ..Namespace::default() })
            .await?;
        let other = Scenario {
            harness: scenario.harness.clone(),
            namespace: name.clone(),
            pulsar: scenario.pulsar.clone(),
            broker: scenario.broker.clone(),
        };
        let result = equal_components(scenario, &other).await;
        namespaces.delete(&name, &DeleteParams::default()).await?;
        result
    })
    .await
}

async fn equal_components(scenario: &Scenario, other: &Scenario) -> Result<()> {
    let broker = scenario.harness.broker();
    let addresses =
        json!({ "webServiceURL": broker.web_service_url, "brokerServiceURL": broker.broker_service_url });
    other.config("pulsar", &addresses).await?;
    // Its Job mounts the same ConfigMap as its pods.
    other.config("functions", &json!({})).await?;
    // The same manifest, tenant and namespace of Pulsar included.
    let component = reader(scenario, "reader", "team");
    scenario.start(&component, "in", TIMEOUT).await?;
    other.apply::<Function>(component.with(json!({ "replicas": 0 })).alone()).await?;
    scenario.api::<Function>().delete("reader", &DeleteParams::default()).await?;
    gone(scenario, "reader").await?;
    scenario.pulsar.send("in", &numbered(10)).await?;
    ensure!(scenario.pulsar.backlog("in", "team").await? == 10, "messages are lost");
    let skipped = event_messages(scenario, "reader", "CleanupSkipped").await?;
    ensure!(skipped.len() == 1 && skipped[0].contains(&other.namespace), "{skipped:?}");
    // The last user's clean-up deletes the subscription.
    other.api::<Function>().delete("reader", &DeleteParams::default()).await?;
    gone(other, "reader").await?;
    ensure!(
        scenario.pulsar.subscriptions("in").await?.is_empty(),
        "{:?}",
        event_messages(other, "reader", "CleanupFailed").await?
    );
    let is_gone = async || Ok(other.api::<Job>().list(&ListParams::default()).await?.items.is_empty());
    other.eventually("the Job is gone", TIMEOUT, is_gone).await
}

async fn suspend(scenario: &Scenario, function: &str, value: &str) -> Result<()> {
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { labels::SUSPEND: value } } }));
    scenario.api::<Function>().patch(function, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// The messages of an object's Events with this reason.
async fn event_messages(scenario: &Scenario, about: &str, reason: &str) -> Result<Vec<String>> {
    let events = scenario.api::<Event>().list(&ListParams::default()).await?;
    let matching = events.into_iter().filter(|event| {
        event.involved_object.name.as_deref() == Some(about) && event.reason.as_deref() == Some(reason)
    });
    Ok(matching.filter_map(|event| event.message).collect())
}

/// Waits until a function is gone.
async fn gone(scenario: &Scenario, name: &str) -> Result<()> {
    let is_gone = async || Ok(scenario.api::<Function>().get_opt(name).await?.is_none());
    scenario.eventually("the function is gone", TIMEOUT, is_gone).await
}
