//! Topic patterns: a regular expression over the topics of one namespace.

use regex::{Regex, RegexBuilder};

use crate::validate::grammar::TopicName;

/// Longest expression that is compiled; a longer one matches nothing here, and is Pulsar's to judge.
const MAX_PATTERN: usize = 2048;
/// Most memory that one expression may take, since a short one can mean a very large machine.
const MAX_SIZE: usize = 256 * 1024;

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
        let expression =
            (name.local.len() <= MAX_PATTERN).then(|| format!("^(?:{})$", name.local)).and_then(|text| {
                RegexBuilder::new(&text).size_limit(MAX_SIZE).dfa_size_limit(MAX_SIZE).build().ok()
            });
        Self { tenant: name.tenant.clone(), namespace: name.namespace.clone(), expression }
    }

    /// A pattern that matches nothing, for an expression that is not looked at.
    pub(super) fn closed(name: &TopicName) -> Self {
        Self { tenant: name.tenant.clone(), namespace: name.namespace.clone(), expression: None }
    }

    /// Whether a topic, by its full name, is one of those that the pattern means.
    pub fn matches(&self, topic: &str) -> bool {
        TopicName::parse(topic).is_ok_and(|topic| self.takes(&topic))
    }

    /// The same, for a name that was read already.
    pub(super) fn takes(&self, topic: &TopicName) -> bool {
        topic.tenant == self.tenant
            && topic.namespace == self.namespace
            && self.expression.as_ref().is_some_and(|expression| expression.is_match(&topic.local))
    }
}
