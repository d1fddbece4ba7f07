//! Carries out an action with the permissions of a client.

use function_mesh_api::{Function, FunctionMesh, Role, Sink, Source, labels};
use function_mesh_status::object_ref::{ObjectRef, controller, uid};
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Map, Value, json};

use crate::action::{Action, Write};
use crate::promote::tried_revision;
use crate::undo::{keep_last_change, undo};
use crate::{ActionError, revisions, version};

/// Field manager of what a user changes with `kubectl mesh`.
pub const FIELD_MANAGER: &str = "kubectl-mesh";
/// Longest value of a label.
const LONGEST_LABEL: usize = 63;
/// Attempts to write what was seen, while only the status changes meanwhile.
const ATTEMPTS: usize = 5;

/// The resource of a FunctionMesh or of a component; None for another kind.
pub fn resource(kind: &str) -> Option<ApiResource> {
    if kind == "FunctionMesh" {
        return Some(ApiResource::erase::<FunctionMesh>(&()));
    }
    Role::ALL.into_iter().find(|role| role.kind() == kind).map(component_resource)
}

pub(crate) fn component_resource(role: Role) -> ApiResource {
    match role {
        Role::Function => ApiResource::erase::<Function>(&()),
        Role::Source => ApiResource::erase::<Source>(&()),
        Role::Sink => ApiResource::erase::<Sink>(&()),
    }
}

fn api(client: &Client, id: &ObjectRef) -> Result<Api<DynamicObject>, ActionError> {
    let resource = resource(&id.kind).ok_or_else(|| ActionError::NotFound(id.clone()))?;
    Ok(Api::namespaced_with(client.clone(), &id.namespace, &resource))
}

/// Reads a FunctionMesh or a component.
pub async fn read(client: &Client, id: &ObjectRef) -> Result<Value, ActionError> {
    match api(client, id)?.get_opt(&id.name).await {
        Ok(found) => {
            found.and_then(|it| with_kind(it, &id.kind)).ok_or_else(|| ActionError::NotFound(id.clone()))
        }
        Err(source) => Err(ActionError::Read { id: id.clone(), source: Box::new(source) }),
    }
}

/// The component, or all those of the mesh, by kind and name.
pub async fn components(client: &Client, id: &ObjectRef) -> Result<Vec<Value>, ActionError> {
    let object = read(client, id).await?;
    if id.kind != "FunctionMesh" {
        return Ok(vec![object]);
    }
    // Longer names are no labels; components of other meshes are filtered anyway.
    let selector = (id.name.len() <= LONGEST_LABEL).then(|| format!("{}={}", labels::MESH, id.name));
    let params = ListParams { label_selector: selector, ..ListParams::default() };
    let mut found = Vec::new();
    for resource in Role::ALL.map(component_resource) {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &id.namespace, &resource);
        let list = api.list(&params).await.map_err(|source| ActionError::List {
            plural: format!("{}.{}", resource.plural, resource.group),
            namespace: id.namespace.clone(),
            source: Box::new(source),
        })?;
        found.extend(list.items.into_iter().filter_map(|it| with_kind(it, &resource.kind)));
    }
    found.retain(|it| controller(it).is_some_and(|(_, _, owner)| uid(&object) == Some(owner)));
    found.sort_by_key(|it| ObjectRef::of(it).to_string());
    Ok(found)
}

/// An object with its kind, which the API server omits in lists.
fn with_kind(object: DynamicObject, kind: &str) -> Option<Value> {
    let mut value = serde_json::to_value(object).ok()?;
    value.as_object_mut()?.insert("kind".to_owned(), kind.into());
    Some(value)
}

/// Carries out an action. With the [`version`] that a person saw, an object that has changed since is left alone. The
/// result says what was written, a line each.
pub async fn run(
    client: &Client,
    id: &ObjectRef,
    action: &Action,
    seen: Option<&str>,
) -> Result<Vec<String>, ActionError> {
    match (action.write(), action) {
        (Some(Write::Replicas(_)), _) if id.kind == "FunctionMesh" => {
            Err(ActionError::Refused("a mesh has no replicas: scale its components".to_owned()))
        }
        (Some(write), _) => Ok(vec![guarded(client, id, &write, seen).await?]),
        (None, Action::UndoRollout { to_revision }) => undo_rollout(client, id, *to_revision, seen).await,
        (None, Action::PromoteCanary) => promote_canary(client, id, seen).await,
        (None, _) => Ok(Vec::new()),
    }
}

async fn undo_rollout(
    client: &Client,
    id: &ObjectRef,
    to_revision: Option<i64>,
    seen: Option<&str>,
) -> Result<Vec<String>, ActionError> {
    let is_mesh = id.kind == "FunctionMesh";
    if is_mesh && to_revision.is_some() {
        let text = "--to-revision is of one component: name it as function/NAME, source/NAME or sink/NAME";
        return Err(ActionError::Refused(text.to_owned()));
    }
    check_mesh(client, id, seen).await?;
    let mut histories = Vec::new();
    for component in components(client, id).await? {
        histories.push(revisions::read(client, &component).await?);
    }
    if is_mesh {
        keep_last_change(&mut histories);
        if histories.is_empty() {
            let text = format!("no component of {} has an earlier revision", id.name);
            return Err(ActionError::Refused(text));
        }
    }
    // All are decided before the first is written.
    let undos = histories.iter().map(|history| {
        let component = ObjectRef::new(&history.kind, &history.namespace, &history.name);
        Ok((component, undo(history, to_revision)?.to_string()))
    });
    let undos = undos.collect::<Result<Vec<_>, _>>().map_err(ActionError::Refused)?;
    annotate_each(client, labels::UNDO_ROLLOUT, undos, seen.filter(|_| !is_mesh)).await
}

async fn promote_canary(
    client: &Client,
    id: &ObjectRef,
    seen: Option<&str>,
) -> Result<Vec<String>, ActionError> {
    check_mesh(client, id, seen).await?;
    let found = components(client, id).await?;
    let tried = found.iter().filter_map(|it| Some((ObjectRef::of(it), tried_revision(it)?)));
    let tried: Vec<_> = tried.collect();
    if tried.is_empty() {
        let name = format!("{}/{}", id.kind.to_lowercase(), id.name);
        return Err(ActionError::Refused(format!("{name} has no canary that can be promoted")));
    }
    let is_mesh = id.kind == "FunctionMesh";
    annotate_each(client, labels::PROMOTE_CANARY, tried, seen.filter(|_| !is_mesh)).await
}

/// The mesh is the one that was seen. Of its components the newest are taken.
async fn check_mesh(client: &Client, id: &ObjectRef, seen: Option<&str>) -> Result<(), ActionError> {
    match seen {
        Some(seen) if id.kind == "FunctionMesh" => check(&read(client, id).await?, id, seen),
        _ => Ok(()),
    }
}

/// Writes an annotation of several components, and says what was written before one could not be.
async fn annotate_each(
    client: &Client,
    key: &'static str,
    values: Vec<(ObjectRef, String)>,
    seen: Option<&str>,
) -> Result<Vec<String>, ActionError> {
    let mut written = Vec::new();
    for (component, value) in values {
        let write = Write::Annotation(key, Some(value));
        match guarded(client, &component, &write, seen).await {
            Ok(line) => written.push(line),
            Err(source) if written.is_empty() => return Err(source),
            Err(source) => return Err(ActionError::Partial { written, source: Box::new(source) }),
        }
    }
    Ok(written)
}

fn check(object: &Value, id: &ObjectRef, seen: &str) -> Result<(), ActionError> {
    if version(object) == seen { Ok(()) } else { Err(ActionError::Changed(id.clone())) }
}

/// Writes, and only to what was seen. The status may change between the look and the write.
async fn guarded(
    client: &Client,
    id: &ObjectRef,
    write: &Write,
    seen: Option<&str>,
) -> Result<String, ActionError> {
    let Some(seen) = seen else { return write_to(client, id, write, None).await };
    let mut attempts = 0;
    loop {
        let object = read(client, id).await?;
        check(&object, id, seen)?;
        attempts += 1;
        match write_to(client, id, write, Some(&object)).await {
            Err(ActionError::Write { source, .. })
                if attempts < ATTEMPTS
                    && matches!(&*source, kube::Error::Api(status) if status.is_conflict()) => {}
            written => return written,
        }
    }
}

/// Writes; only to this version of the object, if one is given.
async fn write_to(
    client: &Client,
    id: &ObjectRef,
    write: &Write,
    object: Option<&Value>,
) -> Result<String, ActionError> {
    let api = api(client, id)?;
    let mut metadata: Map<String, Value> = ["uid", "resourceVersion"]
        .into_iter()
        .filter_map(|field| Some((field.to_owned(), object?.pointer(&format!("/metadata/{field}"))?.clone())))
        .collect();
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let name = format!("{}/{}", id.kind.to_lowercase(), id.name);
    let (what, written, text) = match write {
        Write::Annotation(key, value) => {
            metadata.insert("annotations".to_owned(), json!({ *key: value }));
            let patch = Patch::Merge(json!({ "metadata": metadata }));
            let text = match value {
                Some(value) => format!("{name} annotated: {key}={value}"),
                None => format!("{name} annotated: {key} removed"),
            };
            ("annotate", api.patch(&id.name, &params, &patch).await.map(drop), text)
        }
        Write::Replicas(replicas) => {
            let patch = Patch::Merge(json!({ "metadata": metadata, "spec": { "replicas": replicas } }));
            let text = format!("{name} scaled: replicas={replicas}");
            ("scale", api.patch_scale(&id.name, &params, &patch).await.map(drop), text)
        }
    };
    match written {
        Ok(()) => Ok(text),
        Err(kube::Error::Api(status)) if status.is_not_found() => Err(ActionError::NotFound(id.clone())),
        Err(source) => Err(ActionError::Write { what, id: id.clone(), source: Box::new(source) }),
    }
}
