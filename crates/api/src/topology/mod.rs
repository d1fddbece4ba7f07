//! Which component feeds which, through which topic.
//!
//! A mesh lists components; topics join them into a graph. [`Topology::of`] reads that graph from a
//! specification alone: exact topics, patterns, dead letters, late data and log lines, with the topics that
//! come from outside or go there at its edges. Cycles are legal and are found.

mod pattern;

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::FunctionMeshSpec;
use crate::component::{Role, SpecView};
use crate::validate::grammar::TopicName;

pub use pattern::TopicPattern;

/// Most patterns of a mesh that are compared with topics; further ones match nothing here.
const MAX_PATTERNS: usize = 256;
/// Most feeds that are listed. A graph with more says nothing to anybody, and would fill the memory.
const MAX_FEEDS: usize = 1_000_000;

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
pub enum Use {
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

impl Use {
    /// Whether messages go from the component to the topic.
    pub const fn is_output(self) -> bool {
        !matches!(self, Self::Reads)
    }
}

/// A topic of the graph, or a pattern over topics.
#[derive(Clone, Debug)]
pub struct Topic {
    name: String,
    pattern: Option<TopicPattern>,
    uses: Vec<(usize, Use)>,
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
        self.pattern.is_some()
    }

    /// The components that use it, by their place in [`Topology::components`], and how.
    pub fn uses(&self) -> impl Iterator<Item = (usize, Use)> {
        self.uses.iter().copied()
    }

    /// Whether a component of the mesh writes it.
    pub fn is_written(&self) -> bool {
        self.uses.iter().any(|(_, how)| how.is_output())
    }

    /// Whether a component of the mesh reads it.
    pub fn is_read(&self) -> bool {
        self.uses.iter().any(|(_, how)| *how == Use::Reads)
    }
}

/// One component feeds another through a topic.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Feed {
    /// The component that writes, by its place in [`Topology::components`].
    pub from: usize,
    /// The component that reads.
    pub to: usize,
    /// The topic written, by its place in [`Topology::topics`].
    pub topic: usize,
    /// The topic or pattern by which it is read.
    pub read_as: usize,
    /// What the writer writes there.
    pub how: Use,
}

/// The graph of a mesh. Its order is that of the specification; topics come in the order of their names.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    components: Vec<Node>,
    topics: Vec<Topic>,
    feeds: Vec<Feed>,
}

impl Topology {
    /// Reads the graph from a specification. What is no topic name is left out: the rules report it.
    ///
    /// ```
    /// # use function_mesh_api::{FunctionMeshSpec, topology::Topology};
    /// let mesh: FunctionMeshSpec = serde_json::from_value(serde_json::json!({
    ///     "sources": [{ "name": "in", "output": { "topic": "raw" } }],
    ///     "functions": [{ "name": "clean", "input": { "topics": ["raw"] }, "output": { "topic": "clean" } }],
    /// })).expect("a mesh");
    /// let graph = Topology::of(&mesh);
    /// let feed = graph.feeds()[0];
    /// assert_eq!(graph.components()[feed.from].name, "in");
    /// assert_eq!(graph.components()[feed.to].name, "clean");
    /// assert!(graph.cycles().is_empty());
    /// ```
    pub fn of(mesh: &FunctionMeshSpec) -> Self {
        let mut components = Vec::new();
        let mut topics: BTreeMap<String, Topic> = BTreeMap::new();
        let mut patterns = 0;
        for (role, index, view) in mesh.components() {
            let place = components.len();
            let name = view.common.name.unwrap_or_default().to_owned();
            components.push(Node { role, index, name });
            for (text, is_pattern, how) in topics_of(&view) {
                let Ok(full) = TopicName::parse(text) else { continue };
                let full = if is_pattern { full } else { full.without_partition() };
                let name = full.to_string();
                let key = if is_pattern { format!("{name} (pattern)") } else { name.clone() };
                let topic = topics.entry(key).or_insert_with(|| {
                    let pattern = is_pattern.then(|| {
                        patterns += 1;
                        if patterns <= MAX_PATTERNS {
                            TopicPattern::new(&full)
                        } else {
                            TopicPattern::closed(&full)
                        }
                    });
                    Topic { name, pattern, uses: Vec::new() }
                });
                // Components come one after the other, so the uses of this one are the last.
                let mut own = topic.uses.iter().rev().take_while(|(other, _)| *other == place);
                if !own.any(|(_, other)| *other == how) {
                    topic.uses.push((place, how));
                }
            }
        }
        let topics: Vec<_> = topics.into_values().collect();
        let feeds = feeds(&topics);
        Self { components, topics, feeds }
    }

    /// The components, in the order of the specification: functions, sources, sinks.
    pub fn components(&self) -> &[Node] {
        &self.components
    }

    /// The topics, by name.
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// Which component feeds which.
    pub fn feeds(&self) -> &[Feed] {
        &self.feeds
    }

    /// Topics that the mesh reads and no component of it writes: what comes from outside.
    pub fn entries(&self) -> impl Iterator<Item = &Topic> {
        let fed: BTreeSet<_> = self.feeds.iter().map(|feed| feed.read_as).collect();
        self.topics
            .iter()
            .enumerate()
            .filter(move |(place, topic)| topic.is_read() && !fed.contains(place))
            .map(|(_, topic)| topic)
    }

    /// Topics that the mesh writes and no component of it reads: what goes outside.
    pub fn exits(&self) -> impl Iterator<Item = &Topic> {
        let read: BTreeSet<_> = self.feeds.iter().map(|feed| feed.topic).collect();
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
        let others = self.feeds.iter().filter(|feed| feed.from != feed.to);
        let joined: BTreeSet<_> = others.flat_map(|feed| [feed.from, feed.to]).collect();
        self.components.iter().enumerate().filter(move |(place, _)| !joined.contains(place))
    }

    /// The cycles: groups of components in which each feeds each other, directly or by way of others.
    /// Components come in the order of the specification.
    pub fn cycles(&self) -> Vec<Vec<usize>> {
        let mut graph = DiGraph::<(), ()>::new();
        let nodes: Vec<NodeIndex> = self.components.iter().map(|_| graph.add_node(())).collect();
        for feed in &self.feeds {
            if let (Some(from), Some(to)) = (nodes.get(feed.from), nodes.get(feed.to)) {
                graph.update_edge(*from, *to, ());
            }
        }
        let mut cycles: Vec<Vec<usize>> = kosaraju_scc(&graph)
            .into_iter()
            .filter(|group| match group.as_slice() {
                [single] => graph.contains_edge(*single, *single),
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
fn topics_of<'a>(view: &SpecView<'a>) -> Vec<(&'a str, bool, Use)> {
    let mut found = Vec::new();
    if let Some(input) = view.input() {
        let patterns: Vec<_> = input
            .source_specs
            .iter()
            .flatten()
            .filter(|(_, consumer)| consumer.is_regex_pattern.unwrap_or_default())
            .map(|(topic, _)| topic.as_str())
            .chain(input.pattern())
            .collect();
        found.extend(
            input.all_topics().into_iter().map(|topic| (topic, patterns.contains(&topic), Use::Reads)),
        );
    }
    let mut write = |topic: Option<&'a str>, how| {
        found.extend(topic.filter(|topic| !topic.is_empty()).map(|topic| (topic, false, how)));
    };
    write(view.output_topic(), Use::Writes);
    write(view.consuming.and_then(|consuming| consuming.dead_letter_topic), Use::DeadLetters);
    let window = view.function().and_then(|function| function.window_config.as_ref());
    write(window.and_then(|window| window.late_data_topic.as_deref()), Use::LateData);
    write(view.common.log_topic, Use::Logs);
    found
}

fn feeds(topics: &[Topic]) -> Vec<Feed> {
    let mut feeds = Vec::new();
    let written: Vec<_> = topics
        .iter()
        .enumerate()
        .filter(|(_, topic)| topic.is_written() && !topic.is_pattern())
        .filter_map(|(place, topic)| Some((place, topic, TopicName::parse(&topic.name).ok()?)))
        .collect();
    for (read_as, reading) in topics.iter().enumerate().filter(|(_, topic)| topic.is_read()) {
        match &reading.pattern {
            Some(pattern) => {
                for (topic, writing, _) in written.iter().filter(|(_, _, name)| pattern.takes(name)) {
                    join((*topic, writing), (read_as, reading), &mut feeds);
                }
            }
            None => join((read_as, reading), (read_as, reading), &mut feeds),
        }
    }
    feeds.sort_unstable();
    feeds
}

fn join((topic, writing): (usize, &Topic), (read_as, reading): (usize, &Topic), feeds: &mut Vec<Feed>) {
    for (from, how) in writing.uses().filter(|(_, how)| how.is_output()) {
        let readers = reading.uses().filter(|(_, how)| !how.is_output());
        let left = MAX_FEEDS.saturating_sub(feeds.len());
        feeds.extend(readers.map(|(to, _)| Feed { from, to, topic, read_as, how }).take(left));
    }
}

#[cfg(test)]
mod tests;
