//! The graph of a mesh: components connected by topics.
//!
//! [`Topology::of`] builds the graph from a spec alone: from topic names, topic patterns, dead-letter topics, late data
//! topics and log topics, with the external inputs and outputs of the mesh. Cycles are valid.

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
    /// Role of the component.
    pub role: Role,
    /// Index in the mesh's list of that role.
    pub index: usize,
    /// Name of the component, or empty without one.
    pub name: String,
}

/// How a component uses a topic.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Usage {
    /// Consumes it.
    Reads,
    /// Produces its output to it.
    Writes,
    /// Produces failed messages to it.
    DeadLetters,
    /// Produces messages to it that arrived after their window was closed.
    LateData,
    /// Produces logs to it.
    Logs,
}

impl Usage {
    /// Whether the component produces to the topic.
    pub const fn is_output(self) -> bool {
        !matches!(self, Self::Reads)
    }
}

/// A topic or topic pattern of the graph.
#[derive(Clone, Debug)]
pub struct Topic {
    name: String,
    is_pattern: bool,
    uses: Vec<(usize, Usage)>,
}

impl Topic {
    /// The full topic name; for a pattern, with the expression as its last part.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The topic name without the parts that are defaults.
    pub fn short_name(&self) -> &str {
        let rest = self.name.strip_prefix("persistent://").unwrap_or(&self.name);
        rest.strip_prefix("public/default/").unwrap_or(rest)
    }

    /// Whether it is a topic pattern.
    pub fn is_pattern(&self) -> bool {
        self.is_pattern
    }

    /// The components that use it, by index in [`Topology::components`], with their usage.
    pub fn uses(&self) -> impl Iterator<Item = (usize, Usage)> {
        self.uses.iter().copied()
    }

    /// Whether a component of the mesh produces to it.
    pub fn is_written(&self) -> bool {
        self.uses.iter().any(|(_, usage)| usage.is_output())
    }

    /// Whether a component of the mesh consumes it.
    pub fn is_read(&self) -> bool {
        self.uses.iter().any(|(_, usage)| *usage == Usage::Reads)
    }
}

/// A topic that connects a producing to a consuming component.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Edge {
    /// The producing component, by index in [`Topology::components`].
    pub from: usize,
    /// The consuming component.
    pub to: usize,
    /// The topic, by index in [`Topology::topics`].
    pub topic: usize,
    /// The topic or pattern that the consumer subscribes to.
    pub read_as: usize,
    /// What the producer sends.
    pub usage: Usage,
}

/// The graph of a mesh. Components are in the order of the spec, topics are sorted by name.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    components: Vec<Node>,
    topics: Vec<Topic>,
    links: Links,
}

/// The connections of components. There can be too many edges to list, so the sets do not depend on the list.
#[derive(Clone, Debug, Default)]
struct Links {
    edges: Vec<Edge>,
    /// Topics and patterns with both a consumer and a producer in the mesh.
    fed: BTreeSet<usize>,
    /// Output topics with a consumer in the mesh.
    read: BTreeSet<usize>,
    /// Components that a topic connects to another one.
    joined: BTreeSet<usize>,
    is_partial: bool,
}

impl Topology {
    /// Builds the graph of a spec. Invalid topic names are skipped, since validation reports them. The work is limited;
    /// see [`Topology::is_partial`].
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

    /// Like [`Topology::of`], within a budget.
    pub(crate) fn within(mesh: &FunctionMeshSpec, budget: &mut Budget) -> Self {
        let mut components = Vec::new();
        let mut topics: BTreeMap<(String, bool), Topic> = BTreeMap::new();
        for (role, index, view) in mesh.components() {
            let position = components.len();
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
                // Components are added in order, so the uses of the current one are the last.
                let mut own = topic.uses.iter().rev().take_while(|(other, _)| *other == position);
                if !own.any(|(_, other)| *other == usage) {
                    topic.uses.push((position, usage));
                }
            }
        }
        let topics: Vec<_> = topics.into_values().collect();
        let links = links(&topics, budget);
        Self { components, topics, links }
    }

    /// Whether the mesh is too large to compare all patterns or to list all edges.
    pub fn is_partial(&self) -> bool {
        self.links.is_partial
    }

    /// The components, in the order of the spec: functions, sources, sinks.
    pub fn components(&self) -> &[Node] {
        &self.components
    }

    /// The topics, sorted by name.
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// The edges, from producing to consuming components.
    pub fn edges(&self) -> &[Edge] {
        &self.links.edges
    }

    /// Topics that the mesh consumes and none of its components produces to.
    pub fn external_inputs(&self) -> impl Iterator<Item = &Topic> {
        let fed = &self.links.fed;
        self.topics
            .iter()
            .enumerate()
            .filter(move |(position, topic)| topic.is_read() && !fed.contains(position))
            .map(|(_, topic)| topic)
    }

    /// Topics that the mesh produces to and none of its components consumes.
    pub fn external_outputs(&self) -> impl Iterator<Item = &Topic> {
        let read = &self.links.read;
        self.topics
            .iter()
            .enumerate()
            .filter(move |(position, topic)| topic.is_written() && !read.contains(position))
            .map(|(_, topic)| topic)
    }

    /// Components without a connection to another one.
    pub fn isolated(&self) -> impl Iterator<Item = &Node> {
        self.isolated_positions().map(|(_, node)| node)
    }

    /// Isolated components with their index in [`Topology::components`].
    pub(crate) fn isolated_positions(&self) -> impl Iterator<Item = (usize, &Node)> {
        let joined = &self.links.joined;
        self.components.iter().enumerate().filter(move |(position, _)| !joined.contains(position))
    }

    /// The cycles: groups of components that reach each other along edges (strongly connected components), as sorted
    /// indices in [`Topology::components`].
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
                let mut positions: Vec<_> = group.into_iter().map(NodeIndex::index).collect();
                positions.sort_unstable();
                positions
            })
            .collect();
        cycles.sort();
        cycles
    }
}

/// Every topic of a component, with whether it is a pattern and how it is used.
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
        .filter_map(|(position, topic)| Some((position, topic, TopicName::parse(&topic.name).ok()?)))
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

/// Connects a pattern to its matching topics. None if the budget is exceeded.
fn by_pattern(
    (read_as, reading): (usize, &Topic),
    written: &[(usize, &Topic, TopicName)],
    links: &mut Links,
    budget: &mut Budget,
) -> Option<()> {
    // Compiles one pattern at a time, since a compiled pattern takes memory.
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
    /// Connects a topic to the topic or pattern that consumes it.
    fn join(&mut self, (topic, writing): (usize, &Topic), (read_as, reading): (usize, &Topic)) {
        let writers = || writing.uses().filter(|(_, usage)| usage.is_output());
        let readers = || reading.uses().filter(|(_, usage)| !usage.is_output()).map(|(position, _)| position);
        let (Some((first_writer, _)), Some(first_reader)) = (writers().next(), readers().next()) else {
            return;
        };
        self.fed.insert(read_as);
        self.read.insert(topic);
        // A component that is connected only to itself stays isolated.
        let others_write = writers().any(|(position, _)| position != first_writer);
        let others_read = readers().any(|position| position != first_reader);
        self.joined.extend(
            writers()
                .map(|(position, _)| position)
                .filter(|position| others_read || *position != first_reader),
        );
        self.joined.extend(readers().filter(|position| others_write || *position != first_writer));
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
