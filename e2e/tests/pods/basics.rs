//! The main tasks of users, on real pods and a real broker.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use function_mesh_api::{Function, FunctionMesh, labels};
use function_mesh_e2e::{Scenario, not_ready};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_mins(2);

/// Whether a mesh is not ready because a component cannot run.
fn is_degraded(mesh: &FunctionMesh) -> bool {
    not_ready(mesh).is_some_and(|why| why.reason == "ComponentsDegraded")
}

/// Applies the mesh and waits until both of its functions consume.
async fn consumes(scenario: &Scenario, mesh: Value) -> Result<FunctionMesh> {
    scenario.apply::<FunctionMesh>(mesh).await?;
    let mesh = scenario.await_ready("exclamation", TIMEOUT).await?;
    scenario.pulsar.await_consumer("words", TIMEOUT).await?;
    scenario.pulsar.await_consumer("shouts", TIMEOUT).await?;
    Ok(mesh)
}

/// Each of these messages is received once, with the suffixes of both functions.
async fn louder(scenario: &Scenario, sent: &[String]) -> Result<()> {
    let mut received = scenario.pulsar.receive("louder", sent.len(), TIMEOUT).await?;
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
    Scenario::run("messages", async |scenario| {
        let mesh = consumes(scenario, scenario.exclamation()?).await?;
        ensure!(mesh.status.and_then(|status| status.components).as_deref() == Some("2/2"));
        let sent = numbered(100);
        scenario.pulsar.send("words", &sent).await?;
        louder(scenario, &sent).await
    })
    .await
}

/// GitOps tools compare like this, and apply again and again.
#[tokio::test]
async fn a_settled_mesh_shows_no_difference_and_another_apply_changes_nothing() -> Result<()> {
    Scenario::run("settled", async |scenario| {
        for (name, flags) in [("client", &[][..]), ("server", &["--server-side"])] {
            let mut mesh = scenario.exclamation()?;
            mesh["metadata"]["name"] = json!(name);
            let kubectl = async |command: &str, flags: &[&str]| {
                let all = [&[command, "-n", &scenario.namespace, "-f", "-"], flags].concat();
                scenario.harness.run("kubectl", &all, &mesh.to_string()).await
            };
            kubectl("apply", flags).await?;
            scenario.await_ready(name, TIMEOUT).await?;
            let before = scenario.api::<FunctionMesh>().get(name).await?.metadata.generation;
            // kubectl diff fails if there is a difference.
            let shown = kubectl("diff", flags).await?;
            ensure!(shown.is_empty(), "{shown}");
            kubectl("apply", flags).await?;
            let after = scenario.api::<FunctionMesh>().get(name).await?.metadata.generation;
            ensure!(after == before, "{name}: generation {before:?}, then {after:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_function_that_is_removed_takes_its_children_along_and_no_others() -> Result<()> {
    Scenario::run("removal", async |scenario| {
        let mut mesh = scenario.exclamation()?;
        scenario.apply::<FunctionMesh>(mesh.clone()).await?;
        scenario.await_ready("exclamation", TIMEOUT).await?;
        let before = scenario.everything().await?;

        mesh["spec"]["functions"].as_array_mut().map(|functions| functions.remove(0));
        scenario.apply::<FunctionMesh>(mesh).await?;
        scenario
            .eventually("only scream is left", TIMEOUT, async || {
                Ok(scenario.everything().await?.keys().all(|name| !name.contains("exclamation-shout")))
            })
            .await?;
        let mut expected = before;
        expected.retain(|name, _| !name.contains("exclamation-shout"));
        let left = scenario.everything().await?;
        ensure!(left == expected, "left: {left:?}, expected: {expected:?}");

        scenario.api::<FunctionMesh>().delete("exclamation", &DeleteParams::default()).await?;
        scenario
            .eventually("all is gone", TIMEOUT, async || Ok(scenario.everything().await?.is_empty()))
            .await
    })
    .await
}

#[tokio::test]
async fn a_crash_is_reported_and_heals_after_the_fix() -> Result<()> {
    Scenario::run("crash", async |scenario| {
        let mut mesh = scenario.exclamation()?;
        mesh["spec"]["functions"].as_array_mut().map(|functions| functions.remove(0));
        let good = mesh["spec"]["functions"][0]["python"]["py"].clone();
        mesh["spec"]["functions"][0]["python"]["py"] = json!("/pulsar/examples/nothing.py");
        scenario.apply::<FunctionMesh>(mesh.clone()).await?;
        let degraded = scenario.await_mesh("exclamation", TIMEOUT, is_degraded).await?;
        let message = &not_ready(&degraded).context("it is ready")?.message;
        ensure!(message.contains("function scream: pod exclamation-scream-function-0: "), "{message}");
        ensure!(message.contains("exited with code"), "{message}");

        mesh["spec"]["functions"][0]["python"]["py"] = good;
        scenario.apply::<FunctionMesh>(mesh).await?;
        scenario.await_ready("exclamation", TIMEOUT).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_image_that_cannot_start_is_reported_within_seconds() -> Result<()> {
    Scenario::run("image", async |scenario| {
        let mut mesh = scenario.exclamation()?;
        mesh["spec"]["functions"][0]["image"] = json!("localhost/nobody/nothing:1");
        let began = Instant::now();
        scenario.apply::<FunctionMesh>(mesh).await?;
        scenario.await_mesh("exclamation", TIMEOUT, is_degraded).await?;
// For information; the test asserts only that it is reported.
        eprintln!("reported after {:.1} s", began.elapsed().as_secs_f64());
        let described = scenario.harness.kubectl(&["describe", "fm", "exclamation", "-n", &scenario.namespace]).await?;
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
    Scenario::run("cleanup", async |scenario| {
        let mut mesh = scenario.exclamation()?;
        mesh["spec"]["functions"][1]["cleanupSubscription"] = json!(true);
        consumes(scenario, mesh).await?;
        scenario.api::<FunctionMesh>().delete("exclamation", &DeleteParams::default()).await?;
        scenario
            .eventually("the subscription is gone", TIMEOUT, async || {
                Ok(scenario.pulsar.subscriptions("shouts").await?.is_empty())
            })
            .await?;
        scenario
            .eventually("the component is gone", TIMEOUT, async || {
                Ok(scenario.api::<Function>().get_opt("exclamation-scream").await?.is_none())
            })
            .await?;
        ensure!(scenario.pulsar.subscriptions("words").await?.len() == 1, "no other subscription is deleted");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_suspended_mesh_loses_no_message() -> Result<()> {
    Scenario::run("suspend", async |scenario| {
        consumes(scenario, scenario.exclamation()?).await?;
        let suspend = |value: &str| json!({ "metadata": { "annotations": { labels::SUSPEND: value } } });
        let annotate = async |value: &str| {
            let patch = Patch::Merge(suspend(value));
            scenario.api::<FunctionMesh>().patch("exclamation", &PatchParams::default(), &patch).await
        };
        annotate("true").await?;
        scenario
            .eventually("no pod is left", TIMEOUT, async || {
                Ok(scenario.api::<Pod>().list(&ListParams::default()).await?.items.is_empty())
            })
            .await?;
        let sent = numbered(20);
        scenario.pulsar.send("words", &sent).await?;
        annotate("false").await?;
        louder(scenario, &sent).await
    })
    .await
}

#[tokio::test]
async fn an_invalid_mesh_is_denied_with_every_violation_and_creates_nothing() -> Result<()> {
    Scenario::run("denial", async |scenario| {
        let mut mesh = scenario.exclamation()?;
        let functions = &mut mesh["spec"]["functions"];
        functions[0]["input"]["topics"] = json!(["a/b"]);
        functions[1]["name"] = functions[0]["name"].clone();
        functions[1].as_object_mut().and_then(|function| function.remove("python"));
        let Err(kube::Error::Api(denial)) = scenario.apply::<FunctionMesh>(mesh).await else {
            bail!("it was accepted");
        };
        for field in ["spec.functions[0].input.topics[0]", "spec.functions[1].name", "spec.functions[1].java"]
        {
            ensure!(denial.message.contains(field), "{field} is not named: {}", denial.message);
        }
        ensure!(denial.code == 422, "{denial:?}");
        let meshes = scenario.api::<FunctionMesh>().list(&ListParams::default()).await?;
        ensure!(meshes.items.is_empty() && scenario.everything().await?.is_empty());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn pods_run_without_unneeded_privileges() -> Result<()> {
    Scenario::run("rights", async |scenario| {
        scenario.apply::<FunctionMesh>(scenario.exclamation()?).await?;
        scenario.await_ready("exclamation", TIMEOUT).await?;
        for pod in scenario.api::<Pod>().list(&ListParams::default()).await? {
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
