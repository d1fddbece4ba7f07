//! Defaults of a namespace, which a BackendConfig says, as they arrive in running pods: in the process, its rights and
//! its labels. And whose objects the operator takes for its own.
//!
//! The defaults of the whole cluster have a file to themselves, since they reach the pods of all other stories, too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{BackendConfig, Function, FunctionMesh};
use function_mesh_e2e::{Part, Story, not_ready};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(3);
const CONFIG: &str = "backend-config";

#[tokio::test]
async fn defaults_with_auto_update_reach_running_pods_at_once_and_components_beat_them() -> Result<()> {
    Story::tell("defaults", async |story| {
        let own = marks(story, "own").with(json!({ "pod": {
            "env": [{ "name": "STAGE", "value": "my own" }], "labels": { "cost-centre": "of-mine" },
        } }));
        story.apply::<FunctionMesh>(story.mesh("m", &[marks(story, "plain"), own])).await?;
        story.await_ready("m", PATIENCE).await?;

        story.apply::<BackendConfig>(defaults(true, &json!({ "STAGE": "test", "TEAM": "a" }))).await?;
        finds(story, "plain", &["STAGE=test", "TEAM=a"]).await?;
        finds(story, "own", &["STAGE=my own", "TEAM=a"]).await?;
        story.await_ready("m", PATIENCE).await?;
        for (name, cost_centre) in [("plain", "4711"), ("own", "of-mine")] {
            let pod = story.api::<Pod>().get(&format!("m-{name}-function-0")).await?;
            ensure!(pod.labels()["cost-centre"] == cost_centre, "{:?}", pod.labels());
            ensure!(groups(story, name).await?.contains("2345"), "its security context does not apply");
        }

        // A value alone is a change like any other.
        story.apply::<BackendConfig>(defaults(true, &json!({ "STAGE": "production", "TEAM": "a" }))).await?;
        finds(story, "plain", &["STAGE=production", "TEAM=a"]).await?;
        story.await_ready("m", PATIENCE).await?;
        ensure!(variables(story, "own").await? == set(&["STAGE=my own", "TEAM=a"]));

        story.api::<BackendConfig>().delete(CONFIG, &DeleteParams::default()).await?;
        finds(story, "plain", &[]).await?;
        finds(story, "own", &["STAGE=my own"]).await?;
        story.await_ready("m", PATIENCE).await?;
        ensure!(!groups(story, "plain").await?.contains("2345"));
        works(story, "plain").await
    })
    .await
}

#[tokio::test]
async fn without_auto_update_pods_keep_their_defaults_until_their_own_component_changes() -> Result<()> {
    Story::tell("later", async |story| {
        story.apply::<BackendConfig>(defaults(false, &json!({ "STAGE": "old" }))).await?;
        story.apply::<FunctionMesh>(story.mesh("m", &[marks(story, "first")])).await?;
        story.await_ready("m", PATIENCE).await?;
        finds(story, "first", &["STAGE=old"]).await?;
        let before = pods(story).await?;

        story.apply::<BackendConfig>(defaults(false, &json!({ "STAGE": "new" }))).await?;
        // One that is made now has the new value: the operator knows it.
        story
            .apply::<FunctionMesh>(story.mesh("m", &[marks(story, "first"), marks(story, "second")]))
            .await?;
        story.await_ready("m", PATIENCE).await?;
        finds(story, "second", &["STAGE=new"]).await?;
        // More replicas are no change of those that are there.
        let two = marks(story, "first").with(json!({ "replicas": 2 }));
        story.apply::<FunctionMesh>(story.mesh("m", &[two.clone(), marks(story, "second")])).await?;
        story.await_ready("m", PATIENCE).await?;
        let mut kept = pods(story).await?;
        kept.retain(|name, _| before.contains_key(name));
        ensure!(kept == before, "{kept:?}, not {before:?}");
        ensure!(variables(story, "first").await? == set(&["STAGE=old"]));

        let changed = two.with(json!({ "funcConfig": { "mark": "?" } }));
        story.apply::<FunctionMesh>(story.mesh("m", &[changed, marks(story, "second")])).await?;
        finds(story, "first", &["STAGE=new"]).await?;
        story.await_ready("m", PATIENCE).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_stateful_set_of_somebody_else_is_never_taken_over_and_the_function_waits_until_it_goes()
-> Result<()> {
    Story::tell("somebody-else", async |story| {
        let theirs = story.apply::<StatefulSet>(somebody_elses("m-plain-function")).await?;
        let has_pod = async || Ok(pods(story).await?.contains_key("m-plain-function-0"));
        story.eventually("their pod runs", PATIENCE, has_pod).await?;
        let their_pods = pods(story).await?;

        story
            .apply::<FunctionMesh>(story.mesh("m", &[marks(story, "plain"), marks(story, "beside")]))
            .await?;
        let why = r#"function plain: StatefulSet "m-plain-function" already exists and is not ours: it has no owner"#;
        story
            .await_mesh("m", PATIENCE, |mesh| not_ready(mesh).is_some_and(|said| said.message.contains(why)))
            .await?;
        let function = story.api::<Function>().get("m-plain").await?.status.context("no status")?;
        ensure!(function.phase == Phase::Degraded, "{function:?}");
        // What is beside it works meanwhile.
        works(story, "beside").await?;
        let live = story.api::<StatefulSet>().get("m-plain-function").await?;
        ensure!(live.spec == theirs.spec && live.metadata.generation == theirs.metadata.generation);
        ensure!(live.owner_references().is_empty() && live.labels() == theirs.labels());
        let mut left = pods(story).await?;
        left.retain(|name, _| their_pods.contains_key(name));
        ensure!(left == their_pods, "{left:?}, not {their_pods:?}");

        // They make room, and nobody has to say so.
        story.api::<StatefulSet>().delete("m-plain-function", &DeleteParams::foreground()).await?;
        story.await_ready("m", PATIENCE).await?;
        works(story, "plain").await
    })
    .await
}

/// A function that puts `!` behind each message.
fn marks(story: &Story, name: &str) -> Part {
    story.python(name, "mark.Mark", &format!("to-{name}"), &format!("from-{name}"))
}

/// Defaults of the story's namespace. The group is in no image, so it can only come from here.
fn defaults(auto_update: bool, env: &Value) -> Value {
    json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "BackendConfig",
        "metadata": { "name": CONFIG },
        "spec": {
            "autoUpdate": auto_update, "env": env,
            "pod": {
                "labels": { "cost-centre": "4711" },
                "securityContext": {
                    "runAsUser": 10000, "runAsGroup": 10001, "fsGroup": 10001, "supplementalGroups": [2345],
                },
            },
        },
    })
}

/// A StatefulSet that has nothing to do with the operator.
fn somebody_elses(name: &str) -> Value {
    let labels = json!({ "app": "theirs" });
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": name, "labels": labels },
        "spec": {
            "serviceName": "theirs", "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "rests", "image": "localhost/pause:1" }] },
            },
        },
    })
}

/// Waits until the process of a function has these of the stories' variables, and no other.
async fn finds(story: &Story, name: &str, wanted: &[&str]) -> Result<()> {
    // The pod may be on its way out.
    let has = async || Ok(variables(story, name).await.is_ok_and(|found| found == set(wanted)));
    story.eventually(&format!("the process of {name} has {wanted:?}"), PATIENCE, has).await
}

async fn variables(story: &Story, name: &str) -> Result<BTreeSet<String>> {
    let mut found = story.environment(&format!("m-{name}-function-0")).await?;
    found.retain(|one| one.starts_with("STAGE=") || one.starts_with("TEAM="));
    Ok(found)
}

/// The groups that a function's pod is in.
async fn groups(story: &Story, name: &str) -> Result<BTreeSet<String>> {
    let groups = story.exec(&format!("m-{name}-function-0"), "pulsar-function", &["id", "-G"]).await?;
    Ok(groups.split_whitespace().map(str::to_owned).collect())
}

fn set(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|&one| one.to_owned()).collect()
}

/// Names and UIDs of the pods.
async fn pods(story: &Story) -> Result<BTreeMap<String, String>> {
    let all = story.everything().await?.into_iter();
    Ok(all.filter_map(|(name, uid)| Some((name.strip_prefix("Pod/")?.to_owned(), uid))).collect())
}

/// A message passes through a function.
async fn works(story: &Story, name: &str) -> Result<()> {
    let (to, from) = (format!("to-{name}"), format!("from-{name}"));
    story.pulsar.await_consumer(&to, PATIENCE).await?;
    story.pulsar.send(&to, &["a message"]).await?;
    let received = story.pulsar.receive(&from, 1, PATIENCE).await?;
    ensure!(received == ["a message!"], "{received:?}");
    Ok(())
}
