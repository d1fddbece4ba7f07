//! BackendConfigs: defaults that roll out at once, or with the next change of a component.

use anyhow::ensure;
use function_mesh_api::{BackendConfig, BackendConfigSpec, Function};
use function_mesh_testkit::{PATIENCE, eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::json;

use crate::harness::{Harness, TestResult, json as to_json};

fn config(value: &str, auto_update: bool) -> BackendConfig {
    let spec = BackendConfigSpec {
        env: Some([("COLOUR".to_owned(), value.to_owned())].into()),
        auto_update: Some(auto_update),
        ..BackendConfigSpec::default()
    };
    BackendConfig::new("backend-config", spec)
}

async fn colour(harness: &Harness) -> anyhow::Result<Option<String>> {
    let set = to_json(&harness.get::<StatefulSet>("x-function").await?)?;
    let env = set["spec"]["template"]["spec"]["containers"][0]["env"].as_array().cloned().unwrap_or_default();
    let found = env.iter().find(|it| it["name"] == "COLOUR").and_then(|it| it["value"].as_str());
    Ok(found.map(str::to_owned))
}

async fn turns(harness: &Harness, expected: &str) -> TestResult {
    eventually(PATIENCE, async || {
        let found = colour(harness).await?;
        ensure!(found.as_deref() == Some(expected), "{found:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn auto_update_rolls_out_at_once() -> TestResult {
    let harness = Harness::new("auto").await?;
    harness.apply(&config("red", true)).await?;
    harness.apply(&fixtures::function(fixtures::java_function("x"))?).await?;
    turns(&harness, "red").await?;
    harness.apply(&config("blue", true)).await?;
    turns(&harness, "blue").await?;
    harness.delete::<BackendConfig>("backend-config").await?;
    eventually(PATIENCE, async || {
        let found = colour(&harness).await?;
        ensure!(found.is_none(), "{found:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn change_without_auto_update_is_deferred() -> TestResult {
    let mut harness = Harness::new("by-the-way").await?;
    harness.apply(&config("red", false)).await?;
    // A component created before the controller has observed the BackendConfig is deferred too.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    harness.apply(&fixtures::function(fixtures::java_function("x"))?).await?;
    turns(&harness, "red").await?;
    harness.settle().await?;
    harness.apply(&config("blue", false)).await?;
    // Neither a recheck of failing pods nor a controller restart counts as a change of the component.
    harness.restart().await?;
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert_eq!(colour(&harness).await?.as_deref(), Some("red"));

    harness.patch::<Function>("x", json!({ "spec": { "logTopic": "logs" } })).await?;
    turns(&harness, "blue").await
}
