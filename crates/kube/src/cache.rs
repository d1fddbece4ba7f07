//! Caches of what is watched: a store to read, and a stream of changes that triggers reconciles.

use std::fmt::Debug;
use std::future::ready;
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
use crate::list_watch::{Item, Target, list_watch, read_one};
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

/// How long until an object is looked at again of whose namespace a cache could not be filled.
pub const INCOMPLETE: Duration = Duration::from_secs(5);

/// What selects the children of components of one role.
pub fn children_of(role: function_mesh_api::Role) -> watcher::Config {
    watcher::Config::default().labels(&format!("{}={role}", labels::COMPONENT))
}

/// What selects the Jobs that clean up after components of one role.
pub fn cleanups_of(role: function_mesh_api::Role) -> watcher::Config {
    watcher::Config::default().labels(&format!("{}={role},{}", labels::COMPONENT, labels::OWNER))
}

/// A cache: a store to read, and what of it is full.
#[derive(Clone)]
pub struct Cache<K: Watched> {
    store: Store<K>,
    parts: Arc<[Part]>,
    end: CancellationToken,
    client: Client,
    memory: Memory,
}

/// What is watched in one go: a namespace, or, without a name, all of them.
struct Part {
    namespace: Option<String>,
    state: Receiver<SyncState>,
}

/// How far the first list of a part has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum SyncState {
    /// It is under way.
    Syncing,
    /// It failed, and is tried again.
    Failed,
    /// It is done.
    Synced,
}

impl Part {
    fn covers(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }

    /// Waits for this to come about; false when the watch ends before.
    async fn stands(&self, wanted: impl FnMut(&SyncState) -> bool + Send) -> bool {
        self.state.clone().wait_for(wanted).await.is_ok()
    }
}

impl<K: Watched> Cache<K> {
    /// The store, for a controller to look its objects up in.
    pub fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// Names what is watched in one go: each namespace, or all of them together, which is None.
    pub fn parts(&self) -> Vec<Option<String>> {
        self.parts.iter().map(|part| part.namespace.clone()).collect()
    }

    /// Waits until the cache holds all that there is in this part. False when the program ends before.
    pub async fn wait_synced(&self, part: Option<&str>) -> bool {
        for part in self.parts.iter().filter(|it| it.namespace.as_deref() == part) {
            let has_synced = tokio::select! {
                biased;
                () = self.end.cancelled() => false,
                has_synced = part.stands(|state| *state == SyncState::Synced) => has_synced,
            };
            if !has_synced {
                return false;
            }
        }
        true
    }

    /// Whether the cache holds all that there is, in every namespace that is watched.
    pub fn has_synced(&self) -> bool {
        self.parts.iter().all(|part| *part.state.borrow() == SyncState::Synced)
    }

    /// Whether the cache holds all that there is in a namespace, if it is watched at all. It waits while that is
    /// being listed for the first time; not when that failed, since it may be long until somebody allows it, and
    /// nobody of another namespace is to be kept from work meanwhile.
    pub async fn has_synced_for(&self, namespace: &str) -> bool {
        for part in self.parts.iter().filter(|part| part.covers(namespace)) {
            tokio::select! {
                biased;
                () = self.end.cancelled() => return false,
                _ = part.stands(|state| *state != SyncState::Syncing) => {}
            }
            if *part.state.borrow() != SyncState::Synced {
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
    /// The object of this name. What cannot be decoded counts as unknown: whoever needs it asks the API server, and
    /// learns why.
    pub async fn fetch(&self, name: &str, namespace: &str) -> Result<Option<Arc<K>>, kube::Error> {
        let Some(found) = self.store.get(&ObjectRef::new(name).within(namespace)) else { return Ok(None) };
        let whole = whole(&found, &self.client, &self.memory).await?;
        Ok(whole.and_then(|whole| whole.decode().ok()).map(Arc::new))
    }

    /// What work on an object costs if it is too large to be held, else nothing.
    pub fn cost_of_large(&self, name: &str, namespace: &str) -> usize {
        let found = self.store.get(&ObjectRef::new(name).within(namespace));
        found.filter(|found| found.is_large()).map_or(0, |found| found.cost())
    }
}

/// An object of a cache, read from the API server if it is too large to be held. None if it is gone by now.
pub async fn whole<K>(
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
    let found = read_one::<Compact<K>>(client, namespace, name, memory, Compact::from_json).await?;
    Ok(found.filter(|found| found.meta().uid == metadata.uid))
}

impl<K: Watched> Deref for Cache<K> {
    type Target = Store<K>;

    fn deref(&self) -> &Store<K> {
        &self.store
    }
}

/// How watches fare.
#[derive(Clone, Debug)]
pub struct WatchMetrics {
    lists: IntCounterVec,
    errors: IntCounterVec,
    memory: Memory,
}

impl WatchMetrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &Registry, memory: &Memory) -> prometheus::Result<Self> {
        let counter = |name, help| {
            let counter = IntCounterVec::new(Opts::new(name, help), &["kind"])?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        Ok(Self {
            lists: counter(
                "function_mesh_watch_relists_total",
                "How often all objects of a kind were listed for a watch: at its start, and where its history is lost.",
            )?,
            errors: counter(
                "function_mesh_watch_errors_total",
                "WatchMetrics that failed; each is begun anew after a while.",
            )?,
            memory: memory.clone(),
        })
    }

    /// All that watches of a kind tell, each in one part, with the number of the part. What fails is counted and
    /// logged here; each watch begins anew after a while.
    fn observe<K: Watched>(
        &self,
        client: &Client,
        parts: &[Option<String>],
        config: &watcher::Config,
    ) -> impl Stream<Item = (usize, Option<watcher::Event<K>>)> + Send + use<K> {
        let kind = K::kind(&());
        let (lists, errors) =
            (self.lists.with_label_values(&[&kind]), self.errors.with_label_values(&[&kind]));
        let watch = |(at, namespace): (usize, &Option<String>)| {
            let namespace = namespace.clone();
            let (lists, errors) = (lists.clone(), errors.clone());
            let target = Target::new::<K>(client, namespace.as_deref(), config, &self.memory);
            let events = list_watch::<K>(target, |error| {
                let kind = K::kind(&());
                tracing::warn!(%kind, %error, "an object cannot be read; it is passed over");
            });
            // Each watch waits for itself alone.
            let events = events.boxed().default_backoff().map(move |event| match event {
                Ok(event) => {
                    if matches!(event, watcher::Event::Init) {
                        lists.inc();
                    }
                    (at, Some(event))
                }
                Err(error) => {
                    errors.inc();
                    warn::<K>(namespace.as_deref(), &error);
                    (at, None)
                }
            });
            events.boxed()
        };
        select_all(parts.iter().enumerate().map(watch))
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
        let error = words(error);
        tracing::warn!(%kind, namespace, error, "not allowed to list and watch; components there wait until it is");
    } else {
        let error = words(error);
        tracing::warn!(%kind, namespace, error, "watch failed; it is tried again");
    }
}

/// Why a watch failed, without a word of what could not be decoded.
pub fn words(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error) => format!("cannot list: {}", decode_error::words(error)),
        watcher::Error::WatchStartFailed(error) => format!("cannot watch: {}", decode_error::words(error)),
        watcher::Error::WatchFailed(error) => format!("the watch failed: {}", decode_error::words(error)),
        watcher::Error::WatchError(status) => format!("the watch failed: {}", status.message),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// A cache and the stream of objects that were changed or deleted. The cache fills while the stream is read.
pub fn watch<K: Watched>(
    client: &Client,
    namespaces: &Namespaces,
    config: &watcher::Config,
    watches: &WatchMetrics,
    end: &CancellationToken,
) -> (Cache<K>, impl Stream<Item = Result<K, watcher::Error>> + Send + use<K>) {
    let names = namespaces.parts();
    let (store, writer) = reflector::store();
    let mut shards = NamespacedStore::new(writer, &names);
    let events = watches.observe(client, &names, config);
    let (senders, parts): (Vec<_>, Vec<_>) = names
        .into_iter()
        .map(|namespace| {
            let (sender, state) = tokio::sync::watch::channel(SyncState::Syncing);
            (sender, Part { namespace, state })
        })
        .unzip();
    let cache = Cache {
        store,
        parts: parts.into(),
        end: end.clone(),
        client: client.clone(),
        memory: watches.memory.clone(),
    };
    let changes = events.flat_map(move |(at, event)| {
        let now = match &event {
            Some(watcher::Event::InitDone) => Some(SyncState::Synced),
            None => Some(SyncState::Failed),
            Some(_) => None,
        };
        let changed = event.map(|event| shards.apply_event(at, event)).unwrap_or_default();
        if let (Some(now), Some(state)) = (now, senders.get(at)) {
            // What was full once stays so, whatever becomes of its watch.
            state.send_if_modified(|state| {
                let is_news = *state != SyncState::Synced && *state != now;
                if is_news {
                    *state = now;
                }
                is_news
            });
        }
        stream::iter(changed.into_iter().map(Ok))
    });
    (cache, changes)
}

/// Notices of objects that were changed or deleted, for those who read them when they need them.
pub fn metadata_events<K: Watched>(
    client: &Client,
    namespaces: &Namespaces,
    config: &watcher::Config,
    watches: &WatchMetrics,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + use<K> {
    let events = watches.observe(client, &namespaces.parts(), config);
    events.filter_map(|(_, event)| {
        ready(match event {
            Some(
                watcher::Event::Apply(object)
                | watcher::Event::InitApply(object)
                | watcher::Event::Delete(object),
            ) => Some(Ok(object)),
            Some(watcher::Event::Init | watcher::Event::InitDone) | None => None,
        })
    })
}
