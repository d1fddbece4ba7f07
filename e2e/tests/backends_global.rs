//! Defaults of the whole cluster. They reach the pods of every namespace, so this file is told while no other story
//! is: their pods would be replaced under way.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use function_mesh_api::{BackendConfig, Function};
use function_mesh_e2e::{Part, Story};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(3);
/// Where the chart has them without other values.
const GLOBAL: (&str, &str) = ("function-mesh", "global-backend-config");
/// A variable and a label that no other story looks at.
const VARIABLE: &str = "FUNCTION_MESH_STORY_OF_DEFAULTS";
const LABEL: &str = "story-of-defaults";

#[tokio::test]
async fn defaults_of_the_cluster_reach_all_those_of_a_namespace_beat_them_and_a_component_beats_both()
-> Result<()> {
    Story::tell("cluster-defaults", async |story| {
        let global = Api::<BackendConfig>::namespaced(story.world.client.clone(), GLOBAL.0);
        let told = beats(story, &global).await;
        let removed = global.delete(GLOBAL.1, &DeleteParams::default()).await;
        told?;
        removed?;
        finds(story, &[]).await
    })
    .await
}

async fn beats(story: &Story, global: &Api<BackendConfig>) -> Result<()> {
    let plain = story.python("plain", "mark.Mark", "in", "out");
    story.apply::<Function>(plain.alone()).await?;
    story.pulsar.await_consumer("in", PATIENCE).await?;

    let user = PatchParams::apply("a-user").force();
    global.patch(GLOBAL.1, &user, &Patch::Apply(defaults(GLOBAL.1, "cluster"))).await?;
    finds(story, &["cluster"]).await?;
    ensure!(label(story).await?.as_deref() == Some("cluster"));

    story.apply::<BackendConfig>(defaults("backend-config", "namespace")).await?;
    finds(story, &["namespace"]).await?;
    ensure!(label(story).await?.as_deref() == Some("namespace"));

    story.apply::<Function>(with_its_own(&plain).alone()).await?;
    finds(story, &["component"]).await?;
    ensure!(label(story).await?.as_deref() == Some("component"));

    // And back: what is taken away uncovers what lies below it.
    story.apply::<Function>(plain.alone()).await?;
    finds(story, &["namespace"]).await?;
    story.api::<BackendConfig>().delete("backend-config", &DeleteParams::default()).await?;
    finds(story, &["cluster"]).await?;
    ensure!(label(story).await?.as_deref() == Some("cluster"));
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

fn with_its_own(part: &Part) -> Part {
    part.clone().with(json!({
        "pod": {
            "env": [{ "name": VARIABLE, "value": "component" }], "labels": { LABEL: "component" },
        },
    }))
}

/// Waits until the process has the variable with these values, one or none.
async fn finds(story: &Story, wanted: &[&str]) -> Result<()> {
    let wanted: BTreeSet<_> = wanted.iter().map(|value| format!("{VARIABLE}={value}")).collect();
    let has = async || {
        // The pod may be on its way out.
        let Ok(mut found) = story.environment("plain-function-0").await else {
            return Ok(false);
        };
        found.retain(|one| one.starts_with(VARIABLE));
        Ok(found == wanted)
    };
    story.eventually(&format!("the process has {wanted:?}"), PATIENCE, has).await
}

/// The pod's label.
async fn label(story: &Story) -> Result<Option<String>> {
    Ok(story.api::<Pod>().get("plain-function-0").await?.labels().get(LABEL).cloned())
}
