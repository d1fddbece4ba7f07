//! The command line of the controller manager.

use anyhow::Context as _;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_serving::{Certificates, Readiness, ServingArgs, endpoints, logging, metrics, shutdown};
use function_mesh_workloads::{SettingsArgs, parse_bool};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::runtime::{Builder, Handle};

use crate::protected::{self, Protected};
use crate::run::{CONTROLLERS, Options, run_on};
use function_mesh_kube::client::Requests;
use function_mesh_kube::leader_election::Candidate;
use function_mesh_kube::namespaces::Namespaces;

/// Threads for probes, metrics and the election. One may be busy with a page of metrics.
const FRONT_THREADS: usize = 2;

/// How to manage what the cluster holds.
#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Args {
    /// Kubeconfig to connect with; without it KUBECONFIG, the home folder and the pod's own account are tried
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<std::path::PathBuf>,
    /// Context of the kubeconfig; without it the current one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Namespaces to look after, with commas between them; empty for all. In each of them a Role is enough
    #[arg(long, env = "WATCHED_NAMESPACE", value_name = "NAMES", action = clap::ArgAction::Append)]
    watched_namespace: Vec<Namespaces>,
    /// Let components run in this program's own namespaces: that of its pod and that of the Lease. Whoever may
    /// create components there then has the rights of this program's account
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
    /// Namespaces in which no component may run, with commas between them
    #[arg(
        long,
        env = "PROTECTED_NAMESPACES",
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "kube-system,kube-public,kube-node-lease"
    )]
    protected_namespaces: Vec<String>,
    /// Objects of each kind that are worked on at a time
    #[arg(long, env = "CONCURRENCY", default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Hold back changes of running pods, such as a new version of this program would bring, until the
    /// component's own specification changes; status.pendingChange says what is held back
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
    /// Wait for a Lease before acting, so that several of these programs may run and one acts
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
    /// Name of the Lease; the original operator uses the same, so that never both act
    #[arg(long, env = "LEADER_ELECTION_ID", default_value = "a3f45fce.functionmesh.io", value_name = "NAME")]
    leader_election_id: String,
    /// Namespace of the Lease; empty for the program's own
    #[arg(
        long,
        env = "LEADER_ELECTION_NAMESPACE",
        default_value = "",
        hide_default_value = true,
        value_name = "NAME"
    )]
    leader_election_namespace: String,
    /// The original's profiles, which only a program in Go has: taken, so that its command lines go on working
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
    /// Where the original serves them
    #[arg(long, env = "PPROF_ADDR", hide = true, default_value = "")]
    pprof_addr: String,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    serving: ServingArgs,
}

impl Args {
    /// Runs until a signal ends it, or until this program no longer leads. Probes, metrics and the election have
    /// threads of their own: they answer whatever the reconciles do.
    pub fn run(self) -> anyhow::Result<()> {
        let front = Builder::new_multi_thread()
            .worker_threads(FRONT_THREADS)
            .thread_name("front")
            .enable_all()
            .build()?;
        let back = Builder::new_multi_thread().thread_name("reconcile").enable_all().build()?;
        let result = front.block_on(self.run_on(back.handle()));
        // Nothing is waited for: everything is done, or must not go on, such as the work of one that leads no more.
        back.shutdown_background();
        front.shutdown_background();
        result
    }

    async fn run_on(self, reconciles: &Handle) -> anyhow::Result<()> {
        let Self {
            kubeconfig,
            context,
            watched_namespace,
            allow_own_namespace,
            protected_namespaces,
            concurrency,
            pause_rollout,
            enable_leader_election,
            leader_election_id,
            leader_election_namespace,
            enable_pprof,
            pprof_addr,
            settings,
            serving,
        } = self;
        logging::init(&serving.log)?;
        if enable_pprof {
            tracing::warn!(pprof_addr, "--enable-pprof has no effect: this program has no such profiles");
        }
        let end = shutdown::on_signal()?;
        let settings = settings.settings()?;
        let config = connection(kubeconfig, context).await?;
        let registry = metrics::registry("function-mesh-controller-manager", env!("CARGO_PKG_VERSION"))?;
        // Probes and metrics are served until the last write is done.
        let served = CancellationToken::new();
        let requests = Requests::register(&registry)?;
        let client = |runtime: &Handle| {
            // A client's own tasks run where it is made.
            let _runtime = runtime.enter();
            requests.client(config.clone()).context("cannot make a client of the kubeconfig")
        };
        let (client, election_client) = (client(reconciles)?, client(&Handle::current())?);
        let readiness = Readiness::new(end.clone());
        readiness.gate(CONTROLLERS);
        let certificates = match &serving.cert_dir.0 {
            Some(folder) => Some(Certificates::load(folder, &registry)?),
            None => None,
        };
        if let Some(certificates) = &certificates {
            certificates.watch(serving.cert_poll_interval, served.clone());
        }
        let servers =
            endpoints::start(&serving, readiness.clone(), registry.clone(), certificates.as_ref(), &served)
                .await?;
        let own = Some(leader_election_namespace).filter(|namespace| !namespace.is_empty());
        let own_namespaces = [own.clone(), protected::of_this_pod()].into_iter().flatten();
        let own_namespaces = own_namespaces.filter(|_| !allow_own_namespace);
        let candidate = Candidate {
            namespace: own.unwrap_or_else(|| client.default_namespace().to_owned()),
            lease: leader_election_id,
            identity: identity(),
        };
        let options = Options {
            settings,
            namespaces: watched_namespace.into_iter().collect(),
            protected: Protected::new(own_namespaces, protected_namespaces),
            concurrency,
            pause_rollout,
            candidate: enable_leader_election.then_some(candidate),
        };
        let controllers = (reconciles, client);
        // Without leadership this program ends at once, and answers nobody any more.
        run_on(controllers, election_client, options, &registry, &readiness, end).await?;
        served.cancel();
        for server in servers {
            server.finished().await?;
        }
        Ok(())
    }
}

/// A name that no other program has, and people can tell: the pod's or machine's, and what tells apart two that
/// run there one after the other.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let moment = jiff::Timestamp::now().as_nanosecond();
    format!("{}_{}_{moment:x}", host.as_deref().unwrap_or("function-mesh"), std::process::id())
}

async fn connection(file: Option<std::path::PathBuf>, context: Option<String>) -> anyhow::Result<Config> {
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    Ok(match file {
        Some(file) => {
            let kubeconfig =
                Kubeconfig::read_from(&file).with_context(|| format!("cannot read {}", file.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await?
        }
        None if options.context.is_some() => Config::from_kubeconfig(&options).await?,
        None => Config::infer().await.context(
            "found no cluster: pass --kubeconfig, set KUBECONFIG, or run in a pod with a service account",
        )?,
    })
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
    fn every_flag_of_the_original_is_taken() {
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
    fn namespaces_are_a_list_or_a_flag_for_each_or_all() {
        assert_eq!(watched(&[]).unwrap(), "all");
        assert_eq!(watched(&["--watched-namespace", ""]).unwrap(), "all");
        assert_eq!(watched(&["--watched-namespace=b, a,b"]).unwrap(), "a,b");
        assert_eq!(watched(&["--watched-namespace=a", "--watched-namespace=b,c"]).unwrap(), "a,b,c");
        let error = watched(&["--watched-namespace=a,Team B"]).unwrap_err().to_string();
        assert!(error.contains("\"Team B\" cannot be the name of a namespace"), "{error}");
    }
}
