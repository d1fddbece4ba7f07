//! The operator with `--enable-init-containers`: code is downloaded by a container that ends before the runner
//! starts. It is the operator's own setting, and whoever changes it restarts pods of all meshes: told alone.
//!
//! The downloader's image has to have pulsarctl, which cannot be had here. A script stands in for it that says the
//! same to Pulsar's own pulsar-admin; the image is the runner's, which has wget.

use std::time::Duration;

use anyhow::{Result, ensure};
use function_mesh_api::FunctionMesh;
use function_mesh_e2e::{Part, Story, code};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

const PATIENCE: Duration = Duration::from_mins(3);

/// The one command that the operator gives to pulsarctl, in the words of pulsar-admin.
const PULSARCTL: &str = r#"#!/bin/sh
[ "$1" = --admin-service-url ] || exit 2
url=$2
shift 2
exec /pulsar/bin/pulsar-admin --admin-url "$url" "$@"
"#;

#[tokio::test]
async fn init_containers_download_what_the_runner_finds_when_it_starts() -> Result<()> {
    Story::tell("downloader", async |story| {
        let told = async {
            story.world.install("helm", &["controllerManager.enableInitContainers=true"]).await?;
            tell(story).await
        };
        let told = told.await;
        story.world.install("helm", &[]).await?;
        told
    })
    .await
}

async fn tell(story: &Story) -> Result<()> {
    let web = story.web().await?;
    story.config("tools", &json!({ "pulsarctl": PULSARCTL })).await?;
    let package = story.pulsar.upload("function", "stories", code("functions.jar")?).await?;
    let first = downloaded(story, story.java("first", "stories.Double", "words", "twice"))?
        .with(json!({ "java": { "jar": "/pulsar/stories.jar", "jarLocation": package } }));
    let second = downloaded(story, story.python("second", "double.Double", "twice", "four"))?
        .with(json!({ "python": { "py": "code/double.py", "pyLocation": web.address("double.py") } }));
    story.apply::<FunctionMesh>(story.mesh("downloader", &[first, second])).await?;
    story.pulsar.await_consumer("words", PATIENCE).await?;
    story.pulsar.await_consumer("twice", PATIENCE).await?;
    story.await_ready("downloader", PATIENCE).await?;
    for name in ["downloader-first-function-0", "downloader-second-function-0"] {
        let pod = story.api::<Pod>().get(name).await?;
        let statuses = pod.status.and_then(|status| status.init_container_statuses).unwrap_or_default();
        let ended: Vec<_> = statuses
            .iter()
            .map(|status| {
                let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
                (status.name.as_str(), ended.map(|ended| ended.exit_code))
            })
            .collect();
        ensure!(ended == [("downloader", Some(0))], "{name}: {ended:?}");
    }
    story.pulsar.send("words", &["one ", "two "]).await?;
    let mut received = story.pulsar.receive("four", 2, PATIENCE).await?;
    received.sort();
    ensure!(received == ["one ".repeat(4), "two ".repeat(4)], "{received:?}");
    Ok(())
}

/// The component with its code from elsewhere, and with the stand-in for pulsarctl where the downloader looks for it.
fn downloaded(story: &Story, part: Part) -> Result<Part> {
    Ok(part.with(json!({
        "downloaderImage": story.world.runner_image()?,
        "volumeMounts": [{ "name": "tools", "mountPath": "/pulsar/bin/pulsarctl", "subPath": "pulsarctl" }],
        "pod": { "volumes": [{ "name": "tools", "configMap": { "name": "tools", "defaultMode": 0o755 } }] },
    })))
}
