//! One component: conditions, Events, pods, and the object as YAML. Read when a viewer opens it.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use function_mesh_api::printable_lines;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

use super::App;
use super::access::{Permission, Permissions};
use super::error::ApiError;
use super::pods::{ComponentRef, PodRow, pods};
use crate::history::Series;
use crate::store::KINDS;

/// Events that are shown, of a component and of each pod.
const EVENTS: u32 = 20;
/// Pods whose Events are read.
const PODS_WITH_EVENTS: usize = 5;

/// An Event.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct EventRow {
    /// Time of the last one.
    last: Option<String>,
    /// `Normal` or `Warning`.
    kind: Option<String>,
    /// What it is about: `Pod/m-clean-function-0`.
    object: String,
    reason: Option<String>,
    message: Option<String>,
    count: i32,
}

pub(super) async fn component(
    State(app): State<App>,
    Extension(permissions): Extension<Permissions>,
    Path(path): Path<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    let component = ComponentRef::new(path)?;
    let mut object = component.read(&app.client, &permissions).await?;
    let namespace = &component.namespace;
    // Of what may not be read the reason is shown, and the rest all the same.
    let (pods, pods_problem) = parts(pods(&app.client, &permissions, &object, namespace).await);
    let (events, events_problem) = parts(events(&app.client, &permissions, &component, &pods).await);
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    let object = sanitized(object);
    let status = object.get("status").cloned().unwrap_or_default();
    let field = |name: &str| status.get(name).cloned().unwrap_or_default();
    Ok(Json(sanitized(json!({
        "conditions": field("standardConditions"),
        "message": field("message"),
        "pendingChange": field("pendingChange"),
        "scaling": field("scaling"),
        "rollout": field("rollout"),
        "traffic": field("traffic"),
        "pods": pods.iter().map(PodRow::of).collect::<Vec<_>>(),
        "podsProblem": pods_problem,
        "events": events,
        "eventsProblem": events_problem,
        "yaml": yaml(&object),
    }))))
}

/// The samples of the last hour. Who may list a component has seen these numbers.
pub(super) async fn history(
    State(app): State<App>,
    Extension(permissions): Extension<Permissions>,
    Path(path): Path<(String, String, String)>,
) -> Result<Json<Series>, ApiError> {
    let component = ComponentRef::new(path)?;
    let namespace = &component.namespace;
    let kind = KINDS.into_iter().find(|kind| *kind == component.resource.kind);
    let visible = permissions.namespace(namespace).await?.kinds(namespace);
    let kind = kind.filter(|kind| visible.contains(kind)).ok_or_else(|| {
        let text = format!("you may not list {} in the namespace {namespace}", component.resource.plural);
        ApiError::new(StatusCode::FORBIDDEN, text)
    })?;
    Ok(Json(app.hub.series(namespace, kind, &component.name)))
}

fn parts<T>(found: Result<Vec<T>, ApiError>) -> (Vec<T>, Option<String>) {
    match found {
        Ok(found) => (found, None),
        Err(error) => (Vec::new(), Some(error.message().to_owned())),
    }
}

/// The Events of a component and of its first pods, the newest first.
async fn events(
    client: &Client,
    permissions: &Permissions,
    of: &ComponentRef,
    pods: &[Pod],
) -> Result<Vec<EventRow>, ApiError> {
    permissions.require(Permission::core("list", "events", &of.namespace)).await?;
    let api: Api<Event> = Api::namespaced(client.clone(), &of.namespace);
    let names = pods.iter().take(PODS_WITH_EVENTS).map(|pod| ("Pod".to_owned(), pod.name_any()));
    let objects = std::iter::once((of.resource.kind.clone(), of.name.clone())).chain(names);
    let lists = objects.map(async |(kind, name)| {
        let selector = format!("involvedObject.kind={kind},involvedObject.name={name}");
        api.list(&ListParams::default().fields(&selector).limit(EVENTS)).await
    });
    let mut rows = Vec::new();
    for list in join_all(lists).await {
        rows.extend(list?.items.into_iter().map(row));
    }
    rows.sort_by(|one, other| other.last.cmp(&one.last));
    Ok(rows)
}

fn row(event: Event) -> EventRow {
    let series = event.series.as_ref();
    let last = series.and_then(|it| it.last_observed_time.as_ref()).or(event.event_time.as_ref());
    let last = last.map(|at| at.0).or(event.last_timestamp.as_ref().map(|at| at.0));
    let object = event.involved_object;
    EventRow {
        last: last.map(|at| at.to_string()),
        kind: event.type_,
        object: format!("{}/{}", object.kind.unwrap_or_default(), object.name.unwrap_or_default()),
        reason: event.reason,
        message: event.message,
        count: series.and_then(|it| it.count).or(event.count).unwrap_or(1),
    }
}

fn yaml(object: &Value) -> String {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(object, options)
        .unwrap_or_else(|error| format!("# cannot be shown as YAML: {error}"))
}

/// The same with texts whose invisible letters and control sequences are replaced.
pub(super) fn sanitized(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(printable_lines(&text).into_owned()),
        Value::Array(items) => items.into_iter().map(sanitized).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| (printable_lines(&key).into_owned(), sanitized(value)))
            .collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_texts_are_sanitized() {
        let value = sanitized(json!({ "a\u{202e}": ["<script>\u{1b}[2J\nx", 1] }));
        assert_eq!(value, json!({ "a\u{fffd}": ["<script>\u{fffd}[2J\nx", 1] }));
    }
}
