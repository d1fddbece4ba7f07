//! The operator installed, upgraded and removed by Helm, on real pods. The whole cluster is changed by that, so these
//! stories are told one after the other and apart from the rest.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::{FunctionMesh, labels};
use function_mesh_e2e::{OPERATOR, RELEASE, Story, World};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_mins(2);

/// The pods of the release, by the label that the guide names.
async fn pods(world: &World) -> Result<Vec<Pod>> {
    let label = format!("app.kubernetes.io/instance={RELEASE}");
    let pods = Api::<Pod>::namespaced(world.client.clone(), OPERATOR);
    let pods = pods.list(&ListParams::default().labels(&label)).await?;
    Ok(pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
}

async fn definitions(world: &World) -> Result<BTreeMap<String, Option<String>>> {
    let all = Api::<CustomResourceDefinition>::all(world.client.clone()).list(&ListParams::default()).await?;
    let ours = all.into_iter().filter(|definition| definition.spec.group == "compute.functionmesh.io");
    Ok(ours.map(|definition| (definition.name_any(), definition.uid())).collect())
}

/// What must not change: every object of the mesh, how often each container was started, and each StatefulSet's
/// specification.
async fn standing(story: &Story) -> Result<BTreeMap<String, String>> {
    let mut standing = story.everything().await?;
    for pod in story.api::<Pod>().list(&ListParams::default()).await? {
        let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let restarts: i32 = statuses.map(|status| status.restart_count).sum();
        standing.insert(format!("restarts of {}", pod.name_any()), restarts.to_string());
    }
    for set in story.api::<StatefulSet>().list(&ListParams::default()).await? {
        let generation = set.metadata.generation.unwrap_or_default();
        standing.insert(format!("generation of {}", set.name_any()), generation.to_string());
    }
    Ok(standing)
}

#[tokio::test]
async fn its_pods_run_under_the_restricted_standard_and_it_passes_its_own_test() -> Result<()> {
    Story::tell("tested", async |story| passes_its_own_test(&story.world).await).await
}

async fn passes_its_own_test(world: &World) -> Result<()> {
    let namespace = Api::<Namespace>::all(world.client.clone()).get(OPERATOR).await?;
    let enforced = namespace.labels().get("pod-security.kubernetes.io/enforce").map(String::as_str);
    ensure!(enforced == Some("restricted"), "enforced is {enforced:?}");

    let listed = world
        .kubectl(&["get", "pods", "-n", OPERATOR, "-l", "app.kubernetes.io/instance=function-mesh"])
        .await?;
    let running = |name: &str| {
        let lines = listed.lines().filter(|line| line.starts_with(name));
        lines.filter(|line| line.contains("1/1") && line.contains("Running")).count()
    };
    ensure!(running("function-mesh-controller-manager-") == 1, "{listed}");
    ensure!(running("function-mesh-webhook-") == 2, "{listed}");
    ensure!(listed.lines().count() == 4, "{listed}");

    let said = world.run("helm", &["test", RELEASE, "-n", OPERATOR], "").await?;
    for line in ["a broken mesh is refused by the admission webhook", "ComponentsReady", "the operator works"]
    {
        ensure!(said.contains(line), "{said}");
    }
    Ok(())
}

/// The original's chart: its templates, with the definitions among them.
fn original() -> Result<TempDir> {
    let (folder, here) = (tempfile::tempdir()?, Path::new(env!("CARGO_MANIFEST_DIR")));
    let templates = folder.path().join("templates");
    std::fs::create_dir(&templates)?;
    let (chart, definitions) = (here.join("tests/original"), here.join("../deploy/crds"));
    std::fs::copy(chart.join("Chart.yaml"), folder.path().join("Chart.yaml"))?;
    std::fs::copy(chart.join("templates/objects.yaml"), templates.join("objects.yaml"))?;
    for file in std::fs::read_dir(definitions)? {
        let file = file?;
        std::fs::copy(file.path(), templates.join(file.file_name()))?;
    }
    Ok(folder)
}

#[tokio::test]
async fn upgraded_from_the_original_removed_and_installed_again_it_leaves_what_runs_as_it_is() -> Result<()> {
    Story::tell("original", async |story| {
        let (world, chart) = (&story.world, original()?);
        let uninstall =
            async || world.run("helm", &["uninstall", RELEASE, "-n", OPERATOR, "--wait"], "").await;
        uninstall().await?;
        let chart = chart.path().to_str().context("a path that is no text")?;
        let images = world.runner_images()?;
        let install =
            ["install", RELEASE, chart, "-n", OPERATOR, "--wait", "--timeout=2m", "--set-json", &images];
        world.run("helm", &install, "").await?;
        story.apply::<FunctionMesh>(story.exclamation()?).await?;
        story.await_ready("exclamation", PATIENCE).await?;
        let (before, kinds) = (standing(story).await?, definitions(world).await?);
        let untouched = async || {
            let now = standing(story).await?;
            ensure!(now == before, "before {before:#?}, now {now:#?}");
            ensure!(definitions(world).await? == kinds, "definitions were touched");
            Ok(())
        };

        world.install("helm", &[]).await?;
        // The definitions are the release's own now, and to be kept: the original's would go here, with all meshes.
        uninstall().await?;
        let gone = async || Ok(pods(world).await?.is_empty());
        story.eventually("the operator's pods are gone", PATIENCE, gone).await?;
        untouched().await?;
        // Nothing stands in the way of those who write meshes meanwhile.
        let mut mesh = story.exclamation()?;
        mesh["metadata"]["labels"] = json!({ "while": "away" });
        story.apply::<FunctionMesh>(mesh).await?;

        world.install("helm", &[]).await?;
        let mesh = story.await_ready("exclamation", PATIENCE).await?;
        ensure!(mesh.labels().get("while").is_some_and(|label| label == "away"));
        // Longer than the new leader waits for the old one's Lease, were it not given back.
        sleep(Duration::from_secs(16)).await;
        untouched().await?;

        story.pulsar.await_consumer("words", PATIENCE).await?;
        story.pulsar.await_consumer("shouts", PATIENCE).await?;
        story.pulsar.send("words", &["again".to_owned()]).await?;
        ensure!(story.pulsar.receive("louder", 1, PATIENCE).await? == ["again!!"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn helm_4_goes_on_where_helm_3_left_off_and_back() -> Result<()> {
    Story::tell("helm-4", async |story| helm_4_goes_on(&story.world).await).await
}

async fn helm_4_goes_on(world: &World) -> Result<()> {
    let helm_4 = std::env::var("FUNCTION_MESH_HELM_4").context("FUNCTION_MESH_HELM_4 names no program")?;
    let kinds = definitions(world).await?;
    // Without the webhook the definitions stay.
    world.install(&helm_4, &["admissionWebhook.enabled=false", "controllerManager.replicas=2"]).await?;
    ensure!(definitions(world).await? == kinds, "definitions went with the webhook");
    let running = pods(world).await?;
    let webhooks = running.iter().filter(|pod| pod.name_any().starts_with("function-mesh-webhook")).count();
    ensure!(
        (running.len(), webhooks) == (2, 0),
        "{:?}",
        running.iter().map(ResourceExt::name_any).collect::<Vec<_>>()
    );
    world.run(&helm_4, &["uninstall", RELEASE, "-n", OPERATOR, "--wait"], "").await?;
    ensure!(definitions(world).await? == kinds, "definitions went with the release");
    world.install(&helm_4, &[]).await?;
    world.install("helm", &[]).await?;
    ensure!(definitions(world).await? == kinds);
    let said = world.run(&helm_4, &["test", RELEASE, "-n", OPERATOR, "--logs"], "").await?;
    ensure!(said.contains("self-test passed"), "{said}");
    Ok(())
}

#[tokio::test]
async fn while_no_webhook_answers_metadata_moves_and_specifications_wait() -> Result<()> {
    Story::tell("silence", async |story| {
        let world = &story.world;
        let mut mesh = story.exclamation()?;
        mesh["metadata"]["annotations"] = json!({ labels::SUSPEND: "true" });
        story.apply::<FunctionMesh>(mesh.clone()).await?;
        let silence = ["scale", "deployment/function-mesh-webhook", "-n", OPERATOR, "--replicas=0"];
        world.kubectl(&silence).await?;
        // Its pods answer for some seconds more, and what is as before is not asked about.
        let attempts = AtomicI32::new(1);
        let refused = async || {
            let mut mesh = mesh.clone();
            let replicas = attempts.fetch_add(1, Ordering::Relaxed);
            mesh["spec"]["functions"][0]["replicas"] = json!(replicas);
            let answer = story.apply::<FunctionMesh>(mesh).await.err().map(|error| error.to_string());
            Ok(answer.is_some_and(|answer| answer.contains("failed calling webhook")))
        };
        let result = story.eventually("a specification is refused", PATIENCE, refused).await;
        let moved =
            json!({ "metadata": { "finalizers": ["e2e.functionmesh.io/held"], "labels": { "a": "b" } } });
        let meshes = story.api::<FunctionMesh>();
        let finalizer = meshes.patch("exclamation", &PatchParams::default(), &Patch::Merge(moved)).await;
        let let_go = json!({ "metadata": { "finalizers": null } });
        let released = meshes.patch("exclamation", &PatchParams::default(), &Patch::Merge(let_go)).await;
        world.install("helm", &[]).await?;
        result?;
        finalizer.context("a finalizer waits for the webhook")?;
        released.context("a finalizer waits for the webhook")?;
        Ok(())
    })
    .await
}
