//! Strings watches, caches and controllers together, and runs them until the end.

use std::sync::Arc;

use function_mesh_api::{Component, FunctionMesh};
use function_mesh_serving::Readiness;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_workloads::Settings;
use futures::future::{BoxFuture, join_all};
use futures::stream::StreamExt;
use futures::{FutureExt, Stream};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use prometheus::{IntGaugeVec, Registry};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::backends::Changed;
use crate::component::{ComponentReconciler, JobSummary, Peers, PodSummary};
use crate::context::Shared;
use crate::mesh::MeshReconciler;
use crate::metrics::Metrics;
use crate::protected::Protected;
use crate::reconciler::{Reconciler, reconcile};
use crate::runtime::backoff::Backoff;
use crate::runtime::compute::Compute;
use crate::runtime::debounce::{CleanupClock, StatusDebounce};
use crate::runtime::queue::Key;
use crate::runtime::workers::{Controller, Triggers};
use crate::{backends, component, mesh, objects};
use function_mesh_kube::apply::controller_of;
use function_mesh_kube::cache::{self, Cache, WatchMetrics, Watched};
use function_mesh_kube::compact::Compact;
use function_mesh_kube::events::Events;
use function_mesh_kube::leader_election::{self, Candidate, Leadership};
use function_mesh_kube::memory::Memory;
use function_mesh_kube::namespaces::Namespaces;
use function_mesh_kube::status::Reported;

/// What a program's readiness waits for until [`run`] has named all that it waits for. Whoever serves probes
/// before that makes a gate of this name.
pub const CONTROLLERS: &str = "the controllers";

/// Changes of BackendConfigs that wait to be worked on.
const QUEUE: usize = 1024;

const WAITING: (&str, &str) = ("function_mesh_workqueue_depth", "Changed objects that wait for a worker.");
const IN_BACKOFF: (&str, &str) =
    ("function_mesh_objects_in_backoff", "Objects whose last reconcile failed and that wait for a retry.");

/// What the controllers are told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Settings of the renderer.
    pub settings: Settings,
    /// The namespaces to look after.
    pub namespaces: Namespaces,
    /// Namespaces in which no component runs.
    pub protected: Protected,
    /// Objects of each kind that are worked on at a time; how namespaces share them, see [`crate::runtime::queue`].
    pub concurrency: u16,
    /// Whether changes of running pods are held back, save those of a component's own specification.
    pub pause_rollout: bool,
    /// Who this program is among several of which one acts; None when it is alone.
    pub candidate: Option<Candidate>,
}

/// Runs all controllers until `end`. They wait for definitions that are not there yet, and for their turn when
/// there are several programs; their caches are full by then.
pub async fn run(
    client: Client,
    options: Options,
    registry: &Registry,
    readiness: &Readiness,
    end: CancellationToken,
) -> anyhow::Result<()> {
    let (candidate, control) = Control::new(options, end);
    let leadership = control.leadership.clone();
    let control = control.run(client.clone(), registry.clone(), readiness.clone());
    elect(candidate, client, registry, &leadership, control).await
}

/// The same with the controllers on a runtime of their own, so that nothing that they do keeps the election waiting,
/// which runs on this one. Each has a client that was made on its runtime.
pub async fn run_on(
    (runtime, client): (&Handle, Client),
    election_client: Client,
    options: Options,
    registry: &Registry,
    readiness: &Readiness,
    end: CancellationToken,
) -> anyhow::Result<()> {
    let (candidate, control) = Control::new(options, end);
    let leadership = control.leadership.clone();
    let control = runtime.spawn(control.run(client, registry.clone(), readiness.clone()));
    let control = async { AbortOnDropHandle::new(control).await? };
    elect(candidate, election_client, registry, &leadership, control).await
}

/// Holds the Lease while the controllers run. Without it nothing more is written, and what is under way is dropped.
async fn elect(
    candidate: Option<Candidate>,
    client: Client,
    registry: &Registry,
    leadership: &Leadership,
    control: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let Some(candidate) = candidate else {
        leader_election::gauge(registry)?.set(1);
        return control.await;
    };
    let done = CancellationToken::new();
    let lead = candidate.lead(client, registry, leadership, &done);
    tokio::pin!(lead, control);
    tokio::select! {
        lost = &mut lead => lost.map_err(Into::into),
        ended = &mut control => {
            done.cancel();
            lead.await?;
            ended
        }
    }
}

struct Control {
    settings: Settings,
    namespaces: Namespaces,
    protected: Protected,
    concurrency: u16,
    pause_rollout: bool,
    leadership: Leadership,
}

impl Control {
    fn new(options: Options, end: CancellationToken) -> (Option<Candidate>, Self) {
        let Options { settings, namespaces, protected, concurrency, pause_rollout, candidate } = options;
        let leadership = match &candidate {
            Some(_) => Leadership::candidate(end),
            None => Leadership::alone(end),
        };
        (candidate, Self { settings, namespaces, protected, concurrency, pause_rollout, leadership })
    }

    async fn run(self, client: Client, registry: Registry, readiness: Readiness) -> anyhow::Result<()> {
        let Self { settings, namespaces, protected, concurrency, pause_rollout, leadership } = self;
        let (client, end) = (leadership.fence.client(client), leadership.end.clone());
        let memory = Memory::default();
        let watches = WatchMetrics::register(&registry, &memory)?;
        let (backends, backend_changes) = backends::watch(&client, &settings, &namespaces, &watches, &end);
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
            undecodable: Reported::default(),
            memory,
        });
        let parts = Parts {
            shared: &shared,
            watches,
            namespaces: &namespaces,
            concurrency,
            readiness: &readiness,
            leadership: &leadership,
        };
        let meshes = parts.meshes()?;
        let wake_meshes = meshes.triggers();
        let (functions, of_functions) = parts.watch(&watcher::Config::default());
        let (sources, of_sources) = parts.watch(&watcher::Config::default());
        let (sinks, of_sinks) = parts.watch(&watcher::Config::default());
        let peers = Peers { functions: functions.clone(), sources: sources.clone(), sinks: sinks.clone() };
        let (run_functions, backend_functions) =
            parts.component(&functions, of_functions, &peers, &wake_meshes)?;
        let (run_sources, backend_sources) = parts.component(&sources, of_sources, &peers, &wake_meshes)?;
        let (run_sinks, backend_sinks) = parts.component(&sinks, of_sinks, &peers, &wake_meshes)?;
        let context = mesh::Context { shared: Arc::clone(&shared), functions, sources, sinks };
        let run_meshes = run_controller(meshes, MeshReconciler::new(context));
        for cache in &backends {
            parts.gate("backend configs", cache);
        }
        drop(parts);
        readiness.gate(CONTROLLERS).set(true);
        let followers = vec![backend_functions, backend_sources, backend_sinks];
        let backends = backends::follow(backend_changes, followers, Arc::clone(&shared), end).boxed();
        tracing::info!(%namespaces, "controllers started");
        join_all(vec![run_functions, run_sources, run_sinks, run_meshes, backends]).await;
        tracing::info!("controllers stopped");
        Ok(())
    }
}

/// What the controllers are made from.
struct Parts<'a> {
    shared: &'a Arc<Shared>,
    watches: WatchMetrics,
    namespaces: &'a Namespaces,
    concurrency: u16,
    readiness: &'a Readiness,
    leadership: &'a Leadership,
}

type ComponentParts = (BoxFuture<'static, ()>, Changed);

impl Parts<'_> {
    /// The program is ready only once this cache is full, of each namespace.
    fn gate<K: Watched>(&self, name: &str, cache: &Cache<K>) {
        for part in cache.parts() {
            let at = part.as_ref().filter(|_| !self.namespaces.are_all());
            let place = at.map(|namespace| format!(" in {namespace}")).unwrap_or_default();
            let gate = self.readiness.gate(&format!("the cache of {name}{place}"));
            let cache = cache.clone();
            tokio::spawn(async move {
                if cache.wait_synced(part.as_deref()).await {
                    gate.set(true);
                }
            });
        }
    }

    /// A cache of a kind, and its changes.
    fn watch<K: Watched>(
        &self,
        config: &watcher::Config,
    ) -> (Cache<K>, impl Stream<Item = Result<K, watcher::Error>> + Send + use<K>) {
        cache::watch(&self.shared.client, self.namespaces, config, &self.watches, &self.leadership.end)
    }

    /// The controller of a kind. Nothing is kept about an object that is gone.
    fn controller<K: Watched>(
        &self,
        kind: &'static str,
        prefix: &'static str,
        objects: &Cache<K>,
    ) -> Result<Controller<K>, prometheus::Error> {
        let metrics = &self.shared.metrics;
        let gone = {
            let shared = Arc::clone(self.shared);
            move |object: &Key| shared.forget(&component::key_of(prefix, object))
        };
        let (waits, leadership) = (metrics.waits(kind), self.leadership.clone());
        let controller = Controller::new(objects.store(), self.concurrency, waits, leadership, gone);
        let set = |gauge: &IntGaugeVec, count: usize| {
            gauge.with_label_values::<&str>(&[]).set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        let (triggers, shared) = (controller.triggers(), Arc::clone(self.shared));
        metrics.computed(kind, WAITING, None, move |gauge: &IntGaugeVec| set(gauge, triggers.waiting()))?;
        let count = move |gauge: &IntGaugeVec| set(gauge, shared.backoff.count(prefix));
        metrics.computed(kind, IN_BACKOFF, None, count)?;
        Ok(controller)
    }

    /// The controller of one kind of component, and the way by which it hears of changed BackendConfigs.
    fn component<C: Component>(
        &self,
        objects: &Cache<Compact<C>>,
        changes: impl Stream<Item = Result<Compact<C>, watcher::Error>> + Send + 'static,
        peers: &Peers,
        meshes: &Triggers<Compact<FunctionMesh>>,
    ) -> Result<ComponentParts, prometheus::Error> {
        let children = cache::children_of(C::ROLE);
        let (stateful_sets, of_sets) = self.watch::<Compact<StatefulSet>>(&children);
        let (services, of_services) = self.watch::<Compact<Service>>(&children);
        let (autoscalers, of_autoscalers) = self.watch::<Compact<HorizontalPodAutoscaler>>(&children);
        let (pods, of_pods) = self.watch::<PodSummary>(&children);
        let of_jobs = cache::metadata_events::<JobSummary>(
            &self.shared.client,
            self.namespaces,
            &cache::cleanups_of(C::ROLE),
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
        let changes = objects::count(&self.shared.metrics, objects, changes, objects::of_component)?;
        let (tell, backends) = mpsc::channel(QUEUE);
        let affected = backends::affected_by(backends, objects.clone(), Arc::clone(self.shared));
        let controller = self
            .controller(C::ROLE.kind(), component::prefix::<C>(), objects)?
            .on(notify_owner_mesh(changes, meshes.clone()))
            .owns(of_sets)
            .owns(of_services)
            .owns(of_autoscalers)
            .on_refs(component::pods::components_of(of_pods))
            .on_refs(component::pods::components_of(of_jobs))
            .on_refs(affected);
        Ok((run_controller(controller, ComponentReconciler::<C>::new(context)), tell))
    }

    fn meshes(&self) -> Result<Controller<Compact<FunctionMesh>>, prometheus::Error> {
        let (objects, changes) = self.watch::<Compact<FunctionMesh>>(&watcher::Config::default());
        self.gate("functionmeshes", &objects);
        let changes = objects::count(&self.shared.metrics, &objects, changes, objects::of_mesh)?;
        Ok(self.controller("FunctionMesh", mesh::PREFIX, &objects)?.on(changes))
    }
}

/// Runs a controller until the end.
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

/// Passes changes of components on, and has the mesh that each belongs to reconciled: also when one is deleted.
fn notify_owner_mesh<C: Component>(
    changes: impl Stream<Item = Result<Compact<C>, watcher::Error>> + Send + 'static,
    meshes: Triggers<Compact<FunctionMesh>>,
) -> impl Stream<Item = Result<Compact<C>, watcher::Error>> + Send + 'static {
    changes.inspect(move |change| {
        if let Ok(object) = change
            && let Some(owner) = controller_of(object)
            && owner.kind == FunctionMesh::kind(&())
        {
            meshes.change(&object.namespace().unwrap_or_default(), &owner.name);
        }
    })
}
