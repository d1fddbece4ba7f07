//! The cluster's BackendConfig. It changes the pods of every namespace, so this file runs alone.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use function_mesh_api::{BackendConfig, Function};
use function_mesh_e2e::{Component, Scenario};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_mins(3);
/// Namespace and name by the chart's default values.
const GLOBAL: (&str, &str) = ("function-mesh", "global-backend-config");
/// A variable and a label that no other test reads.
const VARIABLE: &str = "FUNCTION_MESH_GLOBAL_DEFAULT";
const LABEL: &str = "global-default";

#[tokio::test]
async fn defaults_of_the_cluster_reach_all_those_of_a_namespace_beat_them_and_a_component_beats_both()
-> Result<()> {
    Scenario::run("cluster-defaults", async |scenario| {
        let global = Api::<BackendConfig>::namespaced(scenario.harness.client.clone(), GLOBAL.0);
        let result = beats(scenario, &global).await;
        let removed = global.delete(GLOBAL.1, &DeleteParams::default()).await;
        result?;
        removed?;
        finds(scenario, &[]).await
    })
    .await
}

async fn beats(scenario: &Scenario, global: &Api<BackendConfig>) -> Result<()> {
    let plain = scenario.python("plain", "mark.Mark", "in", "out");
    scenario.apply::<Function>(plain.alone()).await?;
    scenario.pulsar.await_consumer("in", TIMEOUT).await?;

    let user = PatchParams::apply("a-user").force();
    global.patch(GLOBAL.1, &user, &Patch::Apply(defaults(GLOBAL.1, "cluster"))).await?;
    finds(scenario, &["cluster"]).await?;
    ensure!(label(scenario).await?.as_deref() == Some("cluster"));

    scenario.apply::<BackendConfig>(defaults("backend-config", "namespace")).await?;
    finds(scenario, &["namespace"]).await?;
    ensure!(label(scenario).await?.as_deref() == Some("namespace"));

    scenario.apply::<Function>(with_its_own(&plain).alone()).await?;
    finds(scenario, &["component"]).await?;
    ensure!(label(scenario).await?.as_deref() == Some("component"));

    // And back: removing a setting uncovers the one with less precedence.
    scenario.apply::<Function>(plain.alone()).await?;
    finds(scenario, &["namespace"]).await?;
    scenario.api::<BackendConfig>().delete("backend-config", &DeleteParams::default()).await?;
    finds(scenario, &["cluster"]).await?;
    ensure!(label(scenario).await?.as_deref() == Some("cluster"));
    Ok(())
}

fn defaults(name: &str, whose: &str) -> Value {
    json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "BackendConfig", "metadata": { "name": name },
        "spec": {
            "autoUpdate": true, "env": { VARIABLE: whose }, "pod": { "labels": { LABEL: whose } },
        },
    })
}

fn with_its_own(component: &Component) -> Component {
    component.clone().with(json!({
        "pod": {
            "env": [{ "name": VARIABLE, "value": "component" }], "labels": { LABEL: "component" },
        },
    }))
}

/// Waits until the process has the variable with this value, or without a value.
async fn finds(scenario: &Scenario, wanted: &[&str]) -> Result<()> {
    let wanted: BTreeSet<_> = wanted.iter().map(|value| format!("{VARIABLE}={value}")).collect();
    let has = async || {
        // The pod may be terminating.
        let Ok(mut found) = scenario.environment("plain-function-0").await else {
            return Ok(false);
        };
        found.retain(|one| one.starts_with(VARIABLE));
        Ok(found == wanted)
    };
    scenario.eventually(&format!("the process has {wanted:?}"), TIMEOUT, has).await
}

/// The pod's label.
async fn label(scenario: &Scenario) -> Result<Option<String>> {
    Ok(scenario.api::<Pod>().get("plain-function-0").await?.labels().get(LABEL).cloned())
}
