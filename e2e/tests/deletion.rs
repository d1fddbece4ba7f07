//! What users delete: subscriptions go with those who asked for it, all that was made goes, and nothing else does. A
//! deletion always comes to an end: with the broker down, with the namespace, and with what the original operator
//! left on an object.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::{Function, FunctionMesh, Sink, labels};
use function_mesh_e2e::{Broker, BrokerPlan, OPERATOR, Part, Story, World};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

const PATIENCE: Duration = Duration::from_mins(3);

#[tokio::test]
async fn a_mesh_takes_the_subscriptions_along_that_it_was_asked_to_and_no_other() -> Result<()> {
    Story::tell("subscriptions", async |story| {
        let asks = json!({ "cleanupSubscription": true });
        let named = story.python("named", "mark.Mark", "in", "out").with(asks.clone());
        let parts = [
            named.with(json!({ "subscriptionName": "of my own" })),
            story.python("silent", "mark.Mark", "in", "out"),
            deliver(story).await?.with(asks),
        ];
        story.apply::<FunctionMesh>(story.mesh("m", &parts)).await?;
        story.await_ready("m", PATIENCE).await?;
        story.pulsar.await_consumers("in", 2, PATIENCE).await?;
        story.pulsar.await_consumer("people", PATIENCE).await?;

        story.api::<FunctionMesh>().delete("m", &DeleteParams::default()).await?;
        all_gone(story).await?;
        let silent = format!("public/{}/silent", story.namespace);
        ensure!(story.pulsar.subscriptions("in").await? == [silent.as_str()]);
        ensure!(story.pulsar.subscriptions("people").await?.is_empty());
        let removed =
            |name: &str, topic| format!("removed subscription {name} of {}", story.pulsar.topic(topic));
        let deliver = format!("public/{}/deliver", story.namespace);
        ensure!(told(story, "m-named", "CleanupSucceeded").await? == [removed("of my own", "in")]);
        ensure!(told(story, "m-deliver", "CleanupSucceeded").await? == [removed(&deliver, "people")]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_pattern_and_topics_beside_it_lose_the_subscription_and_strangers_keep_theirs() -> Result<()> {
    Story::tell("pattern", async |story| {
        let elsewhere = story.world.broker().namespace(&format!("{}-elsewhere", story.namespace)).await?;
        for (pulsar, topic) in [(&story.pulsar, "p-1"), (&story.pulsar, "p-2"), (&elsewhere, "beside")] {
            pulsar.consumer(topic, "stranger").await?;
        }
        let wide = story.python("wide", "mark.Mark", "unused", "out").with(json!({
            "cleanupSubscription": true,
            "input": { "topics": [elsewhere.topic("beside")], "topicPattern": story.pulsar.topic("p-.*") },
        }));
        story.apply::<Function>(wide.alone()).await?;
        let name = format!("public/{}/wide", story.namespace);
        let subscribes = async |wanted: &[&str]| {
            for (pulsar, topic) in [(&story.pulsar, "p-1"), (&story.pulsar, "p-2"), (&elsewhere, "beside")] {
                let mut found = pulsar.subscriptions(topic).await?;
                found.sort();
                if found != wanted {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        story
            .eventually("all three are read", PATIENCE, async || subscribes(&[&name, "stranger"]).await)
            .await?;

        story.api::<Function>().delete("wide", &DeleteParams::default()).await?;
        all_gone(story).await?;
        ensure!(subscribes(&["stranger"]).await?, "{:?}", story.pulsar.subscriptions("p-1").await?);
        let removed = told(story, "wide", "CleanupSucceeded").await?;
        let expected = format!(
            "removed subscription {name} of all topics that match {}, subscription {name} of {}",
            story.pulsar.topic("p-.*"),
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
    Story::tell("leaving", async |story| {
        let part =
            |name| story.python(name, "mark.Mark", "in", name).with(json!({ "cleanupSubscription": true }));
        story.apply::<FunctionMesh>(story.mesh("m", &[part("stays"), part("leaves")])).await?;
        story.await_ready("m", PATIENCE).await?;
        story.pulsar.await_consumers("in", 2, PATIENCE).await?;
        let mut expected = story.everything().await?;
        expected.retain(|name, _| name.contains("stays"));

        story.apply::<FunctionMesh>(story.mesh("m", &[part("stays")])).await?;
        story
            .eventually("it is gone", PATIENCE, async || {
                Ok(story.api::<Function>().get_opt("m-leaves").await?.is_none())
            })
            .await?;
        let stays = format!("public/{}/stays", story.namespace);
        ensure!(story.pulsar.subscriptions("in").await? == [stays.as_str()]);
        story
            .eventually("what it was made of is gone, and nothing else", PATIENCE, async || {
                let mut left = story.everything().await?;
                left.retain(|name, _| !name.contains("leaves-function-cleanup"));
                Ok(left == expected)
            })
            .await?;
        story.pulsar.send("in", &["a message"]).await?;
        ensure!(story.pulsar.receive("stays", 1, PATIENCE).await? == ["a message!"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn with_the_broker_down_a_deletion_ends_at_its_deadline_or_at_a_word_and_tells_what_is_left()
-> Result<()> {
    let world = World::find().await?;
    let broker = Broker::start(&world, BrokerPlan { port: 7200, ..BrokerPlan::default() }).await?;
    let told = Story::tell_at(&world, &broker, "down", async |story| {
        for name in ["patient", "hasty"] {
            let asks = json!({ "cleanupSubscription": true });
            story.apply::<Function>(story.python(name, "mark.Mark", "in", "out").with(asks).alone()).await?;
        }
        story.pulsar.await_consumers("in", 2, PATIENCE).await?;
        broker.kill().await?;
        for name in ["patient", "hasty"] {
            story.api::<Function>().delete(name, &DeleteParams::default()).await?;
            let waits = async || {
                let said = story.kubectl(&["get", "function", name, "-o", "wide"]).await?;
                Ok(said.contains("Deleting")
                    && said.contains(&format!("removing {}", subscription(story, name))))
            };
            story.eventually("it says what it waits for", PATIENCE, waits).await?;
        }

        // At a word, at once.
        let declined = json!({ "metadata": { "annotations": { labels::NEED_CLEANUP: "false" } } });
        let patch = Patch::Merge(declined);
        story.api::<Function>().patch("hasty", &PatchParams::default(), &patch).await?;
        gone(story, "hasty", Duration::from_secs(20)).await?;
        let is_gone = async || Ok(job_of(story, "hasty").await?.is_none());
        story.eventually("nobody goes on trying", Duration::from_secs(20), is_gone).await?;

        // At its deadline, which is shortened here: ten minutes are long for a story.
        ensure!(story.api::<Function>().get_opt("patient").await?.is_some(), "it went before its deadline");
        let patch = Patch::Merge(json!({ "spec": { "activeDeadlineSeconds": 5 } }));
        let job = job_of(story, "patient").await?.context("no Job")?;
        story.api::<Job>().patch(&job, &PatchParams::default(), &patch).await?;
        gone(story, "patient", PATIENCE).await?;
        let left = told(story, "patient", "CleanupFailed").await?;
        let expected = format!("subscriptions not deleted: {}; ", subscription(story, "patient"));
        ensure!(
            left.len() == 1 && left[0].starts_with(&expected) && left[0].contains("deadline"),
            "{left:?}"
        );
        let log = ["logs", "-n", OPERATOR, "deployment/function-mesh-controller-manager", "--since=10m"];
        let log = story.world.kubectl(&log).await?;
        let mut lines = log.lines().filter(|line| line.contains(&story.namespace));
        ensure!(lines.any(|line| line.contains("CleanupFailed") && line.contains(&expected)));

        // What it said is so: nobody has removed them.
        broker.start_again().await?;
        let mut found = story.pulsar.subscriptions("in").await?;
        found.sort();
        let both = ["hasty", "patient"].map(|name| format!("public/{}/{name}", story.namespace));
        ensure!(found == both, "{found:?}");
        Ok(())
    })
    .await;
    broker.end().await?;
    told
}

#[tokio::test]
async fn a_mesh_that_is_deleted_takes_what_it_made_along_and_nothing_else() -> Result<()> {
    Story::tell("foreign", async |story| {
        let part = |name| story.python(name, "mark.Mark", "in", "out");
        story.apply::<FunctionMesh>(story.mesh("m", &[part("one"), part("two")])).await?;
        story.await_ready("m", PATIENCE).await?;
        story.apply::<FunctionMesh>(story.mesh("other", &[part("three")])).await?;
        story.await_ready("other", PATIENCE).await?;
        // Somebody else's, of names and labels as close to ours as can be.
        let near = json!({ "name": "m-one-function-data", "labels": { labels::NAME: "m-one", labels::MESH: "m" } });
        let claim = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } });
        let pod = json!({ "containers": [{ "name": "rests", "image": "localhost/pause:1" }] });
        story
            .apply::<PersistentVolumeClaim>(
                json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": near, "spec": claim }),
            )
            .await?;
        story.apply::<ConfigMap>(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": near })).await?;
        story
            .apply::<Pod>(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": near, "spec": pod }))
            .await?;
        let mut expected = story.everything().await?;
        expected.retain(|name, _| name.contains("other-three") || name == "Pod/m-one-function-data");
        ensure!(expected.len() == 5, "{expected:?}");

        story.api::<FunctionMesh>().delete("m", &DeleteParams::default()).await?;
        story
            .eventually("what it made is gone, and nothing else", PATIENCE, async || {
                Ok(story.everything().await? == expected)
            })
            .await?;
        ensure!(story.api::<FunctionMesh>().get_opt("m").await?.is_none());
        let pod = story.api::<Pod>().get("m-one-function-data").await?;
        ensure!(pod.metadata.deletion_timestamp.is_none());
        story.api::<PersistentVolumeClaim>().get("m-one-function-data").await?;
        for config in ["m-one-function-data", "pulsar", "functions"] {
            story.api::<ConfigMap>().get(config).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_namespace_that_is_deleted_with_a_mesh_in_it_goes() -> Result<()> {
    Story::tell("going", async |story| {
        let namespaces = Api::<Namespace>::all(story.world.client.clone());
        let name = format!("{}-inner", story.namespace);
        let meta = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let wanted = Namespace { metadata: meta, ..Namespace::default() };
        namespaces.create(&PostParams::default(), &wanted).await?;
        let inner =
            Story { world: story.world.clone(), namespace: name.clone(), pulsar: story.pulsar.clone() };
        let result = goes_while_its_mesh_lives(&inner, &namespaces).await;
        if result.is_err() {
            _ = namespaces.delete(&name, &DeleteParams::default()).await;
        }
        result
    })
    .await
}

async fn goes_while_its_mesh_lives(inner: &Story, namespaces: &Api<Namespace>) -> Result<()> {
    let broker = inner.world.broker();
    let addresses =
        json!({ "webServiceURL": broker.web_service_url, "brokerServiceURL": broker.broker_service_url });
    inner.config("pulsar", &addresses).await?;
    let mut mesh = inner.exclamation()?;
    mesh["spec"]["functions"].as_array_mut().map(|functions| functions.remove(0));
    mesh["spec"]["functions"][0]["cleanupSubscription"] = json!(true);
    inner.apply::<FunctionMesh>(mesh).await?;
    inner.await_ready("exclamation", PATIENCE).await?;
    let function = inner.api::<Function>().get("exclamation-scream").await?;
    ensure!(function.finalizers() == [labels::CLEANUP_FINALIZER], "nothing would hold it up: {function:?}");

    namespaces.delete(&inner.namespace, &DeleteParams::default()).await?;
    let is_gone = async || Ok(namespaces.get_opt(&inner.namespace).await?.is_none());
    inner.eventually("the namespace is gone", Duration::from_mins(1), is_gone).await
}

#[tokio::test]
async fn the_finalizer_of_the_original_operator_is_honoured_and_holds_nobody_up() -> Result<()> {
    Story::tell("original-finalizer", async |story| {
        let part = |name| story.python(name, "mark.Mark", name, "out");
        let asks = part("asks").with(json!({ "cleanupSubscription": true })).alone();
        let declines = part("declines").alone();
        let mut alone = part("alone").with(json!({ "cleanupSubscription": true })).alone();
        for mut object in [asks, declines] {
            object["metadata"]["finalizers"] = json!([labels::LEGACY_CLEANUP_FINALIZER]);
            // As the original wrote it: once, by an update.
            story.api::<Function>().create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        }
        for name in ["asks", "declines"] {
            story.pulsar.await_consumer(name, PATIENCE).await?;
        }
        let finalizers =
            async |name| anyhow::Ok(story.api::<Function>().get(name).await?.metadata.finalizers);
        let ours = vec![labels::CLEANUP_FINALIZER.to_owned()];
        ensure!(finalizers("asks").await? == Some(ours), "{:?}", finalizers("asks").await?);
        ensure!(finalizers("declines").await?.is_none_or(|all| all.is_empty()));

        // One that the operator is to leave alone still goes when it is deleted.
        alone["metadata"]["finalizers"] = json!([labels::LEGACY_CLEANUP_FINALIZER]);
        alone["metadata"]["annotations"] = json!({ labels::MANAGED: "false" });
        story.api::<Function>().create(&PostParams::default(), &serde_json::from_value(alone)?).await?;
        for name in ["asks", "declines", "alone"] {
            story.api::<Function>().delete(name, &DeleteParams::default()).await?;
            gone(story, name, PATIENCE).await?;
        }
        ensure!(story.pulsar.subscriptions("asks").await?.is_empty());
        ensure!(story.pulsar.subscriptions("declines").await?.len() == 1);
        Ok(())
    })
    .await
}

/// A sink that reads, and posts to where nobody listens.
async fn deliver(story: &Story) -> Result<Part> {
    let any = json!({ "input": { "typeClassName": "org.apache.pulsar.client.api.schema.GenericRecord" } });
    Ok(story.posting("deliver", "people", "http://127.0.0.1:1/").await?.with(any))
}

/// A function's subscription, as it is told.
fn subscription(story: &Story, function: &str) -> String {
    format!("subscription public/{}/{function} of {}", story.namespace, story.pulsar.topic("in"))
}

/// What the Events of this reason say about an object.
async fn told(story: &Story, about: &str, reason: &str) -> Result<Vec<String>> {
    let events = story.api::<Event>().list(&ListParams::default()).await?;
    let told = events.into_iter().filter(|event| {
        event.involved_object.name.as_deref() == Some(about) && event.reason.as_deref() == Some(reason)
    });
    Ok(told.filter_map(|event| event.message).collect())
}

/// Name of the Job that cleans up after a function: what it ends with is of the function's UID.
async fn job_of(story: &Story, function: &str) -> Result<Option<String>> {
    let jobs = story.api::<Job>().list(&ListParams::default()).await?;
    let mut names = jobs.into_iter().map(|job| job.name_any());
    Ok(names.find(|name| name.starts_with(&format!("{function}-function-cleanup-"))))
}

/// Waits until a function is gone.
async fn gone(story: &Story, name: &str, patience: Duration) -> Result<()> {
    let is_gone = async || Ok(story.api::<Function>().get_opt(name).await?.is_none());
    story.eventually("the function is gone", patience, is_gone).await
}

/// Waits until no component is left.
async fn all_gone(story: &Story) -> Result<()> {
    story
        .eventually("all components are gone", PATIENCE, async || {
            let functions = story.api::<Function>().list(&ListParams::default()).await?;
            let sinks = story.api::<Sink>().list(&ListParams::default()).await?;
            Ok(functions.items.is_empty() && sinks.items.is_empty())
        })
        .await
}
