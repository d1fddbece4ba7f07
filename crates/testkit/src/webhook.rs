//! The admission webhook in the test process, called by the API server.

use anyhow::{Context, ensure};
use function_mesh_api::{Function, FunctionSpec};
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_serving::{Certificates, Server, Timeouts, Transport};
use function_mesh_webhook::manifests::{ClientTarget, webhook_configurations};
use function_mesh_webhook::{AppState, Limits, Metrics, router};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::PostParams;
use kube::{Api, Client};
use prometheus::Registry;
use tempfile::TempDir;

use crate::wait::{PATIENCE, eventually};

/// A webhook for the objects of one namespace. It stops when this is dropped.
#[derive(Debug)]
pub struct Webhook {
    end: CancellationToken,
    _certificates: TempDir,
}

impl Webhook {
    /// Starts it on loopback with its own certificate, and waits until the API server calls it.
    pub async fn start(client: &Client, namespace: &str) -> anyhow::Result<Self> {
        let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("tls.crt"), certificate.cert.pem())?;
        std::fs::write(folder.path().join("tls.key"), certificate.signing_key.serialize_pem())?;
        let registry = Registry::new();
        let transport = Transport::Tls(Certificates::load(folder.path(), &registry)?);
        let end = CancellationToken::new();
        let router = router(AppState::new(Metrics::new(&registry)?, Limits::default()));
        let address = "127.0.0.1:0".parse()?;
        let server =
            Server::start("admission", &address, router, transport, Timeouts::default(), &end).await?;
        let address = server.context("nothing is served")?.addr();
        let webhook = Self { end, _certificates: folder };

        let target = ClientTarget::Url(format!("https://{address}"));
        let (mut mutating, mut validating) =
            webhook_configurations(namespace, &target, Some(certificate.cert.pem().as_bytes()));
        let selector = LabelSelector {
            match_labels: Some([("kubernetes.io/metadata.name".to_owned(), namespace.to_owned())].into()),
            ..LabelSelector::default()
        };
        for one in mutating.webhooks.iter_mut().flatten() {
            one.namespace_selector = Some(selector.clone());
        }
        for one in validating.webhooks.iter_mut().flatten() {
            one.namespace_selector = Some(selector.clone());
        }
        Api::all(client.clone()).create(&PostParams::default(), &mutating).await?;
        Api::all(client.clone()).create(&PostParams::default(), &validating).await?;
        Self::wait_until_called(client, namespace).await?;
        Ok(webhook)
    }

    /// An API server takes a moment to apply a webhook configuration.
    async fn wait_until_called(client: &Client, namespace: &str) -> anyhow::Result<()> {
        let api = Api::<Function>::namespaced(client.clone(), namespace);
        let bad = Function::new("bad", FunctionSpec::default());
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        eventually(PATIENCE, async || {
            let answer = api.create(&dry, &bad).await;
            let error = answer.err().map(|error| error.to_string()).unwrap_or_default();
            // The CRD schema rejects it too, with another message.
            ensure!(error.contains("admission webhook"), "the webhook is not called yet: {error}");
            Ok(())
        })
        .await
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.end.cancel();
    }
}
