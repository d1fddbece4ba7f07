//! Functions at brokers that require tokens or TLS: authentication, reported failures, and secrets that appear nowhere
//! else.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use function_mesh_api::FunctionMesh;
use function_mesh_api::types::Phase;
use function_mesh_e2e::{Broker, Harness, Pulsar, Scenario, not_ready};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::credentials::{self, PLUGIN, TokenIssuer, certificates, is_kept_secret, secret};

const TIMEOUT: Duration = Duration::from_mins(3);

#[tokio::test]
async fn functions_get_in_with_a_token_from_a_secret_and_so_does_the_download_of_their_code() -> Result<()> {
    credentials::run(7100, "tokens", async |scenario, issuer| {
        let token = issuer.token("worker");
        credentials::credentials(scenario, "credentials", &token).await?;
        let code = include_bytes!("../../functions/python/double.py").to_vec();
        let package = scenario.pulsar.upload("function", "double", code).await?;

        let mut mesh = scenario.exclamation()?;
        let functions = &mut mesh["spec"]["functions"];
        functions[0]["pulsar"]["authSecret"] = json!("credentials");
        functions[1]["pulsar"]["authSecret"] = json!("credentials");
        functions[1]["className"] = json!("double.Double");
        functions[1]["python"] = json!({ "py": "/tmp/double.py", "pyLocation": package });
        passes(scenario, &scenario.pulsar, mesh, "word", |text| format!("{text}!{text}!")).await?;
        is_kept_secret(scenario, &[&token], false).await
    })
    .await
}

#[tokio::test]
async fn functions_get_in_with_parameters_that_a_shell_would_not_leave_alone() -> Result<()> {
    credentials::run(7101, "generic", async |scenario, issuer| {
        let token = issuer.token("worker");
        secret(scenario, "token", &json!({ "token": token })).await?;
        // The parameter format of Java's client, and that of Python's.
        let java = format!("{{\"token\": \"{token}\"}}");
        let python = "file:///credentials/it's $HOME & more";
        let plugin = |parameters: &str| {
            json!({ "genericAuth": {
                "clientAuthenticationPlugin": PLUGIN, "clientAuthenticationParameters": parameters,
            } })
        };
        let mut mesh = scenario.exclamation()?;
        let functions = &mut mesh["spec"]["functions"];
        functions[0]["pulsar"]["authConfig"] = plugin(&java);
        functions[1]["pulsar"]["authConfig"] = plugin(python);
        functions[1]["pod"]["volumes"] = json!([{
            "name": "token",
            "secret": { "secretName": "token", "items": [{ "key": "token", "path": "it's $HOME & more" }] },
        }]);
        functions[1]["volumeMounts"] = json!([{ "name": "token", "mountPath": "/credentials" }]);
        passes(scenario, &scenario.pulsar, mesh, "word", |text| format!("{text}!!")).await?;
        is_kept_secret(scenario, &[&token], true).await
    })
    .await
}

#[tokio::test]
async fn a_wrong_token_is_reported_and_the_function_heals_when_the_secret_is_fixed() -> Result<()> {
    credentials::run(7102, "wrong-token", async |scenario, issuer| {
        let (wrong, right) = (TokenIssuer::new()?.token("worker"), issuer.token("worker"));
        credentials::credentials(scenario, "credentials", &wrong).await?;
        let secured = json!({ "pulsar": { "authSecret": "credentials" } });
        let component = scenario.python("double", "double.Double", "numbers", "doubled").with(secured);
        scenario.apply::<FunctionMesh>(scenario.mesh("m", &[component])).await?;
        let message = exit_message(scenario, "m").await?;
        ensure!(message.contains("function double: pod m-double-function-0: "), "{message}");
        ensure!(message.contains("exited with code"), "{message}");
        ensure!(scenario.pulsar.consumers("numbers").await?.is_empty(), "it is admitted");
        is_kept_secret(scenario, &[&wrong], false).await?;

        credentials::credentials(scenario, "credentials", &right).await?;
        scenario.pulsar.await_consumer("numbers", TIMEOUT).await?;
        scenario.await_ready("m", TIMEOUT).await?;
        scenario.pulsar.send("numbers", &["one"]).await?;
        let doubled = scenario.pulsar.receive("doubled", 1, TIMEOUT).await?;
        ensure!(doubled == ["oneone"], "{doubled:?}");
        is_kept_secret(scenario, &[&wrong, &right], false).await
    })
    .await
}

#[tokio::test]
async fn subscriptions_are_removed_with_credentials_of_their_own() -> Result<()> {
    credentials::run(7103, "leaving", async |scenario, issuer| {
        let (worker, cleaner) = (issuer.token("worker"), issuer.token("cleaner"));
        scenario.pulsar.policy("permissions/cleaner", &json!(["consume"])).await?;
        let plugin = |token: &str| {
            json!({ "genericAuth": {
                "clientAuthenticationPlugin": PLUGIN, "clientAuthenticationParameters": format!("token:{token}"),
            } })
        };
        let secured = json!({
            "cleanupSubscription": true,
            "pulsar": { "authConfig": plugin(&worker), "cleanupAuthConfig": plugin(&cleaner) },
        });
        let component = scenario.python("double", "double.Double", "numbers", "doubled").with(secured);
        scenario.apply::<FunctionMesh>(scenario.mesh("m", &[component])).await?;
        scenario.await_ready("m", TIMEOUT).await?;
        scenario.pulsar.await_consumer("numbers", TIMEOUT).await?;

// The function's role loses its permissions; that of the clean-up keeps them.
        scenario.pulsar.policy("permissions/worker", &json!([])).await?;
        scenario.api::<FunctionMesh>().delete("m", &DeleteParams::default()).await?;
        scenario.kubectl(&["wait", "--for=delete", "functions/m-double", "--timeout=5m"]).await?;
        let left = scenario.pulsar.subscriptions("numbers").await?;
        ensure!(left.is_empty(), "{left:?}");
        is_kept_secret(scenario, &[&worker, &cleaner], true).await
    })
    .await
}

#[tokio::test]
async fn functions_connect_by_tls_only_to_brokers_that_they_trust() -> Result<()> {
    let harness = Harness::find().await?;
    let (issuer, folder, started) = (TokenIssuer::new()?, tempfile::tempdir()?, OnceCell::new());
    // The certificates exist before the broker, so the scenario starts with the shared broker.
    let result = Scenario::run("tls", async |scenario| {
        let files = certificates(scenario, folder.path()).await?;
        let mut plan = issuer.plan(7104);
        plan.options.push("--tls".to_owned());
        plan.options.extend(files.iter().map(|file| file.display().to_string()));
        plan.options.extend(["--tls-port", "7105", "--web-tls-port", "8105"].map(str::to_owned));
        let broker = started.get_or_try_init(|| Broker::start(&harness, plan)).await?;
        tls(scenario, broker, &issuer).await
    })
    .await;
    if let Some(broker) = started.get() {
        broker.stop().await?;
    }
    result
}

async fn tls(scenario: &Scenario, broker: &Broker, issuer: &TokenIssuer) -> Result<()> {
    let pulsar = broker.namespace(&scenario.namespace).await?;
    pulsar.policy("permissions/worker", &json!(["consume", "produce"])).await?;
    let addresses = json!({
        "webServiceURL": "https://10.254.0.1:8105", "brokerServiceURL": "pulsar+ssl://10.254.0.1:7105",
    });
    scenario.config("pulsar", &addresses).await?;
    let token = issuer.token("worker");
    credentials::credentials(scenario, "credentials", &token).await?;
    let trust = |name: &str| {
        json!({ "pulsarConfig": "pulsar", "authSecret": "credentials", "tlsConfig": {
            "enabled": true, "hostnameVerification": true, "certSecretName": name, "certSecretKey": "ca.crt",
        } })
    };

    let untrusting = json!({ "pulsar": trust("foreign-ca") });
    let component = scenario.python("double", "double.Double", "numbers", "doubled").with(untrusting);
    scenario.apply::<FunctionMesh>(scenario.mesh("untrusting", &[component])).await?;
    let message = exit_message(scenario, "untrusting").await?;
    ensure!(message.contains("function double: pod untrusting-double-function-0: "), "{message}");
    ensure!(pulsar.consumers("numbers").await?.is_empty(), "it trusts a foreign CA");
    scenario.kubectl(&["delete", "functionmesh", "untrusting", "--wait=false"]).await?;

    let mut mesh = scenario.exclamation()?;
    for function in mesh["spec"]["functions"].as_array_mut().into_iter().flatten() {
        function["pulsar"] = trust("broker");
    }
    passes(scenario, &pulsar, mesh.clone(), "spoken", |text| format!("{text}!!")).await?;

    // The same with settings in a Secret, the form that is older than tlsConfig.
    let settings = json!({
        "tlsAllowInsecureConnection": "false", "tlsHostnameVerificationEnable": "true",
        "tlsTrustCertsFilePath": "/trusted/ca.crt",
    });
    secret(scenario, "settings", &settings).await?;
    for function in mesh["spec"]["functions"].as_array_mut().into_iter().flatten() {
        function["pulsar"] =
            json!({ "pulsarConfig": "pulsar", "authSecret": "credentials", "tlsSecret": "settings" });
        function["pod"]["volumes"] = json!([{ "name": "trusted", "secret": { "secretName": "broker" } }]);
        function["volumeMounts"] = json!([{ "name": "trusted", "mountPath": "/trusted" }]);
    }
    passes(scenario, &pulsar, mesh, "set", |text| format!("{text}!!")).await?;
    is_kept_secret(scenario, &[&token], false).await
}

/// Applies this variant of `examples/exclamation.yaml` and sends messages through it.
async fn passes(
    scenario: &Scenario,
    pulsar: &Pulsar,
    mesh: Value,
    word: &str,
    result: impl Fn(&str) -> String,
) -> Result<()> {
    scenario.apply::<FunctionMesh>(mesh).await?;
    scenario.await_ready("exclamation", TIMEOUT).await?;
    pulsar.await_consumer("words", TIMEOUT).await?;
    pulsar.await_consumer("shouts", TIMEOUT).await?;
    let sent: Vec<_> = (0..10).map(|number| format!("{word}-{number}")).collect();
    pulsar.send("words", &sent).await?;
    let mut received = pulsar.receive("louder", sent.len(), TIMEOUT).await?;
    received.sort();
    let mut expected: Vec<_> = sent.iter().map(|text| result(text)).collect();
    expected.sort();
    ensure!(received == expected, "{received:?}");
    Ok(())
}

/// Waits until a mesh reports a container that exits, and returns the message.
async fn exit_message(scenario: &Scenario, mesh: &str) -> Result<String> {
    let words = |mesh: &FunctionMesh| {
        let degraded = not_ready(mesh).filter(|why| why.reason == "ComponentsDegraded")?;
        Some(degraded.message.clone()).filter(|message| message.contains("exited with code"))
    };
    let mesh = scenario.await_mesh(mesh, TIMEOUT, |mesh| words(mesh).is_some()).await?;
    words(&mesh).context("the condition changed meanwhile")
}

#[tokio::test]
async fn a_broker_that_denies_access_is_told_with_what_to_do() -> Result<()> {
    credentials::run(7301, "denies", async |scenario, issuer| {
        let token = issuer.token("worker");
        credentials::credentials(scenario, "credentials", &token).await?;
        let function = scenario
            .python("works", "mark.Mark", "in", "out")
            .with(json!({ "pulsar": { "authSecret": "credentials" } }));
        scenario.start(&function, "in", TIMEOUT).await?;
        let message = scenario.await_stalled("works", "Unknown", &["AccessDenied"]).await?;
        ensure!(message.contains("observer.clusters"), "{message}");
        // What the operator cannot see makes nothing unhealthy.
        let ready = async || Ok(scenario.status("works").await?.phase == Phase::Ready);
        scenario.eventually("it is ready", TIMEOUT, ready).await
    })
    .await
}
