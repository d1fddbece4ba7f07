//! A namespace whose objects are admitted by replicas with certificates of their own making.

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
use function_mesh_testkit::{ControlPlane, SECONDS_30, eventually};
use function_mesh_webhook::manifests::{ClientTarget, webhook_configurations};
use function_mesh_webhook::cli::{ServeArgs, start};
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

pub(crate) type Nothing = anyhow::Result<()>;

/// Name of the Secret.
pub(crate) const SECRET: &str = "certificates";

/// A load takes the machine for itself: what lives for seconds cannot be renewed by a program that gets no turn.
static MACHINE: RwLock<()> = RwLock::const_new(());

#[allow(dead_code, reason = "held, never looked at")]
enum Turn {
    Alone(RwLockWriteGuard<'static, ()>),
    WithOthers(RwLockReadGuard<'static, ()>),
}

pub(crate) struct World {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) service: Service,
    _turn: Turn,
}

/// In place of a Service: takes connections and hands each to the next of the replicas that take it.
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

/// How long things are valid, as flags say it.
pub(crate) struct Lives {
    pub(crate) certificate: &'static str,
    pub(crate) authority: &'static str,
    pub(crate) grace: &'static str,
}

impl Lives {
    pub(crate) const LONG: Self = Self { certificate: "90d", authority: "365d", grace: "600ms" };
    pub(crate) const SHORT: Self = Self { certificate: "3s", authority: "9s", grace: "600ms" };
}

impl World {
    pub(crate) async fn new(name: &str) -> anyhow::Result<Self> {
        Self::start(name, Turn::WithOthers(MACHINE.read().await)).await
    }

    /// One beside which no other is.
    pub(crate) async fn alone(name: &str) -> anyhow::Result<Self> {
        Self::start(name, Turn::Alone(MACHINE.write().await)).await
    }

    async fn start(name: &str, turn: Turn) -> anyhow::Result<Self> {
        let plane = ControlPlane::shared().await?;
        let client = plane.client().await?;
        let namespace = plane.namespace(&client, name).await?;
        Ok(Self { plane, client, namespace, service: Service::start().await?, _turn: turn })
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn secret(&self) -> anyhow::Result<Secret> {
        Ok(self.secrets().get(SECRET).await?)
    }

    /// An entry of the Secret, as text.
    pub(crate) async fn entry(&self, name: &str) -> anyhow::Result<String> {
        let data = self.secret().await?.data.unwrap_or_default();
        let bytes = data.get(name).with_context(|| format!("no {name} in {:?}", data.keys()))?;
        Ok(String::from_utf8(bytes.0.clone())?)
    }

    /// Makes or replaces the Secret.
    pub(crate) async fn put_secret(&self, entries: &[(&str, &str)]) -> Nothing {
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

    /// Makes the configurations, without a bundle.
    pub(crate) async fn configure(&self) -> Nothing {
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

    /// All bundles of both configurations.
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

    /// Takes the bundles away, as somebody may who replaces the objects.
    pub(crate) async fn wipe_bundles(&self) -> Nothing {
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

    /// Waits until every bundle is what the Secret says.
    pub(crate) async fn trusts(&self) -> Nothing {
        eventually(SECONDS_30, async || {
            let trusted = self.entry("ca.crt").await?;
            let bundles = self.bundles().await?;
            ensure!(bundles.len() == 10 && bundles.iter().all(|bundle| *bundle == trusted), "{bundles:?}");
            Ok(())
        })
        .await
    }

    /// Waits until the API server asks the replicas, and believes them.
    pub(crate) async fn admits(&self) -> Nothing {
        let bad = Function::new("bad", FunctionSpec::default());
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let api = Api::<Function>::namespaced(self.client.clone(), &self.namespace);
        eventually(SECONDS_30, async || {
            let answer = api.create(&dry, &bad).await;
            let refusal = answer.err().map(|error| error.to_string()).unwrap_or_default();
            ensure!(refusal.contains("admission webhook"), "{refusal}");
            Ok(())
        })
        .await
    }

    /// Starts a replica and puts it behind the service.
    pub(crate) async fn replica(&self, kubeconfig: &Path, lives: &Lives) -> anyhow::Result<Replica> {
        let replica = Replica::start(self, kubeconfig.to_owned(), lives).await?;
        self.service.replicas.lock().unwrap().push(replica.addr);
        Ok(replica)
    }
}

/// A program, in a runtime of its own, so that it can be killed.
pub(crate) struct Replica {
    pub(crate) addr: SocketAddr,
    health: SocketAddr,
    metrics: SocketAddr,
    runtime: Option<Runtime>,
}

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    serve: ServeArgs,
}

impl Replica {
    async fn start(world: &World, kubeconfig: PathBuf, lives: &Lives) -> anyhow::Result<Self> {
        let (mutating, validating) = (world.mutating(), world.validating());
        let local = "127.0.0.1:0";
        let args = Program::try_parse_from([
            "webhook",
            "--certificate-secret",
            SECRET,
            "--certificate-namespace",
            &world.namespace,
            "--certificate-dns-name",
            "127.0.0.1,webhook.example.svc",
            "--mutating-webhook-configuration",
            &mutating,
            "--validating-webhook-configuration",
            &validating,
            "--certificate-lifetime",
            lives.certificate,
            "--authority-lifetime",
            lives.authority,
            "--authority-grace",
            lives.grace,
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
        let [health, metrics] = running.others().collect::<Vec<_>>()[..] else {
            anyhow::bail!("two listeners")
        };
        Ok(Self { addr: running.addr(), health, metrics, runtime: Some(runtime) })
    }

    /// Ends it at whatever it does.
    pub(crate) fn kill(self, world: &World) {
        world.service.replicas.lock().unwrap().retain(|addr| *addr != self.addr);
    }

    pub(crate) async fn readiness(&self) -> anyhow::Result<String> {
        get(self.health, "/readyz").await
    }

    pub(crate) async fn is_ready(&self) -> Nothing {
        eventually(SECONDS_30, async || {
            let text = self.readiness().await?;
            ensure!(text == "ok\n", "{text}");
            Ok(())
        })
        .await
    }

    /// The number behind this name and these labels.
    pub(crate) async fn metric(&self, series: &str) -> anyhow::Result<u64> {
        let page = get(self.metrics, "/metrics").await?;
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no {series} in {page}"))?.parse()?)
    }

    /// The certificate that it shows, whether it is to be trusted or not.
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
