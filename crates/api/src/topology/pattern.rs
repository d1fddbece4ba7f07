//! Topic patterns: a regular expression over the topics of one namespace.

use regex_automata::nfa::thompson;
use regex_automata::nfa::thompson::pikevm::{Cache, PikeVM};
use regex_automata::util::syntax;

use crate::names::TopicName;

/// Longest expression that is compiled; a longer one matches nothing here, and is Pulsar's to judge.
const MAX_PATTERN: usize = 2048;
/// Most memory of a compiled expression, since a short one can mean a very large machine.
const MAX_SIZE: usize = 64 * 1024;
/// Most states of a compiled expression. Matching takes no more than this many steps a letter.
const MAX_STATES: usize = 2000;
/// Deepest nesting of groups within an expression.
const MAX_NESTING: u32 = 50;

/// A pattern over the topics of one namespace, as a Pulsar consumer understands it.
///
/// Pulsar uses Java's regular expressions. What this crate cannot compile of them, or only to a large machine,
/// matches nothing: the graph then shows the pattern without feeds from within the mesh.
#[derive(Clone, Debug)]
pub struct TopicPattern {
    tenant: String,
    namespace: String,
    expression: Option<PikeVM>,
}

impl TopicPattern {
    /// Steps that compiling takes, at most.
    pub(super) const COST: usize = 20 * MAX_STATES;

    /// A pattern from a topic name whose last part is the expression.
    pub fn new(name: &TopicName) -> Self {
        let expression = (name.local.len() <= MAX_PATTERN).then(|| compile(&name.local)).flatten();
        Self { tenant: name.tenant.clone(), namespace: name.namespace.clone(), expression }
    }

    /// Whether a topic, by its full name, is one of those that the pattern means.
    pub fn matches(&self, topic: &str) -> bool {
        TopicName::parse(topic).is_ok_and(|topic| {
            self.is_in_namespace(&topic)
                && self
                    .expression
                    .as_ref()
                    .is_some_and(|vm| vm.is_match(&mut vm.create_cache(), &*topic.local))
        })
    }

    /// Whether a topic is in the pattern's namespace, which decides nearly always.
    pub(super) fn is_in_namespace(&self, topic: &TopicName) -> bool {
        topic.tenant == self.tenant && topic.namespace == self.namespace
    }

    /// What the pattern needs to be compared with many topics.
    pub(super) fn matcher(&self) -> Option<Matcher<'_>> {
        let vm = self.expression.as_ref()?;
        Some(Matcher { vm, cache: vm.create_cache(), states: vm.get_nfa().states().len() })
    }
}

/// A pattern that is compared with many topics.
pub(super) struct Matcher<'a> {
    vm: &'a PikeVM,
    cache: Cache,
    states: usize,
}

impl Matcher<'_> {
    /// Steps that a comparison takes, at most.
    pub(super) fn cost(&self, topic: &TopicName) -> usize {
        self.states * (topic.local.len() + 1)
    }

    pub(super) fn is_match(&mut self, topic: &TopicName) -> bool {
        self.vm.is_match(&mut self.cache, &*topic.local)
    }
}

/// Compiles to a machine that tries each state at most once a letter, whatever the expression is. Faster ones build
/// tables on the way, and some expressions make them build tables all the time.
fn compile(expression: &str) -> Option<PikeVM> {
    let vm = PikeVM::builder()
        .syntax(syntax::Config::new().nest_limit(MAX_NESTING))
        .thompson(thompson::Config::new().nfa_size_limit(Some(MAX_SIZE)))
        .build(&format!("^(?:{expression})$"))
        .ok()?;
    (vm.get_nfa().states().len() <= MAX_STATES).then_some(vm)
}
