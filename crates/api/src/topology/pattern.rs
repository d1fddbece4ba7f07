//! Topic patterns: regular expressions over the topics of one namespace.

use regex_automata::nfa::thompson;
use regex_automata::nfa::thompson::pikevm::{Cache, PikeVM};
use regex_automata::util::syntax;

use crate::names::TopicName;

/// Maximum length of an expression. A longer one matches nothing here; Pulsar decides about it.
const MAX_PATTERN: usize = 2048;
/// Maximum memory of a compiled expression in bytes: a short expression can compile to a huge automaton.
const MAX_SIZE: usize = 64 * 1024;
/// Maximum states of a compiled expression, which is also the maximum of steps for each character.
const MAX_STATES: usize = 2000;
/// Maximum nesting of groups in an expression.
const MAX_NESTING: u32 = 50;

/// A topic pattern with the semantics of a Pulsar consumer.
///
/// Pulsar uses Java's regular expressions. An expression that this crate cannot compile, or only to a huge automaton,
/// matches nothing: the graph then shows the pattern without edges.
#[derive(Clone, Debug)]
pub struct TopicPattern {
    tenant: String,
    namespace: String,
    expression: Option<PikeVM>,
}

impl TopicPattern {
    /// Maximum steps to compile a pattern.
    pub(super) const COST: usize = 20 * MAX_STATES;

    /// Creates a pattern from a topic name whose last part is the expression.
    pub fn new(name: &TopicName) -> Self {
        let expression = (name.local.len() <= MAX_PATTERN).then(|| compile(&name.local)).flatten();
        Self { tenant: name.tenant.clone(), namespace: name.namespace.clone(), expression }
    }

    /// Whether the pattern matches a topic name.
    pub fn matches(&self, topic: &str) -> bool {
        TopicName::parse(topic).is_ok_and(|topic| {
            self.is_in_namespace(&topic)
                && self
                    .expression
                    .as_ref()
                    .is_some_and(|vm| vm.is_match(&mut vm.create_cache(), &*topic.local))
        })
    }

    /// Upper bound of the steps that a match of a topic name takes.
    pub fn steps(&self, topic: &str) -> usize {
        let states = self.expression.as_ref().map_or(0, |vm| vm.get_nfa().states().len());
        states.saturating_mul(topic.len())
    }

    /// Whether a topic is in the namespace of the pattern, the cheap part of a match.
    pub(super) fn is_in_namespace(&self, topic: &TopicName) -> bool {
        topic.tenant == self.tenant && topic.namespace == self.namespace
    }

    /// Prepares matching against many topics. None if the expression did not compile.
    pub(super) fn matcher(&self) -> Option<Matcher<'_>> {
        let vm = self.expression.as_ref()?;
        Some(Matcher { vm, cache: vm.create_cache(), states: vm.get_nfa().states().len() })
    }
}

/// Matches a pattern against many topics.
pub(super) struct Matcher<'a> {
    vm: &'a PikeVM,
    cache: Cache,
    states: usize,
}

impl Matcher<'_> {
    /// Maximum steps to match a topic.
    pub(super) fn cost(&self, topic: &TopicName) -> usize {
        self.states * (topic.local.len() + 1)
    }

    pub(super) fn is_match(&mut self, topic: &TopicName) -> bool {
        self.vm.is_match(&mut self.cache, &*topic.local)
    }
}

/// Compiles to an NFA simulation, which visits each state at most once for each character. Lazy DFAs are faster on
/// average, but some expressions make them rebuild their cache all the time.
fn compile(expression: &str) -> Option<PikeVM> {
    let vm = PikeVM::builder()
        .syntax(syntax::Config::new().nest_limit(MAX_NESTING))
        .thompson(thompson::Config::new().nfa_size_limit(Some(MAX_SIZE)))
        .build(&format!("^(?:{expression})$"))
        .ok()?;
    (vm.get_nfa().states().len() <= MAX_STATES).then_some(vm)
}
