//! Access of the operator to brokers that require credentials: tokens, client certificates and CAs that
//! `observer.clusters` of the chart names. The tests change the release, so they run alone and one after the other.

#![allow(clippy::print_stdout, reason = "the output and the times are what the tests show")]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use function_mesh_api::types::{TrafficAccess, TrafficStatus};
use function_mesh_e2e::{Broker, Component, Harness, OPERATOR, Pulsar, Scenario};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::credentials::{self, TokenIssuer, certificates, is_kept_secret};

const TIMEOUT: Duration = Duration::from_mins(3);
/// Messages that each test sends.
const COUNT: u64 = 40;

/// Applies a Secret with these fields in the operator's namespace.
async fn operator_secret(harness: &Harness, name: &str, more: Value) -> Result<()> {
    let mut object = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name } });
    if let (Some(object), Some(more)) = (object.as_object_mut(), more.as_object()) {
        object.extend(more.clone());
    }
    let secrets = Api::<Secret>::namespaced(harness.client.clone(), OPERATOR);
    secrets.patch(name, &PatchParams::apply("a-user").force(), &Patch::Apply(object)).await?;
    Ok(())
}

/// Upgrades the release with an entry of `observer.clusters`, and returns when the new operator is ready.
async fn entry(harness: &Harness, fields: &[(&str, &str)]) -> Result<()> {
    let began = Instant::now();
    let values: Vec<_> =
        fields.iter().map(|(field, value)| format!("observer.clusters[0].{field}={value}")).collect();
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    harness.install("helm", &values).await?;
    println!("upgraded in {} s with {values:?}", began.elapsed().as_secs());
    Ok(())
}

/// The release as `hack/up` installed it, without these Secrets.
async fn restore(harness: &Harness, secrets: &[&str]) -> Result<()> {
    harness.install("helm", &[]).await?;
    for name in secrets {
        let secrets = Api::<Secret>::namespaced(harness.client.clone(), OPERATOR);
        _ = secrets.delete(name, &DeleteParams::default()).await;
    }
    Ok(())
}

/// A function that connects to the broker with the token of the role `worker`.
async fn function(scenario: &Scenario, issuer: &TokenIssuer) -> Result<Component> {
    credentials::credentials(scenario, "credentials", &issuer.token("worker")).await?;
    let secured = json!({ "pulsar": { "authSecret": "credentials" } });
    Ok(scenario.python("works", "mark.Mark", "in", "out").with(secured))
}

/// Stops the function, sends messages, and compares the backlog with what the broker acknowledged; then starts it again and
/// waits until all is processed. `pulsar` is its namespace.
async fn numbers(scenario: &Scenario, pulsar: &Pulsar, access: TrafficAccess) -> Result<TrafficStatus> {
    let began = Instant::now();
    scenario.kubectl(&["scale", "function", "works", "--replicas=0"]).await?;
    let has_left = async || Ok(pulsar.consumers("in").await?.values().sum::<usize>() == 0);
    scenario.eventually("no consumer", TIMEOUT, has_left).await?;
    let texts: Vec<_> = (0..COUNT).map(|number| format!("text {number}")).collect();
    pulsar.send("in", &texts).await?;
    let waits = |traffic: &TrafficStatus| traffic.backlog == Some(COUNT);
    let waiting = scenario.await_traffic("works", "all messages wait", waits).await?;
    ensure!(waiting.access == Some(access), "{waiting:?}");

    scenario.kubectl(&["scale", "function", "works", "--replicas=1"]).await?;
    let is_done = |traffic: &TrafficStatus| {
        traffic.backlog == Some(0) && traffic.in_rate.is_some() && traffic.last_acked.is_some()
    };
    let done = scenario.await_traffic("works", "all messages are acknowledged", is_done).await?;
    println!(
        "{access:?}: sent {COUNT}, backlog {:?} and then {:?}, after {} s: {done:?}",
        waiting.backlog,
        done.backlog,
        began.elapsed().as_secs()
    );
    ensure!(done.access == Some(access) && done.message.is_none(), "{done:?}");
    Ok(done)
}

/// Two teams at one broker, with the same permissions: the entry is for one of them.
#[tokio::test]
async fn a_token_counts_for_the_namespaces_of_its_entry_alone() -> Result<()> {
    credentials::run(7320, "listed", async |listed, issuer| {
        let token = issuer.token("operator");
        operator_secret(&listed.harness, "pulsar-read", json!({ "stringData": { "token": token } })).await?;
        let result = Box::pin(token_of(listed, issuer, &token)).await;
        restore(&listed.harness, &["pulsar-read"]).await?;
        result
    })
    .await
}

async fn token_of(listed: &Scenario, issuer: &TokenIssuer, token: &str) -> Result<()> {
    let readable = json!(["consume"]);
    listed.pulsar.policy("permissions/operator", &readable).await?;
    listed.start(&function(listed, issuer).await?, "in", TIMEOUT).await?;
    let fields = [
        ("url", "http://10.254.0.1:8320"),
        ("namespaces[0]", &listed.namespace),
        ("tokenSecret.name", "pulsar-read"),
        ("allowPlainHttp", "true"),
    ];
    entry(&listed.harness, &fields).await?;
    numbers(listed, &listed.pulsar, TrafficAccess::Token).await?;

    listed
        .beside("unlisted", async |other| {
            other.pulsar.policy("permissions/operator", &readable).await?;
            other.pulsar.policy("permissions/worker", &json!(["consume", "produce"])).await?;
            other.start(&function(other, issuer).await?, "in", TIMEOUT).await?;
            let message = other.await_stalled("works", "Unknown", &["AccessDenied"]).await?;
            ensure!(message.contains("without credentials"), "{message}");
            let traffic = other.status("works").await?.traffic;
            println!("not in the entry: {traffic:?}");
            let traffic = traffic.unwrap_or_default();
            ensure!(traffic.access == Some(TrafficAccess::Anonymous), "{traffic:?}");
            ensure!(traffic.backlog.is_none() && traffic.in_rate.is_none(), "{traffic:?}");
            Ok(())
        })
        .await?;

    // Without the permission the token is of no use, and the message names what is missing.
    listed.pulsar.policy("permissions/operator", &json!([])).await?;
    let message = listed.await_stalled("works", "Unknown", &["AccessDenied"]).await?;
    ensure!(message.contains("with its token"), "{message}");
    is_kept_secret(listed, &[token], false).await
}

/// The web service with TLS and a private CA: with a token, with a client certificate, and with a CA that did not sign
/// the broker's certificate.
#[tokio::test]
async fn a_broker_with_tls_is_asked_if_its_ca_is_trusted() -> Result<()> {
    let harness = Harness::find().await?;
    let (issuer, folder, started) = (TokenIssuer::new()?, tempfile::tempdir()?, OnceCell::new());
    // The certificates exist before the broker, so the scenario starts with the shared broker.
    let result = Scenario::run("tls-access", async |scenario| {
        let files = certificates(scenario, folder.path()).await?;
        let mut plan = issuer.plan(7330);
        plan.options.push("--tls".to_owned());
        plan.options.extend(files.iter().map(|file| file.display().to_string()));
        plan.options.extend(["--tls-port", "7331", "--web-tls-port", "8331"].map(str::to_owned));
        let package = "org.apache.pulsar.broker.authentication.AuthenticationProvider";
        let providers = format!("authenticationProviders={package}Token,{package}Tls");
        plan.options.extend(["--set".to_owned(), providers]);
        let broker = started.get_or_try_init(|| Broker::start(&harness, plan)).await?;
        let result = tls(scenario, broker, &issuer).await;
        restore(&harness, &["pulsar-read", "pulsar-client", "pulsar-ca", "foreign-ca"]).await?;
        result
    })
    .await;
    if let Some(broker) = started.get() {
        broker.stop().await?;
    }
    result
}

async fn tls(scenario: &Scenario, broker: &Broker, issuer: &TokenIssuer) -> Result<()> {
    const URL: (&str, &str) = ("url", "https://10.254.0.1:8331");
    let harness = &scenario.harness;
    let pulsar = broker.namespace(&scenario.namespace).await?;
    pulsar.policy("permissions/worker", &json!(["consume", "produce"])).await?;
    pulsar.policy("permissions/operator", &json!(["consume"])).await?;
    let addresses = json!({ "webServiceURL": URL.1, "brokerServiceURL": broker.broker_service_url });
    scenario.config("pulsar", &addresses).await?;
    let token = issuer.token("operator");
    operator_secret(harness, "pulsar-read", json!({ "stringData": { "token": token } })).await?;
    client_certificate(scenario).await?;
    scenario.start_at(&function(scenario, issuer).await?, &pulsar, "in", TIMEOUT).await?;

    let trusted = ("caSecret.name", "pulsar-ca");
    entry(harness, &[URL, trusted, ("tokenSecret.name", "pulsar-read")]).await?;
    numbers(scenario, &pulsar, TrafficAccess::Token).await?;
    scenario.await_stalled("works", "False", &["NotStalled"]).await?;

    entry(harness, &[URL, trusted, ("tlsSecret.name", "pulsar-client")]).await?;
    numbers(scenario, &pulsar, TrafficAccess::ClientCertificate).await?;

    entry(harness, &[URL, ("caSecret.name", "foreign-ca"), ("tokenSecret.name", "pulsar-read")]).await?;
    let message = scenario.await_stalled("works", "Unknown", &["PulsarUnavailable"]).await?;
    ensure!(message.contains(URL.1), "{message}");
    let traffic = scenario.status("works").await?.traffic.unwrap_or_default();
    println!("a foreign CA: {traffic:?}");
    ensure!(traffic.backlog.is_none() && traffic.in_rate.is_none(), "{traffic:?}");
    ensure!(traffic.message.is_some_and(|it| it.contains("does not trust the certificate")), "no cause");
    is_kept_secret(scenario, &[&token], false).await
}

/// Issues a client certificate with the role `operator`, and copies it and both CAs to the operator's namespace.
async fn client_certificate(scenario: &Scenario) -> Result<()> {
    let certificate = json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": { "name": "operator" },
        "spec": {
            "secretName": "operator", "commonName": "operator", "usages": ["client auth"],
            "privateKey": { "encoding": "PKCS8" }, "issuerRef": { "name": "broker-ca" },
        },
    });
    let apply = ["-n", &scenario.namespace, "apply", "-f", "-"];
    scenario.harness.run("kubectl", &apply, &certificate.to_string()).await?;
    scenario.kubectl(&["wait", "--for=condition=Ready", "--timeout=2m", "certificate/operator"]).await?;
    for (from, keys, to, kind) in [
        ("operator", ["tls.crt", "tls.key"].as_slice(), "pulsar-client", "kubernetes.io/tls"),
        ("broker", &["ca.crt"], "pulsar-ca", "Opaque"),
        ("foreign-ca", &["ca.crt"], "foreign-ca", "Opaque"),
    ] {
        let source = scenario.api::<Secret>().get(from).await?;
        let data = source.data.iter().flatten().filter(|(key, _)| keys.contains(&key.as_str()));
        let data = serde_json::to_value(data.collect::<std::collections::BTreeMap<_, _>>())?;
        ensure!(data.as_object().is_some_and(|it| it.len() == keys.len()), "{}", source.name_any());
        operator_secret(&scenario.harness, to, json!({ "type": kind, "data": data })).await?;
    }
    Ok(())
}
