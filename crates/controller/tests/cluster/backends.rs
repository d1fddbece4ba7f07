//! BackendConfigs: defaults that reach components at once, or with their next change.

use anyhow::ensure;
use function_mesh_api::{BackendConfig, BackendConfigSpec, Function};
use function_mesh_testkit::{SECONDS_10, eventually, fixtures};
use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::json;

use crate::world::{Nothing, World, json as to_json};

fn config(value: &str, auto_update: bool) -> BackendConfig {
    let spec = BackendConfigSpec {
        env: Some([("COLOUR".to_owned(), value.to_owned())].into()),
        auto_update: Some(auto_update),
        ..BackendConfigSpec::default()
    };
    BackendConfig::new("backend-config", spec)
}

async fn colour(world: &World) -> anyhow::Result<Option<String>> {
    let set = to_json(&world.get::<StatefulSet>("x-function").await?)?;
    let env = set["spec"]["template"]["spec"]["containers"][0]["env"].as_array().cloned().unwrap_or_default();
    let found = env.iter().find(|it| it["name"] == "COLOUR").and_then(|it| it["value"].as_str());
    Ok(found.map(str::to_owned))
}

async fn turns(world: &World, expected: &str) -> Nothing {
    eventually(SECONDS_10, async || {
        let found = colour(world).await?;
        ensure!(found.as_deref() == Some(expected), "{found:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_change_with_auto_update_reaches_components_at_once() -> Nothing {
    let world = World::new("auto").await?;
    world.apply(&config("red", true)).await?;
    world.apply(&fixtures::function(fixtures::java_function("x"))?).await?;
    turns(&world, "red").await?;
    world.apply(&config("blue", true)).await?;
    turns(&world, "blue").await?;
    world.delete::<BackendConfig>("backend-config").await?;
    eventually(SECONDS_10, async || {
        let found = colour(&world).await?;
        ensure!(found.is_none(), "{found:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_change_without_auto_update_waits_for_the_next_change_of_the_component() -> Nothing {
    let mut world = World::new("by-the-way").await?;
    world.apply(&config("red", false)).await?;
    // A component that is made before the controller has heard of the configuration waits for its own next change.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    world.apply(&fixtures::function(fixtures::java_function("x"))?).await?;
    turns(&world, "red").await?;
    world.settle().await?;
    world.apply(&config("blue", false)).await?;
    // Neither a look at pods that do not start, nor a new controller, is a change of the component.
    world.stop().await?;
    world.start().await?;
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert_eq!(colour(&world).await?.as_deref(), Some("red"));

    world.patch::<Function>("x", json!({ "spec": { "logTopic": "logs" } })).await?;
    turns(&world, "blue").await
}
