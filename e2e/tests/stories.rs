//! What users do, on real pods and a real broker.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use function_mesh_api::{Function, FunctionMesh, labels};
use function_mesh_e2e::{Story, not_ready};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(2);

/// Whether a mesh is not ready since a component of it cannot run.
fn is_degraded(mesh: &FunctionMesh) -> bool {
    not_ready(mesh).is_some_and(|why| why.reason == "ComponentsDegraded")
}

/// Applies the mesh and waits until both of its functions consume.
async fn consumes(story: &Story, mesh: Value) -> Result<FunctionMesh> {
    story.apply::<FunctionMesh>(mesh).await?;
    let mesh = story.await_ready("exclamation", PATIENCE).await?;
    story.pulsar.await_consumer("words", PATIENCE).await?;
    story.pulsar.await_consumer("shouts", PATIENCE).await?;
    Ok(mesh)
}

/// Each of these messages comes out once, with what both functions add.
async fn louder(story: &Story, sent: &[String]) -> Result<()> {
    let mut received = story.pulsar.receive("louder", sent.len(), PATIENCE).await?;
    received.sort();
    let mut expected: Vec<_> = sent.iter().map(|message| format!("{message}!!")).collect();
    expected.sort();
    ensure!(received == expected, "received {received:?}");
    Ok(())
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("message-{number}")).collect()
}

#[tokio::test]
async fn messages_pass_through_a_java_and_a_python_function() -> Result<()> {
    Story::tell("messages", async |story| {
        let mesh = consumes(story, story.exclamation()?).await?;
        ensure!(mesh.status.and_then(|status| status.components).as_deref() == Some("2/2"));
        let sent = numbered(100);
        story.pulsar.send("words", &sent).await?;
        louder(story, &sent).await
    })
    .await
}

#[tokio::test]
async fn a_function_that_is_removed_takes_its_children_along_and_no_others() -> Result<()> {
    Story::tell("removal", async |story| {
        let mut mesh = story.exclamation()?;
        story.apply::<FunctionMesh>(mesh.clone()).await?;
        story.await_ready("exclamation", PATIENCE).await?;
        let before = story.everything().await?;

        mesh["spec"]["functions"].as_array_mut().map(|functions| functions.remove(0));
        story.apply::<FunctionMesh>(mesh).await?;
        story
            .eventually("only scream is left", PATIENCE, async || {
                Ok(story.everything().await?.keys().all(|name| !name.contains("exclamation-shout")))
            })
            .await?;
        let mut expected = before;
        expected.retain(|name, _| !name.contains("exclamation-shout"));
        let left = story.everything().await?;
        ensure!(left == expected, "left: {left:?}, expected: {expected:?}");

        story.api::<FunctionMesh>().delete("exclamation", &DeleteParams::default()).await?;
        story.eventually("all is gone", PATIENCE, async || Ok(story.everything().await?.is_empty())).await
    })
    .await
}

#[tokio::test]
async fn a_function_that_crashes_is_told_and_heals_when_it_is_mended() -> Result<()> {
    Story::tell("crash", async |story| {
        let mut mesh = story.exclamation()?;
        mesh["spec"]["functions"].as_array_mut().map(|functions| functions.remove(0));
        let good = mesh["spec"]["functions"][0]["python"]["py"].clone();
        mesh["spec"]["functions"][0]["python"]["py"] = json!("/pulsar/examples/nothing.py");
        story.apply::<FunctionMesh>(mesh.clone()).await?;
        let told = story.await_mesh("exclamation", PATIENCE, is_degraded).await?;
        let message = &not_ready(&told).context("it is ready")?.message;
        ensure!(message.contains("function scream: pod exclamation-scream-function-0: "), "{message}");
        ensure!(message.contains("exited with code"), "{message}");

        mesh["spec"]["functions"][0]["python"]["py"] = good;
        story.apply::<FunctionMesh>(mesh).await?;
        story.await_ready("exclamation", PATIENCE).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_image_that_cannot_start_is_told_within_seconds() -> Result<()> {
    Story::tell("image", async |story| {
        let mut mesh = story.exclamation()?;
        mesh["spec"]["functions"][0]["image"] = json!("localhost/nobody/nothing:1");
        let began = Instant::now();
        story.apply::<FunctionMesh>(mesh).await?;
        story.await_mesh("exclamation", PATIENCE, is_degraded).await?;
        // A figure to look at; what is asserted is that it is told at all.
        eprintln!("told after {:.1} s", began.elapsed().as_secs_f64());
        let described = story.world.kubectl(&["describe", "fm", "exclamation", "-n", &story.namespace]).await?;
        let why = "function shout: pod exclamation-shout-function-0: container pulsar-function failed to pull image";
        ensure!(described.contains(why), "{described}");
        let events = described.split("Events:").nth(1).unwrap_or_default();
        ensure!(events.contains("ComponentsDegraded") && events.contains("Warning"), "{described}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn subscriptions_go_with_the_function_that_asked_for_it_and_with_no_other() -> Result<()> {
    Story::tell("cleanup", async |story| {
        let mut mesh = story.exclamation()?;
        mesh["spec"]["functions"][1]["cleanupSubscription"] = json!(true);
        consumes(story, mesh).await?;
        story.api::<FunctionMesh>().delete("exclamation", &DeleteParams::default()).await?;
        story
            .eventually("the subscription is gone", PATIENCE, async || {
                Ok(story.pulsar.subscriptions("shouts").await?.is_empty())
            })
            .await?;
        story
            .eventually("the component is gone", PATIENCE, async || {
                Ok(story.api::<Function>().get_opt("exclamation-scream").await?.is_none())
            })
            .await?;
        ensure!(story.pulsar.subscriptions("words").await?.len() == 1, "it stays where nobody asked");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_suspended_mesh_loses_no_message() -> Result<()> {
    Story::tell("suspend", async |story| {
        consumes(story, story.exclamation()?).await?;
        let suspend = |value: &str| json!({ "metadata": { "annotations": { labels::SUSPEND: value } } });
        let annotate = async |value: &str| {
            let patch = Patch::Merge(suspend(value));
            story.api::<FunctionMesh>().patch("exclamation", &PatchParams::default(), &patch).await
        };
        annotate("true").await?;
        story
            .eventually("no pod is left", PATIENCE, async || {
                Ok(story.api::<Pod>().list(&ListParams::default()).await?.items.is_empty())
            })
            .await?;
        let sent = numbered(20);
        story.pulsar.send("words", &sent).await?;
        annotate("false").await?;
        louder(story, &sent).await
    })
    .await
}

#[tokio::test]
async fn a_bad_mesh_is_refused_with_every_fault_named_and_nothing_is_made() -> Result<()> {
    Story::tell("refusal", async |story| {
        let mut mesh = story.exclamation()?;
        let functions = &mut mesh["spec"]["functions"];
        functions[0]["input"]["topics"] = json!(["a/b"]);
        functions[1]["name"] = functions[0]["name"].clone();
        functions[1].as_object_mut().and_then(|function| function.remove("python"));
        let Err(kube::Error::Api(refusal)) = story.apply::<FunctionMesh>(mesh).await else {
            bail!("it was let through");
        };
        for field in ["spec.functions[0].input.topics[0]", "spec.functions[1].name", "spec.functions[1].java"]
        {
            ensure!(refusal.message.contains(field), "{field} is not named: {}", refusal.message);
        }
        ensure!(refusal.code == 422, "{refusal:?}");
        let meshes = story.api::<FunctionMesh>().list(&ListParams::default()).await?;
        ensure!(meshes.items.is_empty() && story.everything().await?.is_empty());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn pods_run_without_rights_that_they_do_not_need() -> Result<()> {
    Story::tell("rights", async |story| {
        story.apply::<FunctionMesh>(story.exclamation()?).await?;
        story.await_ready("exclamation", PATIENCE).await?;
        for pod in story.api::<Pod>().list(&ListParams::default()).await? {
            let spec = pod.spec.unwrap_or_default();
            let user = spec.security_context.and_then(|context| context.run_as_user);
            ensure!(user == Some(10000), "user {user:?}");
            for container in spec.containers {
                let context = container.security_context.unwrap_or_default();
                ensure!(context.allow_privilege_escalation == Some(false));
                let dropped = context.capabilities.and_then(|all| all.drop).unwrap_or_default();
                ensure!(dropped == ["ALL"], "{dropped:?}");
            }
        }
        Ok(())
    })
    .await
}
