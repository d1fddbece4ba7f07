//! A namespace whose objects are admitted by replicas with self-signed certificates.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use function_mesh_api::{Function, FunctionSpec};
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_testkit::{ControlPlane, PATIENCE, eventually};
use function_mesh_webhook::cli::{ServeArgs, start};
use function_mesh_webhook::manifests::{ClientTarget, webhook_configurations};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Name of the certificate Secret.
pub(crate) const SECRET: &str = "certificates";

/// Load tests run alone: on a busy machine certificates with a validity of seconds would expire before renewal.
static MACHINE: RwLock<()> = RwLock::const_new(());

#[allow(dead_code, reason = "guards are held, not read")]
enum MachineLock {
    Exclusive(RwLockWriteGuard<'static, ()>),
    Shared(RwLockReadGuard<'static, ()>),
}

pub(crate) struct Harness {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) service: Service,
    _lock: MachineLock,
}

/// A TCP proxy in place of a Service: forwards each connection to the next reachable replica.
pub(crate) struct Service {
    addr: SocketAddr,
    pub(crate) replicas: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Service {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let replicas = Arc::<Mutex<Vec<SocketAddr>>>::default();
        let known = Arc::clone(&replicas);
        tokio::spawn(async move {
            while let Ok((mut outside, _)) = listener.accept().await {
                let known = Arc::clone(&known);
                tokio::spawn(async move {
                    let replicas = {
                        let mut known = known.lock().unwrap();
                        if !known.is_empty() {
                            known.rotate_left(1);
                        }
                        known.clone()
                    };
                    for replica in replicas {
                        if let Ok(mut inside) = TcpStream::connect(replica).await {
                            _ = outside.set_nodelay(true).and(inside.set_nodelay(true));
                            _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                            return;
                        }
                    }
                });
            }
        });
        Ok(Self { addr, replicas })
    }
}

/// Values of the validity flags.
pub(crate) struct Validity {
    pub(crate) certificate: &'static str,
    pub(crate) ca: &'static str,
    pub(crate) propagation_delay: &'static str,
}

impl Validity {
    pub(crate) const LONG: Self = Self { certificate: "90d", ca: "365d", propagation_delay: "600ms" };
    pub(crate) const SHORT: Self = Self { certificate: "3s", ca: "9s", propagation_delay: "600ms" };
}

impl Harness {
    pub(crate) async fn new(name: &str) -> anyhow::Result<Self> {
        Self::start(name, MachineLock::Shared(MACHINE.read().await)).await
    }

    /// A harness without others running at the same time.
    pub(crate) async fn alone(name: &str) -> anyhow::Result<Self> {
        Self::start(name, MachineLock::Exclusive(MACHINE.write().await)).await
    }

    async fn start(name: &str, lock: MachineLock) -> anyhow::Result<Self> {
        let plane = ControlPlane::shared().await?;
        let client = plane.client().await?;
        let namespace = plane.namespace(&client, name).await?;
        Ok(Self { plane, client, namespace, service: Service::start().await?, _lock: lock })
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn secret(&self) -> anyhow::Result<Secret> {
        Ok(self.secrets().get(SECRET).await?)
    }

    /// A value of the Secret, as text.
    pub(crate) async fn entry(&self, name: &str) -> anyhow::Result<String> {
        let data = self.secret().await?.data.unwrap_or_default();
        let bytes = data.get(name).with_context(|| format!("no {name} in {:?}", data.keys()))?;
        Ok(String::from_utf8(bytes.0.clone())?)
    }

    /// Creates or replaces the Secret.
    pub(crate) async fn put_secret(&self, entries: &[(&str, &str)]) -> anyhow::Result<()> {
        let data: serde_json::Map<_, _> =
            entries.iter().map(|(name, text)| ((*name).to_owned(), json!(STANDARD.encode(text)))).collect();
        let mut secret: Secret =
            serde_json::from_value(json!({ "metadata": { "name": SECRET }, "data": data }))?;
        if let Some(old) = self.secrets().get_opt(SECRET).await? {
            secret.metadata.resource_version = old.metadata.resource_version;
            self.secrets().replace(SECRET, &PostParams::default(), &secret).await?;
        } else {
            self.secrets().create(&PostParams::default(), &secret).await?;
        }
        Ok(())
    }

    /// Creates the webhook configurations without a CA bundle.
    pub(crate) async fn configure(&self) -> anyhow::Result<()> {
        let target = ClientTarget::Url(format!("https://{}", self.service.addr));
        let (mut mutating, mut validating) = webhook_configurations(&self.namespace, &target, None);
        let selector = LabelSelector {
            match_labels: Some([("kubernetes.io/metadata.name".to_owned(), self.namespace.clone())].into()),
            ..LabelSelector::default()
        };
        for one in mutating.webhooks.iter_mut().flatten() {
            one.namespace_selector = Some(selector.clone());
        }
        for one in validating.webhooks.iter_mut().flatten() {
            one.namespace_selector = Some(selector.clone());
        }
        Api::all(self.client.clone()).create(&PostParams::default(), &mutating).await?;
        Api::all(self.client.clone()).create(&PostParams::default(), &validating).await?;
        Ok(())
    }

    pub(crate) fn mutating(&self) -> String {
        format!("{}-mutating-webhook-configuration", self.namespace)
    }

    pub(crate) fn validating(&self) -> String {
        format!("{}-validating-webhook-configuration", self.namespace)
    }

    /// The CA bundles of all webhooks in both configurations.
    pub(crate) async fn bundles(&self) -> anyhow::Result<Vec<String>> {
        let mutating =
            Api::<MutatingWebhookConfiguration>::all(self.client.clone()).get(&self.mutating()).await?;
        let validating =
            Api::<ValidatingWebhookConfiguration>::all(self.client.clone()).get(&self.validating()).await?;
        let mutating = mutating.webhooks.into_iter().flatten().map(|one| one.client_config);
        let validating = validating.webhooks.into_iter().flatten().map(|one| one.client_config);
        let text = |client: WebhookClientConfig| client.ca_bundle.map(|it| it.0).unwrap_or_default();
        mutating.chain(validating).map(text).map(|it| Ok(String::from_utf8(it)?)).collect()
    }

    /// Removes the CA bundles, as a client that replaces the objects would.
    pub(crate) async fn wipe_bundles(&self) -> anyhow::Result<()> {
        let mutating = Api::<MutatingWebhookConfiguration>::all(self.client.clone());
        let validating = Api::<ValidatingWebhookConfiguration>::all(self.client.clone());
        let mut object = mutating.get(&self.mutating()).await?;
        for one in object.webhooks.iter_mut().flatten() {
            one.client_config.ca_bundle = None;
        }
        mutating.replace(&self.mutating(), &PostParams::default(), &object).await?;
        let mut object = validating.get(&self.validating()).await?;
        for one in object.webhooks.iter_mut().flatten() {
            one.client_config.ca_bundle = None;
        }
        validating.replace(&self.validating(), &PostParams::default(), &object).await?;
        Ok(())
    }

    /// Waits until all webhooks have the CA bundle of the Secret.
    pub(crate) async fn wait_in_sync(&self) -> anyhow::Result<()> {
        eventually(PATIENCE, async || {
            let trusted = self.entry("ca.crt").await?;
            let bundles = self.bundles().await?;
            ensure!(bundles.len() == 10 && bundles.iter().all(|bundle| *bundle == trusted), "{bundles:?}");
            Ok(())
        })
        .await
    }

    /// Waits until the API server calls the replicas and trusts their certificate.
    pub(crate) async fn wait_admits(&self) -> anyhow::Result<()> {
        let bad = Function::new("bad", FunctionSpec::default());
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let api = Api::<Function>::namespaced(self.client.clone(), &self.namespace);
        eventually(PATIENCE, async || {
            let answer = api.create(&dry, &bad).await;
            let refusal = answer.err().map(|error| error.to_string()).unwrap_or_default();
            ensure!(refusal.contains("admission webhook"), "{refusal}");
            Ok(())
        })
        .await
    }

    /// Starts a replica behind the Service.
    pub(crate) async fn replica(&self, kubeconfig: &Path, validity: &Validity) -> anyhow::Result<Replica> {
        let replica = Replica::start(self, kubeconfig.to_owned(), validity).await?;
        self.service.replicas.lock().unwrap().push(replica.addr);
        Ok(replica)
    }
}

/// A webhook in its own runtime, so that it can be killed.
pub(crate) struct Replica {
    pub(crate) addr: SocketAddr,
    health: SocketAddr,
    metrics: SocketAddr,
    runtime: Option<Runtime>,
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    serve: ServeArgs,
}

impl Replica {
    async fn start(harness: &Harness, kubeconfig: PathBuf, validity: &Validity) -> anyhow::Result<Self> {
        let (mutating, validating) = (harness.mutating(), harness.validating());
        let local = "127.0.0.1:0";
        let args = Cli::try_parse_from([
            "webhook",
            "--certificate-secret",
            SECRET,
            "--certificate-namespace",
            &harness.namespace,
            "--certificate-dns-name",
            "127.0.0.1,webhook.example.svc",
            "--mutating-webhook-configuration",
            &mutating,
            "--validating-webhook-configuration",
            &validating,
            "--certificate-validity",
            validity.certificate,
            "--ca-validity",
            validity.ca,
            "--ca-propagation-delay",
            validity.propagation_delay,
            "--kubeconfig",
            &kubeconfig.display().to_string(),
            "--webhook-addr",
            local,
            "--metrics-addr",
            local,
            "--metrics-secure=false",
            "--health-probe-addr",
            local,
        ])?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let running =
            runtime.spawn(async move { start(&args.serve, CancellationToken::new()).await }).await??;
        let [health, metrics] = running.endpoints().collect::<Vec<_>>()[..] else {
            anyhow::bail!("two listeners")
        };
        Ok(Self { addr: running.addr(), health, metrics, runtime: Some(runtime) })
    }

    /// Kills the replica.
    pub(crate) fn kill(self, harness: &Harness) {
        harness.service.replicas.lock().unwrap().retain(|addr| *addr != self.addr);
    }

    pub(crate) async fn readiness(&self) -> anyhow::Result<String> {
        get(self.health, "/readyz").await
    }

    pub(crate) async fn is_ready(&self) -> anyhow::Result<()> {
        eventually(PATIENCE, async || {
            let text = self.readiness().await?;
            ensure!(text == "ok\n", "{text}");
            Ok(())
        })
        .await
    }

    /// The value of this series.
    pub(crate) async fn metric(&self, series: &str) -> anyhow::Result<u64> {
        let page = get(self.metrics, "/metrics").await?;
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no {series} in {page}"))?.parse()?)
    }

    /// The served certificate, trusted or not.
    pub(crate) async fn served(&self) -> anyhow::Result<Vec<u8>> {
        crate::tls::served(self.addr).await
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::ZERO);
        }
    }
}

async fn get(addr: SocketAddr, path: &str) -> anyhow::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = TcpStream::connect(addr).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (_, body) = text.split_once("\r\n\r\n").context("no answer")?;
    Ok(body.to_owned())
}
