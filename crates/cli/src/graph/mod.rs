//! The picture of a mesh: components and topics as vertices, and what flows between them.
//!
//! [`Graph::of`] makes it from the topology that the operator itself uses. Every topic is a vertex; one that
//! only joins one writer to one reader is drawn as the label of an edge ([`Vertex::is_label`]). Each format
//! has its own module; text and SVG share the [`layout`].

mod canvas;
mod dot;
pub mod layout;
mod mermaid;
mod order;
mod place;
mod ports;
mod rates;
mod route;
mod shorten;
mod svg;
mod text;

use std::collections::BTreeMap;

use function_mesh_api::component::SpecView;
use function_mesh_api::topology::{Topology, Usage};
use function_mesh_api::{FunctionMeshSpec, Role};

pub use dot::dot;
pub use mermaid::mermaid;
pub use rates::Rate;
pub use svg::{Frame, frames, svg};
pub use text::text;

/// How a topic stands to the world outside the mesh.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Edge {
    /// The mesh both writes and reads it.
    Inner,
    /// It comes from outside.
    Entry,
    /// Nothing in the mesh reads it.
    Exit,
}

/// What a vertex is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A component of the mesh.
    Component {
        /// Its role.
        role: Role,
        /// What it runs in, and how often: `java ×2`.
        detail: String,
    },
    /// A topic.
    Topic {
        /// How it stands to the world outside.
        edge: Edge,
        /// Whether it is an expression over topics.
        is_pattern: bool,
        /// What else it is for, when nothing but that is written to it: `dead letters`.
        purpose: Option<&'static str>,
    },
}

/// A component or a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Vertex {
    /// What it is.
    pub kind: Kind,
    /// Its name, as short as it stays clear.
    pub label: String,
    /// Its full name.
    pub full: String,
    /// Whether it is part of a cycle.
    pub in_cycle: bool,
    /// Whether it is a topic that joins just one writer to one reader, and no more than the name of an edge.
    pub is_label: bool,
    /// What flows through it, if it is a topic and that is known.
    pub rate: Option<Rate>,
}

impl Vertex {
    /// A name of it, and what flows through it.
    fn with_rate(&self, name: &str) -> String {
        self.rate.map_or_else(|| name.to_owned(), |rate| format!("{name} · {rate}"))
    }
}

/// What an arrow stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flow {
    /// Messages.
    Messages,
    /// Messages that could not be processed.
    DeadLetters,
    /// Messages that came after their window had closed.
    LateData,
    /// Log lines.
    Logs,
    /// A topic is one of those that a pattern means.
    Matches,
}

impl Flow {
    /// Whether it is drawn dashed: everything beside the way of the data.
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
    /// Where it begins.
    pub from: usize,
    /// Where it points to.
    pub to: usize,
    /// What it stands for.
    pub flow: Flow,
    /// Whether it is part of a cycle.
    pub in_cycle: bool,
}

/// A picture to draw.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// What it shows: `FunctionMesh shop/pipe`.
    pub title: String,
    /// Its components in numbers, and what is to be known of it.
    pub notes: Vec<String>,
    /// Components and topics.
    pub vertices: Vec<Vertex>,
    /// What flows between them.
    pub arrows: Vec<Arrow>,
}

impl Graph {
    /// The picture of a mesh.
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
            let edge = if entries.contains(&std::ptr::from_ref(topic)) {
                Edge::Entry
            } else if exits.contains(&std::ptr::from_ref(topic)) {
                Edge::Exit
            } else {
                Edge::Inner
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
                kind: Kind::Topic { edge, is_pattern: topic.is_pattern(), purpose },
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

    /// Marks the arrows that lead from a component of a cycle to another of it.
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

    /// For each label the arrow that leads to it and the one that leads on.
    pub(crate) fn through(&self, label: usize) -> Option<(Arrow, Arrow)> {
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
    let least = common.min_replicas.unwrap_or(1);
    let count = match (common.replicas, common.max_replicas) {
        (_, Some(most)) => format!(" ×{least}–{most}"),
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
