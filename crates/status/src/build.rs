//! Builds the view from objects of the API server.

use std::collections::{BTreeMap, BTreeSet};

use function_mesh_api::conditions::ConditionType;
use function_mesh_api::topology::{Node, Topology};
use function_mesh_api::types::{ComponentStatus, FunctionMeshStatus, Phase};
use function_mesh_api::validate::Violation;
use function_mesh_api::{FunctionMeshSpec, Role, labels, parse};
use function_mesh_workloads::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::health::{condition, of_mesh, since};
use super::{
    ComponentView, DesiredView, Health, MeshView, PodsView, StallView, StatusView, TrafficView, flow_order,
};
use crate::object_ref::{ObjectRef, controller, uid};

/// The phase of a component whose object does not exist.
const MISSING: &str = "Missing";
/// The phase of a component whose status cannot be decoded.
const UNDECODABLE: &str = "Unknown";

/// What of the status of a mesh depends on its spec alone: its components in the order of the flow. A caller that builds the
/// status again and again keeps it as long as the spec stays.
#[derive(Clone, Debug)]
pub struct MeshPlan(Result<Vec<(Role, ObjectRef)>, Violation>);

impl MeshPlan {
    /// The plan of a FunctionMesh.
    pub fn of(mesh: &Value) -> Self {
        let id = ObjectRef::of(mesh);
        let spec = decode::<Spec>(&json!({ "spec": mesh.get("spec") }));
        Self(spec.map(|Spec { spec }| {
            let topology = Topology::of(&spec);
            let nodes = flow_order(&topology).into_iter().filter_map(|it| topology.components().get(it));
            let object = |node: &Node| {
                let name = names::component(&id.name, &node.name);
                (node.role, ObjectRef::new(node.role.kind(), &id.namespace, &name))
            };
            nodes.map(object).collect()
        }))
    }
}

/// The status of a FunctionMesh. Of the components those of the mesh count: by their label, their owner, and the spec of
/// the mesh.
pub fn mesh_status<'a>(mesh: &Value, components: impl IntoIterator<Item = &'a Value>) -> StatusView {
    planned_status(mesh, &MeshPlan::of(mesh), components, component_view)
}

/// The same with the plan of the mesh. `view` is [`component_view`] of an object, which a caller may keep.
pub fn planned_status<'a>(
    mesh: &Value,
    MeshPlan(plan): &MeshPlan,
    components: impl IntoIterator<Item = &'a Value>,
    view: impl Fn(&'a Value) -> Option<ComponentView>,
) -> StatusView {
    let id = ObjectRef::of(mesh);
    let mut own = BTreeMap::new();
    let mut foreign = BTreeSet::new();
    for object in components {
        let key = ObjectRef::of(object);
        if is_owned(object, mesh, &id) {
            own.insert(key, object);
        } else {
            foreign.insert(key);
        }
    }
    let mut views = Vec::new();
    let mut problem = None;
    match plan {
        Ok(nodes) => {
            for (role, key) in nodes {
                let found = own.remove(key).and_then(&view);
                let missing = || missing(*role, key.clone(), &id.name, foreign.contains(key));
                views.push(found.unwrap_or_else(missing));
            }
        }
        Err(violation) => problem = Some(format!("the mesh cannot be decoded: {violation}")),
    }
    let wanted = views.len();
    let ready = views.iter().filter(|view| view.is_ready()).count();
    let surplus = own.values().filter_map(|object| {
        let mut view = view(object)?;
        if plan.is_ok() {
            view.health = view.health.max(Health::NotReady);
            view.reasons.push("not in the spec of the mesh: the operator deletes it".to_owned());
        }
        Some(view)
    });
    views.extend(surplus.collect::<Vec<_>>());
    let mut view = mesh_view(mesh, id, (ready, wanted));
    if let Some(problem) = problem {
        view.health = view.health.max(Health::Degraded);
        view.reasons.push(problem);
    }
    let health = views.iter().map(|view| view.health).fold(view.health, Ord::max);
    StatusView { health, mesh: Some(view), components: views }
}

/// One Function, Source or Sink; None for another kind.
pub fn component_view(object: &Value) -> Option<ComponentView> {
    Some(component(role(object)?, object, mesh_of(object)))
}

/// The status of one Function, Source or Sink; None for another kind.
pub fn component_status(object: &Value) -> Option<StatusView> {
    let view = component_view(object)?;
    Some(StatusView { health: view.health, mesh: None, components: vec![view] })
}

/// Every Function, Source and Sink of these objects.
pub fn components<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Vec<ComponentView> {
    objects.into_iter().filter_map(component_view).collect()
}

#[derive(Deserialize)]
struct Spec {
    spec: FunctionMeshSpec,
}

/// An object without its spec: what follows does not depend on whether a spec can be decoded.
#[derive(Deserialize)]
struct Reported<S> {
    #[serde(default)]
    metadata: ObjectMeta,
    status: Option<S>,
}

impl<S> Reported<S> {
    /// Why the status may not be about the current spec: what a reader has to know first.
    fn remarks(&self, observed: Option<i64>) -> Vec<String> {
        let mut remarks = Vec::new();
        if !labels::is_managed(&self.metadata) {
            let key = labels::MANAGED;
            remarks.push(format!(
                "annotation {key} is \"false\": the operator ignores it, and its status is old"
            ));
        }
        if let (true, Some(generation)) = (self.status.is_some(), self.metadata.generation)
            && observed != Some(generation)
        {
            let applied = observed.map_or("none".to_owned(), |observed| observed.to_string());
            remarks.push(format!(
                "generation {generation} is not applied yet; the last applied one is {applied}"
            ));
        }
        remarks
    }
}

fn decode<T: DeserializeOwned>(object: &Value) -> Result<T, Violation> {
    parse(object.clone())
}

fn reported<S: DeserializeOwned>(object: &Value) -> Result<Reported<S>, Violation> {
    decode(&json!({ "metadata": object.get("metadata"), "status": object.get("status") }))
}

fn role(object: &Value) -> Option<Role> {
    let kind = object.get("kind").and_then(Value::as_str)?;
    Role::ALL.into_iter().find(|role| role.kind() == kind)
}

/// The mesh that owns a component.
fn mesh_of(object: &Value) -> Option<&str> {
    controller(object).filter(|(kind, ..)| *kind == "FunctionMesh").map(|(_, name, _)| name)
}

fn is_owned(object: &Value, mesh: &Value, id: &ObjectRef) -> bool {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let has_label = object
        .pointer("/metadata/labels")
        .and_then(|labels| labels.get(labels::MESH))
        .is_some_and(|label| label == id.name.as_str());
    let owner = controller(object).filter(|(kind, name, _)| *kind == "FunctionMesh" && *name == id.name);
    has_label
        && text("/metadata/namespace") == Some(&id.namespace)
        && owner.is_some_and(|(_, _, owner)| uid(mesh) == Some(owner))
}

fn mesh_view(mesh: &Value, id: ObjectRef, (ready, wanted): (usize, usize)) -> MeshView {
    let ObjectRef { namespace, name, .. } = id;
    let view = |health, state: &str, since, reasons| MeshView {
        namespace,
        name,
        health,
        state: state.to_owned(),
        since,
        ready,
        wanted,
        reasons,
    };
    let reported = match reported::<FunctionMeshStatus>(mesh) {
        Ok(reported) => reported,
        Err(violation) => return view(Health::NotReady, UNDECODABLE, None, vec![undecodable(&violation)]),
    };
    let observed = reported.status.as_ref().and_then(|status| status.observed_generation);
    let mut reasons = reported.remarks(observed);
    let conditions = reported.status.as_ref().and_then(|status| status.conditions.as_deref());
    let conditions = conditions.unwrap_or_default();
    let found = condition(conditions, ConditionType::Ready);
    let (mut health, mut state) = of_mesh(conditions, observed == reported.metadata.generation);
    if reported.metadata.deletion_timestamp.is_some() {
        (health, state) = (Health::of(Phase::Deleting), Phase::Deleting.to_string());
    }
    let stalled = StallView::of(conditions).filter(StallView::is_stalled);
    let is_stall = |message: &str| stalled.as_ref().is_some_and(|stalled| stalled.is_reported_by(message));
    match found {
        None => reasons.push(no_status()),
        Some(found) if found.status != "True" && !found.message.is_empty() && !is_stall(&found.message) => {
            reasons.push(found.message.clone());
        }
        Some(_) => {}
    }
    reasons.extend(stalled.and_then(|stalled| stalled.cause()));
    let paused = condition(conditions, ConditionType::Paused).filter(|paused| paused.status == "True");
    reasons.extend(paused.map(|paused| paused.message.clone()));
    let deleted = reported.metadata.deletion_timestamp.clone();
    let since = deleted.or_else(|| since(conditions, &state));
    view(health, &state, since, reasons)
}

fn component(role: Role, object: &Value, mesh: Option<&str>) -> ComponentView {
    let ObjectRef { namespace, name, .. } = ObjectRef::of(object);
    let mut view = ComponentView {
        kind: role.kind(),
        namespace,
        name,
        mesh: mesh.map(str::to_owned),
        exists: true,
        health: Health::NotReady,
        phase: UNDECODABLE.to_owned(),
        pods: None,
        traffic: None,
        stalled: None,
        scaling: None,
        reasons: Vec::new(),
    };
    let reported = match reported::<ComponentStatus>(object) {
        Ok(reported) => reported,
        Err(violation) => {
            view.reasons.push(undecodable(&violation));
            return view;
        }
    };
    let observed = reported.status.as_ref().and_then(|status| status.observed_generation);
    view.reasons = reported.remarks(observed);
    let phase = phase(&reported, observed);
    (view.health, view.phase) = (Health::of(phase), phase.to_string());
    let Some(status) = reported.status else {
        view.reasons.push(no_status());
        return view;
    };
    view.pods = Some(PodsView { ready: status.ready_replicas, wanted: status.replicas });
    view.stalled = StallView::of(&status.standard_conditions);
    let mut message = status.message.filter(|message| !message.is_empty());
    if let Some(stalled) = &view.stalled {
        if phase == Phase::Degraded && message.as_ref().is_some_and(|it| stalled.is_reported_by(it)) {
            view.health = Health::Stalled;
            message = None;
        } else if stalled.is_stalled() {
            view.health = view.health.max(Health::Stalled);
        }
    }
    view.reasons.extend(message);
    view.reasons.extend(view.stalled.as_ref().and_then(StallView::cause));
    view.scaling = status.scaling.as_ref().map(|scaling| DesiredView::of(object, scaling));
    view.reasons.extend(view.scaling.as_ref().and_then(|scaling| scaling.difference(status.replicas)));
    view.traffic = status.traffic.map(TrafficView::of);
    let message = view.traffic.as_ref().and_then(|traffic| traffic.message.as_ref());
    if let Some(message) = message.filter(|message| !view.reasons.iter().any(|it| it.contains(*message))) {
        view.reasons.push(message.clone());
    }
    view
}

/// The phase for the current spec, by the rules of the operator's own status of a mesh.
fn phase(reported: &Reported<ComponentStatus>, observed: Option<i64>) -> Phase {
    if reported.metadata.deletion_timestamp.is_some() {
        return Phase::Deleting;
    }
    let Some(status) = &reported.status else { return Phase::Pending };
    let is_current = observed == reported.metadata.generation;
    if is_current || matches!(status.phase, Phase::Invalid | Phase::Degraded | Phase::RolledBack) {
        return status.phase;
    }
    Phase::Progressing
}

fn missing(role: Role, id: ObjectRef, mesh: &str, is_foreign: bool) -> ComponentView {
    let reason = if is_foreign {
        "the object exists, and this mesh does not own it: rename the component, or delete the object"
    } else {
        "the object does not exist yet: the operator creates it"
    };
    ComponentView {
        kind: role.kind(),
        namespace: id.namespace,
        name: id.name,
        mesh: Some(mesh.to_owned()),
        exists: false,
        health: Health::NotReady,
        phase: MISSING.to_owned(),
        pods: None,
        traffic: None,
        stalled: None,
        scaling: None,
        reasons: vec![reason.to_owned()],
    }
}

fn undecodable(violation: &Violation) -> String {
    format!("the status cannot be decoded: {violation}; is the operator newer than this program?")
}

fn no_status() -> String {
    "no status yet: is the operator running, and does it watch this namespace?".to_owned()
}
