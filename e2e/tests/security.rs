//! Brokers that let nobody in without a token, or speak TLS only: how functions get in, what is told when they do not,
//! and that nobody else learns their secrets.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::FunctionMesh;
use function_mesh_e2e::{Broker, Pulsar, Story, World, not_ready};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use credentials::{Authority, PLUGIN, certificates, is_kept_secret, secret};

mod credentials;

const PATIENCE: Duration = Duration::from_mins(3);

#[tokio::test]
async fn functions_get_in_with_a_token_from_a_secret_and_so_does_the_download_of_their_code() -> Result<()> {
    credentials::tell(7100, "tokens", async |story, authority| {
        let token = authority.token("worker");
        credentials::credentials(story, "credentials", &token).await?;
        let code = include_bytes!("../functions/python/double.py").to_vec();
        let package = story.pulsar.upload("function", "double", code).await?;

        let mut mesh = story.exclamation()?;
        let functions = &mut mesh["spec"]["functions"];
        functions[0]["pulsar"]["authSecret"] = json!("credentials");
        functions[1]["pulsar"]["authSecret"] = json!("credentials");
        functions[1]["className"] = json!("double.Double");
        functions[1]["python"] = json!({ "py": "/tmp/double.py", "pyLocation": package });
        passes(story, &story.pulsar, mesh, "word", |text| format!("{text}!{text}!")).await?;
        is_kept_secret(story, &[&token], false).await
    })
    .await
}

#[tokio::test]
async fn functions_get_in_with_parameters_that_a_shell_would_not_leave_alone() -> Result<()> {
    credentials::tell(7101, "generic", async |story, authority| {
        let token = authority.token("worker");
        secret(story, "token", &json!({ "token": token })).await?;
        // What Java's client takes, and what Python's does.
        let java = format!("{{\"token\": \"{token}\"}}");
        let python = "file:///credentials/it's $HOME & more";
        let plugin = |parameters: &str| {
            json!({ "genericAuth": {
                "clientAuthenticationPlugin": PLUGIN, "clientAuthenticationParameters": parameters,
            } })
        };
        let mut mesh = story.exclamation()?;
        let functions = &mut mesh["spec"]["functions"];
        functions[0]["pulsar"]["authConfig"] = plugin(&java);
        functions[1]["pulsar"]["authConfig"] = plugin(python);
        functions[1]["pod"]["volumes"] = json!([{
            "name": "token",
            "secret": { "secretName": "token", "items": [{ "key": "token", "path": "it's $HOME & more" }] },
        }]);
        functions[1]["volumeMounts"] = json!([{ "name": "token", "mountPath": "/credentials" }]);
        passes(story, &story.pulsar, mesh, "word", |text| format!("{text}!!")).await?;
        is_kept_secret(story, &[&token], true).await
    })
    .await
}

#[tokio::test]
async fn a_wrong_token_is_told_and_all_is_well_once_the_secret_is_mended() -> Result<()> {
    credentials::tell(7102, "wrong-token", async |story, authority| {
        let (wrong, right) = (Authority::new()?.token("worker"), authority.token("worker"));
        credentials::credentials(story, "credentials", &wrong).await?;
        let secured = json!({ "pulsar": { "authSecret": "credentials" } });
        let part = story.python("double", "double.Double", "numbers", "doubled").with(secured);
        story.apply::<FunctionMesh>(story.mesh("m", &[part])).await?;
        let told = told(story, "m").await?;
        ensure!(told.contains("function double: pod m-double-function-0: "), "{told}");
        ensure!(told.contains("exited with code"), "{told}");
        ensure!(story.pulsar.consumers("numbers").await?.is_empty(), "it is let in");
        is_kept_secret(story, &[&wrong], false).await?;

        credentials::credentials(story, "credentials", &right).await?;
        story.pulsar.await_consumer("numbers", PATIENCE).await?;
        story.await_ready("m", PATIENCE).await?;
        story.pulsar.send("numbers", &["one"]).await?;
        let doubled = story.pulsar.receive("doubled", 1, PATIENCE).await?;
        ensure!(doubled == ["oneone"], "{doubled:?}");
        is_kept_secret(story, &[&wrong, &right], false).await
    })
    .await
}

#[tokio::test]
async fn subscriptions_are_removed_with_credentials_of_their_own() -> Result<()> {
    credentials::tell(7103, "leaving", async |story, authority| {
        let (worker, cleaner) = (authority.token("worker"), authority.token("cleaner"));
        story.pulsar.policy("permissions/cleaner", &json!(["consume"])).await?;
        let plugin = |token: &str| {
            json!({ "genericAuth": {
                "clientAuthenticationPlugin": PLUGIN, "clientAuthenticationParameters": format!("token:{token}"),
            } })
        };
        let secured = json!({
            "cleanupSubscription": true,
            "pulsar": { "authConfig": plugin(&worker), "cleanupAuthConfig": plugin(&cleaner) },
        });
        let part = story.python("double", "double.Double", "numbers", "doubled").with(secured);
        story.apply::<FunctionMesh>(story.mesh("m", &[part])).await?;
        story.await_ready("m", PATIENCE).await?;
        story.pulsar.await_consumer("numbers", PATIENCE).await?;

        // Who works here may not do so any more; who cleans up may.
        story.pulsar.policy("permissions/worker", &json!([])).await?;
        story.api::<FunctionMesh>().delete("m", &DeleteParams::default()).await?;
        story.kubectl(&["wait", "--for=delete", "functions/m-double", "--timeout=5m"]).await?;
        let left = story.pulsar.subscriptions("numbers").await?;
        ensure!(left.is_empty(), "{left:?}");
        is_kept_secret(story, &[&worker, &cleaner], true).await
    })
    .await
}

#[tokio::test]
async fn functions_speak_tls_with_those_they_trust_and_with_nobody_else() -> Result<()> {
    let world = World::find().await?;
    let (authority, folder, started) = (Authority::new()?, tempfile::tempdir()?, OnceCell::new());
    // Certificates come first, so this story begins at the broker that is there already.
    let told = Story::tell("tls", async |story| {
        let files = certificates(story, folder.path()).await?;
        let mut plan = authority.plan(7104);
        plan.options.push("--tls".to_owned());
        plan.options.extend(files.iter().map(|file| file.display().to_string()));
        plan.options.extend(["--tls-port", "7105", "--web-tls-port", "8105"].map(str::to_owned));
        let broker = started.get_or_try_init(|| Broker::start(&world, plan)).await?;
        tls(story, broker, &authority).await
    })
    .await;
    if let Some(broker) = started.get() {
        broker.end().await?;
    }
    told
}

async fn tls(story: &Story, broker: &Broker, authority: &Authority) -> Result<()> {
    let pulsar = broker.namespace(&story.namespace).await?;
    pulsar.policy("permissions/worker", &json!(["consume", "produce"])).await?;
    let addresses = json!({
        "webServiceURL": "https://10.254.0.1:8105", "brokerServiceURL": "pulsar+ssl://10.254.0.1:7105",
    });
    story.config("pulsar", &addresses).await?;
    let token = authority.token("worker");
    credentials::credentials(story, "credentials", &token).await?;
    let trust = |name: &str| {
        json!({ "pulsarConfig": "pulsar", "authSecret": "credentials", "tlsConfig": {
            "enabled": true, "hostnameVerification": true, "certSecretName": name, "certSecretKey": "ca.crt",
        } })
    };

    let stranger = json!({ "pulsar": trust("stranger") });
    let part = story.python("double", "double.Double", "numbers", "doubled").with(stranger);
    story.apply::<FunctionMesh>(story.mesh("stranger", &[part])).await?;
    let told = told(story, "stranger").await?;
    ensure!(told.contains("function double: pod stranger-double-function-0: "), "{told}");
    ensure!(pulsar.consumers("numbers").await?.is_empty(), "it trusts whom it should not");
    story.kubectl(&["delete", "functionmesh", "stranger", "--wait=false"]).await?;

    let mut mesh = story.exclamation()?;
    for function in mesh["spec"]["functions"].as_array_mut().into_iter().flatten() {
        function["pulsar"] = trust("broker");
    }
    passes(story, &pulsar, mesh.clone(), "spoken", |text| format!("{text}!!")).await?;

    // The same by settings in a Secret, as it was before there was tlsConfig.
    let settings = json!({
        "tlsAllowInsecureConnection": "false", "tlsHostnameVerificationEnable": "true",
        "tlsTrustCertsFilePath": "/trusted/ca.crt",
    });
    secret(story, "settings", &settings).await?;
    for function in mesh["spec"]["functions"].as_array_mut().into_iter().flatten() {
        function["pulsar"] =
            json!({ "pulsarConfig": "pulsar", "authSecret": "credentials", "tlsSecret": "settings" });
        function["pod"]["volumes"] = json!([{ "name": "trusted", "secret": { "secretName": "broker" } }]);
        function["volumeMounts"] = json!([{ "name": "trusted", "mountPath": "/trusted" }]);
    }
    passes(story, &pulsar, mesh, "set", |text| format!("{text}!!")).await?;
    is_kept_secret(story, &[&token], false).await
}

/// Applies the mesh of `examples/exclamation.yaml` in this form, and sees messages through it.
async fn passes(
    story: &Story,
    pulsar: &Pulsar,
    mesh: Value,
    word: &str,
    result: impl Fn(&str) -> String,
) -> Result<()> {
    story.apply::<FunctionMesh>(mesh).await?;
    story.await_ready("exclamation", PATIENCE).await?;
    pulsar.await_consumer("words", PATIENCE).await?;
    pulsar.await_consumer("shouts", PATIENCE).await?;
    let sent: Vec<_> = (0..10).map(|number| format!("{word}-{number}")).collect();
    pulsar.send("words", &sent).await?;
    let mut received = pulsar.receive("louder", sent.len(), PATIENCE).await?;
    received.sort();
    let mut expected: Vec<_> = sent.iter().map(|text| result(text)).collect();
    expected.sort();
    ensure!(received == expected, "{received:?}");
    Ok(())
}

/// Waits until a mesh says that a container of it ends and ends, and returns its own words.
async fn told(story: &Story, mesh: &str) -> Result<String> {
    let words = |mesh: &FunctionMesh| {
        let degraded = not_ready(mesh).filter(|why| why.reason == "ComponentsDegraded")?;
        Some(degraded.message.clone()).filter(|message| message.contains("exited with code"))
    };
    let mesh = story.await_mesh(mesh, PATIENCE, |mesh| words(mesh).is_some()).await?;
    words(&mesh).context("it says something else by now")
}
