//! A clean-up removes what was its own, and says truly what it did: on a real broker, where a wrong one would lose
//! messages.

use std::time::Duration;

use anyhow::{Result, ensure};
use function_mesh_api::{Function, FunctionMesh, labels};
use function_mesh_e2e::{Part, Story};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Namespace};
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

const PATIENCE: Duration = Duration::from_mins(3);

/// A function that reads `in` by a subscription of this name, which is to go with it.
fn reader(story: &Story, name: &str, subscription: &str) -> Part {
    let asks = json!({ "cleanupSubscription": true, "subscriptionName": subscription });
    story.python(name, "mark.Mark", "in", "out").with(asks)
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("message {number}")).collect()
}

#[tokio::test]
async fn a_rename_in_a_mesh_with_the_same_subscription_loses_no_message() -> Result<()> {
    Story::tell("rename", async |story| {
        let slow = json!({ "pod": { "initContainers": [{
            "name": "wait", "image": story.world.runner_image()?, "command": ["sleep", "15"],
        }] } });
        story.apply::<FunctionMesh>(story.mesh("m", &[reader(story, "before", "team")])).await?;
        story.await_ready("m", PATIENCE).await?;
        story.pulsar.await_consumer("in", PATIENCE).await?;

        story.apply::<FunctionMesh>(story.mesh("m", &[reader(story, "after", "team").with(slow)])).await?;
        gone(story, "m-before").await?;
        let sent = numbered(100);
        story.pulsar.send("in", &sent).await?;
        let mut received = story.pulsar.receive("out", sent.len(), PATIENCE).await?;
        received.sort();
        let mut expected: Vec<_> = sent.iter().map(|text| format!("{text}!")).collect();
        expected.sort();
        ensure!(received == expected, "{received:?}");
        let kept = format!("used by Function {}/m-after", story.namespace);
        let skipped = told(story, "m-before", "CleanupSkipped").await?;
        ensure!(skipped.len() == 1 && skipped[0].contains(&kept), "{skipped:?}");
        ensure!(told(story, "m-before", "CleanupSucceeded").await?.is_empty());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_image_without_the_admin_program_is_no_success_and_is_named() -> Result<()> {
    Story::tell("no-program", async |story| {
        let part = reader(story, "bare", "left");
        let (code_volume, code_mount) = (&part.spec()["pod"]["volumes"][0], &part.spec()["volumeMounts"][0]);
        // What is mounted there hides the image's own.
        let hidden = json!({
            "pod": { "volumes": [code_volume, { "name": "empty", "emptyDir": {} }] },
            "volumeMounts": [code_mount, { "name": "empty", "mountPath": "/pulsar/bin" }],
            "imageHasPulsarctl": true,
        });
        let part = part.clone().with(hidden);
        story.start(&part, "in", PATIENCE).await?;
        story.api::<Function>().delete("bare", &DeleteParams::default()).await?;
        gone(story, "bare").await?;
        let failed = told(story, "bare", "CleanupFailed").await?;
        let why = format!("image {} has neither pulsarctl nor ", story.world.runner_image()?);
        ensure!(
            failed.len() == 1 && failed[0].contains("subscription left of ") && failed[0].contains(&why),
            "{failed:?}"
        );
        ensure!(told(story, "bare", "CleanupSucceeded").await?.is_empty());
        ensure!(story.pulsar.subscriptions("in").await? == ["left"], "it is not there");
        let jobs = story.api::<Job>().list(&ListParams::default()).await?.items;
        ensure!(
            jobs.len() == 1 && jobs[0].name_any().starts_with("bare-function-cleanup-"),
            "its log is gone"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_pattern_leaves_a_strangers_subscription_of_the_same_name_and_its_messages() -> Result<()> {
    Story::tell("stranger", async |story| {
        let wide =
            json!({ "input": { "topics": null, "topicPattern": story.pulsar.topic("orders-(?!x).*") } });
        let narrow = json!({ "input": { "topics": [story.pulsar.topic("orders-by-hand")] } });
        let wide = reader(story, "wide", "team").with(wide);
        let narrow = reader(story, "narrow", "team").with(narrow);
        story.pulsar.partitioned("orders-parts", 2).await?;
        for topic in ["orders-1", "orders-parts", "payments"] {
            story.pulsar.consumer(topic, "stranger").await?;
        }
        // Not of the mesh at all, and away; and another component, which is suspended.
        story.pulsar.consumer("payments", "team").await?;
        story.start(&narrow, "orders-by-hand", PATIENCE).await?;
        suspend(story, "narrow", "true").await?;
        story
            .eventually("nobody reads by hand", PATIENCE, async || {
                Ok(story.pulsar.consumers("orders-by-hand").await?.values().sum::<usize>() == 0)
            })
            .await?;
        story.start(&wide, "orders-1", PATIENCE).await?;
        story
            .eventually("all orders are read", PATIENCE, async || {
                Ok(story.pulsar.subscriptions("orders-parts").await?.contains(&"team".to_owned()))
            })
            .await?;
        let sent = numbered(20);
        story.pulsar.send("payments", &sent).await?;

        story.api::<Function>().delete("wide", &DeleteParams::default()).await?;
        gone(story, "wide").await?;
        story.pulsar.send("orders-by-hand", &sent).await?;
        for topic in ["orders-1", "orders-parts"] {
            let left = story.pulsar.subscriptions(topic).await?;
            ensure!(left == ["stranger"], "{topic}: {left:?}");
        }
        ensure!(story.pulsar.backlog("payments", "team").await? == 20, "the stranger lost messages");
        ensure!(story.pulsar.backlog("orders-by-hand", "team").await? == 20, "the neighbour lost messages");
        let cleaned = told(story, "wide", "CleanupSucceeded").await?;
        ensure!(cleaned.len() == 1, "{cleaned:?}; {:?}", told(story, "wide", "CleanupFailed").await?);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn of_twins_in_two_namespaces_the_one_that_stays_loses_nothing() -> Result<()> {
    Story::tell("twins", async |story| {
        let namespaces = Api::<Namespace>::all(story.world.client.clone());
        let name = format!("{}-twin", story.namespace);
        let meta = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        namespaces
            .create(&PostParams::default(), &Namespace { metadata: meta, ..Namespace::default() })
            .await?;
        let twin =
            Story { world: story.world.clone(), namespace: name.clone(), pulsar: story.pulsar.clone() };
        let result = twins(story, &twin).await;
        namespaces.delete(&name, &DeleteParams::default()).await?;
        result
    })
    .await
}

async fn twins(story: &Story, twin: &Story) -> Result<()> {
    let broker = story.world.broker();
    let addresses =
        json!({ "webServiceURL": broker.web_service_url, "brokerServiceURL": broker.broker_service_url });
    twin.config("pulsar", &addresses).await?;
    // Its Job mounts what its pods would.
    twin.config("functions", &json!({})).await?;
    // The same manifest, tenant and namespace of Pulsar included.
    let part = reader(story, "reader", "team");
    story.start(&part, "in", PATIENCE).await?;
    twin.apply::<Function>(part.with(json!({ "replicas": 0 })).alone()).await?;
    story.api::<Function>().delete("reader", &DeleteParams::default()).await?;
    gone(story, "reader").await?;
    story.pulsar.send("in", &numbered(10)).await?;
    ensure!(story.pulsar.backlog("in", "team").await? == 10, "messages are lost");
    let skipped = told(story, "reader", "CleanupSkipped").await?;
    ensure!(skipped.len() == 1 && skipped[0].contains(&twin.namespace), "{skipped:?}");
    // The last one takes it along.
    twin.api::<Function>().delete("reader", &DeleteParams::default()).await?;
    gone(twin, "reader").await?;
    ensure!(
        story.pulsar.subscriptions("in").await?.is_empty(),
        "{:?}",
        told(twin, "reader", "CleanupFailed").await?
    );
    let is_gone = async || Ok(twin.api::<Job>().list(&ListParams::default()).await?.items.is_empty());
    twin.eventually("the Job is gone", PATIENCE, is_gone).await
}

async fn suspend(story: &Story, function: &str, value: &str) -> Result<()> {
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { labels::SUSPEND: value } } }));
    story.api::<Function>().patch(function, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// What the Events of this reason say about an object.
async fn told(story: &Story, about: &str, reason: &str) -> Result<Vec<String>> {
    let events = story.api::<Event>().list(&ListParams::default()).await?;
    let told = events.into_iter().filter(|event| {
        event.involved_object.name.as_deref() == Some(about) && event.reason.as_deref() == Some(reason)
    });
    Ok(told.filter_map(|event| event.message).collect())
}

/// Waits until a function is gone.
async fn gone(story: &Story, name: &str) -> Result<()> {
    let is_gone = async || Ok(story.api::<Function>().get_opt(name).await?.is_none());
    story.eventually("the function is gone", PATIENCE, is_gone).await
}
