//! Components, and the pods that run them, as the API server knows them.

use function_mesh_api::{Function, Sink, Source};
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde_json::Value;

use super::access::{Permission, Permissions};
use super::error::ApiError;

/// Pods that are shown of a component.
pub(super) const SHOWN: u32 = 50;

/// A component by namespace, kind and name.
#[derive(Debug)]
pub(super) struct ComponentRef {
    pub(super) namespace: String,
    pub(super) resource: ApiResource,
    pub(super) name: String,
}

impl ComponentRef {
    /// Checks the parts of a path: names become parts of another path.
    pub(super) fn new((namespace, kind, name): (String, String, String)) -> Result<Self, ApiError> {
        let resource = match kind.as_str() {
            "function" => ApiResource::erase::<Function>(&()),
            "source" => ApiResource::erase::<Source>(&()),
            "sink" => ApiResource::erase::<Sink>(&()),
            _ => return Err(ApiError::not_found("no such kind")),
        };
        if !is_object_name(&namespace) || !is_object_name(&name) {
            return Err(ApiError::not_found("no object can have this name"));
        }
        Ok(Self { namespace, resource, name })
    }

    /// The object, with its kind.
    pub(super) async fn read(&self, client: &Client, permissions: &Permissions) -> Result<Value, ApiError> {
        let permission = Permission::ours("get", &self.resource.plural, Some(&self.namespace));
        permissions.require(Permission { name: &self.name, ..permission }).await?;
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &self.namespace, &self.resource);
        let object = api.get(&self.name).await?;
        serde_json::to_value(object).map_err(|_| ApiError::not_found("the object cannot be read"))
    }
}

/// Whether an object can have this name.
pub(super) fn is_object_name(name: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(|it| it.is_ascii_lowercase() || it.is_ascii_digit());
    let bytes = name.as_bytes();
    let is_inner = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    bytes.len() <= 253 && bytes.iter().all(is_inner) && is_end(bytes.first()) && is_end(bytes.last())
}

/// The pods of a component, found by the selector in its status.
pub(super) async fn pods(
    client: &Client,
    permissions: &Permissions,
    object: &Value,
    namespace: &str,
) -> Result<Vec<Pod>, ApiError> {
    permissions.require(Permission::core("list", "pods", namespace)).await?;
    let Some(selector) = object.pointer("/status/selector").and_then(Value::as_str) else {
        return Ok(Vec::new());
    };
    if selector.is_empty() {
        return Ok(Vec::new());
    }
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut pods = api.list(&ListParams::default().labels(selector).limit(SHOWN)).await?.items;
    pods.sort_by_key(|pod| (ordinal(&pod.name_any()), pod.name_any()));
    Ok(pods)
}

/// The number at the end of a pod's name.
fn ordinal(name: &str) -> u32 {
    name.rsplit_once('-').and_then(|(_, number)| number.parse().ok()).unwrap_or(u32::MAX)
}

/// A pod in the panel of a component.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodRow {
    name: String,
    phase: Option<String>,
    ready: bool,
    restarts: i32,
    node: Option<String>,
    started: Option<String>,
    /// Why a container does not run, or why it ended last.
    reason: Option<String>,
}

impl PodRow {
    pub(super) fn of(pod: &Pod) -> Self {
        let status = pod.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let containers = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
        let unschedulable = conditions.iter().find(|it| it.type_ == "PodScheduled" && it.status == "False");
        let reason = containers
            .iter()
            .find_map(|it| it.state.as_ref().and_then(cause))
            .or_else(|| unschedulable.and_then(|it| it.message.clone()))
            .or_else(|| containers.iter().find_map(|it| it.last_state.as_ref().and_then(cause)));
        Self {
            name: pod.name_any(),
            phase: status.and_then(|status| status.phase.clone()),
            ready: conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True"),
            restarts: containers.iter().map(|it| it.restart_count).sum(),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            started: status.and_then(|status| status.start_time.as_ref()).map(|at| at.0.to_string()),
            reason,
        }
    }
}

fn cause(state: &ContainerState) -> Option<String> {
    let waiting = state.waiting.as_ref().map(|it| (it.reason.clone(), it.message.clone()));
    let ended = state.terminated.as_ref().map(|it| (it.reason.clone(), it.message.clone()));
    let (reason, message) = waiting.or(ended)?;
    let parts: Vec<String> = [reason, message].into_iter().flatten().filter(|it| !it.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_lead_to_another_path() {
        for name in ["a", "m-clean", "a.b-0"] {
            assert!(is_object_name(name), "{name}");
        }
        let long = "a".repeat(254);
        for name in ["", ".", "..", "../secrets", "a/b", "a?x=1", "a%2f", "A", "-a", "a ", &long] {
            assert!(!is_object_name(name), "{name}");
        }
        assert!(ComponentRef::new(("a".into(), "secret".into(), "b".into())).is_err());
    }
}
