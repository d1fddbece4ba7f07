//! The graph of a mesh: components connected by topics.
//!
//! A mesh lists components; topics join them into a graph. [`Topology::of`] reads that graph from a
//! specification alone: exact topics, patterns, dead letters, late data and log lines, with the topics that
//! come from outside or go there at its edges. Cycles are legal and are found.

mod pattern;

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::FunctionMeshSpec;
use crate::budget::Budget;
use crate::component::{Role, SpecView};
use crate::names::TopicName;

pub use pattern::TopicPattern;

/// Most edges that are listed, which bounds memory.
const MAX_EDGES: usize = 100_000;

/// A component of the graph.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// What it is to the mesh.
    pub role: Role,
    /// Its place in the mesh's list of that role.
    pub index: usize,
    /// Its name; empty when the specification gives none.
    pub name: String,
}

/// What a component does with a topic.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Usage {
    /// Reads it.
    Reads,
    /// Writes its results to it.
    Writes,
    /// Writes messages to it that it gave up on.
    DeadLetters,
    /// Writes messages to it that came after their window had closed.
    LateData,
    /// Writes log lines to it.
    Logs,
}

impl Usage {
    /// Whether messages go from the component to the topic.
    pub const fn is_output(self) -> bool {
        !matches!(self, Self::Reads)
    }
}

/// A topic of the graph, or a pattern over topics.
#[derive(Clone, Debug)]
pub struct Topic {
    name: String,
    is_pattern: bool,
    uses: Vec<(usize, Usage)>,
}

impl Topic {
    /// The full name; for a pattern, the full name with the expression as its last part.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name as short as it stays clear: without what is the default.
    pub fn short_name(&self) -> &str {
        let rest = self.name.strip_prefix("persistent://").unwrap_or(&self.name);
        rest.strip_prefix("public/default/").unwrap_or(rest)
    }

    /// Whether it stands for all topics that match an expression.
    pub fn is_pattern(&self) -> bool {
        self.is_pattern
    }

    /// The components that use it, by their index in [`Topology::components`], with their usage of it.
    pub fn uses(&self) -> impl Iterator<Item = (usize, Usage)> {
        self.uses.iter().copied()
    }

    /// Whether a component of the mesh writes it.
    pub fn is_written(&self) -> bool {
        self.uses.iter().any(|(_, usage)| usage.is_output())
    }

    /// Whether a component of the mesh reads it.
    pub fn is_read(&self) -> bool {
        self.uses.iter().any(|(_, usage)| *usage == Usage::Reads)
    }
}

/// A topic connects a writer to a reader.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Edge {
    /// The component that writes, by its place in [`Topology::components`].
    pub from: usize,
    /// The component that reads.
    pub to: usize,
    /// The topic written, by its place in [`Topology::topics`].
    pub topic: usize,
    /// The topic or pattern by which it is read.
    pub read_as: usize,
    /// What the writer writes there.
    pub usage: Usage,
}

/// The graph of a mesh. Its order is that of the specification; topics come in the order of their names.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    components: Vec<Node>,
    topics: Vec<Topic>,
    links: Links,
}

/// How components hang together. Feeds are pairs, of which there may be too many to list; the rest is counted all
/// the same.
#[derive(Clone, Debug, Default)]
struct Links {
    edges: Vec<Edge>,
    /// Topics and patterns by which a component reads what another one writes.
    fed: BTreeSet<usize>,
    /// Topics written that a component reads.
    read: BTreeSet<usize>,
    /// Components that feed another one or are fed.
    joined: BTreeSet<usize>,
    is_partial: bool,
}

impl Topology {
    /// Reads the graph from a specification. What is no topic name is left out: the rules report it. The work is
    /// bounded; a graph that is not complete says so, see [`Topology::is_partial`].
    ///
    /// ```
    /// # use function_mesh_api::{FunctionMeshSpec, topology::Topology};
    /// let mesh: FunctionMeshSpec = serde_json::from_value(serde_json::json!({
    ///     "sources": [{ "name": "in", "output": { "topic": "raw" } }],
    ///     "functions": [{ "name": "clean", "input": { "topics": ["raw"] }, "output": { "topic": "clean" } }],
    /// })).expect("a mesh");
    /// let graph = Topology::of(&mesh);
    /// let edge = graph.edges()[0];
    /// assert_eq!(graph.components()[edge.from].name, "in");
    /// assert_eq!(graph.components()[edge.to].name, "clean");
    /// assert!(graph.cycles().is_empty());
    /// ```
    pub fn of(mesh: &FunctionMeshSpec) -> Self {
        Self::within(mesh, &mut Budget::default())
    }

    /// The same, with what is left of a budget.
    pub(crate) fn within(mesh: &FunctionMeshSpec, budget: &mut Budget) -> Self {
        let mut components = Vec::new();
        let mut topics: BTreeMap<(String, bool), Topic> = BTreeMap::new();
        for (role, index, view) in mesh.components() {
            let place = components.len();
            let name = view.common.name.unwrap_or_default().to_owned();
            components.push(Node { role, index, name });
            for (text, is_pattern, usage) in topics_of(&view) {
                let Ok(full) = TopicName::parse(text) else { continue };
                let full = if is_pattern { full } else { full.without_partition() };
                let name = full.to_string();
                let topic = topics.entry((name, is_pattern)).or_insert_with_key(|(name, _)| Topic {
                    name: name.clone(),
                    is_pattern,
                    uses: Vec::new(),
                });
                // Components come one after the other, so the uses of this one are the last.
                let mut own = topic.uses.iter().rev().take_while(|(other, _)| *other == place);
                if !own.any(|(_, other)| *other == usage) {
                    topic.uses.push((place, usage));
                }
            }
        }
        let topics: Vec<_> = topics.into_values().collect();
        let links = links(&topics, budget);
        Self { components, topics, links }
    }

    /// Whether the mesh is so large that not all patterns were compared, or not all edges are listed.
    pub fn is_partial(&self) -> bool {
        self.links.is_partial
    }

    /// The components, in the order of the specification: functions, sources, sinks.
    pub fn components(&self) -> &[Node] {
        &self.components
    }

    /// The topics, by name.
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// The edges, from writers to readers.
    pub fn edges(&self) -> &[Edge] {
        &self.links.edges
    }

    /// Topics that the mesh reads and no component of it writes: what comes from outside.
    pub fn external_inputs(&self) -> impl Iterator<Item = &Topic> {
        let fed = &self.links.fed;
        self.topics
            .iter()
            .enumerate()
            .filter(move |(place, topic)| topic.is_read() && !fed.contains(place))
            .map(|(_, topic)| topic)
    }

    /// Topics that the mesh writes and no component of it reads: what goes outside.
    pub fn external_outputs(&self) -> impl Iterator<Item = &Topic> {
        let read = &self.links.read;
        self.topics
            .iter()
            .enumerate()
            .filter(move |(place, topic)| topic.is_written() && !read.contains(place))
            .map(|(_, topic)| topic)
    }

    /// Components that neither feed another nor are fed.
    pub fn isolated(&self) -> impl Iterator<Item = &Node> {
        self.isolated_places().map(|(_, node)| node)
    }

    /// The same, with their place in [`Topology::components`].
    pub(crate) fn isolated_places(&self) -> impl Iterator<Item = (usize, &Node)> {
        let joined = &self.links.joined;
        self.components.iter().enumerate().filter(move |(place, _)| !joined.contains(place))
    }

    /// The cycles: groups of components that reach each other along edges.
    /// Components come in the order of the specification.
    pub fn cycles(&self) -> Vec<Vec<usize>> {
        let mut graph = DiGraph::<(), ()>::new();
        let nodes: Vec<NodeIndex> = self.components.iter().map(|_| graph.add_node(())).collect();
        let pairs: BTreeSet<_> = self.edges().iter().map(|edge| (edge.from, edge.to)).collect();
        for (from, to) in &pairs {
            if let (Some(from), Some(to)) = (nodes.get(*from), nodes.get(*to)) {
                graph.add_edge(*from, *to, ());
            }
        }
        let mut cycles: Vec<Vec<usize>> = kosaraju_scc(&graph)
            .into_iter()
            .filter(|group| match group.as_slice() {
                [single] => pairs.contains(&(single.index(), single.index())),
                several => several.len() > 1,
            })
            .map(|group| {
                let mut places: Vec<_> = group.into_iter().map(NodeIndex::index).collect();
                places.sort_unstable();
                places
            })
            .collect();
        cycles.sort();
        cycles
    }
}

/// Every topic that a component names, with whether it is a pattern.
fn topics_of<'a>(view: &SpecView<'a>) -> Vec<(&'a str, bool, Usage)> {
    let mut found = Vec::new();
    if let Some(input) = view.input() {
        let patterns: BTreeSet<_> = input
            .source_specs
            .iter()
            .flatten()
            .filter(|(_, consumer)| consumer.is_regex_pattern.unwrap_or_default())
            .map(|(topic, _)| topic.as_str())
            .chain(input.pattern())
            .collect();
        found.extend(
            input.all_topics().into_iter().map(|topic| (topic, patterns.contains(&topic), Usage::Reads)),
        );
    }
    let mut write = |topic: Option<&'a str>, usage| {
        found.extend(topic.filter(|topic| !topic.is_empty()).map(|topic| (topic, false, usage)));
    };
    write(view.output_topic(), Usage::Writes);
    write(view.consuming.and_then(|consuming| consuming.dead_letter_topic), Usage::DeadLetters);
    let window = view.function().and_then(|function| function.window_config.as_ref());
    write(window.and_then(|window| window.late_data_topic.as_deref()), Usage::LateData);
    write(view.common.log_topic, Usage::Logs);
    found
}

fn links(topics: &[Topic], budget: &mut Budget) -> Links {
    let mut links = Links::default();
    let written: Vec<_> = topics
        .iter()
        .enumerate()
        .filter(|(_, topic)| topic.is_written() && !topic.is_pattern())
        .filter_map(|(place, topic)| Some((place, topic, TopicName::parse(&topic.name).ok()?)))
        .collect();
    for (read_as, reading) in topics.iter().enumerate().filter(|(_, topic)| topic.is_read()) {
        if reading.is_pattern {
            let found = by_pattern((read_as, reading), &written, &mut links, budget);
            links.is_partial |= found.is_none();
        } else {
            links.join((read_as, reading), (read_as, reading));
        }
    }
    links.edges.sort_unstable();
    links
}

/// Joins a pattern with the topics that match it; none when the budget is spent.
fn by_pattern(
    (read_as, reading): (usize, &Topic),
    written: &[(usize, &Topic, TopicName)],
    links: &mut Links,
    budget: &mut Budget,
) -> Option<()> {
    // One at a time: a compiled pattern takes memory.
    budget.spend(TopicPattern::COST).then_some(())?;
    let pattern = TopicPattern::new(&TopicName::parse(&reading.name).ok()?);
    let Some(mut matcher) = pattern.matcher() else { return Some(()) };
    for (topic, writing, name) in written {
        budget.spend(1).then_some(())?;
        if pattern.is_in_namespace(name) {
            budget.spend(matcher.cost(name)).then_some(())?;
            if matcher.is_match(name) {
                budget.spend(writing.uses.len() + reading.uses.len()).then_some(())?;
                links.join((*topic, writing), (read_as, reading));
            }
        }
    }
    Some(())
}

impl Links {
    /// Notes that what is written to one topic is read by way of another, or of the same.
    fn join(&mut self, (topic, writing): (usize, &Topic), (read_as, reading): (usize, &Topic)) {
        let writers = || writing.uses().filter(|(_, usage)| usage.is_output());
        let readers = || reading.uses().filter(|(_, usage)| !usage.is_output()).map(|(place, _)| place);
        let (Some((first_writer, _)), Some(first_reader)) = (writers().next(), readers().next()) else {
            return;
        };
        self.fed.insert(read_as);
        self.read.insert(topic);
        // Whoever has another one at the other side; a component alone with itself has none.
        let others_write = writers().any(|(place, _)| place != first_writer);
        let others_read = readers().any(|place| place != first_reader);
        self.joined
            .extend(writers().map(|(place, _)| place).filter(|place| others_read || *place != first_reader));
        self.joined.extend(readers().filter(|place| others_write || *place != first_writer));
        for (from, usage) in writers() {
            let left = MAX_EDGES.saturating_sub(self.edges.len());
            self.edges.extend(readers().map(|to| Edge { from, to, topic, read_as, usage }).take(left));
            if self.edges.len() >= MAX_EDGES {
                self.is_partial = true;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
