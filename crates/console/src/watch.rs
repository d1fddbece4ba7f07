//! Watches meshes and components, for all viewers together.

use std::collections::BTreeSet;
use std::time::Duration;

use function_mesh_api::{Function, FunctionMesh, Sink, Source};
use function_mesh_kube::memory::Memory;
use function_mesh_kube::objects::{self, Object, WatchError, WatchEvent};
use futures::stream::{StreamExt, select_all};
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client};
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use crate::hub::Hub;
use crate::store::{Change, KINDS, Watch, plural};

/// Time between two questions whether the API server answers again, and that for an answer.
const PROBE: Duration = Duration::from_secs(2);

/// Watches until the end of the program, with the permissions of `who`: "you", for example. A watch that fails is tried
/// again, with more and more time between.
pub async fn run(client: Client, hub: Hub, who: &'static str, shutdown: CancellationToken) {
    let apis = apis(&client, &hub);
    let memory = Memory::default();
    let mut events = select_all(apis.iter().map(|Watched { watch, resource, .. }| {
        let events = objects::watch(&client, resource, watch.namespace.as_deref(), &memory);
        let watch = watch.clone();
        events.map(move |event| (watch.clone(), event)).boxed()
    }));
    let mut probes = tokio::time::interval(PROBE);
    probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Watches that failed without an answer.
    let mut lost = BTreeSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = probes.tick(), if !lost.is_empty() => {
                for Watched { watch, api, .. } in &apis {
                    if !lost.contains(watch) {
                        continue;
                    }
                    if !answers(api).await {
                        break;
                    }
                    lost.remove(watch);
                    hub.apply(Change::Working(watch.clone()));
                }
            }
            event = events.next() => {
                let Some((watch, event)) = event else { return };
                match &event {
                    Err(error) if status(error).is_none() => lost.insert(watch.clone()),
                    _ => lost.remove(&watch),
                };
                hub.apply(change(watch, event, who));
            }
        }
    }
}

/// A kind that is watched in a namespace, or in all.
struct Watched {
    watch: Watch,
    resource: ApiResource,
    api: Api<DynamicObject>,
}

/// A watch of each kind in each namespace.
fn apis(client: &Client, hub: &Hub) -> Vec<Watched> {
    let mut apis = Vec::new();
    for (kind, resource) in KINDS.into_iter().zip(resources()) {
        let all = || Watched {
            watch: Watch::from(kind),
            resource: resource.clone(),
            api: Api::all_with(client.clone(), &resource),
        };
        let one = |namespace: &String| Watched {
            watch: Watch { kind, namespace: Some(namespace.as_str().into()) },
            resource: resource.clone(),
            api: Api::namespaced_with(client.clone(), namespace, &resource),
        };
        match hub.namespaces() {
            [] => apis.push(all()),
            namespaces => apis.extend(namespaces.iter().map(one)),
        }
    }
    apis
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

fn change(watch: Watch, event: Result<WatchEvent<Object>, WatchError>, who: &str) -> Change {
    match event {
        Ok(WatchEvent::Init) => Change::Init(watch),
        Ok(WatchEvent::InitApply(Object(object)) | WatchEvent::Apply(Object(object))) => {
            Change::Apply(watch, Box::new(object))
        }
        Ok(WatchEvent::Delete(Object(object))) => Change::Delete(watch, Box::new(object)),
        Ok(WatchEvent::InitDone) => Change::InitDone(watch),
        Err(error) => {
            tracing::debug!(kind = watch.kind, %error, "watch failed; retrying");
            let message = message(&watch, &error, who);
            Change::Failed(watch, message)
        }
    }
}

/// The answer of the API server; None if there was none.
fn status(error: &WatchError) -> Option<&kube::core::Status> {
    match error {
        WatchError::InitialListFailed(kube::Error::Api(status))
        | WatchError::WatchStartFailed(kube::Error::Api(status))
        | WatchError::WatchError(status) => Some(status),
        _ => None,
    }
}

/// What a person can do about a failed watch.
fn message(watch: &Watch, error: &WatchError, who: &str) -> String {
    match status(error).map(|status| (status.code, &status.message)) {
        Some((403, _)) => format!("{who} may not list and watch {}", plural(watch.kind)),
        Some((401, _)) => "the API server does not accept the credentials".to_owned(),
        Some((404, _)) => "the CRDs of Function Mesh are not installed".to_owned(),
        Some((_, message)) if !message.is_empty() => format!("the API server answers: {message}"),
        _ => "no connection to the API server; what you see may be old".to_owned(),
    }
}
