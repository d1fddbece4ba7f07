//! Caches of what is watched: a store to read, and a stream of changes that triggers reconciles.

use std::fmt::Debug;
use std::hash::Hash;

use function_mesh_api::labels;
use futures::Stream;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

/// A kind as it is cached: an object that cannot be read is held as that, and hinders no other.
pub type Guarded<K> = DeserializeGuard<K>;

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

/// A cache and the stream of objects that were changed or deleted. The cache fills while the stream is read.
pub fn watch<K: Watched>(
    api: Api<K>,
    config: watcher::Config,
) -> (Store<K>, impl Stream<Item = Result<K, watcher::Error>> + Send)
where
    K::DynamicType: Eq + Hash + Clone + Default,
{
    let (store, writer) = reflector::store();
    let stream = watcher(api, config)
        .modify(|object: &mut K| {
            // Half of an object's size, and nothing here reads it.
            object.managed_fields_mut().clear();
        })
        .default_backoff()
        .reflect(writer)
        .touched_objects();
    (store, stream)
}
