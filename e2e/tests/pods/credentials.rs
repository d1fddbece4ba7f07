//! Brokers that require credentials: tokens, and certificates of cert-manager.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use function_mesh_e2e::{Broker, BrokerPlan, Harness, OPERATOR, Scenario};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// The plugin of Pulsar's clients for tokens.
pub(crate) const PLUGIN: &str = "org.apache.pulsar.client.impl.auth.AuthenticationToken";

/// Signs tokens.
pub(crate) struct TokenIssuer {
    folder: TempDir,
    secret: [u8; 32],
}

impl TokenIssuer {
    pub(crate) fn new() -> Result<Self> {
        let mut secret = [0; 32];
        fs::File::open("/dev/urandom")?.read_exact(&mut secret)?;
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("secret"), secret)?;
        Ok(Self { folder, secret })
    }

    /// A token of a role: a JWT, signed with HS256.
    pub(crate) fn token(&self, role: &str) -> String {
        let head = BASE64.encode(json!({ "alg": "HS256" }).to_string());
        let body = BASE64.encode(json!({ "sub": role }).to_string());
        let text = format!("{head}.{body}");
        let signature = BASE64.encode(hmac(&self.secret, text.as_bytes()));
        format!("{text}.{signature}")
    }

    /// A broker that accepts these tokens and has the superuser `admin`.
    pub(crate) fn plan(&self, port: u16) -> BrokerPlan {
        let provider = "org.apache.pulsar.broker.authentication.AuthenticationProviderToken";
        let admin = self.token("admin");
        let settings = [
            "authenticationEnabled=true".to_owned(),
            "authorizationEnabled=true".to_owned(),
            "superUserRoles=admin".to_owned(),
            format!("authenticationProviders={provider}"),
            format!("tokenSecretKey=file://{}", self.folder.path().join("secret").display()),
            // The broker is a client of itself, too.
            format!("brokerClientAuthenticationPlugin={PLUGIN}"),
            format!("brokerClientAuthenticationParameters=token:{admin}"),
        ];
        let options = settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]).collect();
        BrokerPlan { port, options, token: Some(admin) }
    }
}

/// HMAC-SHA-256 with a key that is shorter than a block.
fn hmac(key: &[u8; 32], text: &[u8]) -> Vec<u8> {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

/// Runs a scenario with a broker that requires tokens. `worker` may only consume, produce and download packages in the
/// namespace.
pub(crate) async fn run(
    port: u16,
    name: &str,
    scenario: impl AsyncFnOnce(&Scenario, &TokenIssuer) -> Result<()>,
) -> Result<()> {
    let (harness, issuer) = (Harness::find().await?, TokenIssuer::new()?);
    let broker = Broker::start(&harness, issuer.plan(port)).await?;
    let result = Scenario::run_with(&harness, &broker, name, async |own| {
        own.pulsar.policy("permissions/worker", &json!(["consume", "packages", "produce"])).await?;
        scenario(own, &issuer).await
    })
    .await;
    broker.stop().await?;
    result
}

/// Applies a Secret.
pub(crate) async fn secret(scenario: &Scenario, name: &str, data: &Value) -> Result<()> {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data,
    });
    scenario.apply::<Secret>(object).await?;
    Ok(())
}

/// Applies a Secret for `authSecret`.
pub(crate) async fn credentials(scenario: &Scenario, name: &str, token: &str) -> Result<()> {
    let data = json!({
        "clientAuthenticationPlugin": PLUGIN, "clientAuthenticationParameters": format!("token:{token}"),
    });
    secret(scenario, name, &data).await
}

/// Issues, with cert-manager, a CA and a certificate for the brokers' address in the Secret `broker`, and an unrelated
/// CA in the Secret `foreign-ca`. Returns the broker's files.
pub(crate) async fn certificates(scenario: &Scenario, folder: &Path) -> Result<[PathBuf; 3]> {
    // Java's client resolves the address to a name, which is the machine's.
    let name = fs::read_to_string("/proc/sys/kernel/hostname")?;
    let text = r"
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: self}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: broker-ca}
spec: {secretName: broker-ca, isCA: true, commonName: broker-ca, issuerRef: {name: self}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: foreign-ca}
spec: {secretName: foreign-ca, isCA: true, commonName: foreign-ca, issuerRef: {name: self}}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: broker-ca}
spec: {ca: {secretName: broker-ca}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: broker}
spec:
  secretName: broker
  ipAddresses: [10.254.0.1]
  dnsNames: [NAME]
  privateKey: {encoding: PKCS8}
  issuerRef: {name: broker-ca}
";
    let apply = ["-n", &scenario.namespace, "apply", "-f", "-"];
    scenario.harness.run("kubectl", &apply, &text.replace("NAME", name.trim())).await?;
    let ready =
        ["wait", "--for=condition=Ready", "--timeout=2m", "certificate/broker", "certificate/foreign-ca"];
    scenario.kubectl(&ready).await?;
    let data = scenario.api::<Secret>().get("broker").await?.data.context("an empty Secret")?;
    let mut files = [(); 3].map(|()| PathBuf::new());
    for (file, name) in files.iter_mut().zip(["tls.crt", "tls.key", "ca.crt"]) {
        *file = folder.join(name);
        fs::write(&*file, &data.get(name).with_context(|| format!("no {name}"))?.0)?;
    }
    Ok(files)
}

/// Checks that none of these tokens appears in status, events, logs, or in the pods and objects that describe them,
/// unless the spec itself contains it.
pub(crate) async fn is_kept_secret(
    scenario: &Scenario,
    tokens: &[&str],
    is_in_specification: bool,
) -> Result<()> {
    let kinds = "functionmeshes,functions,statefulsets,services,pods,jobs,events";
    let mut all: Value = serde_json::from_str(&scenario.kubectl(&["get", kinds, "-o", "json"]).await?)?;
    let items = all["items"].as_array_mut().context("no list")?;
    ensure!(!items.is_empty(), "no objects to check");
    for item in items.iter_mut().filter(|_| is_in_specification) {
        item.as_object_mut().map(|item| item.remove("spec"));
        item["metadata"].as_object_mut().map(|metadata| metadata.remove("managedFields"));
    }
    let instance = "app.kubernetes.io/instance=function-mesh";
    let logs = ["logs", "-n", OPERATOR, "-l", instance, "--tail=-1", "--prefix", "--max-log-requests=20"];
    let logs = scenario.harness.kubectl(&logs).await?;
    ensure!(logs.contains("controller-manager"), "no log of the operator: {logs}");
    for token in tokens {
        // The signature is the secret part of a token.
        let (_, signature) = token.rsplit_once('.').context("no token")?;
        for item in all["items"].as_array().into_iter().flatten() {
            ensure!(!item.to_string().contains(signature), "a token shows in {item:#}");
        }
        ensure!(!logs.contains(signature), "a token shows in the operator's log");
    }
    Ok(())
}
