//! Flags of the controller manager.

use anyhow::Context as _;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_serving::{Certificates, Readiness, ServingArgs, endpoints, logging, metrics, shutdown};
use function_mesh_workloads::{SettingsArgs, parse_bool};
use tokio::runtime::{Builder, Handle};

use crate::protected_namespaces::{self, ProtectedNamespaces};
use crate::publish::SettingsTarget;
use crate::run::{CONTROLLERS, Options, run_on};
use crate::traffic::ObserverArgs;
use function_mesh_kube::client::ClientMetrics;
use function_mesh_kube::connect::ConnectArgs;
use function_mesh_kube::leader_election::Candidate;
use function_mesh_kube::namespaces::Namespaces;
use function_mesh_kube::service_account;

/// Threads for probes, metrics and leader election. A metrics scrape may occupy one.
const SERVING_THREADS: usize = 2;

/// Flags of the controller manager.
#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a separate flag")]
pub struct Args {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Comma-separated namespaces to watch; empty for all. A Role in each namespace is sufficient
    #[arg(long, env = "WATCHED_NAMESPACE", value_name = "NAMES", action = clap::ArgAction::Append)]
    watched_namespace: Vec<Namespaces>,
    /// Allow components in the operator's own namespaces: those of its pod and its Lease. Users who can create
    /// components there get the permissions of the operator's ServiceAccount
    #[arg(
        long,
        env = "ALLOW_OWN_NAMESPACE",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        action = clap::ArgAction::Set,
        value_parser = parse_bool("ALLOW_OWN_NAMESPACE", false)
    )]
    allow_own_namespace: bool,
    /// Comma-separated namespaces in which components are rejected
    #[arg(
        long,
        env = "PROTECTED_NAMESPACES",
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "kube-system,kube-public,kube-node-lease"
    )]
    protected_namespaces: Vec<String>,
    /// Concurrent reconciles of each kind
    #[arg(long, env = "FUNCTION_MESH_CONCURRENCY", default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Defer rollouts of running pods, such as an operator upgrade would cause, until the spec of the component
    /// changes; status.pendingChange shows the deferred change
    #[arg(
        long,
        env = "PAUSE_ROLLOUT",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        action = clap::ArgAction::Set,
        value_parser = parse_bool("PAUSE_ROLLOUT", false)
    )]
    pause_rollout: bool,
    /// Elect a leader with a Lease, so that one of several replicas is active
    #[arg(
        long,
        env = "ENABLE_LEADER_ELECTION",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = false,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    enable_leader_election: bool,
    /// Name of the Lease; same as upstream's, so that only one of the two operators is active
    #[arg(long, env = "LEADER_ELECTION_ID", default_value = "a3f45fce.functionmesh.io", value_name = "NAME")]
    leader_election_id: String,
    /// Namespace of the Lease; empty for the operator's own namespace
    #[arg(
        long,
        env = "LEADER_ELECTION_NAMESPACE",
        default_value = "",
        hide_default_value = true,
        value_name = "NAME"
    )]
    leader_election_namespace: String,
    /// ConfigMap in the operator's own namespace to publish these settings in, for kubectl mesh; empty for none. It must
    /// exist, or the operator must be allowed to create it
    #[arg(
        long,
        env = "SETTINGS_CONFIG_MAP",
        default_value = "",
        hide_default_value = true,
        value_name = "NAME"
    )]
    settings_config_map: String,
    /// Accepted for compatibility with upstream; ignored
    #[arg(
        long,
        env = "ENABLE_PPROF",
        hide = true,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = false,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    enable_pprof: bool,
    /// Accepted for compatibility with upstream; ignored
    #[arg(long, env = "PPROF_ADDR", hide = true, default_value = "")]
    pprof_addr: String,
    #[command(flatten)]
    observer: ObserverArgs,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    serving: ServingArgs,
}

impl Args {
    /// Runs until a signal, or until leadership is lost. Probes, metrics and leader election have their own threads, so
    /// busy reconciles do not block them.
    pub fn run(self) -> anyhow::Result<()> {
        let serving = Builder::new_multi_thread()
            .worker_threads(SERVING_THREADS)
            .thread_name("serving")
            .enable_all()
            .build()?;
        let reconcile = Builder::new_multi_thread().thread_name("reconcile").enable_all().build()?;
        let result = serving.block_on(self.run_on(reconcile.handle()));
        // Without waiting: all work is complete, or must not continue without leadership.
        reconcile.shutdown_background();
        serving.shutdown_background();
        result
    }

    async fn run_on(self, reconciles: &Handle) -> anyhow::Result<()> {
        let Self {
            connect,
            watched_namespace,
            allow_own_namespace,
            protected_namespaces,
            concurrency,
            pause_rollout,
            enable_leader_election,
            leader_election_id,
            leader_election_namespace,
            settings_config_map,
            enable_pprof,
            pprof_addr,
            observer,
            settings,
            serving,
        } = self;
        logging::init(&serving.log)?;
        if enable_pprof {
            tracing::warn!(pprof_addr, "--enable-pprof is ignored: pprof profiles are not supported");
        }
        let end = shutdown::on_signal()?;
        let settings = settings.settings()?;
        let config = connect.config().await?;
        let registry = metrics::registry("function-mesh-controller-manager", env!("CARGO_PKG_VERSION"))?;
        // Probes and metrics are available until the last write is complete.
        let servers_shutdown = CancellationToken::new();
        let client_metrics = ClientMetrics::register(&registry)?;
        let client = |runtime: &Handle| {
            // The tasks of a client run on the runtime that creates it.
            let _runtime = runtime.enter();
            client_metrics.client(config.clone()).context("failed to create a client from the kubeconfig")
        };
        let (client, election_client) = (client(reconciles)?, client(&Handle::current())?);
        let readiness = Readiness::new(end.clone());
        readiness.gate(CONTROLLERS);
        let certificates = match &serving.cert_dir.0 {
            Some(folder) => Some(Certificates::load(folder, &registry)?),
            None => None,
        };
        if let Some(certificates) = &certificates {
            certificates.watch(serving.cert_poll_interval, servers_shutdown.clone());
        }
        let servers = endpoints::start(
            &serving,
            readiness.clone(),
            registry.clone(),
            certificates.as_ref(),
            &servers_shutdown,
        )
        .await?;
        let own = Some(leader_election_namespace).filter(|namespace| !namespace.is_empty());
        let own_namespaces = [own.clone(), protected_namespaces::pod_namespace()].into_iter().flatten();
        let own_namespaces = own_namespaces.filter(|_| !allow_own_namespace);
        let namespace = own.unwrap_or_else(|| client.default_namespace().to_owned());
        let candidate = Candidate {
            owner: service_account::owner_reference(&config, &namespace),
            namespace,
            lease: leader_election_id,
            identity: identity(),
        };
        let options = Options {
            settings,
            namespaces: watched_namespace.into_iter().collect(),
            protected: ProtectedNamespaces::new(own_namespaces, protected_namespaces),
            concurrency,
            pause_rollout,
            observer: observer.settings()?,
            publish_settings: Some(settings_config_map)
                .filter(|name| !name.is_empty())
                .map(|name| SettingsTarget { namespace: candidate.namespace.clone(), name }),
            candidate: enable_leader_election.then_some(candidate),
        };
        let controllers = (reconciles, client);
        // An error, such as lost leadership, exits the process at once, without a graceful shutdown of the servers.
        run_on(controllers, election_client, options, &registry, &readiness, end).await?;
        servers_shutdown.cancel();
        for server in servers {
            server.finished().await?;
        }
        Ok(())
    }
}

/// A unique, readable identity: the name of the pod or host, the process ID and the start time.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let started = jiff::Timestamp::now().as_nanosecond();
    format!("{}_{}_{started:x}", host.as_deref().unwrap_or("function-mesh"), std::process::id())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Manager {
        #[command(flatten)]
        args: Args,
    }

    fn watched(args: &[&str]) -> Result<String, clap::Error> {
        let Manager { args } = Manager::try_parse_from([&["manager"], args].concat())?;
        Ok(args.watched_namespace.into_iter().collect::<Namespaces>().to_string())
    }

    #[test]
    fn accepts_all_upstream_flags() {
        let args = [
            "--metrics-addr=:8443",
            "--metrics-secure=false",
            "--leader-election-id=a3f45fce.functionmesh.io",
            "--leader-election-namespace=",
            "--enable-leader-election",
            "--health-probe-addr=:8000",
            "--cert-dir=",
            "--config-file=/etc/config/config.yaml",
            "--watched-namespace=",
            "--enable-pprof=true",
            "--pprof-addr=:8090",
            "--enable-init-containers=false",
            "--global-backend-config=global-backend-config",
            "--global-backend-config-namespace=default",
            "--namespaced-backend-config=backend-config",
            "--add-default-affinity=true",
            "--pause-rollout=false",
        ];
        let Manager { args } = Manager::try_parse_from(["manager"].into_iter().chain(args)).unwrap();
        assert!(args.enable_pprof && args.enable_leader_election);
    }

    #[test]
    fn watched_namespaces_can_be_lists_or_repeated() {
        assert_eq!(watched(&[]).unwrap(), "all");
        assert_eq!(watched(&["--watched-namespace", ""]).unwrap(), "all");
        assert_eq!(watched(&["--watched-namespace=b, a,b"]).unwrap(), "a,b");
        assert_eq!(watched(&["--watched-namespace=a", "--watched-namespace=b,c"]).unwrap(), "a,b,c");
        let error = watched(&["--watched-namespace=a,Team B"]).unwrap_err().to_string();
        assert!(error.contains("invalid namespace name \"Team B\""), "{error}");
    }
}
