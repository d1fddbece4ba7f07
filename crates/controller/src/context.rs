//! What all controllers share.

use std::sync::Arc;

use function_mesh_api::BackendConfig;
use function_mesh_workloads::{BackendConfigRef, Backends, Settings};
use k8s_openapi::NamespaceResourceScope;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource, ResourceExt};

use crate::metrics::Metrics;
use crate::protected::Protected;
use crate::runtime::backoff::Backoff;
use crate::runtime::compute::Compute;
use crate::runtime::debounce::{CleanupClock, StatusDebounce};
use function_mesh_kube::cache::{self, Cache};
use function_mesh_kube::compact::Compact;
use function_mesh_kube::events::Events;
use function_mesh_kube::leader_election::Leadership;
use function_mesh_kube::memory::Memory;
use function_mesh_kube::status::Reported;

/// What all controllers share.
pub struct Shared {
    /// The connection.
    pub client: Client,
    /// Settings of the operator.
    pub settings: Settings,
    /// Events.
    pub events: Events,
    /// Metrics.
    pub metrics: Metrics,
    /// Namespaces in which no component runs.
    pub protected: Protected,
    /// Whether changes of running pods are held back, save those of a component's own specification.
    pub pause_rollout: bool,
    /// Failures in a row.
    pub backoff: Backoff,
    /// Statuses that wait for what follows.
    pub status_debounce: StatusDebounce,
    /// How long deleted components have waited for their clean-up.
    pub cleanup_clock: CleanupClock,
    /// All BackendConfigs that are watched: in the namespaces that are looked after and, where the cluster's own
    /// one stands elsewhere, there.
    pub backends: Vec<Cache<Compact<BackendConfig>>>,
    /// Whether this program leads.
    pub leadership: Leadership,
    /// Processors for what takes time.
    pub compute: Compute,
    /// What was reported of objects that cannot be decoded.
    pub undecodable: Reported,
    /// How much memory objects may take that are worked on.
    pub memory: Memory,
}

/// Versions of BackendConfigs: of the cluster's, of the namespace's.
pub type Revisions = (Option<String>, Option<String>);

/// The BackendConfigs that apply to a component, held while it is rendered.
#[derive(Clone, Debug, Default)]
pub struct HeldBackends {
    global: Option<Arc<BackendConfig>>,
    namespaced: Option<Arc<BackendConfig>>,
}

impl HeldBackends {
    /// The configurations, as the renderer takes them. One that cannot be read counts as absent.
    pub fn as_backends(&self) -> Backends<'_> {
        Backends { global: self.global.as_deref(), namespaced: self.namespaced.as_deref() }
    }

    /// Their versions: of the cluster's, of the namespace's.
    pub fn revisions(&self) -> Revisions {
        let revision = |config: Option<&BackendConfig>| config.and_then(ResourceExt::resource_version);
        let Backends { global, namespaced } = self.as_backends();
        (revision(global), revision(namespaced))
    }

    /// Whether one of them has changed since these versions and is to take effect only with the next change of
    /// the component.
    pub fn are_to_wait(&self, applied: (Option<&String>, Option<&String>)) -> bool {
        let waits = |config: Option<&BackendConfig>, applied: Option<&String>| {
            config.is_some_and(|config| {
                !config.spec.auto_update.unwrap_or_default() && config.resource_version().as_ref() != applied
            })
        };
        let Backends { global, namespaced } = self.as_backends();
        waits(global, applied.0) || waits(namespaced, applied.1)
    }
}

impl Shared {
    /// Forgets what is kept about an object, by the name under which it is kept.
    pub fn forget(&self, object: &str) {
        self.backoff.forget(object);
        self.undecodable.forget(object);
        self.status_debounce.forget(object);
        self.cleanup_clock.forget(object);
    }

    /// An object of a cache, read from the API server if it is too large to be held. None if it is gone by now.
    pub async fn whole<K>(&self, object: &Compact<K>) -> Result<Option<Compact<K>>, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + 'static,
    {
        cache::whole(object, &self.client, &self.memory).await
    }

    /// Whether all BackendConfigs are known that can apply in a namespace; see [`Cache::has_synced_for`]. Without
    /// the cluster's own one, pods would be rendered without its defaults, and restarted for it.
    pub async fn has_backends(&self, namespace: &str) -> bool {
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

    /// Whether a BackendConfig is still there.
    pub fn has_backend(&self, config: &BackendConfig) -> bool {
        let object = ObjectRef::new(&config.name_any()).within(&config.namespace().unwrap_or_default());
        self.backends.iter().any(|cache| cache.get(&object).is_some())
    }

    /// The BackendConfigs that apply to a component in this namespace.
    pub async fn backends_for(&self, namespace: &str) -> Result<HeldBackends, kube::Error> {
        Ok(HeldBackends {
            global: self.backend(self.settings.global_backend_config_ref()).await?,
            namespaced: self.backend(self.settings.namespaced_backend_config_ref(namespace)).await?,
        })
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

    /// Whether a change of this BackendConfig is to reach the components of a namespace at once.
    pub fn touches(&self, config: &BackendConfig, namespace: &str) -> bool {
        let of = [
            self.settings.global_backend_config_ref(),
            self.settings.namespaced_backend_config_ref(namespace),
        ];
        config.spec.auto_update.unwrap_or_default() && of.into_iter().flatten().any(|of| of.is_of(config))
    }
}
