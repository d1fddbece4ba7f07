//! Caches of what is watched: a store to read, and a stream of changes that triggers reconciles.

use std::fmt::Debug;
use std::hash::Hash;
use std::ops::Deref;
use std::sync::Arc;

use function_mesh_api::labels;
use function_mesh_serving::shutdown::CancellationToken;
use futures::{Stream, StreamExt};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use prometheus::{IntCounterVec, Opts, Registry};
use serde::de::DeserializeOwned;

use super::cached::Cached;

/// A kind that can be watched.
pub trait Watched:
    Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Objects that are read at a time when a watch begins: what is read is held twice for a moment.
const PAGE: u32 = 50;

/// All of a kind in one namespace, or everywhere.
pub fn api<K: Watched>(client: &Client, namespace: Option<&str>) -> Api<K> {
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// What selects the children of components of one role.
pub fn children_of(role: function_mesh_api::Role) -> watcher::Config {
    watcher::Config::default().labels(&format!("{}={role}", labels::COMPONENT))
}

/// What selects the Jobs that clean up after components of one role.
pub fn cleanups_of(role: function_mesh_api::Role) -> watcher::Config {
    watcher::Config::default().labels(&format!("{}={role},{}", labels::COMPONENT, labels::OWNER))
}

/// A cache: a store to read, and whether it is full.
#[derive(Clone)]
pub struct Cache<K: Watched> {
    store: Store<K>,
    filled: CancellationToken,
    end: CancellationToken,
}

impl<K: Watched> Cache<K> {
    /// The store, for a controller to look its objects up in.
    pub fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// Waits until the cache holds all that there is. False when the program ends before.
    ///
    /// The store has a wait of its own, but of several who wait on it kube wakes only the last.
    pub async fn is_filled(&self) -> bool {
        tokio::select! {
            biased;
            () = self.end.cancelled() => false,
            () = self.filled.cancelled() => true,
        }
    }
}

impl<K: Watched> Cache<K> {
    /// Waits until it is clear that the cache will never be full: the program ends before. A controller waits for
    /// its cache even when it is told to end.
    pub async fn is_given_up(self) {
        if self.is_filled().await {
            std::future::pending::<()>().await;
        }
    }
}

impl<K> Cache<Cached<K>>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + DeserializeOwned + 'static,
{
    /// Opens what the cache holds under a name. What cannot be read counts as unknown: whoever needs it asks the
    /// API server, and learns why.
    pub fn open(&self, name: &str, namespace: &str) -> Option<Arc<K>> {
        let found = self.store.get(&ObjectRef::new(name).within(namespace))?;
        found.open().ok().map(Arc::new)
    }
}

impl<K: Watched> Deref for Cache<K> {
    type Target = Store<K>;

    fn deref(&self) -> &Store<K> {
        &self.store
    }
}

/// How watches fare.
#[derive(Clone, Debug)]
pub struct Watches {
    lists: IntCounterVec,
    errors: IntCounterVec,
}

impl Watches {
    /// Makes the metrics and registers them.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name, help| {
            let counter = IntCounterVec::new(Opts::new(name, help), &["kind"])?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        Ok(Self {
            lists: counter(
                "function_mesh_watch_lists_total",
                "How often all objects of a kind were listed for a watch: at its start, and where its history is lost.",
            )?,
            errors: counter(
                "function_mesh_watch_errors_total",
                "Watches that failed; each is begun anew after a while.",
            )?,
        })
    }

    fn observe<K: Watched, S>(
        &self,
        events: S,
    ) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + use<K, S>
    where
        S: Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send,
    {
        let kind = K::kind(&());
        let (lists, errors) =
            (self.lists.with_label_values(&[&kind]), self.errors.with_label_values(&[&kind]));
        events.inspect(move |event| match event {
            Ok(watcher::Event::Init) => lists.inc(),
            Ok(_) => {}
            Err(_) => errors.inc(),
        })
    }
}

/// A cache and the stream of objects that were changed or deleted. The cache fills while the stream is read.
pub fn watch<K: Watched>(
    api: Api<K>,
    config: watcher::Config,
    watches: &Watches,
    end: &CancellationToken,
) -> (Cache<K>, impl Stream<Item = Result<K, watcher::Error>> + Send + use<K>)
where
    K::DynamicType: Eq + Hash + Clone + Default,
{
    let (store, writer) = reflector::store();
    let filled = CancellationToken::new();
    let cache = Cache { store, filled: filled.clone(), end: end.clone() };
    let stream = watcher(api, config.page_size(PAGE)).default_backoff().reflect(writer);
    let stream = watches
        .observe(stream)
        .inspect(move |event| {
            if matches!(event, Ok(watcher::Event::InitDone)) {
                filled.cancel();
            }
        })
        .touched_objects();
    (cache, stream)
}

/// Notices of objects that were changed or deleted, for those who read them when they need them.
pub fn notices<K: Watched>(
    api: Api<K>,
    config: watcher::Config,
    watches: &Watches,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + use<K> {
    watches.observe(watcher(api, config.page_size(PAGE)).default_backoff()).touched_objects()
}
