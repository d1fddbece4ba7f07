//! Command line, startup and shutdown of the console in the cluster.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use function_mesh_kube::client::ClientMetrics;
use function_mesh_kube::connect::ConnectArgs;
use function_mesh_kube::namespaces::Namespaces;
use function_mesh_serving::shutdown::{self, CancellationToken};
use function_mesh_serving::{
    Certificates, ConnectionLimits, Gate, ListenAddr, Readiness, Server, ServingArgs, Timeouts, Transport,
    endpoints, logging, metrics, tls,
};

use crate::hub::{Hub, Times};
use crate::link::LinkTemplate;
use crate::watch;
use crate::web::access::{Access, Reviews};
use crate::web::{App, router};

/// 100 viewers with a stream of events each, and some with a panel. Behind a proxy all have one address. A browser that
/// is busy drawing reads late.
const CONNECTIONS: ConnectionLimits =
    ConnectionLimits { total: 256, per_address: 256, write_timeout: Duration::from_secs(20) };

/// A page that shows running meshes, for users of the cluster
///
/// Users sign in with a bearer token: that of a ServiceAccount, or an OpenID Connect token if the API server accepts
/// it. A proxy in front may pass it in the header Authorization. A TokenReview shows who the user is, and
/// SubjectAccessReviews show what they may see: what they may `list` in a namespace, details with `get`, and logs with
/// `get pods/log`. The console writes nothing and sets no cookie.
#[derive(Debug, Parser)]
#[command(name = "function-mesh-console", version)]
#[command(after_long_help = "\
Examples:
  Show the meshes of all namespaces:
    function-mesh-console

  Watch two namespaces with a Role in each, and accept only tokens that were issued for the console:
    function-mesh-console --watched-namespace shop,bank --audience function-mesh-console
    kubectl create token viewer --audience function-mesh-console")]
pub struct Cli {
    /// Address of the page. With --cert-dir it uses TLS
    #[arg(long, env = "FUNCTION_MESH_CONSOLE_ADDR", default_value = ":8080", value_name = "ADDR")]
    pub console_addr: ListenAddr,

    /// Comma-separated namespaces to watch; empty for all. A Role in each namespace is sufficient
    #[arg(long, env = "WATCHED_NAMESPACE", value_name = "NAMES", action = clap::ArgAction::Append)]
    pub watched_namespace: Vec<Namespaces>,

    /// Audience of accepted tokens, comma-separated; empty for tokens of the API server
    #[arg(long, env = "FUNCTION_MESH_CONSOLE_AUDIENCE", value_name = "NAME", value_delimiter = ',')]
    pub audience: Vec<String>,

    /// Link from components to a dashboard, with {namespace}, {kind} and {name}, such as
    /// https://grafana.example/d/mesh?var-namespace={namespace}&var-name={name}
    #[arg(long, env = "FUNCTION_MESH_GRAFANA_URL", value_name = "URL")]
    pub grafana_url: Option<LinkTemplate>,

    /// The cluster.
    #[command(flatten)]
    pub connect: ConnectArgs,

    /// Metrics, probes, TLS and logs.
    #[command(flatten)]
    pub serving: ServingArgs,
}

impl Cli {
    /// Runs until SIGTERM. Call it first in a process.
    pub async fn run(self) -> anyhow::Result<()> {
        tls::install_crypto_provider()?;
        logging::init(&self.serving.log)?;
        let shutdown = shutdown::on_signal().context("failed to install signal handlers")?;
        start(self, Times::in_cluster(), shutdown).await?.finished().await
    }
}

/// A running console.
#[derive(Debug)]
pub struct Running {
    console: Server,
    endpoints: Vec<Server>,
    end: CancellationToken,
}

/// Starts the console, which serves until `shutdown` is cancelled.
pub async fn start(args: Cli, times: Times, shutdown: CancellationToken) -> anyhow::Result<Running> {
    let Cli { console_addr, watched_namespace, audience, grafana_url, connect, serving } = args;
    let registry = metrics::registry("function-mesh-console", env!("CARGO_PKG_VERSION"))?;
    let config = connect.config().await.context("no cluster")?;
    let client = ClientMetrics::register(&registry)?.client(config).context("failed to create a client")?;
    let end = CancellationToken::new();
    let certificates = match &serving.cert_dir.0 {
        Some(folder) => {
            let certificates = Certificates::load(folder, &registry).context("no serving certificate")?;
            certificates.watch(serving.cert_poll_interval, end.clone());
            Some(certificates)
        }
        None => None,
    };
    let readiness = Readiness::new(shutdown.clone());
    let synced = readiness.gate("first lists");
    let endpoints = endpoints::start(&serving, readiness, registry, certificates.as_ref(), &end).await?;

    let namespaces: Namespaces = watched_namespace.into_iter().collect();
    let hub = Hub::new(namespaces.scopes().into_iter().flatten().collect(), times);
    tokio::spawn(watch::run(client.clone(), hub.clone(), "the console", shutdown.clone()));
    tokio::spawn(hub.clone().run(shutdown.clone()));
    tokio::spawn(open_when_synced(hub.clone(), synced));
    let audiences = audience.into_iter().filter(|name| !name.is_empty()).collect();
    let access = Reviews::new(client.clone(), audiences, times.permissions.unwrap_or_default());
    let mut app = App::new(hub, client, Access::Reviews(access), shutdown.clone());
    app.dashboard = grafana_url;
    let timeouts = Timeouts { connections: CONNECTIONS, ..Timeouts::default() };
    let transport = certificates.map_or(Transport::Plain, Transport::Tls);
    let console = Server::start("console", &console_addr, router(app), transport, timeouts, &shutdown)
        .await?
        .context("--console-addr must not be disabled")?;
    Ok(Running { console, endpoints, end })
}

async fn open_when_synced(hub: Hub, synced: Gate) {
    while !hub.has_synced() {
        hub.wait_synced().await;
    }
    synced.set(true);
}

impl Running {
    /// The address of the page.
    pub fn addr(&self) -> SocketAddr {
        self.console.addr()
    }

    /// The addresses of the enabled listeners for probes and metrics, in this order.
    pub fn endpoints(&self) -> impl Iterator<Item = SocketAddr> {
        self.endpoints.iter().map(Server::addr)
    }

    /// Waits until the console has stopped; probes and metrics stop last.
    pub async fn finished(self) -> anyhow::Result<()> {
        let Self { console, endpoints, end } = self;
        let result = console.finished().await;
        end.cancel();
        for server in endpoints {
            server.finished().await?;
        }
        result.context("the console stopped")
    }
}
