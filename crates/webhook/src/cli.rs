//! Command line, startup and shutdown of the webhook.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use function_mesh_serving::shutdown::{self, CancellationToken};
use function_mesh_serving::{
    Certificates, ListenAddr, Readiness, Server, ServingArgs, Timeouts, Transport, args, endpoints, logging,
    metrics, tls,
};
use kube::Client;
use prometheus::Registry;

use crate::authorization::SubjectAccessAuthorizer;
use crate::certs::{self, CertArgs};
use crate::manifests::{ClientTarget, webhook_configurations};
use crate::router::{router, unsafe_config_router};
use crate::{AppState, Authorizer, Limits, Metrics};

/// Default certificate directory below the temporary directory; same as upstream's.
const CERT_DIR: &str = "k8s-webhook-server/serving-certs";

/// The admission webhook of Function Mesh
///
/// Applies defaults to Functions, Sources, Sinks, FunctionMeshes and BackendConfigs when they are created or updated,
/// and denies invalid ones with all violations at once. The API server calls the webhook over TLS, as configured by a
/// MutatingWebhookConfiguration and a ValidatingWebhookConfiguration; `function-mesh-webhook manifests` prints both.
#[derive(Debug, Parser)]
#[command(name = "function-mesh-webhook", version, args_conflicts_with_subcommands = true)]
#[command(after_long_help = "\
Examples:
  Serve with a certificate from cert-manager, mounted from a Secret:
    function-mesh-webhook --cert-dir /certs

  Issue a self-signed certificate, store it in a Secret, and inject its CA into the webhook configurations:
    function-mesh-webhook --certificate-secret function-mesh-webhook \\
      --certificate-dns-name function-mesh-webhook.function-mesh.svc \\
      --mutating-webhook-configuration function-mesh-mutating-webhook-configuration \\
      --validating-webhook-configuration function-mesh-validating-webhook-configuration

  Run the webhook outside of a development cluster:
    function-mesh-webhook --cert-dir ./certs --webhook-addr :9443 &
    function-mesh-webhook manifests --url https://192.0.2.1:9443 --ca-file ./certs/ca.crt | kubectl apply -f -")]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the webhook configurations, with which the API server calls this webhook
    Manifests(ManifestsArgs),
}

/// Flags of the server.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Address of the webhook, which always uses TLS. Without --cert-dir the certificate is loaded from
    /// k8s-webhook-server/serving-certs in the temporary directory
    #[arg(long, env = "FUNCTION_MESH_WEBHOOK_ADDR", default_value = ":9443", value_name = "ADDR")]
    pub webhook_addr: ListenAddr,

    /// Time to accept connections after SIGTERM, until the cluster stops routing to this pod
    #[arg(long, env = "FUNCTION_MESH_SHUTDOWN_DELAY", default_value = "3s", value_name = "DURATION")]
    #[arg(value_parser = args::duration)]
    pub shutdown_delay: Duration,

    /// Resource limits.
    #[command(flatten)]
    pub limits: Limits,

    /// Authorization of users.
    #[command(flatten)]
    pub authorization: AuthorizationArgs,

    /// Self-signed certificates.
    #[command(flatten)]
    pub certs: CertArgs,

    /// Metrics, probes, TLS and logs.
    #[command(flatten)]
    pub serving: ServingArgs,
}

/// Flags for the permissions of users.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Authorization")]
pub struct AuthorizationArgs {
    /// Deny objects whose author lacks the permissions that the operator would use for them: create pods, impersonate
    /// the service account, and get the Secrets of the component. Uses SubjectAccessReviews
    #[arg(long, env = "FUNCTION_MESH_CHECK_PERMISSIONS", value_name = "BOOL", num_args = 0..=1,
        require_equals = true, default_value = "false", default_missing_value = "true",
        action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub check_permissions: bool,

    /// User that skips --check-permissions, for example the controller's service account, which writes the components
    /// of meshes; comma-separated
    #[arg(long, env = "FUNCTION_MESH_TRUSTED_ACCOUNTS", value_name = "USER", value_delimiter = ',')]
    pub trusted_account: Vec<String>,

    /// Allow BackendConfigs to set startup probes that run commands, and variables that control shells, loaders and
    /// runtimes or the Pulsar cluster that components authenticate to
    #[arg(long, env = "FUNCTION_MESH_ALLOW_UNSAFE_BACKEND_CONFIG", visible_alias = "allow-unsafe-backend-env",
        value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", action = clap::ArgAction::Set,
        value_parser = BoolishValueParser::new())]
    pub allow_unsafe_backend_config: bool,
}

impl AuthorizationArgs {
    /// The authorizer, with `--check-permissions`.
    async fn authorizer(&self, certs: &CertArgs) -> anyhow::Result<Option<Arc<dyn Authorizer>>> {
        if !self.check_permissions {
            return Ok(None);
        }
        let config = certs.connect.config().await.context("--check-permissions needs the API server")?;
        let client = Client::try_from(config).context("failed to create a client from the kubeconfig")?;
        let trusted = self.trusted_account.iter().cloned();
        let authorizer: Arc<dyn Authorizer> = SubjectAccessAuthorizer::new(client, trusted);
        Ok(Some(authorizer))
    }
}

#[derive(Args, Debug)]
struct ManifestsArgs {
    /// URL under which the API server reaches the webhook, for example https://192.0.2.1:9443
    #[arg(long, value_name = "URL", required_unless_present = "service", conflicts_with = "service")]
    url: Option<String>,
    /// Name of the Service of the webhook
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Namespace of the Service
    #[arg(long, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,
    /// Port of the Service
    #[arg(long, value_name = "PORT", default_value_t = 443)]
    port: i32,
    /// CA certificate of the webhook, in PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Prefix of the names of the objects
    #[arg(long, value_name = "PREFIX", default_value = "function-mesh")]
    name: String,
    /// Output format
    #[arg(long, short, value_name = "FORMAT", default_value = "yaml")]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Yaml,
    Json,
}

impl Cli {
    /// Runs the command. Call it first in a process.
    pub async fn run(self) -> anyhow::Result<()> {
        let Self { command, serve } = self;
        if let Some(Command::Manifests(args)) = command {
            return std::io::stdout().write_all(args.render()?.as_bytes()).context("failed to write");
        }
        tls::install_crypto_provider()?;
        logging::init(&serve.serving.log)?;
        let shutdown = shutdown::on_signal().context("failed to install signal handlers")?;
        start(&serve, shutdown).await?.finished().await
    }
}

/// A running webhook.
#[derive(Debug)]
pub struct Running {
    webhook: Server,
    endpoints: Vec<Server>,
    end: CancellationToken,
}

/// Starts the webhook, which serves until `shutdown` is cancelled.
pub async fn start(args: &ServeArgs, shutdown: CancellationToken) -> anyhow::Result<Running> {
    let ServeArgs { webhook_addr, shutdown_delay, limits, authorization, certs, serving } = args;
    let registry = metrics::registry("function-mesh-webhook", env!("CARGO_PKG_VERSION"))?;
    let authorizer = authorization.authorizer(certs).await?;
    let state = AppState::with_authorizer(Metrics::new(&registry)?, *limits, authorizer);
    let router =
        if authorization.allow_unsafe_backend_config { unsafe_config_router(state) } else { router(state) };
    let end = CancellationToken::new();
    let readiness = Readiness::new(shutdown.clone());
    let gate = readiness.gate("webhook");
    let certificates = certificates(certs, serving, &registry, &readiness, &end).await?;
    let endpoints = endpoints::start(serving, readiness, registry, Some(&certificates), &end).await?;
    let timeouts = Timeouts {
        shutdown_delay: *shutdown_delay,
        connections: limits.connections(),
        ..Timeouts::default()
    };
    let transport = Transport::Tls(Arc::clone(&certificates));
    let webhook = Server::start("admission", webhook_addr, router, transport, timeouts, &shutdown)
        .await?
        .context("--webhook-addr must not be disabled")?;
    gate.set(true);
    Ok(Running { webhook, endpoints, end })
}

async fn certificates(
    certs: &CertArgs,
    serving: &ServingArgs,
    registry: &Registry,
    readiness: &Readiness,
    end: &CancellationToken,
) -> anyhow::Result<Arc<Certificates>> {
    let dir = serving.cert_dir.0.clone();
    if let Some(secret) = certs.secret() {
        anyhow::ensure!(dir.is_none(), "--certificate-secret and --cert-dir are mutually exclusive");
        return certs::start(certs, secret, registry, readiness.gate("certificate"), end.clone()).await;
    }
    let dir = dir.unwrap_or_else(|| std::env::temp_dir().join(CERT_DIR));
    let certificates = Certificates::load(&dir, registry).context("no serving certificate")?;
    certificates.watch(serving.cert_poll_interval, end.clone());
    Ok(certificates)
}

impl Running {
    /// The address of the webhook.
    pub fn addr(&self) -> SocketAddr {
        self.webhook.addr()
    }

    /// The addresses of the enabled listeners for probes and metrics, in this order.
    pub fn endpoints(&self) -> impl Iterator<Item = SocketAddr> {
        self.endpoints.iter().map(Server::addr)
    }

    /// Waits until the webhook has stopped; probes and metrics stop last.
    pub async fn finished(self) -> anyhow::Result<()> {
        let Self { webhook, endpoints, end } = self;
        let result = webhook.finished().await;
        end.cancel();
        for server in endpoints {
            server.finished().await?;
        }
        result.context("the webhook stopped")
    }
}

impl ManifestsArgs {
    fn render(self) -> anyhow::Result<String> {
        let Self { url, service, namespace, port, ca_file, name, output } = self;
        let target = match (url, service) {
            (Some(url), _) => {
                anyhow::ensure!(url.starts_with("https://"), "--url must start with https://, got {url:?}");
                ClientTarget::Url(url)
            }
            (None, service) => {
                let name = service.context("--url or --service is required")?;
                ClientTarget::Service { name, namespace, port }
            }
        };
        let bundle = ca_file
            .map(|file| std::fs::read(&file).with_context(|| format!("failed to read {}", file.display())))
            .transpose()?;
        let (mutating, validating) = webhook_configurations(&name, &target, bundle.as_deref());
        Ok(match output {
            Output::Yaml => format!(
                "{}---\n{}",
                serde_saphyr::to_string(&mutating)?,
                serde_saphyr::to_string(&validating)?
            ),
            Output::Json => {
                let items = [serde_json::to_value(mutating)?, serde_json::to_value(validating)?];
                let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": items });
                format!("{list:#}\n")
            }
        })
    }
}
