//! Connects watches, caches and controllers, and runs them until shutdown.

use std::sync::Arc;

use function_mesh_api::{Component, FunctionMesh};
use function_mesh_serving::Readiness;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_workloads::Settings;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, Stream};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service;
use kube::runtime::watcher;
use kube::Client;
use prometheus::{IntGaugeVec, Registry};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::backends::ConfigSender;
use crate::component::{ComponentReconciler, JobSummary, Peers, PodFailures, PodSummary, pod_failures};
use crate::context::Shared;
use crate::mesh::MeshReconciler;
use crate::metrics::Metrics;
use crate::notify::{notify_of_orphans, notify_owner_mesh};
use crate::protected_namespaces::ProtectedNamespaces;
use crate::publish::SettingsTarget;
use crate::reconciler::{Reconciler, key_of, reconcile};
use crate::runtime::backoff::Backoff;
use crate::runtime::compute::Compute;
use crate::runtime::debounce::{CleanupClock, MissingPods, StatusDebounce};
use crate::runtime::queue::Key;
use crate::runtime::workers::{Controller, Triggers};
use crate::{backends, component, mesh, object_metrics, publish};
use function_mesh_kube::apply::Rewrites;
use function_mesh_kube::cache::{self, Cache, WatchMetrics, Watched};
use function_mesh_kube::compact::Compact;
use function_mesh_kube::events::Events;
use function_mesh_kube::leader_election::{self, Candidate, Leadership};
use function_mesh_kube::memory::Memory;
use function_mesh_kube::namespaces::Namespaces;
use function_mesh_kube::status::ReportedErrors;

/// The readiness gate that is open once [`run`] has registered all other gates. A process that serves probes earlier
/// creates this gate first.
pub const CONTROLLERS: &str = "controllers";

/// Capacity of the channel of changed BackendConfigs.
const CHANGE_QUEUE: usize = 1024;

const QUEUE_DEPTH: (&str, &str) =
    ("function_mesh_workqueue_depth", "Changed objects that wait for a worker.");
const IN_BACKOFF: (&str, &str) =
    ("function_mesh_objects_in_backoff", "Objects whose last reconcile failed and that wait for a retry.");

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
    let manager = manager.run(client.clone(), registry.clone(), readiness.clone());
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
    settings: Settings,
    namespaces: Namespaces,
    protected: ProtectedNamespaces,
    concurrency: u16,
    pause_rollout: bool,
    leadership: Leadership,
    publish_settings: Option<SettingsTarget>,
}

impl Manager {
    fn new(options: Options, shutdown: CancellationToken) -> (Option<Candidate>, Self) {
        let Options {
            settings,
            namespaces,
            protected,
            concurrency,
            pause_rollout,
            candidate,
            publish_settings,
        } = options;
        let leadership = match &candidate {
            Some(_) => Leadership::candidate(shutdown),
            None => Leadership::alone(shutdown),
        };
        let manager = Self {
            settings,
            namespaces,
            protected,
            concurrency,
            pause_rollout,
            leadership,
            publish_settings,
        };
        (candidate, manager)
    }

    async fn run(self, client: Client, registry: Registry, readiness: Readiness) -> anyhow::Result<()> {
        let Self {
            settings,
            namespaces,
            protected,
            concurrency,
            pause_rollout,
            leadership,
            publish_settings,
        } = self;
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
            rewrites: Rewrites::default(),
            pod_failures: PodFailures::default(),
            missing_pods: MissingPods::default(),
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
        let (run_functions, backend_functions) =
            builder.component(&functions, function_changes, &peers, &mesh_triggers)?;
        let (run_sources, backend_sources) =
            builder.component(&sources, source_changes, &peers, &mesh_triggers)?;
        let (run_sinks, backend_sinks) = builder.component(&sinks, sink_changes, &peers, &mesh_triggers)?;
        let context = mesh::Context { shared: Arc::clone(&shared), functions, sources, sinks };
        let run_meshes = run_controller(meshes, MeshReconciler::new(context));
        for cache in &backends {
            builder.gate("backend configs", cache);
        }
        drop(builder);
        readiness.gate(CONTROLLERS).set(true);
        let senders = vec![backend_functions, backend_sources, backend_sinks];
        let backends = backends::broadcast(backend_changes, senders, Arc::clone(&shared), shutdown).boxed();
        tracing::info!(%namespaces, "controllers started");
        join_all(vec![run_functions, run_sources, run_sinks, run_meshes, backends, publishing.boxed()]).await;
        tracing::info!("controllers stopped");
        Ok(())
    }
}

/// Builds the controllers.
struct ControllerBuilder<'a> {
    shared: &'a Arc<Shared>,
    watches: WatchMetrics,
    namespaces: &'a Namespaces,
    concurrency: u16,
    readiness: &'a Readiness,
    leadership: &'a Leadership,
}

type ComponentController = (BoxFuture<'static, ()>, ConfigSender);

impl ControllerBuilder<'_> {
    /// Adds a readiness gate per scope of a cache, open once it has synced.
    fn gate<K: Watched>(&self, name: &str, cache: &Cache<K>) {
        for scope in cache.scopes() {
            let at = scope.as_ref().filter(|_| !self.namespaces.is_all());
            let place = at.map(|namespace| format!(" in {namespace}")).unwrap_or_default();
            let gate = self.readiness.gate(&format!("cache of {name}{place}"));
            let cache = cache.clone();
            tokio::spawn(async move {
                if cache.wait_synced(scope.as_deref()).await {
                    gate.set(true);
                }
            });
        }
    }

    /// A cache of a kind, and the stream of its changes.
    fn watch<K: Watched>(
        &self,
        config: &watcher::Config,
    ) -> (Cache<K>, impl Stream<Item = Result<K, watcher::Error>> + Send + use<K>) {
        cache::watch(&self.shared.client, self.namespaces, config, &self.watches, &self.leadership.shutdown)
    }

    /// The controller of a kind. It drops all state of deleted objects.
    fn controller<K: Watched>(
        &self,
        kind: &'static str,
        prefix: &'static str,
        objects: &Cache<K>,
    ) -> Result<Controller<K>, prometheus::Error> {
        let metrics = &self.shared.metrics;
        let on_deleted = {
            let shared = Arc::clone(self.shared);
            move |object: &Key| shared.forget(&key_of(prefix, &object.namespace, &object.name))
        };
        let (queue_duration, leadership) = (metrics.waits(kind), self.leadership.clone());
        let controller =
            Controller::new(objects.store(), self.concurrency, queue_duration, leadership, on_deleted);
        let set = |gauge: &IntGaugeVec, count: usize| {
            gauge.with_label_values::<&str>(&[]).set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        let (triggers, shared) = (controller.triggers(), Arc::clone(self.shared));
        metrics.computed(kind, QUEUE_DEPTH, None, move |gauge: &IntGaugeVec| {
            set(gauge, triggers.pending_changes());
        })?;
        let count = move |gauge: &IntGaugeVec| set(gauge, shared.backoff.count(prefix));
        metrics.computed(kind, IN_BACKOFF, None, count)?;
        Ok(controller)
    }

    /// The controller of one kind of component, and the sender of changed BackendConfigs to it.
    fn component<C: Component>(
        &self,
        objects: &Cache<Compact<C>>,
        changes: impl Stream<Item = Result<Compact<C>, watcher::Error>> + Send + 'static,
        peers: &Peers,
        meshes: &Triggers<Compact<FunctionMesh>>,
    ) -> Result<ComponentController, prometheus::Error> {
        let children = cache::child_selector(C::ROLE);
        let (stateful_sets, set_changes) = self.watch::<Compact<StatefulSet>>(&children);
        let (services, service_changes) = self.watch::<Compact<Service>>(&children);
        let (autoscalers, autoscaler_changes) = self.watch::<Compact<HorizontalPodAutoscaler>>(&children);
        let (pods, pod_changes) = self.watch::<PodSummary>(&children);
        let job_changes = cache::metadata_events::<JobSummary>(
            &self.shared.client,
            self.namespaces,
            &cache::cleanup_job_selector(C::ROLE),
            &self.watches,
        );
        self.gate(C::ROLE.mesh_field(), objects);
        self.gate(&format!("StatefulSets of {}", C::ROLE.mesh_field()), &stateful_sets);
        self.gate(&format!("Services of {}", C::ROLE.mesh_field()), &services);
        self.gate(&format!("autoscalers of {}", C::ROLE.mesh_field()), &autoscalers);
        self.gate(&format!("pods of {}", C::ROLE.mesh_field()), &pods);
        let context = Arc::new(component::Context {
            shared: Arc::clone(self.shared),
            stateful_sets,
            services,
            autoscalers,
            pods,
            peers: peers.clone(),
        });
        let changes =
            object_metrics::count(&self.shared.metrics, objects, changes, object_metrics::component_phase)?;
        let (sender, backends) = mpsc::channel(CHANGE_QUEUE);
        let affected = backends::affected_by(backends, objects.clone(), Arc::clone(self.shared));
        let controller = self.controller(C::ROLE.kind(), component::prefix::<C>(), objects)?;
        let triggers = controller.triggers();
        let controller = controller
            .on(notify_owner_mesh(changes, meshes.clone()))
            .owns(notify_of_orphans(set_changes, triggers.clone()))
            .owns(notify_of_orphans(service_changes, triggers.clone()))
            .owns(notify_of_orphans(autoscaler_changes, triggers))
            .on_refs(component::pods::components_of(pod_failures::record::<C>(
                pod_changes,
                Arc::clone(self.shared),
            )))
            .on_refs(component::pods::components_of(job_changes))
            .on_refs(affected);
        Ok((run_controller(controller, ComponentReconciler::<C>::new(context)), sender))
    }

    fn meshes(&self) -> Result<Controller<Compact<FunctionMesh>>, prometheus::Error> {
        let (objects, changes) = self.watch::<Compact<FunctionMesh>>(&watcher::Config::default());
        self.gate("functionmeshes", &objects);
        let changes =
            object_metrics::count(&self.shared.metrics, &objects, changes, object_metrics::mesh_phase)?;
        Ok(self.controller("FunctionMesh", mesh::PREFIX, &objects)?.on(changes))
    }
}

/// Runs a controller until shutdown.
fn run_controller<R: Reconciler + 'static>(
    controller: Controller<Compact<R::Object>>,
    reconciler: R,
) -> BoxFuture<'static, ()> {
    let reconciler = Arc::new(reconciler);
    let reconcile = move |object| {
        let reconciler = Arc::clone(&reconciler);
        async move { reconcile(object, &*reconciler).await }
    };
    async move { controller.run(reconcile).await }.boxed()
}

pub(crate) fn receiver<T: Send + 'static>(mut receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send {
    futures::stream::poll_fn(move |context| receiver.poll_recv(context))
}
