//! Installing, upgrading and removing the operator with Helm. The tests change the whole cluster, so they run alone and
//! one after the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::{FunctionMesh, labels};
use function_mesh_e2e::{Harness, OPERATOR, RELEASE, Scenario};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::sleep;

const TIMEOUT: Duration = Duration::from_mins(2);

/// The pods of the release, by the label that docs/operating.md uses.
async fn pods(harness: &Harness) -> Result<Vec<Pod>> {
    let label = format!("app.kubernetes.io/instance={RELEASE}");
    let pods = Api::<Pod>::namespaced(harness.client.clone(), OPERATOR);
    let pods = pods.list(&ListParams::default().labels(&label)).await?;
    Ok(pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
}

async fn crds(harness: &Harness) -> Result<BTreeMap<String, Option<String>>> {
    let all =
        Api::<CustomResourceDefinition>::all(harness.client.clone()).list(&ListParams::default()).await?;
    let ours = all.into_iter().filter(|definition| definition.spec.group == "compute.functionmesh.io");
    Ok(ours.map(|definition| (definition.name_any(), definition.uid())).collect())
}

/// What must not change: UIDs of all objects of the mesh, restarts of containers and generations of StatefulSets.
async fn mesh_state(scenario: &Scenario) -> Result<BTreeMap<String, String>> {
    let mut state = scenario.everything().await?;
    for pod in scenario.api::<Pod>().list(&ListParams::default()).await? {
        let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let restarts: i32 = statuses.map(|status| status.restart_count).sum();
        state.insert(format!("restarts of {}", pod.name_any()), restarts.to_string());
    }
    for set in scenario.api::<StatefulSet>().list(&ListParams::default()).await? {
        let generation = set.metadata.generation.unwrap_or_default();
        state.insert(format!("generation of {}", set.name_any()), generation.to_string());
    }
    Ok(state)
}

#[tokio::test]
async fn its_pods_meet_the_restricted_standard_and_helm_test_passes() -> Result<()> {
    Scenario::run("tested", async |scenario| passes_helm_test(&scenario.harness).await).await
}

async fn passes_helm_test(harness: &Harness) -> Result<()> {
    let namespace = Api::<Namespace>::all(harness.client.clone()).get(OPERATOR).await?;
    let enforced = namespace.labels().get("pod-security.kubernetes.io/enforce").map(String::as_str);
    ensure!(enforced == Some("restricted"), "enforced is {enforced:?}");

    let listed = harness
        .kubectl(&["get", "pods", "-n", OPERATOR, "-l", "app.kubernetes.io/instance=function-mesh"])
        .await?;
    let running = |name: &str| {
        let lines = listed.lines().filter(|line| line.starts_with(name));
        lines.filter(|line| line.contains("1/1") && line.contains("Running")).count()
    };
    ensure!(running("function-mesh-controller-manager-") == 1, "{listed}");
    ensure!(running("function-mesh-webhook-") == 2, "{listed}");
    ensure!(listed.lines().count() == 4, "{listed}");

    let output = harness.run("helm", &["test", RELEASE, "-n", OPERATOR], "").await?;
    for line in ["the admission webhook denies an invalid mesh", "ComponentsReady", "self-test passed"] {
        ensure!(output.contains(line), "{output}");
    }
    Ok(())
}

/// Upstream's chart: templates that include the CRDs.
fn upstream_chart() -> Result<TempDir> {
    let (folder, here) = (tempfile::tempdir()?, Path::new(env!("CARGO_MANIFEST_DIR")));
    let templates = folder.path().join("templates");
    std::fs::create_dir(&templates)?;
    let (chart, crds) = (here.join("tests/upstream-chart"), here.join("../deploy/crds"));
    std::fs::copy(chart.join("Chart.yaml"), folder.path().join("Chart.yaml"))?;
    std::fs::copy(chart.join("templates/objects.yaml"), templates.join("objects.yaml"))?;
    for file in std::fs::read_dir(crds)? {
        let file = file?;
        std::fs::copy(file.path(), templates.join(file.file_name()))?;
    }
    Ok(folder)
}

#[tokio::test]
async fn upgrade_from_upstream_removal_and_reinstallation_keep_running_pods() -> Result<()> {
    Scenario::run("upstream", async |scenario| {
        let (harness, chart) = (&scenario.harness, upstream_chart()?);
        let uninstall =
            async || harness.run("helm", &["uninstall", RELEASE, "-n", OPERATOR, "--wait"], "").await;
        uninstall().await?;
        let chart = chart.path().to_str().context("a path that is no text")?;
        let images = harness.runner_images()?;
        let install =
            ["install", RELEASE, chart, "-n", OPERATOR, "--wait", "--timeout=2m", "--set-json", &images];
        harness.run("helm", &install, "").await?;
        scenario.apply::<FunctionMesh>(scenario.exclamation()?).await?;
        scenario.await_ready("exclamation", TIMEOUT).await?;
        let (before, kinds) = (mesh_state(scenario).await?, crds(harness).await?);
        let untouched = async || {
            let now = mesh_state(scenario).await?;
            ensure!(now == before, "before {before:#?}, now {now:#?}");
            ensure!(crds(harness).await? == kinds, "CRDs changed");
            Ok(())
        };

        harness.install("helm", &[]).await?;
        // The release owns the CRDs now, with the policy keep: upstream's release would delete them here, with all meshes.
        uninstall().await?;
        let gone = async || Ok(pods(harness).await?.is_empty());
        scenario.eventually("the operator's pods are gone", TIMEOUT, gone).await?;
        untouched().await?;
        // Users can write meshes meanwhile.
        let mut mesh = scenario.exclamation()?;
        mesh["metadata"]["labels"] = json!({ "while": "away" });
        scenario.apply::<FunctionMesh>(mesh).await?;

        harness.install("helm", &[]).await?;
        let mesh = scenario.await_ready("exclamation", TIMEOUT).await?;
        ensure!(mesh.labels().get("while").is_some_and(|label| label == "away"));
        // Longer than the lease duration, in case the old leader did not release its Lease.
        sleep(Duration::from_secs(16)).await;
        untouched().await?;

        scenario.pulsar.await_consumer("words", TIMEOUT).await?;
        scenario.pulsar.await_consumer("shouts", TIMEOUT).await?;
        scenario.pulsar.send("words", &["again".to_owned()]).await?;
        ensure!(scenario.pulsar.receive("louder", 1, TIMEOUT).await? == ["again!!"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn helm_4_upgrades_a_release_of_helm_3_and_back() -> Result<()> {
    Scenario::run("helm-4", async |scenario| upgrade_with_helm_4(&scenario.harness).await).await
}

async fn upgrade_with_helm_4(harness: &Harness) -> Result<()> {
    let helm_4 = std::env::var("FUNCTION_MESH_HELM_4")
        .context("set FUNCTION_MESH_HELM_4 to what hack/helm-4 prints")?;
    let kinds = crds(harness).await?;
    // The CRDs stay without the webhook.
    harness.install(&helm_4, &["admissionWebhook.enabled=false", "controllerManager.replicas=2"]).await?;
    ensure!(crds(harness).await? == kinds, "CRDs were deleted with the webhook");
    let running = pods(harness).await?;
    let webhooks = running.iter().filter(|pod| pod.name_any().starts_with("function-mesh-webhook")).count();
    ensure!(
        (running.len(), webhooks) == (2, 0),
        "{:?}",
        running.iter().map(ResourceExt::name_any).collect::<Vec<_>>()
    );
    harness.run(&helm_4, &["uninstall", RELEASE, "-n", OPERATOR, "--wait"], "").await?;
    ensure!(crds(harness).await? == kinds, "CRDs were deleted with the release");
    harness.install(&helm_4, &[]).await?;
    harness.install("helm", &[]).await?;
    ensure!(crds(harness).await? == kinds);
    let output = harness.run(&helm_4, &["test", RELEASE, "-n", OPERATOR, "--logs"], "").await?;
    ensure!(output.contains("self-test passed"), "{output}");
    Ok(())
}

#[tokio::test]
async fn without_a_webhook_metadata_can_change_and_specs_cannot() -> Result<()> {
    Scenario::run("silence", async |scenario| {
        let harness = &scenario.harness;
        let mut mesh = scenario.exclamation()?;
        mesh["metadata"]["annotations"] = json!({ labels::SUSPEND: "true" });
        scenario.apply::<FunctionMesh>(mesh.clone()).await?;
        let silence = ["scale", "deployment/function-mesh-webhook", "-n", OPERATOR, "--replicas=0"];
        harness.kubectl(&silence).await?;
        // Its pods answer for some seconds more, and unchanged specs are not reviewed.
        let attempts = AtomicI32::new(1);
        let is_rejected = async || {
            let mut mesh = mesh.clone();
            let replicas = attempts.fetch_add(1, Ordering::Relaxed);
            mesh["spec"]["functions"][0]["replicas"] = json!(replicas);
            let answer = scenario.apply::<FunctionMesh>(mesh).await.err().map(|error| error.to_string());
            Ok(answer.is_some_and(|answer| answer.contains("failed calling webhook")))
        };
        let result = scenario.eventually("a changed spec is rejected", TIMEOUT, is_rejected).await;
        let moved =
            json!({ "metadata": { "finalizers": ["e2e.functionmesh.io/held"], "labels": { "a": "b" } } });
        let meshes = scenario.api::<FunctionMesh>();
        let finalizer = meshes.patch("exclamation", &PatchParams::default(), &Patch::Merge(moved)).await;
        let cleared = json!({ "metadata": { "finalizers": null } });
        let released = meshes.patch("exclamation", &PatchParams::default(), &Patch::Merge(cleared)).await;
        harness.install("helm", &[]).await?;
        result?;
        finalizer.context("a finalizer waits for the webhook")?;
        released.context("a finalizer waits for the webhook")?;
        Ok(())
    })
    .await
}
