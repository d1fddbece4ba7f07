//! BackendConfigs: their watches, and the reconciles that a change triggers.

use std::collections::HashMap;
use std::sync::Arc;

use function_mesh_api::conditions::Reason;
use function_mesh_api::validate::Violation;
use function_mesh_api::{BackendConfig, Component};
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_workloads::{Settings, ignored_in_backend_config};
use futures::stream::{BoxStream, StreamExt};
use futures::{FutureExt, Stream};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::context::Shared;
use function_mesh_kube::cache::{self, Cache, WatchMetrics, watch_error_message};
use function_mesh_kube::compact::Compact;
use function_mesh_kube::decode_error;
use function_mesh_kube::namespaces::Namespaces;

/// Sends changed BackendConfigs to one controller.
pub(crate) type ConfigSender = mpsc::Sender<Arc<BackendConfig>>;

/// Ignored fields that an Event lists by name.
const MAX_LISTED: usize = 3;

type Changes = BoxStream<'static, Result<Compact<BackendConfig>, watcher::Error>>;

/// Watches BackendConfigs in the watched namespaces. If the global BackendConfig is in another namespace, it is watched
/// there by name.
pub(crate) fn watch(
    client: &Client,
    settings: &Settings,
    namespaces: &Namespaces,
    watches: &WatchMetrics,
    shutdown: &CancellationToken,
) -> (Vec<Cache<Compact<BackendConfig>>>, Changes) {
    let watch = |namespaces: &Namespaces, config| {
        let (cache, changes) = cache::watch(client, namespaces, &config, watches, shutdown);
        (cache, changes.boxed())
    };
    let (local, changes) = watch(namespaces, watcher::Config::default());
    match settings.global_backend_config_ref() {
        Some(global) if !namespaces.contains(global.namespace) => {
            let by_name = watcher::Config::default().fields(&format!("metadata.name={}", global.name));
            let (global, global_changes) = watch(&Namespaces::single(global.namespace), by_name);
            (vec![local, global], futures::stream::select(changes, global_changes).boxed())
        }
        _ => (vec![local], changes),
    }
}

/// The components that a changed BackendConfig triggers.
pub(crate) fn affected_by<C: Component>(
    backends: mpsc::Receiver<Arc<BackendConfig>>,
    objects: Cache<Compact<C>>,
    shared: Arc<Shared>,
) -> impl Stream<Item = ObjectRef<Compact<C>>> + Send {
    ReceiverStream::new(backends).flat_map(move |config| {
        let affected = objects.state_filter(|object| {
            shared.triggers_reconcile(&config, &object.namespace().unwrap_or_default())
        });
        futures::stream::iter(affected.into_iter().map(|object| ObjectRef::from_obj(&*object)))
    })
}

/// Decodes changed BackendConfigs and sends them to all controllers; publishes an Event for ignored fields.
pub(crate) async fn broadcast(
    changes: Changes,
    senders: Vec<ConfigSender>,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) {
    let mut changes = changes.take_until(shutdown.cancelled_owned().boxed());
    // Notes to publish once this replica leads; until then the leader publishes them.
    let mut unpublished = HashMap::new();
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            () = shared.leadership.elected.cancelled(), if !unpublished.is_empty() => {
                for (config, note) in unpublished.drain().map(|(_, entry)| entry) {
                    tokio::spawn(publish_ignored(config, note, Arc::clone(&shared)));
                }
                continue;
            }
        };
        match change {
            Some(Ok(config)) => {
                let (namespace, name) = (config.namespace(), config.name_any());
                let config = match read(&config, &shared).await {
                    Ok(Some(config)) => Arc::new(config),
                    Ok(None) => continue,
                    Err(error) => {
                        tracing::warn!(
                            namespace,
                            name,
                            error,
                            "failed to decode BackendConfig; it is treated as absent"
                        );
                        continue;
                    }
                };
                let key = (config.namespace(), config.name_any());
                match ignored(&config, &shared) {
                    Some(note) => unpublished.insert(key, (Arc::clone(&config), note)),
                    None => unpublished.remove(&key),
                };
                for follower in &senders {
                    _ = follower.send(Arc::clone(&config)).await;
                }
            }
            Some(Err(error)) => {
                tracing::warn!(
                    error = watch_error_message(&error),
                    "watch of BackendConfigs failed; retrying"
                );
            }
            None => return,
        }
    }
}

/// A note about fields of a BackendConfig that are ignored because they would run code in the pods of other users. It
/// has the names of fields only: values may be secret.
fn ignored(config: &BackendConfig, shared: &Shared) -> Option<String> {
    let ignored = ignored_in_backend_config(config, &shared.settings);
    // A deleted BackendConfig has no effect.
    if ignored.is_empty() || !shared.has_backend(config) {
        return None;
    }
    let note = ignored_note(&ignored);
    tracing::warn!(namespace = config.namespace(), name = config.name_any(), %note, "ignored unsafe fields of BackendConfig");
    Some(note)
}

async fn publish_ignored(config: Arc<BackendConfig>, note: String, shared: Arc<Shared>) {
    let regarding = config.object_ref(&());
    shared.events.publish(&regarding, false, Reason::UnsafeBackendConfig, "Read", &note).await;
}

fn ignored_note(ignored: &[Violation]) -> String {
    let lines: Vec<_> = ignored.iter().take(MAX_LISTED).map(ToString::to_string).collect();
    let rest = ignored.len().saturating_sub(MAX_LISTED);
    let more = if rest == 0 { String::new() } else { format!("; and {rest} more") };
    format!("ignored: {}{more}", lines.join("; "))
}

/// Reads and decodes a BackendConfig; None if it no longer exists.
async fn read(config: &Compact<BackendConfig>, shared: &Shared) -> Result<Option<BackendConfig>, String> {
    let full = shared.fetch_full(config).await.map_err(|error| decode_error::message(&error))?;
    full.map(|full| full.decode().map_err(|error| error.to_string())).transpose()
}
