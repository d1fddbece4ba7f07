//! What users do, on real pods and a real broker.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use function_mesh_api::FunctionMesh;
use function_mesh_e2e::Story;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

const PATIENCE: Duration = Duration::from_mins(2);

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("message-{number}")).collect()
}

#[tokio::test]
async fn messages_pass_through_a_java_and_a_python_function() -> Result<()> {
    Story::tell("messages", async |story| {
        story.apply::<FunctionMesh>(story.exclamation()?).await?;
        let mesh = story.await_ready("exclamation", PATIENCE).await?;
        ensure!(mesh.status.and_then(|status| status.components).as_deref() == Some("2/2"));
        story.pulsar.await_consumer("words", PATIENCE).await?;
        story.pulsar.await_consumer("shouts", PATIENCE).await?;
        let sent = numbered(100);
        story.pulsar.send("words", &sent).await?;
        let mut received = story.pulsar.receive("louder", sent.len(), PATIENCE).await?;
        received.sort();
        let mut expected: Vec<_> = sent.iter().map(|message| format!("{message}!!")).collect();
        expected.sort();
        ensure!(received == expected, "received {received:?}");
        Ok(())
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
        let told = story
            .await_mesh("exclamation", PATIENCE, |mesh| {
                let conditions = mesh.status.iter().flat_map(|status| status.conditions.iter().flatten());
                let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
                ready.any(|ready| ready.status == "False" && ready.reason == "ComponentsDegraded")
            })
            .await?;
        let conditions = told.status.and_then(|status| status.conditions).unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
        let message = ready.map(|ready| ready.message.as_str()).unwrap_or_default();
        ensure!(message.contains("function scream: pod exclamation-scream-function-0: "), "{message}");
        ensure!(message.contains("exit code"), "{message}");

        mesh["spec"]["functions"][0]["python"]["py"] = good;
        story.apply::<FunctionMesh>(mesh).await?;
        story.await_ready("exclamation", PATIENCE).await?;
        Ok(())
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
