//! Connects watches, caches and controllers, and runs them until shutdown.

use std::sync::Arc;

use function_mesh_serving::Readiness;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_workloads::Settings;
use futures::FutureExt;
use futures::future::{join_all, ready};
use kube::Client;
use kube::runtime::watcher;
use prometheus::Registry;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::builder::{ControllerBuilder, run_controller};
use crate::component::{Peers, PodFailures, RejectedPods, Rollouts, SettledComponents};
use crate::context::Shared;
use crate::mesh::MeshReconciler;
use crate::metrics::Metrics;
use crate::protected_namespaces::ProtectedNamespaces;
use crate::publish::SettingsTarget;
use crate::runtime::backoff::Backoff;
use crate::runtime::compute::Compute;
use crate::runtime::debounce::{CleanupClock, MissingPods, StatusDebounce};
use crate::traffic::metrics::TrafficMetrics;
use crate::traffic::{Observer, ObserverSettings};
use crate::{backends, mesh, publish};
use function_mesh_kube::apply::Rewrites;
use function_mesh_kube::cache::WatchMetrics;
use function_mesh_kube::echoes::Echoes;
use function_mesh_kube::events::Events;
use function_mesh_kube::leader_election::{self, Candidate, Leadership};
use function_mesh_kube::memory::Memory;
use function_mesh_kube::namespaces::Namespaces;
use function_mesh_kube::status::ReportedErrors;

/// The readiness gate that is open once [`run`] has registered all other gates. A process that serves probes earlier
/// creates this gate first.
pub const CONTROLLERS: &str = "controllers";

/// Options of the controllers.
#[derive(Clone, Debug)]
pub struct Options {
    /// Renderer settings.
    pub settings: Settings,
    /// Watched namespaces.
    pub namespaces: Namespaces,
    /// Namespaces in which components are rejected.
    pub protected: ProtectedNamespaces,
    /// Concurrent reconciles of each kind; [`crate::runtime::queue`] shares them among namespaces.
    pub concurrency: u16,
    /// Whether rollouts are paused for all components, except those that a change of the spec causes.
    pub pause_rollout: bool,
    /// The candidate for leader election; None if it is off.
    pub candidate: Option<Candidate>,
    /// Where the settings are published; None for nowhere.
    pub publish_settings: Option<SettingsTarget>,
    /// How message traffic is observed; None for not at all.
    pub observer: Option<ObserverSettings>,
}

/// Runs all controllers until `shutdown`. They retry until the CRDs are installed, and sync their caches before they lead.
pub async fn run(
    client: Client,
    options: Options,
    registry: &Registry,
    readiness: &Readiness,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (candidate, manager) = Manager::new(options, shutdown);
    let leadership = manager.leadership.clone();
    let manager = manager.run(client.clone(), registry.clone(), readiness.clone()).boxed();
    run_with_lease(candidate, client, registry, &leadership, manager).await
}

/// The same with the controllers on a separate runtime, so that they cannot block leader election, which runs on the
/// current one. Each client must be created on its runtime.
pub async fn run_on(
    (runtime, client): (&Handle, Client),
    election_client: Client,
    options: Options,
    registry: &Registry,
    readiness: &Readiness,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (candidate, manager) = Manager::new(options, shutdown);
    let leadership = manager.leadership.clone();
    let manager = runtime.spawn(manager.run(client, registry.clone(), readiness.clone()));
    let manager = async { AbortOnDropHandle::new(manager).await? };
    run_with_lease(candidate, election_client, registry, &leadership, manager).await
}

/// Leads while the controllers run. When leadership is lost, the controllers are dropped together with their requests in
/// flight.
async fn run_with_lease(
    candidate: Option<Candidate>,
    client: Client,
    registry: &Registry,
    leadership: &Leadership,
    manager: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let Some(candidate) = candidate else {
        leader_election::gauge(registry)?.set(1);
        return manager.await;
    };
    let done = CancellationToken::new();
    let lead = candidate.lead(client, registry, leadership, &done);
    tokio::pin!(lead, manager);
    tokio::select! {
        lost = &mut lead => lost.map_err(Into::into),
        ended = &mut manager => {
            done.cancel();
            lead.await?;
            ended
        }
    }
}

struct Manager {
    options: Options,
    leadership: Leadership,
}

impl Manager {
    fn new(mut options: Options, shutdown: CancellationToken) -> (Option<Candidate>, Self) {
        let candidate = options.candidate.take();
        let leadership = match &candidate {
            Some(_) => Leadership::candidate(shutdown),
            None => Leadership::alone(shutdown),
        };
        (candidate, Self { options, leadership })
    }

    #[allow(clippy::too_many_lines, reason = "it connects everything")]
    async fn run(self, client: Client, registry: Registry, readiness: Readiness) -> anyhow::Result<()> {
        let Self { options, leadership } = self;
        let Options {
            settings,
            namespaces,
            protected,
            concurrency,
            pause_rollout,
            publish_settings,
            observer,
            ..
        } = options;
        let published = publish::published(&settings, &namespaces);
        let (client, shutdown) = (leadership.fence.client(client), leadership.shutdown.clone());
        let memory = Memory::default();
        let watches = WatchMetrics::register(&registry, &memory)?;
        let (backends, backend_changes) =
            backends::watch(&client, &settings, &namespaces, &watches, &shutdown);
        let publishing = {
            let (client, leadership) = (client.clone(), leadership.clone());
            async move {
                if let Some(target) = publish_settings {
                    publish::publish(client, target, published, leadership).await;
                }
            }
        };
        let shared = Arc::new(Shared {
            events: Events::new(client.clone()),
            metrics: Metrics::register(&registry)?,
            backoff: Backoff::default(),
            status_debounce: StatusDebounce::default(),
            cleanup_clock: CleanupClock::default(),
            leadership: leadership.clone(),
            compute: Compute::default(),
            protected,
            pause_rollout,
            settings,
            backends: backends.clone(),
            client,
            undecodable: ReportedErrors::default(),
            memory,
            settled: SettledComponents::default(),
            rewrites: Rewrites::default(),
            echoes: Echoes::default(),
            pod_failures: PodFailures::default(),
            missing_pods: MissingPods::default(),
            rejected_pods: RejectedPods::default(),
            rollouts: Rollouts::default(),
            traffic: observer.as_ref().map(|_| Arc::default()),
        });
        let builder = ControllerBuilder {
            shared: &shared,
            watches,
            namespaces: &namespaces,
            concurrency,
            readiness: &readiness,
            leadership: &leadership,
        };
        let meshes = builder.meshes()?;
        let mesh_triggers = meshes.triggers();
        let (functions, function_changes) = builder.watch(&watcher::Config::default());
        let (sources, source_changes) = builder.watch(&watcher::Config::default());
        let (sinks, sink_changes) = builder.watch(&watcher::Config::default());
        let peers = Peers { functions: functions.clone(), sources: sources.clone(), sinks: sinks.clone() };
        let of_functions = builder.component(&functions, function_changes, &peers, &mesh_triggers)?;
        let of_sources = builder.component(&sources, source_changes, &peers, &mesh_triggers)?;
        let of_sinks = builder.component(&sinks, sink_changes, &peers, &mesh_triggers)?;
        let context = mesh::Context { shared: Arc::clone(&shared), functions, sources, sinks };
        let mesh_objects = meshes.store();
        let run_meshes = run_controller(meshes, MeshReconciler::new(context));
        for cache in &backends {
            builder.gate("backend configs", cache);
        }
        drop(builder);
        readiness.gate(CONTROLLERS).set(true);
        let observing = match (observer, shared.traffic.clone()) {
            (Some(settings), Some(board)) => {
                let metrics = TrafficMetrics::register(&registry, settings.component_metrics)?;
                let kinds = vec![of_functions.observed, of_sources.observed, of_sinks.observed];
                let client = function_mesh_pulsar::Client::new(function_mesh_pulsar::Limits::default())?;
                let shared = Arc::clone(&shared);
                let observer = Observer::new(settings, shared, board, client, metrics, kinds, mesh_objects);
                observer.run().boxed()
            }
            _ => ready(()).boxed(),
        };
        let senders = vec![of_functions.backends, of_sources.backends, of_sinks.backends];
        let backends = backends::broadcast(backend_changes, senders, Arc::clone(&shared), shutdown).boxed();
        tracing::info!(%namespaces, "controllers started");
        let all = vec![
            of_functions.run,
            of_sources.run,
            of_sinks.run,
            run_meshes,
            backends,
            publishing.boxed(),
            observing,
        ];
        join_all(all).await;
        tracing::info!("controllers stopped");
        Ok(())
    }
}
