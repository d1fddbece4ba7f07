//! BackendConfigs: where they are watched, and who hears of a change.

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

use crate::context::Shared;
use function_mesh_kube::cache::{self, Cache, WatchMetrics, words};
use function_mesh_kube::compact::Compact;
use function_mesh_kube::decode_error;
use function_mesh_kube::namespaces::Namespaces;

/// The way by which one controller hears of changes.
pub(crate) type Changed = mpsc::Sender<Arc<BackendConfig>>;

/// How many ignored fields are told by name.
const MOST_TOLD: usize = 3;

type Changes = BoxStream<'static, Result<Compact<BackendConfig>, watcher::Error>>;

/// WatchMetrics BackendConfigs where they can apply: in the namespaces that are looked after. The cluster's own one may
/// stand outside of those; then it is watched alone, and none of another name there.
pub(crate) fn watch(
    client: &Client,
    settings: &Settings,
    namespaces: &Namespaces,
    watches: &WatchMetrics,
    end: &CancellationToken,
) -> (Vec<Cache<Compact<BackendConfig>>>, Changes) {
    let watch = |namespaces: &Namespaces, config| {
        let (cache, changes) = cache::watch(client, namespaces, &config, watches, end);
        (cache, changes.boxed())
    };
    let (local, changes) = watch(namespaces, watcher::Config::default());
    match settings.global_backend_config_ref() {
        Some(global) if !namespaces.contains(global.namespace) => {
            let only = watcher::Config::default().fields(&format!("metadata.name={}", global.name));
            let (global, of_global) = watch(&Namespaces::one(global.namespace), only);
            (vec![local, global], futures::stream::select(changes, of_global).boxed())
        }
        _ => (vec![local], changes),
    }
}

/// The components that a changed BackendConfig is to reach at once.
pub(crate) fn affected_by<C: Component>(
    backends: mpsc::Receiver<Arc<BackendConfig>>,
    objects: Cache<Compact<C>>,
    shared: Arc<Shared>,
) -> impl Stream<Item = ObjectRef<Compact<C>>> + Send {
    crate::run::receiver(backends).flat_map(move |config| {
        let affected =
            objects.state_filter(|object| shared.touches(&config, &object.namespace().unwrap_or_default()));
        futures::stream::iter(affected.into_iter().map(|object| ObjectRef::from_obj(&*object)))
    })
}

/// Reads the BackendConfigs and tells the controllers of each change, and their authors of what is ignored.
pub(crate) async fn follow(
    changes: Changes,
    followers: Vec<Changed>,
    shared: Arc<Shared>,
    end: CancellationToken,
) {
    let mut changes = changes.take_until(end.cancelled_owned().boxed());
    // What is to be told of each BackendConfig once this program leads; until then another one tells it.
    let mut untold = HashMap::new();
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            () = shared.leadership.elected.cancelled(), if !untold.is_empty() => {
                for (config, note) in untold.drain().map(|(_, told)| told) {
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
                            "this BackendConfig cannot be read and counts as absent"
                        );
                        continue;
                    }
                };
                let key = (config.namespace(), config.name_any());
                match ignored(&config, &shared) {
                    Some(note) => untold.insert(key, (Arc::clone(&config), note)),
                    None => untold.remove(&key),
                };
                for follower in &followers {
                    _ = follower.send(Arc::clone(&config)).await;
                }
            }
            Some(Err(error)) => {
                tracing::warn!(error = words(&error), "watch of BackendConfigs failed; it is tried again");
            }
            None => return,
        }
    }
}

/// What of a BackendConfig takes no effect since it would run code in the pods of others. Only names of fields
/// are told: values may be secret.
fn ignored(config: &BackendConfig, shared: &Shared) -> Option<String> {
    let ignored = ignored_in_backend_config(config, &shared.settings);
    // One that is gone takes no effect at all.
    if ignored.is_empty() || !shared.has_backend(config) {
        return None;
    }
    let note = ignored_note(&ignored);
    tracing::warn!(namespace = config.namespace(), name = config.name_any(), %note, "ignored a part of this BackendConfig");
    Some(note)
}

async fn publish_ignored(config: Arc<BackendConfig>, note: String, shared: Arc<Shared>) {
    let regarding = config.object_ref(&());
    shared.events.publish(&regarding, false, Reason::UnsafeBackendConfig, "Read", &note).await;
}

fn ignored_note(ignored: &[Violation]) -> String {
    let lines: Vec<_> = ignored.iter().take(MOST_TOLD).map(ToString::to_string).collect();
    let rest = ignored.len().saturating_sub(MOST_TOLD);
    let more = if rest == 0 { String::new() } else { format!("; and {rest} more") };
    format!("ignored: {}{more}", lines.join("; "))
}

/// A BackendConfig; None if it is gone.
async fn read(config: &Compact<BackendConfig>, shared: &Shared) -> Result<Option<BackendConfig>, String> {
    let whole = shared.whole(config).await.map_err(|error| decode_error::words(&error))?;
    whole.map(|whole| whole.decode().map_err(|error| error.to_string())).transpose()
}
