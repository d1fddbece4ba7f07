//! The page of one mesh.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use function_mesh_api::{FunctionMeshSpec, Role, parse, printable};
use function_mesh_graph::{Boundary, Flow, Graph, Kind, Vertex};
use function_mesh_status::object_ref::ObjectRef;
use function_mesh_status::{ComponentView, Health, MeshView, StallView, StatusView, planned_status};
use function_mesh_workloads::names;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::graph::{LaidOut, Layouts, Surplus, flow_name};
use super::parts::{ComponentNode, Edge, MeshHead, TopicNode};
use crate::seen::Seen;
use crate::state::State;
use crate::store::{MeshKey, STANDALONE};

/// The page of a mesh, or of the components of a namespace that have none.
pub fn mesh(seen: Seen<'_>, key: &MeshKey, layouts: &mut Layouts) -> State {
    let (view, spec) = status(seen, key);
    let surplus = surplus(&view, &spec);
    let laid_out = layouts.get((key, seen.kinds(&key.namespace)), &spec, surplus, decode);
    let places = places(&view, &laid_out.graph, key);
    let items = items(seen, &view, &laid_out, &places);
    State { head: head(seen, key, &view, &laid_out), items }
}

/// The status of a mesh and its spec. That of standalone components is put together from theirs.
pub(super) fn status<'a>(seen: Seen<'a>, key: &MeshKey) -> (StatusView, Cow<'a, Value>) {
    let objects = seen.components(key);
    let view = |object: &Value| seen.view(object).cloned();
    if let (Some(mesh), Some(plan)) = (seen.mesh(key), seen.plan(key)) {
        let spec = mesh.get("spec").map_or(Cow::Owned(Value::Null), Cow::Borrowed);
        return (planned_status(mesh, plan, objects, view), spec);
    }
    let is_standalone = key.name == STANDALONE;
    let components =
        if is_standalone { objects.iter().copied().filter_map(view).collect() } else { Vec::new() };
    let health = components.iter().map(|it: &ComponentView| it.health).max().unwrap_or(Health::NotReady);
    let spec = if is_standalone { spec_of(&objects) } else { Value::Null };
    (StatusView { health, mesh: None, components }, Cow::Owned(spec))
}

/// The lists of a mesh's spec, and the kinds of their components.
const LISTS: [(&str, &str); 3] = [("functions", "Function"), ("sources", "Source"), ("sinks", "Sink")];

/// The spec of a mesh of these components, those without a spec that can be decoded left out.
fn spec_of(objects: &[&Value]) -> Value {
    let mut lists: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for object in objects {
        let id = ObjectRef::of(object);
        let Some((list, _)) = LISTS.into_iter().find(|(_, kind)| *kind == id.kind) else { continue };
        let mut spec = object.get("spec").and_then(Value::as_object).cloned().unwrap_or_default();
        spec.insert("name".to_owned(), id.name.into());
        let spec = Value::Object(spec);
        if parse::<FunctionMeshSpec>(json!({ list: [spec.clone()] })).is_ok() {
            lists.entry(list).or_default().push(spec);
        }
    }
    lists
        .into_iter()
        .map(|(list, specs)| (list.to_owned(), Value::Array(specs)))
        .collect::<Map<_, _>>()
        .into()
}

fn decode(spec: &Value) -> FunctionMeshSpec {
    parse(spec.clone()).unwrap_or_default()
}

/// The components that are in no spec: of a mesh those after the ones that it asks for.
fn surplus(view: &StatusView, spec: &Value) -> Vec<Surplus> {
    let role = |it: &ComponentView| Role::ALL.into_iter().find(|role| role.kind() == it.kind);
    let surplus = |it: &ComponentView| Some(Surplus { role: role(it)?, name: it.name.clone() });
    if let Some(mesh) = &view.mesh {
        return view.components.iter().skip(mesh.wanted).filter_map(surplus).collect();
    }
    let mut known = HashSet::new();
    for (list, kind) in LISTS {
        let specs = spec.get(list).and_then(Value::as_array).into_iter().flatten();
        known.extend(specs.filter_map(|it| Some((kind, it.get("name")?.as_str()?))));
    }
    view.components
        .iter()
        .filter(|it| !known.contains(&(it.kind, it.name.as_str())))
        .filter_map(surplus)
        .collect()
}

fn object_name(key: &MeshKey, name: &str) -> String {
    if key.name == STANDALONE { name.to_owned() } else { names::component(&key.name, name) }
}

/// The vertex of each component of the view, by their order.
fn places(view: &StatusView, graph: &Graph, key: &MeshKey) -> HashMap<usize, usize> {
    let mut vertices: HashMap<(&str, String), Vec<usize>> = HashMap::new();
    for (place, vertex) in graph.vertices.iter().enumerate() {
        if let Kind::Component { role, .. } = &vertex.kind {
            vertices.entry((role.kind(), object_name(key, &vertex.label))).or_default().push(place);
            // One that is in no spec has the name of its object.
            vertices.entry((role.kind(), vertex.label.clone())).or_default().push(place);
        }
    }
    let mut places = HashMap::new();
    for (order, component) in view.components.iter().enumerate() {
        let found = vertices.get(&(component.kind, component.name.clone()));
        let free = found.into_iter().flatten().find(|place| !places.contains_key(*place));
        if let Some(place) = free {
            places.insert(*place, order);
        }
    }
    places
}

/// The mesh itself, with the worst health of it and its components.
pub(super) fn mesh_view(key: &MeshKey, view: &StatusView) -> MeshView {
    let own = view.mesh.as_ref();
    let state = match own {
        Some(MeshView { state, .. }) => state.clone(),
        None if key.name == STANDALONE => view.health.as_str().to_owned(),
        None => "Deleted".to_owned(),
    };
    let ready = || view.components.iter().filter(|it| it.is_ready()).count();
    MeshView {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        health: view.health,
        state,
        since: own.and_then(|mesh| mesh.since.clone()),
        ready: own.map_or_else(ready, |mesh| mesh.ready),
        wanted: own.map_or(view.components.len(), |mesh| mesh.wanted),
        reasons: own.map(|mesh| clean(&mesh.reasons)).unwrap_or_default(),
    }
}

fn head(seen: Seen<'_>, key: &MeshKey, view: &StatusView, laid_out: &LaidOut) -> Value {
    value(&MeshHead {
        mesh: mesh_view(key, view),
        synced: seen.has_synced(),
        exists: view.mesh.is_some() || (key.name == STANDALONE && !view.components.is_empty()),
        notes: clean(&laid_out.graph.notes),
        width: laid_out.width,
        height: laid_out.height,
        problem: seen.problem_of(&key.namespace),
    })
}

fn items(
    seen: Seen<'_>,
    view: &StatusView,
    laid_out: &LaidOut,
    places: &HashMap<usize, usize>,
) -> BTreeMap<String, Value> {
    let mut items = BTreeMap::new();
    let mut ids = Vec::new();
    let component = |place: usize| places.get(&place).and_then(|order| view.components.get(*order));
    let readers = &laid_out.readers;
    for (place, vertex) in laid_out.graph.vertices.iter().enumerate() {
        let id = match &vertex.kind {
            Kind::Component { role, .. } => {
                let name = component(place).map_or(vertex.label.as_str(), |it| it.name.as_str());
                unique(&items, &format!("{role}/{name}"))
            }
            Kind::Topic { .. } => unique(&items, &format!("topic/{}", vertex.full)),
        };
        let item = match &vertex.kind {
            Kind::Component { .. } => {
                let order = places.get(&place).copied().unwrap_or(usize::MAX);
                component(place).map(|it| component_node(seen, it, vertex, (place, order), laid_out))
            }
            Kind::Topic { .. } => {
                let rate =
                    readers.only_readers(place).find_map(|it| component(it)?.traffic.as_ref()?.in_rate);
                topic_node(vertex, place, rate, laid_out)
            }
        };
        if let Some(item) = item {
            items.insert(id.clone(), item);
        }
        ids.push(id);
    }
    for (arrow, drawn) in laid_out.graph.arrows.iter().zip(&laid_out.lines) {
        let (Some(from), Some(to)) = (ids.get(arrow.from), ids.get(arrow.to)) else { continue };
        let topic = [arrow.from, arrow.to]
            .into_iter()
            .filter_map(|end| laid_out.graph.vertices.get(end))
            .find(|vertex| matches!(vertex.kind, Kind::Topic { .. }));
        let is_only = arrow.flow == Flow::Messages && readers.reads_only(arrow.to, arrow.from);
        let traffic = component(arrow.to).and_then(|it| it.traffic.as_ref()).filter(|_| is_only);
        let flow = flow_name(arrow.flow);
        let edge = Edge {
            type_name: "edge",
            from: from.clone(),
            to: to.clone(),
            flow,
            topic: topic.map(|topic| printable(&topic.full).into_owned()).unwrap_or_default(),
            pieces: drawn.pieces.clone(),
            end: drawn.end,
            is_reversed: drawn.is_reversed,
            in_cycle: arrow.in_cycle,
            backlog: traffic.and_then(|traffic| traffic.backlog),
            lag_seconds: traffic.and_then(|traffic| traffic.lag_seconds),
        };
        let id = unique(&items, &format!("edge/{flow}/{from}>{to}"));
        items.insert(id, value(&edge));
    }
    items
}

/// An ID that no item has. Objects with one name twice are drawn twice.
fn unique(items: &BTreeMap<String, Value>, id: &str) -> String {
    let mut free = id.to_owned();
    let mut number = 2;
    while items.contains_key(&free) {
        free = format!("{id}~{number}");
        number += 1;
    }
    free
}

fn component_node(
    seen: Seen<'_>,
    view: &ComponentView,
    vertex: &Vertex,
    (place, order): (usize, usize),
    laid_out: &LaidOut,
) -> Value {
    let frame = laid_out.frames.get(place).copied();
    let object = seen.component(&view.namespace, view.kind, &view.name).filter(|_| view.exists);
    let traffic = view.traffic.clone().unwrap_or_default();
    let detail = match &vertex.kind {
        Kind::Component { detail, .. } => printable(detail).into_owned(),
        Kind::Topic { .. } => String::new(),
    };
    value(&ComponentNode {
        type_name: "component",
        kind: view.kind,
        name: view.name.clone(),
        label: printable(&vertex.label).into_owned(),
        detail,
        order,
        x: frame.map_or(0, |frame| frame.x),
        y: frame.map_or(0, |frame| frame.y),
        width: frame.map_or(0, |frame| frame.width),
        height: frame.map_or(0, |frame| frame.height),
        health: view.health,
        phase: view.phase.clone(),
        exists: view.exists,
        pods: view.pods,
        in_rate: traffic.in_rate,
        out_rate: traffic.out_rate,
        backlog: traffic.backlog,
        lag_seconds: traffic.lag_seconds,
        exceptions: traffic.exceptions,
        asleep: object.is_some_and(is_asleep),
        stalled: view.stalled.as_ref().is_some_and(StallView::is_stalled),
        rolling: object.is_some_and(is_rolling),
        rollout: object.and_then(rollout),
        in_cycle: vertex.in_cycle,
        reason: view.reasons.first().map(|reason| printable(reason).into_owned()),
    })
}

fn topic_node(vertex: &Vertex, place: usize, rate: Option<f64>, laid_out: &LaidOut) -> Option<Value> {
    let Kind::Topic { boundary, is_pattern, purpose } = &vertex.kind else { return None };
    let frame = laid_out.frames.get(place)?;
    Some(value(&TopicNode {
        type_name: "topic",
        label: printable(&vertex.label).into_owned(),
        full: printable(&vertex.full).into_owned(),
        x: frame.x,
        y: frame.y,
        width: frame.width,
        height: frame.height,
        boundary: match boundary {
            Boundary::Internal => "internal",
            Boundary::Input => "input",
            Boundary::Output => "output",
        },
        is_pattern: *is_pattern,
        is_label: vertex.is_label,
        purpose: *purpose,
        in_cycle: vertex.in_cycle,
        rate,
    }))
}

/// Whether a component has no pods on purpose. Read as text: a newer operator may know more phases than this program.
pub(super) fn is_asleep(object: &Value) -> bool {
    let phase = object.pointer("/status/phase").and_then(Value::as_str);
    matches!(phase, Some("Suspended" | "Asleep"))
}

/// Whether pods of a component are being replaced: some have no current template yet.
fn is_rolling(object: &Value) -> bool {
    let number = |field: &str| object.pointer(&format!("/status/{field}")).and_then(Value::as_i64);
    let (Some(wanted), updated) = (number("replicas"), number("updatedReplicas").unwrap_or(0)) else {
        return false;
    };
    let phase = object.pointer("/status/phase").and_then(Value::as_str);
    matches!(phase, Some("Progressing" | "Degraded")) && updated < wanted
}

/// What a rollout does, or how it ended. Read as text, as the phase.
fn rollout(object: &Value) -> Option<&'static str> {
    let text = |field: &str| object.pointer(&format!("/status/rollout/{field}")).and_then(Value::as_str);
    match (text("state"), text("recreate/step")) {
        (Some("RolledBack"), _) => Some("rolled back"),
        (_, Some("Stopping")) => Some("stopping old pods"),
        (_, Some("Draining")) => Some("draining"),
        (_, Some("Starting")) => Some("starting new pods"),
        (Some("Failed"), _) => Some("rollout failed"),
        _ => None,
    }
}

pub(super) fn clean(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| printable(text).into_owned()).collect()
}

/// A value as JSON. The types of the pages can always be written.
pub(super) fn value(page: &impl Serialize) -> Value {
    serde_json::to_value(page).unwrap_or_default()
}
