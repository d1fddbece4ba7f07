//! The data flow of a mesh as a graph: components and topics are vertices.
//!
//! [`Graph::of`] builds it from the operator's own topology. Every topic is a vertex; a topic with one producer and one
//! consumer is drawn as an edge label ([`Vertex::is_label`]). Each format has its own module; text and SVG share the
//! [`layout`].

mod canvas;
mod dot;
mod drawing;
pub mod layout;
mod mermaid;
mod order;
mod place;
mod ports;
mod rates;
mod route;
pub mod shorten;
mod svg;
mod text;

use std::collections::BTreeMap;

use function_mesh_api::component::SpecView;
use function_mesh_api::topology::{Topology, Usage};
use function_mesh_api::{FunctionMeshSpec, Role};

pub use dot::dot;
pub use drawing::{Drawing, Frame, Gaps, Line};
pub use mermaid::mermaid;
pub use rates::Rate;
pub use svg::{frames, svg};
pub use text::text;

/// Whether a topic crosses the boundary of the mesh.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Boundary {
    /// The mesh produces and consumes the topic.
    Internal,
    /// The mesh only consumes the topic.
    Input,
    /// The mesh only produces to the topic.
    Output,
}

/// The kind of a vertex.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A component of the mesh.
    Component {
        /// The role.
        role: Role,
        /// Runtime and replicas: `java ×2`.
        detail: String,
    },
    /// A topic.
    Topic {
        /// Whether it crosses the boundary of the mesh.
        boundary: Boundary,
        /// Whether it is a topic pattern.
        is_pattern: bool,
        /// The purpose of a topic with side output only, such as `dead letters`.
        purpose: Option<&'static str>,
    },
}

/// A component or a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Vertex {
    /// The kind.
    pub kind: Kind,
    /// Short name.
    pub label: String,
    /// Full name.
    pub full: String,
    /// Whether it is part of a cycle.
    pub in_cycle: bool,
    /// Whether it is a topic with one producer and one consumer, drawn as an edge label.
    pub is_label: bool,
    /// The message rate of a topic, if known.
    pub rate: Option<Rate>,
}

impl Vertex {
    /// A name with the message rate.
    fn with_rate(&self, name: &str) -> String {
        self.rate.map_or_else(|| name.to_owned(), |rate| format!("{name} · {rate}"))
    }
}

/// The meaning of an arrow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flow {
    /// Messages.
    Messages,
    /// Messages that failed processing.
    DeadLetters,
    /// Messages that arrived after their window had closed.
    LateData,
    /// Log lines.
    Logs,
    /// A topic matches a pattern.
    Matches,
}

impl Flow {
    /// Whether it is drawn dashed: everything but messages.
    pub const fn is_dashed(self) -> bool {
        !matches!(self, Self::Messages)
    }

    const fn purpose(self) -> Option<&'static str> {
        match self {
            Self::DeadLetters => Some("dead letters"),
            Self::LateData => Some("late data"),
            Self::Logs => Some("log"),
            Self::Messages | Self::Matches => None,
        }
    }
}

/// An arrow between two vertices.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Arrow {
    /// Start vertex.
    pub from: usize,
    /// End vertex.
    pub to: usize,
    /// The meaning.
    pub flow: Flow,
    /// Whether it is part of a cycle.
    pub in_cycle: bool,
}

/// A graph to draw.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The title: `FunctionMesh shop/pipe`.
    pub title: String,
    /// Number of components, cycles, and isolated components.
    pub notes: Vec<String>,
    /// Components and topics.
    pub vertices: Vec<Vertex>,
    /// Arrows between vertices.
    pub arrows: Vec<Arrow>,
}

impl Graph {
    /// The graph of a mesh.
    pub fn of(title: &str, mesh: &FunctionMeshSpec) -> Self {
        let topology = Topology::of(mesh);
        let mut graph = Self { title: title.to_owned(), ..Self::default() };
        for (node, (_, _, view)) in topology.components().iter().zip(mesh.components()) {
            let name = if node.name.is_empty() { "(no name)" } else { &node.name };
            graph.vertices.push(Vertex {
                kind: Kind::Component { role: node.role, detail: detail(&view) },
                label: name.to_owned(),
                full: format!("{} {name}", node.role),
                in_cycle: false,
                is_label: false,
                rate: None,
            });
        }
        graph.topics(&topology);
        graph.cycles(&topology);
        graph.labels();
        graph.notes = notes(&topology);
        graph
    }

    fn topics(&mut self, topology: &Topology) {
        let first = self.vertices.len();
        let entries: Vec<_> = topology.external_inputs().map(std::ptr::from_ref).collect();
        let exits: Vec<_> = topology.external_outputs().map(std::ptr::from_ref).collect();
        for (place, topic) in topology.topics().iter().enumerate() {
            let boundary = if entries.contains(&std::ptr::from_ref(topic)) {
                Boundary::Input
            } else if exits.contains(&std::ptr::from_ref(topic)) {
                Boundary::Output
            } else {
                Boundary::Internal
            };
            let mut purposes = Vec::new();
            for (component, how) in topic.uses() {
                let flow = flow(how);
                let (from, to) =
                    if how.is_output() { (component, first + place) } else { (first + place, component) };
                self.arrows.push(Arrow { from, to, flow, in_cycle: false });
                purposes.extend(how.is_output().then(|| flow.purpose()));
            }
            purposes.dedup();
            let purpose = if let [Some(only)] = purposes.as_slice() { Some(*only) } else { None };
            self.vertices.push(Vertex {
                kind: Kind::Topic { boundary, is_pattern: topic.is_pattern(), purpose },
                label: topic.short_name().to_owned(),
                full: topic.name().to_owned(),
                in_cycle: false,
                is_label: false,
                rate: None,
            });
        }
        for edge in topology.edges().iter().filter(|edge| edge.topic != edge.read_as) {
            let (from, to) = (first + edge.topic, first + edge.read_as);
            let arrow = Arrow { from, to, flow: Flow::Matches, in_cycle: false };
            if !self.arrows.contains(&arrow) {
                self.arrows.push(arrow);
            }
        }
    }

    /// Marks the arrows between components of a cycle.
    fn cycles(&mut self, topology: &Topology) {
        let first = topology.components().len();
        let cycles = topology.cycles();
        let mut marked: Vec<(usize, usize)> = Vec::new();
        for edge in topology.edges() {
            if cycles.iter().any(|cycle| cycle.contains(&edge.from) && cycle.contains(&edge.to)) {
                let (topic, read_as) = (first + edge.topic, first + edge.read_as);
                marked.extend([(edge.from, topic), (topic, read_as), (read_as, edge.to)]);
            }
        }
        marked.sort_unstable();
        for arrow in &mut self.arrows {
            arrow.in_cycle = marked.binary_search(&(arrow.from, arrow.to)).is_ok();
        }
        for (from, to) in marked {
            for end in [from, to] {
                if let Some(vertex) = self.vertices.get_mut(end) {
                    vertex.in_cycle = true;
                }
            }
        }
    }

    fn labels(&mut self) {
        let mut ends: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for arrow in &self.arrows {
            ends.entry(arrow.from).or_default().1 += 1;
            ends.entry(arrow.to).or_default().0 += 1;
        }
        for (place, vertex) in self.vertices.iter_mut().enumerate() {
            let is_plain = matches!(vertex.kind, Kind::Topic { is_pattern: false, .. });
            vertex.is_label = is_plain && ends.get(&place) == Some(&(1, 1));
        }
    }

    /// The arrows to and from a label.
    fn through(&self, label: usize) -> Option<(Arrow, Arrow)> {
        let before = self.arrows.iter().find(|arrow| arrow.to == label)?;
        let after = self.arrows.iter().find(|arrow| arrow.from == label)?;
        Some((*before, *after))
    }
}

fn flow(usage: Usage) -> Flow {
    match usage {
        Usage::Reads | Usage::Writes => Flow::Messages,
        Usage::DeadLetters => Flow::DeadLetters,
        Usage::LateData => Flow::LateData,
        Usage::Logs => Flow::Logs,
    }
}

fn detail(view: &SpecView<'_>) -> String {
    let common = &view.common;
    let language = common.generic_runtime.map(|generic| generic.language.as_str());
    let runtime = [
        common.java.map(|_| "java"),
        common.python.map(|_| "python"),
        common.golang.map(|_| "go"),
        language.filter(|language| !language.is_empty()),
    ];
    let mut detail = runtime.into_iter().flatten().next().unwrap_or_default().to_owned();
    let count = match (common.replicas, common.autoscaled_bounds()) {
        (_, Some((least, most))) => format!(" ×{least}–{most}"),
        (Some(1) | None, None) => String::new(),
        (Some(replicas), None) => format!(" ×{replicas}"),
    };
    detail.push_str(&count);
    detail.trim_start().to_owned()
}

fn notes(topology: &Topology) -> Vec<String> {
    let name = |place: usize| topology.components().get(place).map_or("", |node| node.name.as_str());
    let count = |role| {
        let count = topology.components().iter().filter(|node| node.role == role).count();
        (count > 0).then(|| format!("{count} {role}{}", if count == 1 { "" } else { "s" }))
    };
    let counts: Vec<_> = Role::ALL.into_iter().filter_map(count).collect();
    let mut notes = vec![if counts.is_empty() { "no components".to_owned() } else { counts.join(", ") }];
    for cycle in topology.cycles() {
        let names: Vec<_> = cycle.iter().map(|place| name(*place)).collect();
        notes.push(match names.as_slice() {
            [alone] => format!("↻ cycle: {alone} feeds itself"),
            names => format!("↻ cycle: {} feed each other", names.join(", ")),
        });
    }
    let alone: Vec<_> = topology.isolated().map(|node| node.name.as_str()).collect();
    if !alone.is_empty() && topology.components().len() > 1 {
        notes.push(format!("shares no topic with the rest: {}", alone.join(", ")));
    }
    notes
}

#[cfg(test)]
mod tests;
