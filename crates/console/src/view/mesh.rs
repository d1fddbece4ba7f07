//! The page of one mesh.

use std::collections::{BTreeMap, HashMap};

use function_mesh_api::{FunctionMeshSpec, Role, parse, printable};
use function_mesh_graph::{Boundary, Flow, Graph, Kind, Vertex};
use function_mesh_status::object_ref::ObjectRef;
use function_mesh_status::{ComponentView, Health, MeshView, StallView, StatusView, components, mesh_status};
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
    let surplus = surplus(&view, &spec, key);
    let laid_out = layouts.get((key, seen.kinds(&key.namespace)), spec, surplus, decode);
    let places = places(&view, &laid_out.graph, key);
    let items = items(seen, &view, &laid_out, &places);
    State { head: head(seen, key, &view, &laid_out), items }
}

/// The status of a mesh and its spec. That of standalone components is put together from theirs.
pub(super) fn status(seen: Seen<'_>, key: &MeshKey) -> (StatusView, Value) {
    let objects = seen.components(key);
    if let Some(mesh) = seen.mesh(key) {
        let spec = mesh.get("spec").cloned().unwrap_or_default();
        return (mesh_status(mesh, objects), spec);
    }
    let is_standalone = key.name == STANDALONE;
    let components = if is_standalone { components(objects.iter().copied()) } else { Vec::new() };
    let health = components.iter().map(|it| it.health).max().unwrap_or(Health::NotReady);
    let spec = if is_standalone { spec_of(&objects) } else { Value::Null };
    (StatusView { health, mesh: None, components }, spec)
}

/// The spec of a mesh of these components, those without a spec that can be decoded left out.
fn spec_of(objects: &[&Value]) -> Value {
    let mut lists: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for object in objects {
        let id = ObjectRef::of(object);
        let list = match id.kind.as_str() {
            "Function" => "functions",
            "Source" => "sources",
            _ => "sinks",
        };
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

/// The components that are in no spec.
fn surplus(view: &StatusView, spec: &Value, key: &MeshKey) -> Vec<Surplus> {
    let spec = decode(spec);
    let known: Vec<(Role, String)> = spec
        .components()
        .map(|(role, _, view)| (role, object_name(key, view.common.name.unwrap_or_default())))
        .collect();
    let is_known =
        |it: &&ComponentView| known.iter().any(|(role, name)| role.kind() == it.kind && *name == it.name);
    let role = |it: &ComponentView| Role::ALL.into_iter().find(|role| role.kind() == it.kind);
    let surplus = view.components.iter().filter(|it| !is_known(it));
    surplus.filter_map(|it| Some(Surplus { role: role(it)?, name: it.name.clone() })).collect()
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

fn head(seen: Seen<'_>, key: &MeshKey, view: &StatusView, laid_out: &LaidOut) -> Value {
    let MeshKey { namespace, name } = key;
    let is_standalone = name == STANDALONE;
    let own = view.mesh.as_ref();
    let ready = view.components.iter().filter(|it| it.is_ready()).count();
    let state = match own {
        Some(MeshView { state, .. }) => state.clone(),
        None if is_standalone => view.health.as_str().to_owned(),
        None => "Deleted".to_owned(),
    };
    value(&MeshHead {
        mesh: MeshView {
            namespace: namespace.clone(),
            name: name.clone(),
            health: view.health,
            state,
            since: own.and_then(|mesh| mesh.since.clone()),
            ready: own.map_or(ready, |mesh| mesh.ready),
            wanted: own.map_or(view.components.len(), |mesh| mesh.wanted),
            reasons: own.map(|mesh| clean(&mesh.reasons)).unwrap_or_default(),
        },
        synced: seen.has_synced(),
        exists: own.is_some() || (is_standalone && !view.components.is_empty()),
        notes: clean(&laid_out.graph.notes),
        width: laid_out.width,
        height: laid_out.height,
        problem: seen.problem_of(namespace),
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
    let readers = Readers::of(&laid_out.graph);
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

/// Which components read which topics.
struct Readers(Vec<(usize, usize)>);

impl Readers {
    fn of(graph: &Graph) -> Self {
        let is_topic = |place: usize| {
            graph.vertices.get(place).is_some_and(|vertex| matches!(vertex.kind, Kind::Topic { .. }))
        };
        let reads = graph.arrows.iter().filter(|arrow| is_topic(arrow.from) && !is_topic(arrow.to));
        Self(reads.map(|arrow| (arrow.to, arrow.from)).collect())
    }

    fn reads_only(&self, component: usize, topic: usize) -> bool {
        let mut topics = self.0.iter().filter(|(reader, _)| *reader == component);
        topics.next().is_some_and(|(_, first)| *first == topic) && topics.next().is_none()
    }

    /// The components that read this topic and no other.
    fn only_readers(&self, topic: usize) -> impl Iterator<Item = usize> {
        let readers = self.0.iter().filter(move |(_, read)| *read == topic);
        readers.map(|(reader, _)| *reader).filter(move |reader| self.reads_only(*reader, topic))
    }
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

pub(super) fn clean(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| printable(text).into_owned()).collect()
}

/// A value as JSON. The types of the pages can always be written.
pub(super) fn value(page: &impl Serialize) -> Value {
    serde_json::to_value(page).unwrap_or_default()
}
