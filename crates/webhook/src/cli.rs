//! The program: its flags, its start and its end.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use function_mesh_serving::shutdown::{self, CancellationToken};
use function_mesh_serving::{
    Certificates, ListenAddr, Readiness, Server, ServingArgs, Timeouts, Transport, args, endpoints, logging,
    metrics, tls,
};
use kube::Client;
use prometheus::Registry;

use crate::access::Access;
use crate::authority::{self, AuthorityArgs};
use crate::manifests::{ClientTarget, webhook_configurations};
use crate::router::{router, trusting_router};
use crate::{AppState, Limits, Metrics, Reviewer};

/// Where the certificate is looked for when no folder is named; the original's place.
const CERT_DIR: &str = "k8s-webhook-server/serving-certs";

/// The admission webhook of Function Mesh
///
/// Completes Functions, Sources, Sinks, FunctionMeshes and BackendConfigs as they are created or changed, and
/// refuses those that break a rule, with all violations at once. The API server calls it over TLS; which
/// objects it sends, and where, is said by a MutatingWebhookConfiguration and a
/// ValidatingWebhookConfiguration, which `function-mesh-webhook configuration` prints.
#[derive(Debug, Parser)]
#[command(name = "function-mesh-webhook", version, args_conflicts_with_subcommands = true)]
#[command(after_long_help = "\
Examples:
  Serve with a certificate that cert-manager keeps in a mounted Secret:
    function-mesh-webhook --cert-dir /certs

  Make a certificate, keep it in a Secret and let the API server trust it:
    function-mesh-webhook --certificate-secret function-mesh-webhook \\
      --certificate-dns-name function-mesh-webhook.function-mesh.svc \\
      --mutating-webhook-configuration function-mesh-mutating-webhook-configuration \\
      --validating-webhook-configuration function-mesh-validating-webhook-configuration

  Let a development cluster call a program outside of it:
    function-mesh-webhook --cert-dir ./certs --webhook-addr :9443 &
    function-mesh-webhook configuration --url https://192.0.2.1:9443 --ca-file ./certs/ca.crt | kubectl apply -f -")]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the objects that make the API server call this program
    Configuration(ConfigurationArgs),
}

/// How to serve.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Where to serve admission, always over TLS. Without --cert-dir the certificate is looked for in
    /// k8s-webhook-server/serving-certs under the folder for temporary files
    #[arg(long, env = "WEBHOOK_ADDR", default_value = ":9443", value_name = "ADDR")]
    pub webhook_addr: ListenAddr,

    /// How long to take connections after the program was asked to stop, until the cluster sends no more
    #[arg(long, env = "SHUTDOWN_DELAY", default_value = "3s", value_name = "TIME")]
    #[arg(value_parser = args::duration)]
    pub shutdown_delay: Duration,

    /// What requests may cost.
    #[command(flatten)]
    pub limits: Limits,

    /// Whose rights are asked for.
    #[command(flatten)]
    pub rights: RightsArgs,

    /// A certificate of the program's own making.
    #[command(flatten)]
    pub authority: AuthorityArgs,

    /// Metrics, probes, certificates and logs.
    #[command(flatten)]
    pub serving: ServingArgs,
}

/// Whose rights are asked for, and what authors of BackendConfigs may.
#[derive(Args, Clone, Debug)]
pub struct RightsArgs {
    /// Let an object pass only if its author may do by hand what the operator would do for them: create pods, be the
    /// service account that a component names, and read the Secrets that it names. The program asks the API server,
    /// by SubjectAccessReviews
    #[arg(long, env = "CHECK_RIGHTS", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub check_rights: bool,

    /// User who needs no such rights, for example the account of the controller, which writes the components of meshes
    #[arg(long, env = "TRUSTED_ACCOUNTS", value_name = "USER", value_delimiter = ',')]
    pub trusted_account: Vec<String>,

    /// Let BackendConfigs set variables that are instructions to shells, loaders and runtimes or decide which Pulsar
    /// components log in to, and startup probes that run a command
    #[arg(long, env = "ALLOW_UNSAFE_BACKEND_CONFIG", visible_alias = "allow-unsafe-backend-env", value_name = "BOOL",
        num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true",
        action = clap::ArgAction::Set)]
    pub allow_unsafe_backend_config: bool,
}

impl RightsArgs {
    /// Whoever is asked for rights, if anybody is.
    async fn reviewer(&self, connection: &AuthorityArgs) -> anyhow::Result<Option<Arc<dyn Reviewer>>> {
        if !self.check_rights {
            return Ok(None);
        }
        let config = connection.connection().await.context("--check-rights asks the API server")?;
        let client = Client::try_from(config).context("cannot make a client of the kubeconfig")?;
        let reviewer: Arc<dyn Reviewer> = Access::new(client, self.trusted_account.iter().cloned());
        Ok(Some(reviewer))
    }
}

#[derive(Args, Debug)]
struct ConfigurationArgs {
    /// Address of the program as the API server reaches it, for example https://192.0.2.1:9443
    #[arg(long, value_name = "URL", required_unless_present = "service", conflicts_with = "service")]
    url: Option<String>,
    /// Name of the Service in front of the program
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Namespace of the Service
    #[arg(long, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,
    /// Port of the Service
    #[arg(long, value_name = "PORT", default_value_t = 443)]
    port: i32,
    /// File with the certificate, in PEM, of the authority that signed the program's own
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// What the names of the objects begin with
    #[arg(long, value_name = "PREFIX", default_value = "function-mesh")]
    name: String,
    /// Form of the output
    #[arg(long, short, value_name = "FORMAT", default_value = "yaml")]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Yaml,
    Json,
}

impl Cli {
    /// Does what the flags say. The first thing that a process does.
    pub async fn run(self) -> anyhow::Result<()> {
        let Self { command, serve } = self;
        if let Some(Command::Configuration(args)) = command {
            return std::io::stdout().write_all(args.render()?.as_bytes()).context("cannot write");
        }
        tls::install_crypto_provider()?;
        logging::init(&serve.serving.log)?;
        let shutdown = shutdown::on_signal().context("cannot listen for signals")?;
        start(&serve, shutdown).await?.finished().await
    }
}

/// A webhook that serves.
#[derive(Debug)]
pub struct Running {
    webhook: Server,
    others: Vec<Server>,
    end: CancellationToken,
}

/// Starts to serve, until `shutdown` is cancelled.
pub async fn start(args: &ServeArgs, shutdown: CancellationToken) -> anyhow::Result<Running> {
    let ServeArgs { webhook_addr, shutdown_delay, limits, rights, authority, serving } = args;
    let registry = metrics::registry("function-mesh-webhook", env!("CARGO_PKG_VERSION"))?;
    let state = AppState::with_reviewer(Metrics::new(&registry)?, *limits, rights.reviewer(authority).await?);
    let router = if rights.allow_unsafe_backend_config { trusting_router(state) } else { router(state) };
    let end = CancellationToken::new();
    let readiness = Readiness::new(shutdown.clone());
    let gate = readiness.gate("webhook");
    let certificates = certificates(authority, serving, &registry, &readiness, &end).await?;
    let others = endpoints::start(serving, readiness, registry, Some(&certificates), &end).await?;
    let timeouts =
        Timeouts { linger: *shutdown_delay, connections: limits.connections(), ..Timeouts::default() };
    let transport = Transport::Tls(Arc::clone(&certificates));
    let webhook = Server::start("admission", webhook_addr, router, transport, timeouts, &shutdown)
        .await?
        .context("--webhook-addr is off, so there is nothing to serve")?;
    gate.set(true);
    Ok(Running { webhook, others, end })
}

async fn certificates(
    authority: &AuthorityArgs,
    serving: &ServingArgs,
    registry: &Registry,
    readiness: &Readiness,
    end: &CancellationToken,
) -> anyhow::Result<Arc<Certificates>> {
    let dir = serving.cert_dir.0.clone();
    if let Some(secret) = authority.secret() {
        anyhow::ensure!(
            dir.is_none(),
            "--certificate-secret and --cert-dir are both given: the certificate comes from one of them"
        );
        return authority::start(authority, secret, registry, readiness.gate("certificate"), end.clone())
            .await;
    }
    let dir = dir.unwrap_or_else(|| std::env::temp_dir().join(CERT_DIR));
    let certificates = Certificates::load(&dir, registry).context("there is no certificate to serve with")?;
    certificates.watch(serving.cert_poll_interval, end.clone());
    Ok(certificates)
}

impl Running {
    /// The address that admission is served at.
    pub fn addr(&self) -> SocketAddr {
        self.webhook.addr()
    }

    /// The addresses of probes and metrics, those of them that are served.
    pub fn others(&self) -> impl Iterator<Item = SocketAddr> {
        self.others.iter().map(Server::addr)
    }

    /// Waits for the end; probes and metrics end last.
    pub async fn finished(self) -> anyhow::Result<()> {
        let Self { webhook, others, end } = self;
        let result = webhook.finished().await;
        end.cancel();
        for server in others {
            server.finished().await?;
        }
        result.context("admission ended")
    }
}

impl ConfigurationArgs {
    fn render(self) -> anyhow::Result<String> {
        let Self { url, service, namespace, port, ca_file, name, output } = self;
        let target = match (url, service) {
            (Some(url), _) => {
                anyhow::ensure!(url.starts_with("https://"), "--url {url:?} must begin with https://");
                ClientTarget::Url(url)
            }
            (None, service) => {
                let name = service.context("name either --url or --service")?;
                ClientTarget::Service { name, namespace, port }
            }
        };
        let bundle = ca_file
            .map(|file| std::fs::read(&file).with_context(|| format!("cannot read {}", file.display())))
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
