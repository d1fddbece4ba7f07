//! Crashes of the operator, and restores while it is away. The tests compare counters of the whole API server, so they run alone and one after the
//! other.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use function_mesh_api::{Function, FunctionMesh};
use function_mesh_e2e::{OPERATOR, Scenario};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::time::sleep;

const TIMEOUT: Duration = Duration::from_mins(2);
/// Longer than every delay of the operator.
const QUIET: Duration = Duration::from_secs(12);

#[tokio::test]
async fn an_operator_that_was_killed_writes_nothing_when_it_comes_back() -> Result<()> {
    Scenario::run("killed", async |scenario| {
        scenario.apply::<FunctionMesh>(scenario.exclamation()?).await?;
        scenario.await_ready("exclamation", TIMEOUT).await?;
        // The condition Stalled comes 30 seconds after the pods are ready, and completes the status.
        scenario
            .eventually("every function has the condition Stalled", TIMEOUT, async || {
                let functions = scenario.api::<Function>().list(&ListParams::default()).await?.items;
                let is_judged = |function: &Function| {
                    let status = function.status.as_ref();
                    let conditions = status.map(|status| &*status.standard_conditions).unwrap_or_default();
                    conditions.iter().any(|it| it.type_ == "Stalled" && it.status == "False")
                };
                Ok(!functions.is_empty() && functions.iter().all(is_judged))
            })
            .await?;
        // Wait until objects of earlier tests cause no more writes.
        let writes = scenario.harness.wait_idle(QUIET).await?;
        let (objects, sets) = (scenario.everything().await?, generations(scenario).await?);

        scenario.harness.crash_operator().await?;
        sleep(QUIET).await;

        ensure!(scenario.everything().await? == objects, "objects were replaced");
        ensure!(generations(scenario).await? == sets, "StatefulSets were changed");
        let after = scenario.harness.writes().await?;
        ensure!(after == writes, "written: before {writes:?}, after {after:?}");

        let sent = vec!["still".to_owned(), "here".to_owned()];
        scenario.pulsar.await_consumer("words", TIMEOUT).await?;
        scenario.pulsar.await_consumer("shouts", TIMEOUT).await?;
        scenario.pulsar.send("words", &sent).await?;
        let mut received = scenario.pulsar.receive("louder", 2, TIMEOUT).await?;
        received.sort();
        ensure!(received == ["here!!", "still!!"], "{received:?}");
        Ok(())
    })
    .await
}

/// A backup restores objects without owners and finalizers, and often before the operator.
#[tokio::test]
async fn a_restored_mesh_is_taken_back_and_no_pod_restarts() -> Result<()> {
    Scenario::run("restored", async |scenario| {
        let functions = [
            scenario.python("first", "double.Double", "numbers", "doubled").with(json!({
                "cleanupSubscription": true, "minReplicas": 1, "maxReplicas": 2,
            })),
            scenario.python("second", "double.Double", "doubled", "quadrupled"),
        ];
        scenario.apply::<FunctionMesh>(scenario.mesh("restored", &functions)).await?;
        scenario.await_ready("restored", TIMEOUT).await?;
        let (objects, sets) = (scenario.everything().await?, generations(scenario).await?);

        scale_operator(scenario, 0).await?;
        let stripped = strip(scenario).await;
        scale_operator(scenario, 1).await?;
        let stripped = stripped?;
        ensure!(
            stripped.len() == 7,
            "2 functions, 2 StatefulSets, 2 Services and an autoscaler: {stripped:?}"
        );

        scenario
            .eventually("every object has its owner again", TIMEOUT, async || {
                Ok(owners(scenario).await?.values().all(|(owner, _)| owner.is_some()))
            })
            .await?;
        scenario.await_ready("restored", TIMEOUT).await?;
        ensure!(scenario.everything().await? == objects, "objects were replaced");
        ensure!(generations(scenario).await? == sets, "StatefulSets were changed");
        let finalizers = &owners(scenario).await?["functions/restored-first"].1;
        ensure!(finalizers.len() == 1, "the finalizer is back: {finalizers:?}");
        Ok(())
    })
    .await
}

/// Kinds that a mesh has below it, as kubectl names them.
const KINDS: &str = "functions,statefulsets,services,horizontalpodautoscalers";

/// Owner and finalizers of each object, by KIND/NAME.
async fn owners(scenario: &Scenario) -> Result<BTreeMap<String, (Option<String>, Vec<Value>)>> {
    let list: Value = serde_json::from_str(&scenario.kubectl(&["get", KINDS, "-o", "json"]).await?)?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let entry = |item: &Value| {
        let kind = item["kind"].as_str().unwrap_or_default().to_lowercase();
        let metadata = &item["metadata"];
        let owner = metadata["ownerReferences"][0]["uid"].as_str().map(str::to_owned);
        let finalizers = metadata["finalizers"].as_array().cloned().unwrap_or_default();
        (format!("{kind}s/{}", metadata["name"].as_str().unwrap_or_default()), (owner, finalizers))
    };
    Ok(items.iter().map(entry).collect())
}

/// Removes owners and finalizers, and returns the names of what it changed.
async fn strip(scenario: &Scenario) -> Result<Vec<String>> {
    let objects: Vec<String> = owners(scenario).await?.into_keys().collect();
    let patch = r#"{"metadata":{"ownerReferences":null,"finalizers":null}}"#;
    for object in &objects {
        scenario.kubectl(&["patch", object, "--type=merge", "-p", patch]).await?;
    }
    Ok(objects)
}

async fn scale_operator(scenario: &Scenario, replicas: u8) -> Result<()> {
    let (harness, replicas) = (&scenario.harness, format!("--replicas={replicas}"));
    let deployment = "deployment/function-mesh-controller-manager";
    harness.kubectl(&["scale", "-n", OPERATOR, deployment, &replicas]).await?;
    harness.await_operator().await
}

async fn generations(scenario: &Scenario) -> Result<Vec<(String, Option<i64>)>> {
    let sets = scenario.api::<StatefulSet>().list(&ListParams::default()).await?;
    Ok(sets.into_iter().map(|set| (set.name_any(), set.metadata.generation)).collect())
}
