//! Builds the controller of each kind: its caches, what triggers it, and its metrics.

use crate::backends::ConfigSender;
use crate::component::{ComponentReconciler, JobSummary, Peers, PodSummary, pod_failures};
use crate::context::Shared;
use crate::notify::{child_changes, notify_owner_mesh, own_uid, without_echoes};
use crate::reconciler::{Reconciler, key_of, reconcile};
use crate::runtime::queue::Key;
use crate::runtime::workers::{Controller, Triggers};
use crate::traffic::kinds::{Caches, Kind};
use crate::{backends, component, mesh, object_metrics};
use function_mesh_api::{Component, FunctionMesh};
use function_mesh_kube::cache::{self, Cache, WatchMetrics, Watched};
use function_mesh_kube::compact::Compact;
use function_mesh_kube::leader_election::Leadership;
use function_mesh_kube::namespaces::Namespaces;
use function_mesh_serving::Readiness;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use prometheus::IntGaugeVec;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Capacity of the channel of changed BackendConfigs.
const CHANGE_QUEUE: usize = 1024;

const QUEUE_DEPTH: (&str, &str) =
    ("function_mesh_workqueue_depth", "Changed objects that wait for a worker.");
const IN_BACKOFF: (&str, &str) =
    ("function_mesh_objects_in_backoff", "Objects whose last reconcile failed and that wait for a retry.");

/// Builds the controllers.
pub(crate) struct ControllerBuilder<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) watches: WatchMetrics,
    pub(crate) namespaces: &'a Namespaces,
    pub(crate) concurrency: u16,
    pub(crate) readiness: &'a Readiness,
    pub(crate) leadership: &'a Leadership,
}

/// The controller of a kind of component.
pub(crate) struct ComponentController {
    /// Runs until shutdown.
    pub(crate) run: BoxFuture<'static, ()>,
    /// Takes changed BackendConfigs.
    pub(crate) backends: ConfigSender,
    /// What the observer reads.
    pub(crate) observed: Box<dyn Kind>,
}

impl ControllerBuilder<'_> {
    /// Adds a readiness gate per scope of a cache, open once it has synced.
    pub(crate) fn gate<K: Watched>(&self, name: &str, cache: &Cache<K>) {
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
    pub(crate) fn watch<K: Watched>(
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

    /// The controller of one kind of component.
    pub(crate) fn component<C: Component>(
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
        let (jobs, job_changes) = self.watch::<JobSummary>(&cache::cleanup_job_selector(C::ROLE));
        self.gate(C::ROLE.mesh_field(), objects);
        self.gate(&format!("StatefulSets of {}", C::ROLE.mesh_field()), &stateful_sets);
        self.gate(&format!("Services of {}", C::ROLE.mesh_field()), &services);
        self.gate(&format!("autoscalers of {}", C::ROLE.mesh_field()), &autoscalers);
        self.gate(&format!("pods of {}", C::ROLE.mesh_field()), &pods);
        self.gate(&format!("clean-up Jobs of {}", C::ROLE.mesh_field()), &jobs);
        let context = Arc::new(component::Context {
            shared: Arc::clone(self.shared),
            stateful_sets,
            services,
            autoscalers,
            pods,
            jobs,
            peers: peers.clone(),
        });
        let changes =
            object_metrics::count(&self.shared.metrics, objects, changes, object_metrics::component_phase)?;
        let (sender, backends) = mpsc::channel(CHANGE_QUEUE);
        let affected = backends::affected_by(backends, objects.clone(), Arc::clone(self.shared));
        let controller = self.controller(C::ROLE.kind(), component::prefix::<C>(), objects)?;
        let triggers = controller.triggers();
        let shared = self.shared;
        let changes = notify_owner_mesh(changes, meshes.clone(), Arc::clone(shared));
        let controller = controller
            .on(without_echoes(changes, Arc::clone(shared), own_uid))
            .owns(child_changes(set_changes, triggers.clone(), Arc::clone(shared)))
            .owns(child_changes(service_changes, triggers.clone(), Arc::clone(shared)))
            .owns(child_changes(autoscaler_changes, triggers, Arc::clone(shared)))
            .on_refs(component::pods::components_of(pod_failures::record::<C>(
                pod_changes,
                Arc::clone(self.shared),
            )))
            .on_refs(component::pods::components_of(job_changes))
            .on_refs(affected);
        let observed = Caches::<C> {
            components: objects.clone(),
            pods: context.pods.clone(),
            triggers: controller.triggers(),
        };
        Ok(ComponentController {
            run: run_controller(controller, ComponentReconciler::<C>::new(context)),
            backends: sender,
            observed: Box::new(observed),
        })
    }

    pub(crate) fn meshes(&self) -> Result<Controller<Compact<FunctionMesh>>, prometheus::Error> {
        let (objects, changes) = self.watch::<Compact<FunctionMesh>>(&watcher::Config::default());
        self.gate("functionmeshes", &objects);
        let changes =
            object_metrics::count(&self.shared.metrics, &objects, changes, object_metrics::mesh_phase)?;
        let changes = without_echoes(changes, Arc::clone(self.shared), own_uid);
        Ok(self.controller("FunctionMesh", mesh::PREFIX, &objects)?.on(changes))
    }
}

/// Runs a controller until shutdown.
pub(crate) fn run_controller<R: Reconciler + 'static>(
    controller: Controller<Compact<R::Object>>,
    reconciler: R,
) -> BoxFuture<'static, ()> {
    let reconciler = Arc::new(reconciler);
    let store = controller.store();
    let reconcile = move |object: Arc<Compact<R::Object>>| {
        // From here on this reconcile may not have seen an echo. What came before is in the store.
        if let Some(uid) = own_uid(&*object) {
            reconciler.shared().echoes.forget(uid);
        }
        let object = store.get(&ObjectRef::from_obj(&*object)).unwrap_or(object);
        let reconciler = Arc::clone(&reconciler);
        async move { reconcile(object, &*reconciler).await }
    };
    async move { controller.run(reconcile).await }.boxed()
}
