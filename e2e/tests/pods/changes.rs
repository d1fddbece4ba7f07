//! Changes while messages flow: configuration, image, replicas, names, added components. Only the pods that a change
//! affects are replaced, and no message is lost. A rollout that fails stops at its first pod; the others keep running.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::{BackendConfig, Function, FunctionMesh, labels};
use function_mesh_e2e::{Component, DeliveryReport, Scenario, Traffic, condition, not_ready};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_mins(3);
/// Interval between messages.
const PACE: Duration = Duration::from_millis(30);

#[tokio::test]
async fn a_new_configuration_reaches_every_message_after_it_and_replaces_no_other_pod() -> Result<()> {
    Scenario::run("configuration", async |scenario| {
        let last = marks(scenario, "last", "?", "middle", "out");
        let flow =
            Flow::start(scenario, &[marks(scenario, "first", "-old", "in", "middle"), last.clone()]).await?;
        let before = scenario.everything().await?;

        flow.change(&[marks(scenario, "first", "-new", "in", "middle"), last]).await?;
        flow.passes(50).await?;
        ensure!(differences(&before, &scenario.everything().await?) == ["Pod/m-first-function-0"]);

        let (sent, received) = flow.stop(&["in", "middle"]).await?;
        let old = received.iter().filter(|text| text.ends_with("-old?")).count();
        let new = received.iter().filter(|text| text.ends_with("-new?")).count();
        ensure!(old > 0 && new >= 50 && old + new == received.len(), "{old} old, {new} new: {received:?}");
        let received: Vec<_> = received.iter().map(|text| text.replace("-new?", "-old?")).collect();
        none_is_lost(scenario, "a change of configuration", &sent, &received, |text| format!("{text}-old?"))
    })
    .await
}

#[tokio::test]
async fn another_image_replaces_the_pods_of_its_function_alone_and_loses_no_message() -> Result<()> {
    Scenario::run("other-image", async |scenario| {
        let first = marks(scenario, "first", "", "in", "middle");
        let last = marks(scenario, "last", "?", "middle", "out");
        let flow = Flow::start(scenario, &[first.clone(), last.clone()]).await?;
        let before = scenario.everything().await?;

        // The same image, named by its digest.
        let digest = image_of(scenario, "m-first-function-0").await?.digest;
        flow.change(&[first.with(json!({ "image": &digest })), last]).await?;
        flow.passes(50).await?;
        ensure!(differences(&before, &scenario.everything().await?) == ["Pod/m-first-function-0"]);
        ensure!(image_of(scenario, "m-first-function-0").await?.named == digest);

        let (sent, received) = flow.stop(&["in", "middle"]).await?;
        none_is_lost(scenario, "a change of image", &sent, &received, |text| format!("{text}!?"))
    })
    .await
}

#[tokio::test]
async fn one_more_replica_restarts_no_pod_and_shares_the_work() -> Result<()> {
    Scenario::run("replica", async |scenario| {
        let only = marks(scenario, "only", "", "in", "out");
        let flow = Flow::start(scenario, std::slice::from_ref(&only)).await?;
        let before = scenario.everything().await?;

        flow.change(&[only.with(json!({ "replicas": 2 }))]).await?;
        scenario.pulsar.await_consumers("in", 2, TIMEOUT).await?;
        flow.passes(50).await?;
        ensure!(differences(&before, &scenario.everything().await?) == ["Pod/m-only-function-1"]);
        scenario
            .eventually("both get messages", TIMEOUT, async || {
                let stats = scenario.pulsar.stats("in").await?.unwrap_or_default();
                let subscriptions = stats["subscriptions"].as_object().cloned().unwrap_or_default();
                let mut consumers =
                    subscriptions.values().filter_map(|of| of["consumers"].as_array()).flatten();
                Ok(consumers.all(|consumer| consumer["msgOutCounter"].as_u64() > Some(0)))
            })
            .await?;

        let (sent, received) = flow.stop(&["in"]).await?;
        none_is_lost(scenario, "one more replica", &sent, &received, |text| format!("{text}!"))
    })
    .await
}

#[tokio::test]
async fn a_renamed_function_continues_where_the_old_one_stopped() -> Result<()> {
    Scenario::run("rename", async |scenario| {
        // An explicit subscription name does not depend on the function's name.
        let named =
            |name| marks(scenario, name, "", "in", "out").with(json!({ "subscriptionName": "keeper" }));
        let flow = Flow::start(scenario, &[named("before")]).await?;

        flow.change(&[named("after")]).await?;
        scenario
            .eventually("the old one is gone", TIMEOUT, async || {
                Ok(scenario.everything().await?.keys().all(|name| !name.contains("before")))
            })
            .await?;
        let left: Vec<_> = scenario.everything().await?.into_keys().collect();
        let expected = [
            "Function/m-after",
            "Pod/m-after-function-0",
            "Service/m-after-function-headless",
            "StatefulSet/m-after-function",
        ];
        ensure!(left == expected, "{left:?}");
        flow.passes(50).await?;

        let (sent, received) = flow.stop(&["in"]).await?;
        let subscriptions = scenario.pulsar.subscriptions("in").await?;
        ensure!(subscriptions == ["keeper"], "{subscriptions:?}");
        none_is_lost(scenario, "a renamed function", &sent, &received, |text| format!("{text}!"))
    })
    .await
}

#[tokio::test]
async fn an_added_sink_and_function_restart_no_pod_and_read_the_backlog() -> Result<()> {
    Scenario::run("addition", async |scenario| {
        let web = scenario.web().await?;
        // The sink needs a schema.
        let first = marks(scenario, "first", "", "in", "out")
            .with(json!({ "output": { "sinkSchemaType": "string" } }));
        let flow = Flow::start(scenario, std::slice::from_ref(&first)).await?;
        let before = scenario.everything().await?;

        let added = marks(scenario, "added", "?", "in", "also");
        flow.change(&[first, added, web.sink("deliver", "out").await?]).await?;
        scenario.pulsar.await_consumers("in", 2, TIMEOUT).await?;
        scenario.pulsar.await_consumer("out", TIMEOUT).await?;
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
        let came = differences(&before, &scenario.everything().await?);
        ensure!(came == new, "{came:?}");

        let (sent, received) = flow.stop(&["in"]).await?;
        none_is_lost(scenario, "an added function and sink", &sent, &received, |text| format!("{text}!"))?;
        // Both start at the earliest message, as subscriptionPosition says.
        let also = texts(scenario, "also").await?;
        none_is_lost(scenario, "an added function, itself", &sent, &also, |text| format!("{text}?"))?;
        let arrived = "all are posted";
        scenario
            .eventually(arrived, TIMEOUT, async || Ok(web.received().await?.len() >= received.len()))
            .await?;
        let posted = web.received().await?;
        let posted: Vec<_> = posted.iter().filter_map(|text| Some(text.as_str()?.to_owned())).collect();
        none_is_lost(scenario, "an added sink, itself", &sent, &posted, |text| format!("{text}!"))
    })
    .await
}

#[tokio::test]
async fn a_missing_image_stops_the_rollout_at_one_pod_and_the_other_keeps_running() -> Result<()> {
    Scenario::run("broken-image", async |scenario| {
        let good = marks(scenario, "only", "", "in", "out").with(json!({ "replicas": 2 }));
        let flow = Flow::start(scenario, std::slice::from_ref(&good)).await?;
        let before = scenario.everything().await?;

        let nowhere = "localhost/nobody/nothing:2";
        flow.apply(&[good.clone().with(json!({ "image": nowhere }))]).await?;
        let why = format!(
            "function only: pod m-only-function-1: container pulsar-function failed to pull image {nowhere:?}"
        );
        scenario
            .await_mesh("m", TIMEOUT, |mesh| not_ready(mesh).is_some_and(|said| said.message.contains(&why)))
            .await?;
        let function = scenario.api::<Function>().get("m-only").await?.status.context("no status")?;
        ensure!((function.replicas, function.ready_replicas) == (2, 1), "{function:?}");
        flow.passes(100).await?;
        ensure!(differences(&before, &scenario.everything().await?) == ["Pod/m-only-function-1"]);

        // The broken pod is replaced without a manual deletion.
        flow.change(&[good]).await?;
        scenario.pulsar.await_consumers("in", 2, TIMEOUT).await?;
        ensure!(differences(&before, &scenario.everything().await?) == ["Pod/m-only-function-1"]);
        let (sent, received) = flow.stop(&["in"]).await?;
        none_is_lost(scenario, "an image that is not there", &sent, &received, |text| format!("{text}!"))
    })
    .await
}

#[tokio::test]
async fn paused_rollouts_defer_and_report_changed_defaults_and_apply_changes_of_the_spec() -> Result<()> {
    Scenario::run("pause", async |scenario| {
        let component = |mark| marks(scenario, "only", mark, "in", "out");
        let flow = Flow::start(scenario, &[component("-one")]).await?;
        let annotate = async |value: Value| {
            let patch =
                Patch::Merge(json!({ "metadata": { "annotations": { labels::PAUSE_ROLLOUT: value } } }));
            scenario.api::<FunctionMesh>().patch("m", &PatchParams::default(), &patch).await
        };
        let environment = async || scenario.environment("m-only-function-0").await;
        let is_paused =
            |mesh: &FunctionMesh| condition(mesh, "Paused").is_some_and(|paused| paused.status == "True");
        annotate(json!("true")).await?;
        let before = scenario.everything().await?;

        scenario.apply::<BackendConfig>(defaults(&json!({ "STAGE": "staging" }))).await?;
        scenario.await_mesh("m", TIMEOUT, is_paused).await?;
        let held = scenario.api::<Function>().get("m-only").await?.status.context("no status")?;
        let pending = held.pending_change.unwrap_or_default();
        ensure!(pending.contains("spec.template.spec.containers[pulsar-function].env"), "{pending}");
        ensure!(!pending.contains("staging"), "a value is shown, which may be a password: {pending}");
        flow.passes(50).await?;
        ensure!(differences(&before, &scenario.everything().await?).is_empty());
        ensure!(!environment().await?.contains("STAGE=staging"));

        // A change of the spec is applied, together with the deferred one.
        flow.change(&[component("-two")]).await?;
        ensure!(differences(&before, &scenario.everything().await?) == ["Pod/m-only-function-0"]);
        ensure!(environment().await?.contains("STAGE=staging"));
        let after = scenario.api::<Function>().get("m-only").await?.status.context("no status")?;
        ensure!(after.pending_change.is_none(), "{after:?}");

        // The pause lasts until the annotation changes; then everything is applied.
        scenario.apply::<BackendConfig>(defaults(&json!({ "STAGE": "released" }))).await?;
        scenario.await_mesh("m", TIMEOUT, is_paused).await?;
        annotate(Value::Null).await?;
        scenario
            .eventually("the new value is in the process", TIMEOUT, async || {
                Ok(environment().await.is_ok_and(|all| all.contains("STAGE=released")))
            })
            .await?;
        flow.passes(50).await?;

        let (sent, received) = flow.stop(&["in"]).await?;
        let received: Vec<_> = received.iter().map(|text| text.replace("-two", "-one")).collect();
        none_is_lost(scenario, "changes around a pause", &sent, &received, |text| format!("{text}-one"))
    })
    .await
}

/// A function that appends a mark to each message, `!` by default.
fn marks(scenario: &Scenario, name: &str, mark: &str, from: &str, to: &str) -> Component {
    scenario.python(name, "mark.Mark", from, to).with(json!({ "funcConfig": { "mark": mark } }))
}

/// The BackendConfig of the namespace.
fn defaults(env: &Value) -> Value {
    json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "BackendConfig",
        "metadata": { "name": "backend-config" }, "spec": { "autoUpdate": true, "env": env },
    })
}

/// Traffic from `in` to `out` through the mesh `m`.
struct Flow<'a> {
    scenario: &'a Scenario,
    traffic: Traffic,
}

impl<'a> Flow<'a> {
    /// Applies the mesh and returns when messages arrive.
    async fn start(scenario: &'a Scenario, components: &[Component]) -> Result<Self> {
        scenario.apply::<FunctionMesh>(scenario.mesh("m", components)).await?;
        scenario.await_ready("m", TIMEOUT).await?;
        for component in components {
            let topic =
                component.spec()["input"]["topics"][0].as_str().and_then(|topic| topic.rsplit('/').next());
            scenario.pulsar.await_consumer(topic.context("a component without input")?, TIMEOUT).await?;
        }
        let flow = Self { scenario, traffic: Traffic::start(&scenario.pulsar, "in", PACE) };
        flow.passes(20).await?;
        Ok(flow)
    }

    async fn apply(&self, components: &[Component]) -> Result<()> {
        self.scenario.apply::<FunctionMesh>(self.scenario.mesh("m", components)).await?;
        Ok(())
    }

    /// Changes the mesh and waits until it is ready again.
    async fn change(&self, components: &[Component]) -> Result<()> {
        self.apply(components).await?;
        self.scenario.await_ready("m", TIMEOUT).await?;
        Ok(())
    }

    /// Waits for this number of further messages.
    async fn passes(&self, count: u64) -> Result<()> {
        let begin = self.scenario.published("out").await?;
        let have = async || Ok(self.scenario.published("out").await? >= begin + count);
        self.scenario.eventually(&format!("{count} more come out"), TIMEOUT, have).await
    }

    /// Stops the traffic, waits until these topics have no backlog, and returns sent and received messages.
    async fn stop(self, topics: &[&str]) -> Result<(Vec<String>, Vec<String>)> {
        let sent = self.traffic.stop().await?;
        for topic in topics {
            self.scenario.await_read(topic, TIMEOUT).await?;
        }
        Ok((sent, texts(self.scenario, "out").await?))
    }
}

/// All messages of a topic.
async fn texts(scenario: &Scenario, topic: &str) -> Result<Vec<String>> {
    let received = scenario.pulsar.receive_all(topic, Duration::from_secs(3)).await?;
    Ok(received.iter().map(function_mesh_e2e::Message::text).collect())
}

/// Each message has a result, and there is no other result. Duplicates are allowed.
fn none_is_lost(
    scenario: &Scenario,
    what: &str,
    sent: &[String],
    received: &[String],
    result: impl Fn(&str) -> String,
) -> Result<()> {
    let report = DeliveryReport::compare(sent, received, result);
    report.record(&scenario.harness, what)?;
    ensure!(report.lost.is_empty() && report.unexpected.is_empty(), "{report:?}");
    Ok(())
}

/// Names of added, removed and replaced objects.
fn differences(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    names.into_iter().filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

/// The image of a pod: its name and its digest.
struct Image {
    named: String,
    digest: String,
}

async fn image_of(scenario: &Scenario, pod: &str) -> Result<Image> {
    let pod = scenario.api::<Pod>().get(pod).await?;
    let named = pod.spec.and_then(|spec| spec.containers.into_iter().next()?.image).context("no image")?;
    let status = pod.status.and_then(|status| status.container_statuses?.into_iter().next());
    Ok(Image { named, digest: status.context("no container runs")?.image_id })
}
