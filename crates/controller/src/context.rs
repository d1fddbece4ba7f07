//! What all controllers share.

use std::sync::Arc;

use function_mesh_api::{BackendConfig, labels};
use function_mesh_workloads::{BackendConfigRef, Backends, Settings};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;

use crate::component::{PodFailures, RejectedPods, Rollouts, SettledComponents};
use crate::metrics::Metrics;
use crate::protected_namespaces::ProtectedNamespaces;
use crate::runtime::backoff::Backoff;
use crate::runtime::compute::Compute;
use crate::runtime::debounce::{CleanupClock, MissingPods, StatusDebounce};
use crate::traffic::TrafficBoard;
use function_mesh_kube::apply::Rewrites;
use function_mesh_kube::cache::{self, Cache};
use function_mesh_kube::compact::Compact;
use function_mesh_kube::echoes::Echoes;
use function_mesh_kube::events::Events;
use function_mesh_kube::leader_election::Leadership;
use function_mesh_kube::memory::Memory;
use function_mesh_kube::status::{ReportedErrors, write_status};

/// What all controllers share.
pub struct Shared {
    /// The client, whose writes require leadership.
    pub client: Client,
    /// Renderer settings.
    pub settings: Settings,
    /// Publishes Events.
    pub events: Events,
    /// Controller metrics.
    pub metrics: Metrics,
    /// Namespaces in which components are rejected.
    pub protected: ProtectedNamespaces,
    /// Whether rollouts are paused for all components, except those that a change of the spec causes.
    pub pause_rollout: bool,
    /// Backoff of failing objects.
    pub backoff: Backoff,
    /// Deferred status writes.
    pub status_debounce: StatusDebounce,
    /// Time that deleted components have waited for their clean-up.
    pub cleanup_clock: CleanupClock,
    /// Caches of BackendConfigs: the watched namespaces and, if it is elsewhere, the global BackendConfig.
    pub backends: Vec<Cache<Compact<BackendConfig>>>,
    /// Whether this replica leads.
    pub leadership: Leadership,
    /// Limits CPU-bound work.
    pub compute: Compute,
    /// The last reported errors of objects that cannot be decoded.
    pub undecodable: ReportedErrors,
    /// Memory limits.
    pub memory: Memory,
    /// Components whose children need no write.
    pub settled: SettledComponents,
    /// What admission made of earlier writes.
    pub rewrites: Rewrites,
    /// Writes of this process that a watch will show.
    pub echoes: Echoes,
    /// Pods that failed as a whole and are replaced.
    pub pod_failures: PodFailures,
    /// Since when pods are missing.
    pub missing_pods: MissingPods,
    /// Whose pods the API server rejects.
    pub rejected_pods: RejectedPods,
    /// What is remembered of rollouts.
    pub rollouts: Rollouts,
    /// Message traffic of components; None if it is not observed.
    pub traffic: Option<Arc<TrafficBoard>>,
}

/// Resource versions of the global and the namespaced BackendConfig.
pub type Revisions = (Option<String>, Option<String>);

/// The BackendConfigs that apply to a component.
#[derive(Clone, Debug, Default)]
pub struct ResolvedBackendConfigs {
    global: Option<Arc<BackendConfig>>,
    namespaced: Option<Arc<BackendConfig>>,
}

impl ResolvedBackendConfigs {
    /// The BackendConfigs as input of the renderer. An undecodable one is treated as absent.
    pub fn as_backends(&self) -> Backends<'_> {
        Backends { global: self.global.as_deref(), namespaced: self.namespaced.as_deref() }
    }

    /// Their resource versions.
    pub fn revisions(&self) -> Revisions {
        let revision = |config: Option<&BackendConfig>| config.and_then(ResourceExt::resource_version);
        let Backends { global, namespaced } = self.as_backends();
        (revision(global), revision(namespaced))
    }

    /// Whether one of them has changed since these versions, without `autoUpdate`: the change takes effect with the next
    /// change of the component.
    pub fn has_deferred_change(&self, applied: (Option<&String>, Option<&String>)) -> bool {
        let applied = (applied.0.map(String::as_str), applied.1.map(String::as_str));
        self.as_backends().has_deferred_change(applied, ResourceExt::resource_version)
    }
}

impl Shared {
    /// Whether rollouts of an object are paused, by its annotation or by the operator's flag.
    pub fn is_paused(&self, meta: &ObjectMeta) -> bool {
        self.pause_rollout || labels::is_paused(meta)
    }

    /// Drops all state of an object, by its key.
    pub fn forget(&self, object: &str) {
        self.backoff.forget(object);
        self.undecodable.forget(object);
        self.status_debounce.forget(object);
        self.cleanup_clock.forget(object);
        self.pod_failures.forget(object);
        self.missing_pods.forget(object);
        self.rollouts.forget(object);
        self.settled.forget(object);
        if let Some(traffic) = &self.traffic {
            traffic.forget(object);
        }
    }

    /// An object of a cache, read from the API server if it is too large for the cache. None if it no longer exists.
    pub async fn fetch_full<K>(&self, object: &Compact<K>) -> Result<Option<Compact<K>>, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + 'static,
    {
        cache::fetch_full(object, &self.client, &self.memory).await
    }

    /// Writes the status of an object that a reconcile reports on. Its echo triggers nothing.
    pub async fn write_status<K, S>(&self, object: &K, status: &S) -> Result<(), kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        S: Serialize + Sync,
    {
        let version = write_status(&self.client, object, status, labels::managers::STATUS).await?;
        if let Some(uid) = object.meta().uid.as_deref() {
            self.echoes.wrote(uid, version.as_deref());
        }
        Ok(())
    }

    /// Whether the caches of all BackendConfigs that can apply in a namespace have synced; see
    /// [`Cache::has_synced_for`]. Rendering without the global BackendConfig would cause a needless rollout.
    pub async fn have_backends_synced(&self, namespace: &str) -> bool {
        let global = self.settings.global_backend_config_ref().map(|global| global.namespace);
        for cache in &self.backends {
            for namespace in [Some(namespace), global].into_iter().flatten() {
                if !cache.has_synced_for(namespace).await {
                    return false;
                }
            }
        }
        true
    }

    /// Whether a BackendConfig still exists.
    pub fn has_backend(&self, config: &BackendConfig) -> bool {
        self.cached_backend(&config.name_any(), &config.namespace().unwrap_or_default()).is_some()
    }

    fn cached_backend(&self, name: &str, namespace: &str) -> Option<Arc<Compact<BackendConfig>>> {
        let object = ObjectRef::new(name).within(namespace);
        self.backends.iter().find_map(|cache| cache.get(&object))
    }

    /// The BackendConfigs that apply to a component in this namespace.
    pub async fn resolve_backends(&self, namespace: &str) -> Result<ResolvedBackendConfigs, kube::Error> {
        Ok(ResolvedBackendConfigs {
            global: self.backend(self.settings.global_backend_config_ref()).await?,
            namespaced: self.backend(self.settings.namespaced_backend_config_ref(namespace)).await?,
        })
    }

    /// Resource versions of the BackendConfigs that apply in this namespace, as far as they are cached.
    pub fn backend_versions(&self, namespace: &str) -> Revisions {
        let version = |of: Option<BackendConfigRef<'_>>| {
            let found = of.and_then(|of| self.cached_backend(of.name, of.namespace));
            found.and_then(|found| found.resource_version())
        };
        let namespaced = self.settings.namespaced_backend_config_ref(namespace);
        (version(self.settings.global_backend_config_ref()), version(namespaced))
    }

    async fn backend(
        &self,
        of: Option<BackendConfigRef<'_>>,
    ) -> Result<Option<Arc<BackendConfig>>, kube::Error> {
        let Some(of) = of else { return Ok(None) };
        for cache in &self.backends {
            if let Some(found) = cache.fetch(of.name, of.namespace).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Whether a change of this BackendConfig triggers reconciles of the components of a namespace.
    pub fn triggers_reconcile(&self, config: &BackendConfig, namespace: &str) -> bool {
        let of = [
            self.settings.global_backend_config_ref(),
            self.settings.namespaced_backend_config_ref(namespace),
        ];
        config.spec.auto_update.unwrap_or_default() && of.into_iter().flatten().any(|of| of.is_of(config))
    }
}
