//! What a broker that lets nobody in without credentials takes: tokens, and certificates by cert-manager.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use function_mesh_e2e::{Broker, BrokerPlan, OPERATOR, Story, World};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// The plugin of Pulsar's clients for tokens.
pub(crate) const PLUGIN: &str = "org.apache.pulsar.client.impl.auth.AuthenticationToken";

/// Whoever gives out tokens.
pub(crate) struct Authority {
    folder: TempDir,
    secret: [u8; 32],
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let mut secret = [0; 32];
        fs::File::open("/dev/urandom")?.read_exact(&mut secret)?;
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("secret"), secret)?;
        Ok(Self { folder, secret })
    }

    /// A token for somebody: a JWT, signed by HS256.
    pub(crate) fn token(&self, role: &str) -> String {
        let head = BASE64.encode(json!({ "alg": "HS256" }).to_string());
        let body = BASE64.encode(json!({ "sub": role }).to_string());
        let text = format!("{head}.{body}");
        let signature = BASE64.encode(hmac(&self.secret, text.as_bytes()));
        format!("{text}.{signature}")
    }

    /// A broker that lets in who has such a token, and `admin` to everything.
    pub(crate) fn plan(&self, port: u16) -> BrokerPlan {
        let provider = "org.apache.pulsar.broker.authentication.AuthenticationProviderToken";
        let admin = self.token("admin");
        let settings = [
            "authenticationEnabled=true".to_owned(),
            "authorizationEnabled=true".to_owned(),
            "superUserRoles=admin".to_owned(),
            format!("authenticationProviders={provider}"),
            format!("tokenSecretKey=file://{}", self.folder.path().join("secret").display()),
            // It is a client of its own, too.
            format!("brokerClientAuthenticationPlugin={PLUGIN}"),
            format!("brokerClientAuthenticationParameters=token:{admin}"),
        ];
        let options = settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]).collect();
        BrokerPlan { port, options, token: Some(admin) }
    }
}

/// HMAC by SHA-256 with a key that is shorter than a block of it.
fn hmac(key: &[u8; 32], text: &[u8]) -> Vec<u8> {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

/// Tells a story at a broker that asks for tokens. `worker` may read, write and download in its namespace there and
/// nothing else.
pub(crate) async fn tell(
    port: u16,
    name: &str,
    story: impl AsyncFnOnce(&Story, &Authority) -> Result<()>,
) -> Result<()> {
    let (world, authority) = (World::find().await?, Authority::new()?);
    let broker = Broker::start(&world, authority.plan(port)).await?;
    let told = Story::tell_at(&world, &broker, name, async |own| {
        own.pulsar.policy("permissions/worker", &json!(["consume", "packages", "produce"])).await?;
        story(own, &authority).await
    })
    .await;
    broker.end().await?;
    told
}

/// Makes a Secret of text.
pub(crate) async fn secret(story: &Story, name: &str, data: &Value) -> Result<()> {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data,
    });
    story.apply::<Secret>(object).await?;
    Ok(())
}

/// Makes a Secret as `authSecret` names it.
pub(crate) async fn credentials(story: &Story, name: &str, token: &str) -> Result<()> {
    let data = json!({
        "clientAuthenticationPlugin": PLUGIN, "clientAuthenticationParameters": format!("token:{token}"),
    });
    secret(story, name, &data).await
}

/// Has cert-manager make an authority and a certificate by it for the address of brokers, in the Secret `broker`, and
/// another authority that has nothing to do with it, in the Secret `stranger`. Returns the broker's files.
pub(crate) async fn certificates(story: &Story, folder: &Path) -> Result<[PathBuf; 3]> {
    // Java's client asks for the name that belongs to an address, and gets the machine's.
    let name = fs::read_to_string("/proc/sys/kernel/hostname")?;
    let text = r"
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: self}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: authority}
spec: {secretName: authority, isCA: true, commonName: authority, issuerRef: {name: self}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: stranger}
spec: {secretName: stranger, isCA: true, commonName: stranger, issuerRef: {name: self}}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: authority}
spec: {ca: {secretName: authority}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: broker}
spec:
  secretName: broker
  ipAddresses: [10.254.0.1]
  dnsNames: [NAME]
  privateKey: {encoding: PKCS8}
  issuerRef: {name: authority}
";
    let apply = ["-n", &story.namespace, "apply", "-f", "-"];
    story.world.run("kubectl", &apply, &text.replace("NAME", name.trim())).await?;
    let ready =
        ["wait", "--for=condition=Ready", "--timeout=2m", "certificate/broker", "certificate/stranger"];
    story.kubectl(&ready).await?;
    let data = story.api::<Secret>().get("broker").await?.data.context("an empty Secret")?;
    let mut files = [(); 3].map(|()| PathBuf::new());
    for (file, name) in files.iter_mut().zip(["tls.crt", "tls.key", "ca.crt"]) {
        *file = folder.join(name);
        fs::write(&*file, &data.get(name).with_context(|| format!("no {name}"))?.0)?;
    }
    Ok(files)
}

/// Whether any of these texts shows where people look who may not see it: in what the operator reports and logs, and
/// in all that describes pods, unless the specification itself has it.
pub(crate) async fn is_kept_secret(story: &Story, tokens: &[&str], is_in_specification: bool) -> Result<()> {
    let kinds = "functionmeshes,functions,statefulsets,services,pods,jobs,events";
    let mut all: Value = serde_json::from_str(&story.kubectl(&["get", kinds, "-o", "json"]).await?)?;
    let items = all["items"].as_array_mut().context("no list")?;
    ensure!(!items.is_empty(), "nothing to look at");
    for item in items.iter_mut().filter(|_| is_in_specification) {
        item.as_object_mut().map(|item| item.remove("spec"));
        item["metadata"].as_object_mut().map(|metadata| metadata.remove("managedFields"));
    }
    let instance = "app.kubernetes.io/instance=function-mesh";
    let logs = ["logs", "-n", OPERATOR, "-l", instance, "--tail=-1", "--prefix", "--max-log-requests=20"];
    let logs = story.world.kubectl(&logs).await?;
    ensure!(logs.contains("controller-manager"), "no log of the operator: {logs}");
    for token in tokens {
        // The signature is what nobody else can make.
        let (_, signature) = token.rsplit_once('.').context("no token")?;
        for item in all["items"].as_array().into_iter().flatten() {
            ensure!(!item.to_string().contains(signature), "a token shows in {item:#}");
        }
        ensure!(!logs.contains(signature), "a token shows in the operator's log");
    }
    Ok(())
}
