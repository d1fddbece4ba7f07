//! BackendConfigs: where they are watched, and who hears of a change.

use std::sync::Arc;

use function_mesh_api::{BackendConfig, Component};
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_workloads::Settings;
use futures::stream::{BoxStream, StreamExt};
use futures::{FutureExt, Stream};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use tokio::sync::mpsc;

use crate::context::Shared;
use crate::kit::cache::{self, Cache, Watches};
use crate::kit::cached::Cached;

/// The way by which one controller hears of changes.
pub(crate) type Changed = mpsc::Sender<Arc<BackendConfig>>;

type Changes = BoxStream<'static, Result<Cached<BackendConfig>, watcher::Error>>;

/// Watches BackendConfigs where they can apply: everywhere, or in the one namespace that is looked after. The
/// cluster's own one may stand outside of that; then it is watched alone.
pub(crate) fn watch(
    client: &Client,
    settings: &Settings,
    namespace: Option<&str>,
    watches: &Watches,
    end: &CancellationToken,
) -> (Vec<Cache<Cached<BackendConfig>>>, Changes) {
    let watch = |namespace: Option<&str>, config| {
        let (cache, changes) = cache::watch(cache::api(client, namespace), config, watches, end);
        (cache, changes.boxed())
    };
    let (local, changes) = watch(namespace, watcher::Config::default());
    let elsewhere = Some(settings.global_backend_config_namespace.as_str());
    match &settings.global_backend_config {
        Some(name) if namespace.is_some() && namespace != elsewhere => {
            let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
            let (global, of_global) = watch(elsewhere, only);
            (vec![local, global], futures::stream::select(changes, of_global).boxed())
        }
        _ => (vec![local], changes),
    }
}

/// The components that a changed BackendConfig is to reach at once.
pub(crate) fn affected_by<C: Component>(
    backends: mpsc::Receiver<Arc<BackendConfig>>,
    objects: Cache<Cached<C>>,
    shared: Arc<Shared>,
) -> impl Stream<Item = ObjectRef<Cached<C>>> + Send {
    crate::run::receiver(backends).flat_map(move |config| {
        let affected =
            objects.state_filter(|object| shared.touches(&config, &object.namespace().unwrap_or_default()));
        futures::stream::iter(affected.into_iter().map(|object| ObjectRef::from_obj(&*object)))
    })
}

/// Reads the BackendConfigs and tells the controllers of each change.
pub(crate) async fn follow(changes: Changes, followers: Vec<Changed>, end: CancellationToken) {
    let mut changes = changes.take_until(end.cancelled_owned().boxed());
    while let Some(change) = changes.next().await {
        match change {
            Ok(config) => {
                let config = match config.open() {
                    Ok(config) => Arc::new(config),
                    Err(fault) => {
                        tracing::warn!(namespace = fault.metadata.namespace, name = fault.metadata.name, %fault, "this BackendConfig cannot be read and counts as absent");
                        continue;
                    }
                };
                for follower in &followers {
                    _ = follower.send(Arc::clone(&config)).await;
                }
            }
            Err(error) => tracing::warn!(%error, "watch of BackendConfigs failed; it is tried again"),
        }
    }
}
