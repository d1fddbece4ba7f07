//! A namespace's BackendConfig in running pods: environment, security context and labels. Foreign objects with the
//! names of children.
//!
//! The cluster's BackendConfig has a separate file, since it changes the pods of all other tests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::types::Phase;
use function_mesh_api::{BackendConfig, Function, FunctionMesh};
use function_mesh_e2e::{Component, Scenario, not_ready};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_mins(3);
const CONFIG: &str = "backend-config";

#[tokio::test]
async fn defaults_with_auto_update_reach_running_pods_at_once_and_components_beat_them() -> Result<()> {
    Scenario::run("defaults", async |scenario| {
        let own = marks(scenario, "own").with(json!({ "pod": {
            "env": [{ "name": "STAGE", "value": "my own" }], "labels": { "cost-centre": "of-mine" },
        } }));
        scenario.apply::<FunctionMesh>(scenario.mesh("m", &[marks(scenario, "plain"), own])).await?;
        scenario.await_ready("m", TIMEOUT).await?;

        scenario.apply::<BackendConfig>(defaults(true, &json!({ "STAGE": "test", "TEAM": "a" }))).await?;
        finds(scenario, "plain", &["STAGE=test", "TEAM=a"]).await?;
        finds(scenario, "own", &["STAGE=my own", "TEAM=a"]).await?;
        scenario.await_ready("m", TIMEOUT).await?;
        for (name, cost_centre) in [("plain", "4711"), ("own", "of-mine")] {
            let pod = scenario.api::<Pod>().get(&format!("m-{name}-function-0")).await?;
            ensure!(pod.labels()["cost-centre"] == cost_centre, "{:?}", pod.labels());
            ensure!(groups(scenario, name).await?.contains("2345"), "its security context does not apply");
        }

        // A changed value is a change of the pod template.
        scenario
            .apply::<BackendConfig>(defaults(true, &json!({ "STAGE": "production", "TEAM": "a" })))
            .await?;
        finds(scenario, "plain", &["STAGE=production", "TEAM=a"]).await?;
        scenario.await_ready("m", TIMEOUT).await?;
        ensure!(variables(scenario, "own").await? == set(&["STAGE=my own", "TEAM=a"]));

        scenario.api::<BackendConfig>().delete(CONFIG, &DeleteParams::default()).await?;
        finds(scenario, "plain", &[]).await?;
        finds(scenario, "own", &["STAGE=my own"]).await?;
        scenario.await_ready("m", TIMEOUT).await?;
        ensure!(!groups(scenario, "plain").await?.contains("2345"));
        works(scenario, "plain").await
    })
    .await
}

#[tokio::test]
async fn without_auto_update_pods_keep_their_defaults_until_their_own_component_changes() -> Result<()> {
    Scenario::run("later", async |scenario| {
        scenario.apply::<BackendConfig>(defaults(false, &json!({ "STAGE": "old" }))).await?;
        scenario.apply::<FunctionMesh>(scenario.mesh("m", &[marks(scenario, "first")])).await?;
        scenario.await_ready("m", TIMEOUT).await?;
        finds(scenario, "first", &["STAGE=old"]).await?;
        let before = pods(scenario).await?;

        scenario.apply::<BackendConfig>(defaults(false, &json!({ "STAGE": "new" }))).await?;
        // A new component gets the new value.
        scenario
            .apply::<FunctionMesh>(scenario.mesh("m", &[marks(scenario, "first"), marks(scenario, "second")]))
            .await?;
        scenario.await_ready("m", TIMEOUT).await?;
        finds(scenario, "second", &["STAGE=new"]).await?;
        // Scaling does not replace existing pods.
        let two = marks(scenario, "first").with(json!({ "replicas": 2 }));
        scenario.apply::<FunctionMesh>(scenario.mesh("m", &[two.clone(), marks(scenario, "second")])).await?;
        scenario.await_ready("m", TIMEOUT).await?;
        let mut kept = pods(scenario).await?;
        kept.retain(|name, _| before.contains_key(name));
        ensure!(kept == before, "{kept:?}, not {before:?}");
        ensure!(variables(scenario, "first").await? == set(&["STAGE=old"]));

        let changed = two.with(json!({ "funcConfig": { "mark": "?" } }));
        scenario.apply::<FunctionMesh>(scenario.mesh("m", &[changed, marks(scenario, "second")])).await?;
        finds(scenario, "first", &["STAGE=new"]).await?;
        scenario.await_ready("m", TIMEOUT).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_foreign_stateful_set_is_never_adopted_and_the_function_waits_until_it_is_deleted() -> Result<()> {
    Scenario::run("foreign", async |scenario| {
        let theirs = scenario.apply::<StatefulSet>(foreign_stateful_set("m-plain-function")).await?;
        let has_pod = async || Ok(pods(scenario).await?.contains_key("m-plain-function-0"));
        scenario.eventually("their pod runs", TIMEOUT, has_pod).await?;
        let their_pods = pods(scenario).await?;

        scenario
            .apply::<FunctionMesh>(scenario.mesh("m", &[marks(scenario, "plain"), marks(scenario, "beside")]))
            .await?;
        let why = r#"function plain: StatefulSet "m-plain-function" already exists and is not ours: it has no owner"#;
        scenario
            .await_mesh("m", TIMEOUT, |mesh| not_ready(mesh).is_some_and(|said| said.message.contains(why)))
            .await?;
        let function = scenario.api::<Function>().get("m-plain").await?.status.context("no status")?;
        ensure!(function.phase == Phase::Degraded, "{function:?}");
// The other function works meanwhile.
        works(scenario, "beside").await?;
        let live = scenario.api::<StatefulSet>().get("m-plain-function").await?;
        ensure!(live.spec == theirs.spec && live.metadata.generation == theirs.metadata.generation);
        ensure!(live.owner_references().is_empty() && live.labels() == theirs.labels());
        let mut left = pods(scenario).await?;
        left.retain(|name, _| their_pods.contains_key(name));
        ensure!(left == their_pods, "{left:?}, not {their_pods:?}");

// The operator notices by itself that the name is free.
        scenario.api::<StatefulSet>().delete("m-plain-function", &DeleteParams::foreground()).await?;
        scenario.await_ready("m", TIMEOUT).await?;
        works(scenario, "plain").await
    })
    .await
}

/// A function that appends `!` to each message.
fn marks(scenario: &Scenario, name: &str) -> Component {
    scenario.python(name, "mark.Mark", &format!("to-{name}"), &format!("from-{name}"))
}

/// The BackendConfig of the namespace. No image has this group, so it can only come from here.
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

/// A StatefulSet that the operator does not own.
fn foreign_stateful_set(name: &str) -> Value {
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

/// Waits until a function's process has exactly these of the variables STAGE and TEAM.
async fn finds(scenario: &Scenario, name: &str, wanted: &[&str]) -> Result<()> {
    // The pod may be terminating.
    let has = async || Ok(variables(scenario, name).await.is_ok_and(|found| found == set(wanted)));
    scenario.eventually(&format!("the process of {name} has {wanted:?}"), TIMEOUT, has).await
}

async fn variables(scenario: &Scenario, name: &str) -> Result<BTreeSet<String>> {
    let mut found = scenario.environment(&format!("m-{name}-function-0")).await?;
    found.retain(|one| one.starts_with("STAGE=") || one.starts_with("TEAM="));
    Ok(found)
}

/// The groups that a function's pod is in.
async fn groups(scenario: &Scenario, name: &str) -> Result<BTreeSet<String>> {
    let groups = scenario.exec(&format!("m-{name}-function-0"), "pulsar-function", &["id", "-G"]).await?;
    Ok(groups.split_whitespace().map(str::to_owned).collect())
}

fn set(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|&one| one.to_owned()).collect()
}

/// Names and UIDs of the pods.
async fn pods(scenario: &Scenario) -> Result<BTreeMap<String, String>> {
    let all = scenario.everything().await?.into_iter();
    Ok(all.filter_map(|(name, uid)| Some((name.strip_prefix("Pod/")?.to_owned(), uid))).collect())
}

/// Sends a message through a function.
async fn works(scenario: &Scenario, name: &str) -> Result<()> {
    let (to, from) = (format!("to-{name}"), format!("from-{name}"));
    scenario.pulsar.await_consumer(&to, TIMEOUT).await?;
    scenario.pulsar.send(&to, &["a message"]).await?;
    let received = scenario.pulsar.receive(&from, 1, TIMEOUT).await?;
    ensure!(received == ["a message!"], "{received:?}");
    Ok(())
}
