//! What users change while messages flow: configuration, image, number of replicas, names and neighbours. Only the
//! pods that a change touches are replaced, and no message is lost. A change that cannot run stops where it is, and
//! the rest goes on working.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::{BackendConfig, Function, FunctionMesh, labels};
use function_mesh_e2e::{Part, Story, Tally, Traffic, condition, not_ready};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(3);
/// A message this often.
const PACE: Duration = Duration::from_millis(30);

#[tokio::test]
async fn a_new_configuration_reaches_every_message_after_it_and_replaces_no_other_pod() -> Result<()> {
    Story::tell("configuration", async |story| {
        let last = marks(story, "last", "?", "middle", "out");
        let flow = Flow::begin(story, &[marks(story, "first", "-old", "in", "middle"), last.clone()]).await?;
        let before = story.everything().await?;

        flow.change(&[marks(story, "first", "-new", "in", "middle"), last]).await?;
        flow.passes(50).await?;
        ensure!(differences(&before, &story.everything().await?) == ["Pod/m-first-function-0"]);

        let (sent, received) = flow.end(&["in", "middle"]).await?;
        let old = received.iter().filter(|text| text.ends_with("-old?")).count();
        let new = received.iter().filter(|text| text.ends_with("-new?")).count();
        ensure!(old > 0 && new >= 50 && old + new == received.len(), "{old} old, {new} new: {received:?}");
        let received: Vec<_> = received.iter().map(|text| text.replace("-new?", "-old?")).collect();
        none_is_lost(story, "a change of configuration", &sent, &received, |text| format!("{text}-old?"))
    })
    .await
}

#[tokio::test]
async fn another_image_replaces_the_pods_of_its_function_alone_and_loses_no_message() -> Result<()> {
    Story::tell("other-image", async |story| {
        let first = marks(story, "first", "", "in", "middle");
        let last = marks(story, "last", "?", "middle", "out");
        let flow = Flow::begin(story, &[first.clone(), last.clone()]).await?;
        let before = story.everything().await?;

        // The same content by another name: that of its digest.
        let digest = image_of(story, "m-first-function-0").await?.digest;
        flow.change(&[first.with(json!({ "image": &digest })), last]).await?;
        flow.passes(50).await?;
        ensure!(differences(&before, &story.everything().await?) == ["Pod/m-first-function-0"]);
        ensure!(image_of(story, "m-first-function-0").await?.named == digest);

        let (sent, received) = flow.end(&["in", "middle"]).await?;
        none_is_lost(story, "a change of image", &sent, &received, |text| format!("{text}!?"))
    })
    .await
}

#[tokio::test]
async fn one_more_replica_restarts_nobody_and_shares_the_work() -> Result<()> {
    Story::tell("replica", async |story| {
        let only = marks(story, "only", "", "in", "out");
        let flow = Flow::begin(story, std::slice::from_ref(&only)).await?;
        let before = story.everything().await?;

        flow.change(&[only.with(json!({ "replicas": 2 }))]).await?;
        story.pulsar.await_consumers("in", 2, PATIENCE).await?;
        flow.passes(50).await?;
        ensure!(differences(&before, &story.everything().await?) == ["Pod/m-only-function-1"]);
        story
            .eventually("both get messages", PATIENCE, async || {
                let stats = story.pulsar.stats("in").await?.unwrap_or_default();
                let subscriptions = stats["subscriptions"].as_object().cloned().unwrap_or_default();
                let mut consumers =
                    subscriptions.values().filter_map(|of| of["consumers"].as_array()).flatten();
                Ok(consumers.all(|consumer| consumer["msgOutCounter"].as_u64() > Some(0)))
            })
            .await?;

        let (sent, received) = flow.end(&["in"]).await?;
        none_is_lost(story, "one more replica", &sent, &received, |text| format!("{text}!"))
    })
    .await
}

#[tokio::test]
async fn a_renamed_function_goes_on_where_the_old_one_stopped() -> Result<()> {
    Story::tell("rename", async |story| {
        // The subscription has a name of its own, so it is not bound to the function's.
        let named = |name| marks(story, name, "", "in", "out").with(json!({ "subscriptionName": "keeper" }));
        let flow = Flow::begin(story, &[named("before")]).await?;

        flow.change(&[named("after")]).await?;
        story
            .eventually("the old one is gone", PATIENCE, async || {
                Ok(story.everything().await?.keys().all(|name| !name.contains("before")))
            })
            .await?;
        let left: Vec<_> = story.everything().await?.into_keys().collect();
        let expected = [
            "Function/m-after",
            "Pod/m-after-function-0",
            "Service/m-after-function-headless",
            "StatefulSet/m-after-function",
        ];
        ensure!(left == expected, "{left:?}");
        flow.passes(50).await?;

        let (sent, received) = flow.end(&["in"]).await?;
        let subscriptions = story.pulsar.subscriptions("in").await?;
        ensure!(subscriptions == ["keeper"], "{subscriptions:?}");
        none_is_lost(story, "a renamed function", &sent, &received, |text| format!("{text}!"))
    })
    .await
}

#[tokio::test]
async fn a_sink_and_a_function_that_are_added_disturb_nobody_and_see_all_that_waits() -> Result<()> {
    Story::tell("addition", async |story| {
        let web = story.web().await?;
        // With a schema, which the sink asks for.
        let first =
            marks(story, "first", "", "in", "out").with(json!({ "output": { "sinkSchemaType": "string" } }));
        let flow = Flow::begin(story, std::slice::from_ref(&first)).await?;
        let before = story.everything().await?;

        let added = marks(story, "added", "?", "in", "also");
        flow.change(&[first, added, web.sink("deliver", "out").await?]).await?;
        story.pulsar.await_consumers("in", 2, PATIENCE).await?;
        story.pulsar.await_consumer("out", PATIENCE).await?;
        flow.passes(50).await?;
        let new = [
            "Function/m-added",
            "Pod/m-added-function-0",
            "Pod/m-deliver-sink-0",
            "Service/m-added-function-headless",
            "Service/m-deliver-sink-headless",
            "Sink/m-deliver",
            "StatefulSet/m-added-function",
            "StatefulSet/m-deliver-sink",
        ];
        let came = differences(&before, &story.everything().await?);
        ensure!(came == new, "{came:?}");

        let (sent, received) = flow.end(&["in"]).await?;
        none_is_lost(story, "an added function and sink", &sent, &received, |text| format!("{text}!"))?;
        // They came late and still read from the beginning, as their subscriptionPosition says.
        let also = texts(story, "also").await?;
        none_is_lost(story, "an added function, itself", &sent, &also, |text| format!("{text}?"))?;
        let arrived = "all are posted";
        story
            .eventually(arrived, PATIENCE, async || Ok(web.received().await?.len() >= received.len()))
            .await?;
        let posted = web.received().await?;
        let posted: Vec<_> = posted.iter().filter_map(|text| Some(text.as_str()?.to_owned())).collect();
        none_is_lost(story, "an added sink, itself", &sent, &posted, |text| format!("{text}!"))
    })
    .await
}

#[tokio::test]
async fn an_image_that_is_not_there_stops_the_rollout_at_one_pod_and_the_other_goes_on() -> Result<()> {
    Story::tell("broken-image", async |story| {
        let good = marks(story, "only", "", "in", "out").with(json!({ "replicas": 2 }));
        let flow = Flow::begin(story, std::slice::from_ref(&good)).await?;
        let before = story.everything().await?;

        let nowhere = "localhost/nobody/nothing:2";
        flow.apply(&[good.clone().with(json!({ "image": nowhere }))]).await?;
        let why = format!(
            "function only: pod m-only-function-1: container pulsar-function failed to pull image {nowhere:?}"
        );
        story
            .await_mesh("m", PATIENCE, |mesh| not_ready(mesh).is_some_and(|said| said.message.contains(&why)))
            .await?;
        let function = story.api::<Function>().get("m-only").await?.status.context("no status")?;
        ensure!((function.replicas, function.ready_replicas) == (2, 1), "{function:?}");
        flow.passes(100).await?;
        ensure!(differences(&before, &story.everything().await?) == ["Pod/m-only-function-1"]);

        // Nobody has to delete the broken pod.
        flow.change(&[good]).await?;
        story.pulsar.await_consumers("in", 2, PATIENCE).await?;
        ensure!(differences(&before, &story.everything().await?) == ["Pod/m-only-function-1"]);
        let (sent, received) = flow.end(&["in"]).await?;
        none_is_lost(story, "an image that is not there", &sent, &received, |text| format!("{text}!"))
    })
    .await
}

#[tokio::test]
async fn while_rollouts_are_paused_defaults_are_held_back_and_told_and_the_authors_own_change_goes_through()
-> Result<()> {
    Story::tell("pause", async |story| {
        let part = |mark| marks(story, "only", mark, "in", "out");
        let flow = Flow::begin(story, &[part("-one")]).await?;
        let annotate = async |value: Value| {
            let patch =
                Patch::Merge(json!({ "metadata": { "annotations": { labels::PAUSE_ROLLOUT: value } } }));
            story.api::<FunctionMesh>().patch("m", &PatchParams::default(), &patch).await
        };
        let environment = async || story.environment("m-only-function-0").await;
        let is_paused =
            |mesh: &FunctionMesh| condition(mesh, "Paused").is_some_and(|paused| paused.status == "True");
        annotate(json!("true")).await?;
        let before = story.everything().await?;

        story.apply::<BackendConfig>(defaults(&json!({ "STAGE": "held-back" }))).await?;
        story.await_mesh("m", PATIENCE, is_paused).await?;
        let held = story.api::<Function>().get("m-only").await?.status.context("no status")?;
        let pending = held.pending_change.unwrap_or_default();
        ensure!(pending.contains("spec.template.spec.containers[pulsar-function].env"), "{pending}");
        ensure!(!pending.contains("held-back"), "a value is shown, which may be a password: {pending}");
        flow.passes(50).await?;
        ensure!(differences(&before, &story.everything().await?).is_empty());
        ensure!(!environment().await?.contains("STAGE=held-back"));

        // What the author changes goes through, and what was held back goes with it.
        flow.change(&[part("-two")]).await?;
        ensure!(differences(&before, &story.everything().await?) == ["Pod/m-only-function-0"]);
        ensure!(environment().await?.contains("STAGE=held-back"));
        let after = story.api::<Function>().get("m-only").await?.status.context("no status")?;
        ensure!(after.pending_change.is_none(), "{after:?}");

        // The pause goes on until it is ended, and then everything takes effect.
        story.apply::<BackendConfig>(defaults(&json!({ "STAGE": "released" }))).await?;
        story.await_mesh("m", PATIENCE, is_paused).await?;
        annotate(Value::Null).await?;
        story
            .eventually("the new value is in the process", PATIENCE, async || {
                Ok(environment().await.is_ok_and(|all| all.contains("STAGE=released")))
            })
            .await?;
        flow.passes(50).await?;

        let (sent, received) = flow.end(&["in"]).await?;
        let received: Vec<_> = received.iter().map(|text| text.replace("-two", "-one")).collect();
        none_is_lost(story, "changes around a pause", &sent, &received, |text| format!("{text}-one"))
    })
    .await
}

/// A function that puts a mark behind each message, `!` when none is given.
fn marks(story: &Story, name: &str, mark: &str, from: &str, to: &str) -> Part {
    story.python(name, "mark.Mark", from, to).with(json!({ "funcConfig": { "mark": mark } }))
}

/// The BackendConfig of the story's namespace.
fn defaults(env: &Value) -> Value {
    json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "BackendConfig",
        "metadata": { "name": "backend-config" }, "spec": { "autoUpdate": true, "env": env },
    })
}

/// Messages on their way from `in` to `out` through the mesh `m`.
struct Flow<'a> {
    story: &'a Story,
    traffic: Traffic,
}

impl<'a> Flow<'a> {
    /// Makes the mesh, and returns when messages come out.
    async fn begin(story: &'a Story, parts: &[Part]) -> Result<Self> {
        story.apply::<FunctionMesh>(story.mesh("m", parts)).await?;
        story.await_ready("m", PATIENCE).await?;
        for part in parts {
            let topic = part.spec()["input"]["topics"][0].as_str().and_then(|topic| topic.rsplit('/').next());
            story.pulsar.await_consumer(topic.context("a part without input")?, PATIENCE).await?;
        }
        let flow = Self { story, traffic: Traffic::begin(&story.pulsar, "in", PACE) };
        flow.passes(20).await?;
        Ok(flow)
    }

    async fn apply(&self, parts: &[Part]) -> Result<()> {
        self.story.apply::<FunctionMesh>(self.story.mesh("m", parts)).await?;
        Ok(())
    }

    /// Changes the mesh and waits until it is ready again.
    async fn change(&self, parts: &[Part]) -> Result<()> {
        self.apply(parts).await?;
        self.story.await_ready("m", PATIENCE).await?;
        Ok(())
    }

    /// Waits until so many more messages come out.
    async fn passes(&self, count: u64) -> Result<()> {
        let begin = self.story.came_out("out").await?;
        let have = async || Ok(self.story.came_out("out").await? >= begin + count);
        self.story.eventually(&format!("{count} more come out"), PATIENCE, have).await
    }

    /// Ends it. When these topics are read to their ends, in this order, returns what was sent and what came out.
    async fn end(self, topics: &[&str]) -> Result<(Vec<String>, Vec<String>)> {
        let sent = self.traffic.end().await?;
        for topic in topics {
            self.story.await_read(topic, PATIENCE).await?;
        }
        Ok((sent, texts(self.story, "out").await?))
    }
}

/// All that a topic holds.
async fn texts(story: &Story, topic: &str) -> Result<Vec<String>> {
    let received = story.pulsar.receive_all(topic, Duration::from_secs(3)).await?;
    Ok(received.iter().map(function_mesh_e2e::Message::text).collect())
}

/// Each message has its result, and there is no other result. One may come twice.
fn none_is_lost(
    story: &Story,
    what: &str,
    sent: &[String],
    received: &[String],
    result: impl Fn(&str) -> String,
) -> Result<()> {
    let tally = Tally::of(sent, received, result);
    tally.record(&story.world, what)?;
    ensure!(tally.lost.is_empty() && tally.strange.is_empty(), "{tally:?}");
    Ok(())
}

/// Names of the objects that came, went or were replaced.
fn differences(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    names.into_iter().filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

/// Which image a pod runs: by which name, and what it is.
struct Image {
    named: String,
    digest: String,
}

async fn image_of(story: &Story, pod: &str) -> Result<Image> {
    let pod = story.api::<Pod>().get(pod).await?;
    let named = pod.spec.and_then(|spec| spec.containers.into_iter().next()?.image).context("no image")?;
    let status = pod.status.and_then(|status| status.container_statuses?.into_iter().next());
    Ok(Image { named, digest: status.context("no container runs")?.image_id })
}
