//! Topic patterns: a regular expression over the topics of one namespace.

use regex::Regex;

use crate::validate::grammar::TopicName;

/// Longest expression that is compiled; a longer one matches nothing here, and is Pulsar's to judge.
const MAX_PATTERN: usize = 2048;

/// A pattern over the topics of one namespace, as a Pulsar consumer understands it.
///
/// Pulsar uses Java's regular expressions. What this crate cannot compile of them matches nothing: the graph
/// then shows the pattern without feeds from within the mesh.
#[derive(Clone, Debug)]
pub struct TopicPattern {
    tenant: String,
    namespace: String,
    expression: Option<Regex>,
}

impl TopicPattern {
    /// A pattern from a topic name whose last part is the expression.
    pub fn new(name: &TopicName) -> Self {
        let expression = (name.local.len() <= MAX_PATTERN)
            .then(|| Regex::new(&format!("^(?:{})$", name.local)).ok())
            .flatten();
        Self { tenant: name.tenant.clone(), namespace: name.namespace.clone(), expression }
    }

    /// Whether a topic, by its full name, is one of those that the pattern means.
    pub fn matches(&self, topic: &str) -> bool {
        let Ok(topic) = TopicName::parse(topic) else { return false };
        topic.tenant == self.tenant
            && topic.namespace == self.namespace
            && self.expression.as_ref().is_some_and(|expression| expression.is_match(&topic.local))
    }
}
