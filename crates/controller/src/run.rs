//! Strings watches, caches and controllers together, and runs them until the end.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use function_mesh_api::{Component, FunctionMesh};
use function_mesh_serving::Readiness;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_workloads::Settings;
use futures::future::{BoxFuture, join_all};
use futures::stream::{BoxStream, StreamExt};
use futures::{FutureExt, Stream};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service;
use kube::core::DynamicObject;
use kube::runtime::controller::{Action, Config, Controller, Error};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use prometheus::{IntGaugeVec, Registry};
use tokio::sync::mpsc;

use crate::backends::Changed;
use crate::component::{JobSummary, PodSummary};
use crate::context::Shared;
use crate::kit::backoff::Backoff;
use crate::kit::cache::{self, Cache, Watched, Watches};
use crate::kit::children::controller_of;
use crate::kit::compact::Compact;
use crate::kit::election::{self, Candidate, Turn};
use crate::kit::events::Events;
use crate::kit::memory::Memory;
use crate::kit::namespaces::Namespaces;
use crate::kit::patience::Patience;
use crate::kit::status::Reported;
use crate::kit::waiting::Waiting;
use crate::metrics::Metrics;
use crate::protected::Protected;
use crate::{backends, component, mesh, objects};

/// How long changes of one object are gathered before a reconcile: long enough for a StatefulSet and its
/// Service, made together, to cause one and not two; short enough that nobody notices.
const GATHER: Duration = Duration::from_millis(50);

/// What a program's readiness waits for until [`run`] has named all that it waits for. Whoever serves probes
/// before that makes a gate of this name.
pub const CONTROLLERS: &str = "the controllers";

/// Changes of one kind, waiting to be worked on.
const QUEUE: usize = 1024;

const WAITING: (&str, &str) = (
    "function_mesh_objects_waiting",
    "Objects with a change, their own or of a child, that no reconcile has taken up yet.",
);
const IN_BACKOFF: (&str, &str) = (
    "function_mesh_objects_in_backoff",
    "Objects whose last reconcile failed; each is tried again after a while.",
);

/// What the controllers are told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Settings of the renderer.
    pub settings: Settings,
    /// The namespaces to look after.
    pub namespaces: Namespaces,
    /// Namespaces in which no component runs.
    pub protected: Protected,
    /// Objects of each kind that are worked on at a time.
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
    let Options { settings, namespaces, protected, concurrency, pause_rollout, candidate } = options;
    let Some(candidate) = candidate else {
        let turn = Turn::at_once(end);
        election::gauge(registry)?.set(1);
        let control = Control { settings, namespaces, protected, concurrency, pause_rollout, turn };
        return control.run(client, registry, readiness).await;
    };
    let (elected, done_writing) = (CancellationToken::new(), CancellationToken::new());
    let turn = Turn { elected: elected.clone(), end };
    let control = Control { settings, namespaces, protected, concurrency, pause_rollout, turn };
    let turn = Turn { elected, end: done_writing.clone() };
    let lead = candidate.lead(client.clone(), registry, turn);
    let control = control.run(client, registry, readiness);
    tokio::pin!(lead, control);
    tokio::select! {
        // Without the Lease nothing more is written: what is under way is dropped.
        lost = &mut lead => lost.map_err(Into::into),
        done = &mut control => {
            done_writing.cancel();
            lead.await?;
            done
        }
    }
}

struct Control {
    settings: Settings,
    namespaces: Namespaces,
    protected: Protected,
    concurrency: u16,
    pause_rollout: bool,
    turn: Turn,
}

impl Control {
    async fn run(self, client: Client, registry: &Registry, readiness: &Readiness) -> anyhow::Result<()> {
        let Self { settings, namespaces, protected, concurrency, pause_rollout, turn } = self;
        let end = turn.end.clone();
        let memory = Memory::default();
        let watches = Watches::register(registry, &memory)?;
        let (backends, backend_changes) = backends::watch(&client, &settings, &namespaces, &watches, &end);
        let shared = Arc::new(Shared {
            events: Events::new(client.clone()),
            metrics: Metrics::register(registry)?,
            backoff: Backoff::default(),
            patience: Patience::default(),
            protected,
            pause_rollout,
            settings,
            backends: backends.clone(),
            client: client.clone(),
            turn,
            undecodable: Reported::default(),
            memory,
        });
        let (wake_meshes, mesh_wakes) = mpsc::channel(QUEUE);
        let parts = Parts {
            shared: &shared,
            watches,
            namespaces: &namespaces,
            concurrency,
            readiness,
            end: &end,
            wake_meshes,
        };
        let (functions, run_functions, backend_functions) = parts.component()?;
        let (sources, run_sources, backend_sources) = parts.component()?;
        let (sinks, run_sinks, backend_sinks) = parts.component()?;
        let context = mesh::Context { shared: Arc::clone(&shared), functions, sources, sinks };
        let meshes = parts.meshes(context, mesh_wakes)?;
        for cache in &backends {
            parts.gate("backend configs", cache);
        }
        drop(parts);
        readiness.gate(CONTROLLERS).set(true);
        let followers = vec![backend_functions, backend_sources, backend_sinks];
        let backends = backends::follow(backend_changes, followers, Arc::clone(&shared), end).boxed();
        tracing::info!(%namespaces, "controllers started");
        join_all(vec![run_functions, run_sources, run_sinks, meshes, backends]).await;
        tracing::info!("controllers stopped");
        Ok(())
    }
}

/// What the controllers are made from.
struct Parts<'a> {
    shared: &'a Arc<Shared>,
    watches: Watches,
    namespaces: &'a Namespaces,
    concurrency: u16,
    readiness: &'a Readiness,
    end: &'a CancellationToken,
    wake_meshes: mpsc::Sender<ObjectRef<Compact<FunctionMesh>>>,
}

type Gone = Arc<dyn Fn(&ObjectRef<DynamicObject>) + Send + Sync>;
type Reconciled<K, E, Q> = Result<(ObjectRef<K>, Action), Error<E, Q>>;
type ComponentParts<C> = (Cache<Compact<C>>, BoxFuture<'static, ()>, Changed);

impl Parts<'_> {
    fn config(&self) -> Config {
        Config::default().debounce(GATHER).concurrency(self.concurrency)
    }

    /// The program is ready only once this cache is full, of each namespace.
    fn gate<K: Watched>(&self, name: &str, cache: &Cache<K>) {
        for part in cache.parts() {
            let at = part.as_ref().filter(|_| !self.namespaces.are_all());
            let place = at.map(|namespace| format!(" in {namespace}")).unwrap_or_default();
            let gate = self.readiness.gate(&format!("the cache of {name}{place}"));
            let cache = cache.clone();
            tokio::spawn(async move {
                if cache.is_filled(part.as_deref()).await {
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
        cache::watch(&self.shared.client, self.namespaces, config, &self.watches, self.end)
    }

    /// What waits of a kind: for a reconcile to take up its changes, and after failures.
    fn waiting(&self, kind: &'static str, prefix: &'static str) -> Result<Waiting, prometheus::Error> {
        let metrics = &self.shared.metrics;
        let waiting = Waiting::new(metrics.waits(kind), self.shared.turn.elected.clone());
        let (counted, shared) = (waiting.clone(), Arc::clone(self.shared));
        let set = |gauge: &IntGaugeVec, count: usize| {
            gauge.with_label_values::<&str>(&[]).set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        metrics.computed(kind, WAITING, None, move |gauge: &IntGaugeVec| set(gauge, counted.count()))?;
        let count = move |gauge: &IntGaugeVec| set(gauge, shared.backoff.count(prefix));
        metrics.computed(kind, IN_BACKOFF, None, count)?;
        Ok(waiting)
    }

    /// What is to be done about an object that is to be reconciled and is gone.
    fn gone(&self, prefix: &'static str, waiting: &Waiting) -> Gone {
        let (waiting, shared) = (waiting.clone(), Arc::clone(self.shared));
        Arc::new(move |object| {
            waiting.gone(object);
            let name = format!("{prefix}{object}");
            shared.backoff.forget(&name);
            shared.undecodable.forget(&name);
            shared.patience.forget(&name);
            shared.patience.forget(&format!("{name}{}", component::END));
        })
    }

    /// The controller of one kind of component, with its cache and the way by which it hears of changed
    /// BackendConfigs.
    fn component<C: Component>(&self) -> Result<ComponentParts<C>, prometheus::Error> {
        let children = cache::children_of(C::ROLE);
        let (objects, changes) = self.watch::<Compact<C>>(&watcher::Config::default());
        let (stateful_sets, of_sets) = self.watch::<Compact<StatefulSet>>(&children);
        let (services, of_services) = self.watch::<Compact<Service>>(&children);
        let (autoscalers, of_autoscalers) = self.watch::<Compact<HorizontalPodAutoscaler>>(&children);
        let (pods, of_pods) = self.watch::<PodSummary>(&children);
        let of_jobs = cache::notices::<JobSummary>(
            &self.shared.client,
            self.namespaces,
            &cache::cleanups_of(C::ROLE),
            &self.watches,
        );
        self.gate(C::ROLE.mesh_field(), &objects);
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
        });
        let changes = objects::count(&self.shared.metrics, &objects, changes, objects::of_component)?;
        let waiting = self.waiting(C::ROLE.kind(), component::prefix::<C>())?;
        let gone = self.gone(component::prefix::<C>(), &waiting);
        let (tell, backends) = mpsc::channel(QUEUE);
        let affected = backends::affected_by(backends, objects.clone(), Arc::clone(self.shared));
        let changes = waiting.changes(told_to_mesh(changes, self.wake_meshes.clone()));
        let controller = Controller::for_stream(changes, objects.store())
            .with_config(self.config())
            .owns_stream(waiting.children::<Compact<C>, _, _, _>(of_sets))
            .owns_stream(waiting.children::<Compact<C>, _, _, _>(of_services))
            .owns_stream(waiting.children::<Compact<C>, _, _, _>(of_autoscalers))
            .reconcile_on(waiting.wakes(component::pods::components_of(of_pods)))
            .reconcile_on(waiting.wakes(component::pods::components_of(of_jobs)))
            .reconcile_on(waiting.wakes(affected))
            .graceful_shutdown_on(self.end.clone().cancelled_owned());
        let run = async move {
            let on_error =
                |object: Arc<Compact<C>>, error: &component::Error, context: Arc<component::Context>| {
                    component::on_error(&object, error, &context)
                };
            let reconcile = move |object: Arc<Compact<C>>, context| {
                waiting.taken(&ObjectRef::from_obj(&*object));
                component::reconcile::<C>(object, context)
            };
            controller.run(reconcile, on_error, context).for_each(log(gone)).await;
        };
        Ok((objects, run.boxed(), tell))
    }

    fn meshes(
        &self,
        context: mesh::Context,
        wakes: mpsc::Receiver<ObjectRef<Compact<FunctionMesh>>>,
    ) -> Result<BoxFuture<'static, ()>, prometheus::Error> {
        let (objects, changes) = self.watch::<Compact<FunctionMesh>>(&watcher::Config::default());
        self.gate("functionmeshes", &objects);
        let changes = objects::count(&self.shared.metrics, &objects, changes, objects::of_mesh)?;
        let waiting = self.waiting("FunctionMesh", mesh::PREFIX)?;
        let gone = self.gone(mesh::PREFIX, &waiting);
        let controller = Controller::for_stream(waiting.changes(changes), objects.store())
            .with_config(self.config())
            .reconcile_on(waiting.wakes(receiver(wakes)))
            .graceful_shutdown_on(self.end.clone().cancelled_owned());
        let run = async move {
            let on_error =
                |object: Arc<Compact<FunctionMesh>>, error: &mesh::Error, context: Arc<mesh::Context>| {
                    mesh::on_error(&object, error, &context)
                };
            let reconcile = move |object: Arc<Compact<FunctionMesh>>, context| {
                waiting.taken(&ObjectRef::from_obj(&*object));
                mesh::reconcile(object, context)
            };
            controller.run(reconcile, on_error, Arc::new(context)).for_each(log(gone)).await;
        };
        Ok(run.boxed())
    }
}

/// A reconcile's own errors are logged where they are turned into a wait; here come those of the machinery.
fn log<K: Resource, E: std::error::Error, Q: std::error::Error>(
    gone: Gone,
) -> impl FnMut(Reconciled<K, E, Q>) -> Ready<()>
where
    K::DynamicType: std::fmt::Debug,
{
    move |result| {
        match result {
            Ok(_) | Err(Error::ReconcilerFailed(..)) => {}
            Err(Error::ObjectNotFound(object)) => gone(&object),
            // Of a watch nothing comes here: what fails is logged where it is begun anew.
            Err(error) => tracing::warn!(%error, "the controller's queue failed"),
        }
        ready(())
    }
}

pub(crate) fn receiver<T: Send + 'static>(mut receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send {
    futures::stream::poll_fn(move |context| receiver.poll_recv(context))
}

/// Passes changes of components on, and wakes the mesh that each belongs to: also when one is deleted.
fn told_to_mesh<C: Component>(
    changes: impl Stream<Item = Result<Compact<C>, watcher::Error>> + Send + 'static,
    wake: mpsc::Sender<ObjectRef<Compact<FunctionMesh>>>,
) -> BoxStream<'static, Result<Compact<C>, watcher::Error>> {
    changes
        .then(move |change| {
            let wake = wake.clone();
            async move {
                if let Ok(object) = &change
                    && let Some(owner) = controller_of(object)
                    && owner.kind == FunctionMesh::kind(&())
                {
                    let namespace = object.namespace().unwrap_or_default();
                    // An error means that the controller has ended.
                    _ = wake.send(ObjectRef::new(&owner.name).within(&namespace)).await;
                }
                change
            }
        })
        .boxed()
}
