//! Watches meshes and components, for all viewers together.

use std::collections::BTreeSet;
use std::time::Duration;

use function_mesh_api::{Function, FunctionMesh, Sink, Source};
use futures::stream::{StreamExt, select_all};
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use crate::hub::Hub;
use crate::store::{Change, KINDS};

/// Objects of a page of a list.
const PAGE: u32 = 100;
/// Time between two questions whether the API server answers again, and that for an answer.
const PROBE: Duration = Duration::from_secs(2);

/// Watches until the end of the program. A watch that fails is tried again, with more and more time between.
pub async fn run(client: Client, hub: Hub, shutdown: CancellationToken) {
    let apis: Vec<_> = KINDS.into_iter().zip(resources().map(|it| api(&client, &hub, &it))).collect();
    let mut events = select_all(apis.iter().map(|(kind, api)| {
        let (kind, config) = (*kind, watcher::Config::default().page_size(PAGE));
        watcher(api.clone(), config).default_backoff().map(move |event| (kind, event)).boxed()
    }));
    let mut probes = tokio::time::interval(PROBE);
    probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Kinds whose watch failed without an answer.
    let mut lost = BTreeSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = probes.tick(), if !lost.is_empty() => {
                for (kind, api) in apis.iter().filter(|(kind, _)| lost.contains(kind)).cloned().collect::<Vec<_>>() {
                    if !answers(&api).await {
                        break;
                    }
                    lost.remove(kind);
                    hub.apply(Change::Working(kind));
                }
            }
            event = events.next() => {
                let Some((kind, event)) = event else { return };
                match &event {
                    Err(error) if status(error).is_none() => lost.insert(kind),
                    _ => lost.remove(kind),
                };
                if let Some(change) = change(kind, event) {
                    hub.apply(change);
                }
            }
        }
    }
}

fn api(client: &Client, hub: &Hub, resource: &ApiResource) -> Api<DynamicObject> {
    match hub.namespace() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    }
}

fn resources() -> [ApiResource; 4] {
    [
        ApiResource::erase::<FunctionMesh>(&()),
        ApiResource::erase::<Function>(&()),
        ApiResource::erase::<Source>(&()),
        ApiResource::erase::<Sink>(&()),
    ]
}

/// Whether the API server answers, be it with a denial.
async fn answers(api: &Api<DynamicObject>) -> bool {
    let list = timeout(PROBE, api.list(&ListParams::default().limit(1))).await;
    matches!(list, Ok(Ok(_) | Err(kube::Error::Api(_))))
}

fn change(
    kind: &'static str,
    event: Result<watcher::Event<DynamicObject>, watcher::Error>,
) -> Option<Change> {
    let json = |object: DynamicObject| serde_json::to_value(object).map(Box::<Value>::new).ok();
    Some(match event {
        Ok(watcher::Event::Init) => Change::Init(kind),
        Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
            Change::Apply(kind, json(object)?)
        }
        Ok(watcher::Event::Delete(object)) => Change::Delete(kind, json(object)?),
        Ok(watcher::Event::InitDone) => Change::InitDone(kind),
        Err(error) => {
            tracing::debug!(kind, %error, "watch failed; retrying");
            Change::Failed(kind, message(kind, &error))
        }
    })
}

/// The answer of the API server; None if there was none.
fn status(error: &watcher::Error) -> Option<&kube::core::Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// What a person can do about a failed watch.
fn message(kind: &str, error: &watcher::Error) -> String {
    match status(error).map(|status| (status.code, &status.message)) {
        Some((403, _)) => format!("you may not list and watch {}", plural(kind)),
        Some((401, _)) => "the API server does not accept your credentials".to_owned(),
        Some((404, _)) => "the CRDs of Function Mesh are not installed".to_owned(),
        Some((_, message)) if !message.is_empty() => format!("the API server answers: {message}"),
        _ => "no connection to the API server; what you see may be old".to_owned(),
    }
}

fn plural(kind: &str) -> String {
    let suffix = if kind.ends_with('h') { "es" } else { "s" };
    format!("{}{suffix}", kind.to_lowercase())
}
