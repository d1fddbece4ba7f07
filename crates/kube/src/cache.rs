//! Caches of watched kinds: a store to read from, and a stream of changes that triggers reconciles.

use std::fmt::Debug;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use function_mesh_api::labels;
use function_mesh_serving::shutdown::CancellationToken;
use futures::stream::{self, select_all};
use futures::{Stream, StreamExt};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource};
use prometheus::{IntCounterVec, Opts, Registry};
use serde::de::DeserializeOwned;
use tokio::sync::watch::Receiver;

use crate::compact::Compact;
use crate::decode_error;
use crate::list_watch::{Item, Target, fetch_one, list_watch};
use crate::memory::Memory;
use crate::namespaces::Namespaces;
use crate::store::NamespacedStore;

/// A kind that can be watched.
pub trait Watched:
    Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Item + Clone + Debug + Sync
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Item + Clone + Debug + Sync
{
}

/// Time until an object is requeued if a cache of its namespace has not synced.
pub const UNSYNCED_RETRY: Duration = Duration::from_secs(5);

/// Selects the children of components of one role.
pub fn child_selector(role: function_mesh_api::Role) -> watcher::Config {
    watcher::Config::default().labels(&format!("{}={role}", labels::COMPONENT))
}

/// Selects the clean-up Jobs of components of one role.
pub fn cleanup_job_selector(role: function_mesh_api::Role) -> watcher::Config {
    watcher::Config::default().labels(&format!("{}={role},{}", labels::COMPONENT, labels::OWNER))
}

/// A store, and the sync state of its shards.
#[derive(Clone)]
pub struct Cache<K: Watched> {
    store: Store<K>,
    shards: Arc<[Shard]>,
    shutdown: CancellationToken,
    client: Client,
    memory: Memory,
}

/// The scope of one watch: a namespace, or None for all.
struct Shard {
    namespace: Option<String>,
    state: Receiver<SyncState>,
}

/// The state of the first list of a shard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum SyncState {
    /// The list is in progress.
    Syncing,
    /// The list failed and is retried.
    Failed,
    /// The list is complete.
    Synced,
}

impl Shard {
    fn covers(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }

    /// Waits for a state; false if the watch ends before.
    async fn wait_for_state(&self, wanted: impl FnMut(&SyncState) -> bool + Send) -> bool {
        self.state.clone().wait_for(wanted).await.is_ok()
    }
}

impl<K: Watched> Cache<K> {
    /// The store, for look-ups by a controller.
    pub fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// The scopes of the watches: each namespace by name, or None for the whole cluster.
    pub fn scopes(&self) -> Vec<Option<String>> {
        self.shards.iter().map(|shard| shard.namespace.clone()).collect()
    }

    /// Waits until the cache of this scope has synced. False on shutdown.
    pub async fn wait_synced(&self, scope: Option<&str>) -> bool {
        for shard in self.shards.iter().filter(|it| it.namespace.as_deref() == scope) {
            let has_synced = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => false,
                has_synced = shard.wait_for_state(|state| *state == SyncState::Synced) => has_synced,
            };
            if !has_synced {
                return false;
            }
        }
        true
    }

    /// Whether all watched namespaces have synced.
    pub fn has_synced(&self) -> bool {
        self.shards.iter().all(|shard| *shard.state.borrow() == SyncState::Synced)
    }

    /// Whether the cache of a namespace has synced; true if the namespace is not watched. Waits during the first list.
    /// Does not wait after a failed one: missing permissions can take long, and other namespaces must not be blocked.
    pub async fn has_synced_for(&self, namespace: &str) -> bool {
        for shard in self.shards.iter().filter(|shard| shard.covers(namespace)) {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return false,
                _ = shard.wait_for_state(|state| *state != SyncState::Syncing) => {}
            }
            if *shard.state.borrow() != SyncState::Synced {
                return false;
            }
        }
        true
    }
}

impl<K> Cache<Compact<K>>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + DeserializeOwned + 'static,
{
    /// The object of this name. Undecodable objects are treated as absent; callers fall back to a GET, whose error has
    /// the reason.
    pub async fn fetch(&self, name: &str, namespace: &str) -> Result<Option<Arc<K>>, kube::Error> {
        let Some(found) = self.store.get(&ObjectRef::new(name).within(namespace)) else { return Ok(None) };
        let full = fetch_full(&found, &self.client, &self.memory).await?;
        Ok(full.and_then(|full| full.decode().ok()).map(Arc::new))
    }

    /// The memory that reading an object takes, in bytes, if it is too large for the cache; else 0.
    pub fn cost_of_large(&self, name: &str, namespace: &str) -> usize {
        let found = self.store.get(&ObjectRef::new(name).within(namespace));
        found.filter(|found| found.is_large()).map_or(0, |found| found.cost())
    }
}

/// An object of a cache, read from the API server if it is too large for the cache. None if it no longer exists.
pub async fn fetch_full<K>(
    object: &Compact<K>,
    client: &Client,
    memory: &Memory,
) -> Result<Option<Compact<K>>, kube::Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + 'static,
{
    if !object.is_large() {
        return Ok(Some(object.clone()));
    }
    let metadata = object.meta();
    let (name, namespace) = (metadata.name.as_deref(), metadata.namespace.as_deref());
    let (Some(name), Some(namespace)) = (name, namespace) else { return Ok(None) };
    let found = fetch_one::<Compact<K>>(client, namespace, name, memory, Compact::from_json).await?;
    Ok(found.filter(|found| found.meta().uid == metadata.uid))
}

impl<K: Watched> Deref for Cache<K> {
    type Target = Store<K>;

    fn deref(&self) -> &Store<K> {
        &self.store
    }
}

/// Watch metrics.
#[derive(Clone, Debug)]
pub struct WatchMetrics {
    lists: IntCounterVec,
    errors: IntCounterVec,
    memory: Memory,
}

impl WatchMetrics {
    /// Creates and registers the metrics.
    pub fn register(registry: &Registry, memory: &Memory) -> prometheus::Result<Self> {
        let counter = |name, help| {
            let counter = IntCounterVec::new(Opts::new(name, help), &["kind"])?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        Ok(Self {
            lists: counter(
                "function_mesh_watch_relists_total",
                "Lists of all objects of a kind for a watch: at its start, and after its resource version expired.",
            )?,
            errors: counter(
                "function_mesh_watch_errors_total",
                "Failed watches; each is restarted after a backoff.",
            )?,
            memory: memory.clone(),
        })
    }

    /// The events of all shards of a kind, each with the index of its shard. None is a failure, which is counted and
    /// logged here; the watch restarts after a backoff.
    fn watch_shards<K: Watched>(
        &self,
        client: &Client,
        scopes: &[Option<String>],
        config: &watcher::Config,
    ) -> impl Stream<Item = (usize, Option<watcher::Event<K>>)> + Send + use<K> {
        let kind = K::kind(&());
        let (lists, errors) =
            (self.lists.with_label_values(&[&kind]), self.errors.with_label_values(&[&kind]));
        let watch = |(shard, namespace): (usize, &Option<String>)| {
            let namespace = namespace.clone();
            let (lists, errors) = (lists.clone(), errors.clone());
            let target = Target::new::<K>(client, namespace.as_deref(), config, &self.memory);
            let events = list_watch::<K>(target, |error| {
                let kind = K::kind(&());
                tracing::warn!(%kind, %error, "skipped an object that cannot be decoded");
            });
            // Each watch has its own backoff.
            let events = events.boxed().default_backoff().map(move |event| match event {
                Ok(event) => {
                    if matches!(event, watcher::Event::Init) {
                        lists.inc();
                    }
                    (shard, Some(event))
                }
                Err(error) => {
                    errors.inc();
                    warn::<K>(namespace.as_deref(), &error);
                    (shard, None)
                }
            });
            events.boxed()
        };
        select_all(scopes.iter().enumerate().map(watch))
    }
}

fn warn<K: Watched>(namespace: Option<&str>, error: &watcher::Error) {
    let kind = K::kind(&());
    let namespace = namespace.unwrap_or("all");
    let answer = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    };
    if answer.is_some_and(|status| status.is_forbidden()) {
        let error = watch_error_message(error);
        tracing::warn!(%kind, namespace, error, "forbidden: grant list and watch; components wait until then");
    } else {
        let error = watch_error_message(error);
        tracing::warn!(%kind, namespace, error, "watch failed; retrying");
    }
}

/// The message of a watch error, without content that could not be decoded.
pub fn watch_error_message(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error) => {
            format!("failed to list: {}", decode_error::message(error))
        }
        watcher::Error::WatchStartFailed(error) => {
            format!("failed to start the watch: {}", decode_error::message(error))
        }
        watcher::Error::WatchFailed(error) => format!("watch failed: {}", decode_error::message(error)),
        watcher::Error::WatchError(status) => format!("watch failed: {}", status.message),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// A cache, and the stream of objects that changed or were deleted. The cache fills while the stream is polled.
pub fn watch<K: Watched>(
    client: &Client,
    namespaces: &Namespaces,
    config: &watcher::Config,
    metrics: &WatchMetrics,
    shutdown: &CancellationToken,
) -> (Cache<K>, impl Stream<Item = Result<K, watcher::Error>> + Send + use<K>) {
    let names = namespaces.scopes();
    let (store, writer) = reflector::store();
    let mut namespaced_store = NamespacedStore::new(writer, &names);
    let events = metrics.watch_shards(client, &names, config);
    let (senders, shards): (Vec<_>, Vec<_>) = names
        .into_iter()
        .map(|namespace| {
            let (sender, state) = tokio::sync::watch::channel(SyncState::Syncing);
            (sender, Shard { namespace, state })
        })
        .unzip();
    let cache = Cache {
        store,
        shards: shards.into(),
        shutdown: shutdown.clone(),
        client: client.clone(),
        memory: metrics.memory.clone(),
    };
    let changes = events.flat_map(move |(shard, event)| {
        let now = match &event {
            Some(watcher::Event::InitDone) => Some(SyncState::Synced),
            None => Some(SyncState::Failed),
            Some(_) => None,
        };
        let changed = event.map(|event| namespaced_store.apply_event(shard, event)).unwrap_or_default();
        if let (Some(now), Some(state)) = (now, senders.get(shard)) {
            // Once synced, a shard stays synced.
            state.send_if_modified(|state| {
                let is_change = *state != SyncState::Synced && *state != now;
                if is_change {
                    *state = now;
                }
                is_change
            });
        }
        stream::iter(changed.into_iter().map(Ok))
    });
    (cache, changes)
}
