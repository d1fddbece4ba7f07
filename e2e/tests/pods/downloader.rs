//! The operator with `--enable-init-containers`: an init container downloads the code. The setting changes the pods of
//! all meshes, so this file runs alone.
//!
//! The downloader's image needs pulsarctl, which is not available here. A script translates its command line for
//! pulsar-admin; the image is the runner's, which has wget.

use std::time::Duration;

use anyhow::{Result, ensure};
use function_mesh_api::FunctionMesh;
use function_mesh_e2e::{Component, Scenario, code};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

const TIMEOUT: Duration = Duration::from_mins(3);

/// Translates the operator's pulsarctl command for pulsar-admin.
const PULSARCTL: &str = r#"#!/bin/sh
[ "$1" = --admin-service-url ] || exit 2
url=$2
shift 2
exec /pulsar/bin/pulsar-admin --admin-url "$url" "$@"
"#;

#[tokio::test]
async fn init_containers_download_what_the_runner_finds_when_it_starts() -> Result<()> {
    Scenario::run("downloader", async |scenario| {
        let result = async {
            scenario.harness.install("helm", &["controllerManager.enableInitContainers=true"]).await?;
            runs_downloaded_code(scenario).await
        };
        let result = result.await;
        scenario.harness.install("helm", &[]).await?;
        result
    })
    .await
}

async fn runs_downloaded_code(scenario: &Scenario) -> Result<()> {
    let web = scenario.web().await?;
    scenario.config("tools", &json!({ "pulsarctl": PULSARCTL })).await?;
    let package = scenario.pulsar.upload("function", "tests", code("functions.jar")?).await?;
    let first = downloaded(scenario, scenario.java("first", "e2e.Double", "words", "twice"))?
        .with(json!({ "java": { "jar": "/pulsar/e2e.jar", "jarLocation": package } }));
    let second = downloaded(scenario, scenario.python("second", "double.Double", "twice", "four"))?
        .with(json!({ "python": { "py": "code/double.py", "pyLocation": web.address("double.py") } }));
    scenario.apply::<FunctionMesh>(scenario.mesh("downloader", &[first, second])).await?;
    scenario.pulsar.await_consumer("words", TIMEOUT).await?;
    scenario.pulsar.await_consumer("twice", TIMEOUT).await?;
    scenario.await_ready("downloader", TIMEOUT).await?;
    for name in ["downloader-first-function-0", "downloader-second-function-0"] {
        let pod = scenario.api::<Pod>().get(name).await?;
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
    scenario.pulsar.send("words", &["one ", "two "]).await?;
    let mut received = scenario.pulsar.receive("four", 2, TIMEOUT).await?;
    received.sort();
    ensure!(received == ["one ".repeat(4), "two ".repeat(4)], "{received:?}");
    Ok(())
}

/// The component with downloaded code, and the script as the downloader's pulsarctl.
fn downloaded(scenario: &Scenario, component: Component) -> Result<Component> {
    Ok(component.with(json!({
        "downloaderImage": scenario.harness.runner_image()?,
        "volumeMounts": [{ "name": "tools", "mountPath": "/pulsar/bin/pulsarctl", "subPath": "pulsarctl" }],
        "pod": { "volumes": [{ "name": "tools", "configMap": { "name": "tools", "defaultMode": 0o755 } }] },
    })))
}
