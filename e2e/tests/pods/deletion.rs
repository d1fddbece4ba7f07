//! Deletions remove children and the subscriptions that `cleanupSubscription` names, and nothing else. A deletion always
//! finishes: with the broker down, with a terminating namespace, and with upstream's finalizer on an object.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::{Function, FunctionMesh, Sink, labels};
use function_mesh_e2e::{Broker, BrokerPlan, Component, Harness, OPERATOR, Scenario};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

const TIMEOUT: Duration = Duration::from_mins(3);

#[tokio::test]
async fn a_mesh_takes_the_subscriptions_along_that_it_was_asked_to_and_no_other() -> Result<()> {
    Scenario::run("subscriptions", async |scenario| {
        let asks = json!({ "cleanupSubscription": true });
        let named = scenario.python("named", "mark.Mark", "in", "out").with(asks.clone());
        let components = [
            named.with(json!({ "subscriptionName": "of my own" })),
            scenario.python("silent", "mark.Mark", "in", "out"),
            deliver(scenario).await?.with(asks),
        ];
        scenario.apply::<FunctionMesh>(scenario.mesh("m", &components)).await?;
        scenario.await_ready("m", TIMEOUT).await?;
        scenario.pulsar.await_consumers("in", 2, TIMEOUT).await?;
        scenario.pulsar.await_consumer("people", TIMEOUT).await?;

        scenario.api::<FunctionMesh>().delete("m", &DeleteParams::default()).await?;
        all_gone(scenario).await?;
        let silent = format!("public/{}/silent", scenario.namespace);
        ensure!(scenario.pulsar.subscriptions("in").await? == [silent.as_str()]);
        ensure!(scenario.pulsar.subscriptions("people").await?.is_empty());
        let removed =
            |name: &str, topic| format!("removed subscription {name} of {}", scenario.pulsar.topic(topic));
        let deliver = format!("public/{}/deliver", scenario.namespace);
        ensure!(
            event_messages(scenario, "m-named", "CleanupSucceeded").await? == [removed("of my own", "in")]
        );
        ensure!(
            event_messages(scenario, "m-deliver", "CleanupSucceeded").await? == [removed(&deliver, "people")]
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_clean_up_covers_patterns_and_topics_and_keeps_foreign_subscriptions() -> Result<()> {
    Scenario::run("pattern", async |scenario| {
        let elsewhere =
            scenario.harness.broker().namespace(&format!("{}-elsewhere", scenario.namespace)).await?;
        for (pulsar, topic) in [(&scenario.pulsar, "p-1"), (&scenario.pulsar, "p-2"), (&elsewhere, "beside")]
        {
            pulsar.consumer(topic, "foreign").await?;
        }
        let wide = scenario.python("wide", "mark.Mark", "unused", "out").with(json!({
            "cleanupSubscription": true,
            "input": { "topics": [elsewhere.topic("beside")], "topicPattern": scenario.pulsar.topic("p-.*") },
        }));
        scenario.apply::<Function>(wide.alone()).await?;
        let name = format!("public/{}/wide", scenario.namespace);
        let subscribes = async |wanted: &[&str]| {
            for (pulsar, topic) in
                [(&scenario.pulsar, "p-1"), (&scenario.pulsar, "p-2"), (&elsewhere, "beside")]
            {
                let mut found = pulsar.subscriptions(topic).await?;
                found.sort();
                if found != wanted {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        scenario
            .eventually("all three are read", TIMEOUT, async || subscribes(&[&name, "foreign"]).await)
            .await?;

        scenario.api::<Function>().delete("wide", &DeleteParams::default()).await?;
        all_gone(scenario).await?;
        ensure!(subscribes(&["foreign"]).await?, "{:?}", scenario.pulsar.subscriptions("p-1").await?);
        let removed = event_messages(scenario, "wide", "CleanupSucceeded").await?;
        let expected = format!(
            "removed subscription {name} of all topics that match {}, subscription {name} of {}",
            scenario.pulsar.topic("p-.*"),
            elsewhere.topic("beside"),
        );
        ensure!(removed == [expected.as_str()], "{removed:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_function_that_leaves_its_mesh_takes_its_subscription_along_and_its_neighbour_reads_on()
-> Result<()> {
    Scenario::run("leaving", async |scenario| {
        let component = |name| {
            scenario.python(name, "mark.Mark", "in", name).with(json!({ "cleanupSubscription": true }))
        };
        scenario
            .apply::<FunctionMesh>(scenario.mesh("m", &[component("stays"), component("leaves")]))
            .await?;
        scenario.await_ready("m", TIMEOUT).await?;
        scenario.pulsar.await_consumers("in", 2, TIMEOUT).await?;
        let mut expected = scenario.everything().await?;
        expected.retain(|name, _| name.contains("stays"));

        scenario.apply::<FunctionMesh>(scenario.mesh("m", &[component("stays")])).await?;
        scenario
            .eventually("it is gone", TIMEOUT, async || {
                Ok(scenario.api::<Function>().get_opt("m-leaves").await?.is_none())
            })
            .await?;
        let stays = format!("public/{}/stays", scenario.namespace);
        ensure!(scenario.pulsar.subscriptions("in").await? == [stays.as_str()]);
        scenario
            .eventually("what it was made of is gone, and nothing else", TIMEOUT, async || {
                let mut left = scenario.everything().await?;
                left.retain(|name, _| !name.contains("leaves-function-cleanup"));
                Ok(left == expected)
            })
            .await?;
        scenario.pulsar.send("in", &["a message"]).await?;
        ensure!(scenario.pulsar.receive("stays", 1, TIMEOUT).await? == ["a message!"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn with_the_broker_down_a_deletion_ends_at_its_deadline_or_by_annotation_and_reports_the_rest()
-> Result<()> {
    let harness = Harness::find().await?;
    let broker = Broker::start(&harness, BrokerPlan { port: 7200, ..BrokerPlan::default() }).await?;
    let result = Scenario::run_with(&harness, &broker, "down", async |scenario| {
        for name in ["patient", "hasty"] {
            let asks = json!({ "cleanupSubscription": true });
            scenario
                .apply::<Function>(scenario.python(name, "mark.Mark", "in", "out").with(asks).alone())
                .await?;
        }
        scenario.pulsar.await_consumers("in", 2, TIMEOUT).await?;
        broker.kill().await?;
        for name in ["patient", "hasty"] {
            scenario.api::<Function>().delete(name, &DeleteParams::default()).await?;
            let waits = async || {
                let said = scenario.kubectl(&["get", "function", name, "-o", "wide"]).await?;
                Ok(said.contains("Deleting")
                    && said.contains(&format!("removing {}", subscription(scenario, name))))
            };
            scenario.eventually("it reports what it waits for", TIMEOUT, waits).await?;
        }

        // An annotation skips the clean-up at once.
        let declined = json!({ "metadata": { "annotations": { labels::NEED_CLEANUP: "false" } } });
        let patch = Patch::Merge(declined);
        scenario.api::<Function>().patch("hasty", &PatchParams::default(), &patch).await?;
        gone(scenario, "hasty", Duration::from_secs(20)).await?;
        let is_gone = async || Ok(job_of(scenario, "hasty").await?.is_none());
        scenario.eventually("the Job is deleted", Duration::from_secs(20), is_gone).await?;

        // At the deadline, which this shortens from ten minutes.
        ensure!(
            scenario.api::<Function>().get_opt("patient").await?.is_some(),
            "it went before its deadline"
        );
        let patch = Patch::Merge(json!({ "spec": { "activeDeadlineSeconds": 5 } }));
        let job = job_of(scenario, "patient").await?.context("no Job")?;
        scenario.api::<Job>().patch(&job, &PatchParams::default(), &patch).await?;
        gone(scenario, "patient", TIMEOUT).await?;
        let left = event_messages(scenario, "patient", "CleanupFailed").await?;
        let expected = format!("subscriptions not deleted: {}; ", subscription(scenario, "patient"));
        ensure!(
            left.len() == 1 && left[0].starts_with(&expected) && left[0].contains("deadline"),
            "{left:?}"
        );
        let log = ["logs", "-n", OPERATOR, "deployment/function-mesh-controller-manager", "--since=10m"];
        let log = scenario.harness.kubectl(&log).await?;
        let mut lines = log.lines().filter(|line| line.contains(&scenario.namespace));
        ensure!(lines.any(|line| line.contains("CleanupFailed") && line.contains(&expected)));

        // As reported, the subscriptions still exist.
        broker.restart().await?;
        let mut found = scenario.pulsar.subscriptions("in").await?;
        found.sort();
        let both = ["hasty", "patient"].map(|name| format!("public/{}/{name}", scenario.namespace));
        ensure!(found == both, "{found:?}");
        Ok(())
    })
    .await;
    broker.stop().await?;
    result
}

#[tokio::test]
async fn a_mesh_that_is_deleted_takes_what_it_made_along_and_nothing_else() -> Result<()> {
    Scenario::run("foreign", async |scenario| {
        let component = |name| scenario.python(name, "mark.Mark", "in", "out");
        scenario.apply::<FunctionMesh>(scenario.mesh("m", &[component("one"), component("two")])).await?;
        scenario.await_ready("m", TIMEOUT).await?;
        scenario.apply::<FunctionMesh>(scenario.mesh("other", &[component("three")])).await?;
        scenario.await_ready("other", TIMEOUT).await?;
// Foreign objects, with names and labels similar to those of children.
        let near = json!({ "name": "m-one-function-data", "labels": { labels::NAME: "m-one", labels::MESH: "m" } });
        let claim = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } });
        let pod = json!({ "containers": [{ "name": "rests", "image": "localhost/pause:1" }] });
        scenario
            .apply::<PersistentVolumeClaim>(
                json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": near, "spec": claim }),
            )
            .await?;
        scenario.apply::<ConfigMap>(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": near })).await?;
        scenario
            .apply::<Pod>(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": near, "spec": pod }))
            .await?;
        let mut expected = scenario.everything().await?;
        expected.retain(|name, _| name.contains("other-three") || name == "Pod/m-one-function-data");
        ensure!(expected.len() == 5, "{expected:?}");

        scenario.api::<FunctionMesh>().delete("m", &DeleteParams::default()).await?;
        scenario
            .eventually("what it made is gone, and nothing else", TIMEOUT, async || {
                Ok(scenario.everything().await? == expected)
            })
            .await?;
        ensure!(scenario.api::<FunctionMesh>().get_opt("m").await?.is_none());
        let pod = scenario.api::<Pod>().get("m-one-function-data").await?;
        ensure!(pod.metadata.deletion_timestamp.is_none());
        scenario.api::<PersistentVolumeClaim>().get("m-one-function-data").await?;
        for config in ["m-one-function-data", "pulsar", "functions"] {
            scenario.api::<ConfigMap>().get(config).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_namespace_that_is_deleted_with_a_mesh_in_it_goes() -> Result<()> {
    Scenario::run("going", async |scenario| {
        let namespaces = Api::<Namespace>::all(scenario.harness.client.clone());
        let name = format!("{}-inner", scenario.namespace);
        let meta = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let wanted = Namespace { metadata: meta, ..Namespace::default() };
        namespaces.create(&PostParams::default(), &wanted).await?;
        let inner = Scenario {
            harness: scenario.harness.clone(),
            namespace: name.clone(),
            pulsar: scenario.pulsar.clone(),
            broker: scenario.broker.clone(),
        };
        let result = goes_while_its_mesh_lives(&inner, &namespaces).await;
        if result.is_err() {
            _ = namespaces.delete(&name, &DeleteParams::default()).await;
        }
        result
    })
    .await
}

async fn goes_while_its_mesh_lives(inner: &Scenario, namespaces: &Api<Namespace>) -> Result<()> {
    let broker = inner.harness.broker();
    let addresses =
        json!({ "webServiceURL": broker.web_service_url, "brokerServiceURL": broker.broker_service_url });
    inner.config("pulsar", &addresses).await?;
    let mut mesh = inner.exclamation()?;
    mesh["spec"]["functions"].as_array_mut().map(|functions| functions.remove(0));
    mesh["spec"]["functions"][0]["cleanupSubscription"] = json!(true);
    inner.apply::<FunctionMesh>(mesh).await?;
    inner.await_ready("exclamation", TIMEOUT).await?;
    let function = inner.api::<Function>().get("exclamation-scream").await?;
    ensure!(function.finalizers() == [labels::CLEANUP_FINALIZER], "it has no finalizer: {function:?}");

    namespaces.delete(&inner.namespace, &DeleteParams::default()).await?;
    let is_gone = async || Ok(namespaces.get_opt(&inner.namespace).await?.is_none());
    inner.eventually("the namespace is gone", Duration::from_mins(1), is_gone).await
}

#[tokio::test]
async fn upstreams_finalizer_is_honoured_and_blocks_no_deletion() -> Result<()> {
    Scenario::run("upstream-finalizer", async |scenario| {
        let component = |name| scenario.python(name, "mark.Mark", name, "out");
        let asks = component("asks").with(json!({ "cleanupSubscription": true })).alone();
        let declines = component("declines").alone();
        let mut alone = component("alone").with(json!({ "cleanupSubscription": true })).alone();
        for mut object in [asks, declines] {
            object["metadata"]["finalizers"] = json!([labels::LEGACY_CLEANUP_FINALIZER]);
            // Upstream adds its finalizer once, with an update.
            scenario
                .api::<Function>()
                .create(&PostParams::default(), &serde_json::from_value(object)?)
                .await?;
        }
        for name in ["asks", "declines"] {
            scenario.pulsar.await_consumer(name, TIMEOUT).await?;
        }
        let finalizers =
            async |name| anyhow::Ok(scenario.api::<Function>().get(name).await?.metadata.finalizers);
        let ours = vec![labels::CLEANUP_FINALIZER.to_owned()];
        ensure!(finalizers("asks").await? == Some(ours), "{:?}", finalizers("asks").await?);
        ensure!(finalizers("declines").await?.is_none_or(|all| all.is_empty()));

        // An object that the operator must not manage can still be deleted.
        alone["metadata"]["finalizers"] = json!([labels::LEGACY_CLEANUP_FINALIZER]);
        alone["metadata"]["annotations"] = json!({ labels::MANAGED: "false" });
        scenario.api::<Function>().create(&PostParams::default(), &serde_json::from_value(alone)?).await?;
        for name in ["asks", "declines", "alone"] {
            scenario.api::<Function>().delete(name, &DeleteParams::default()).await?;
            gone(scenario, name, TIMEOUT).await?;
        }
        ensure!(scenario.pulsar.subscriptions("asks").await?.is_empty());
        ensure!(scenario.pulsar.subscriptions("declines").await?.len() == 1);
        Ok(())
    })
    .await
}

/// A sink that posts to a closed port.
async fn deliver(scenario: &Scenario) -> Result<Component> {
    let any = json!({ "input": { "typeClassName": "org.apache.pulsar.client.api.schema.GenericRecord" } });
    Ok(scenario.posting("deliver", "people", "http://127.0.0.1:1/").await?.with(any))
}

/// A function's subscription, as reports name it.
fn subscription(scenario: &Scenario, function: &str) -> String {
    format!("subscription public/{}/{function} of {}", scenario.namespace, scenario.pulsar.topic("in"))
}

/// The messages of an object's Events with this reason.
async fn event_messages(scenario: &Scenario, about: &str, reason: &str) -> Result<Vec<String>> {
    let events = scenario.api::<Event>().list(&ListParams::default()).await?;
    let matching = events.into_iter().filter(|event| {
        event.involved_object.name.as_deref() == Some(about) && event.reason.as_deref() == Some(reason)
    });
    Ok(matching.filter_map(|event| event.message).collect())
}

/// Name of a function's clean-up Job, which ends with a part of the function's UID.
async fn job_of(scenario: &Scenario, function: &str) -> Result<Option<String>> {
    let jobs = scenario.api::<Job>().list(&ListParams::default()).await?;
    let mut names = jobs.into_iter().map(|job| job.name_any());
    Ok(names.find(|name| name.starts_with(&format!("{function}-function-cleanup-"))))
}

/// Waits until a function is gone.
async fn gone(scenario: &Scenario, name: &str, timeout: Duration) -> Result<()> {
    let is_gone = async || Ok(scenario.api::<Function>().get_opt(name).await?.is_none());
    scenario.eventually("the function is gone", timeout, is_gone).await
}

/// Waits until no component is left.
async fn all_gone(scenario: &Scenario) -> Result<()> {
    scenario
        .eventually("all components are gone", TIMEOUT, async || {
            let functions = scenario.api::<Function>().list(&ListParams::default()).await?;
            let sinks = scenario.api::<Sink>().list(&ListParams::default()).await?;
            Ok(functions.items.is_empty() && sinks.items.is_empty())
        })
        .await
}
