//! What is found while an object is checked: bounded in number and length, and compared with what was found before.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::rules::Rule;
use super::violation::{FieldPath, Findings, Violation, shorten};

/// Most violations, and most warnings, that are listed. One more entry says how many others there are.
pub const MAX_FINDINGS: usize = 100;
/// Longest message. A value that it quotes may be as long as the object.
const MAX_MESSAGE: usize = 600;

/// What an object is checked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Whether it breaks a rule. Nothing is computed beyond that: for the controller, which checks at each reconcile,
    /// and wherever nobody reads warnings.
    Rules,
    /// Broken rules and advice: for those who read it.
    RulesAndWarnings,
}

/// The rules that an object broke before a change, as hashes: there may be as many as the object has values.
#[derive(Debug, Default)]
pub struct KnownViolations(HashMap<u64, usize>);

impl KnownViolations {
    pub(super) fn add(&mut self, field: &FieldPath, message: &str) {
        *self.0.entry(hash(field, message)).or_default() += 1;
    }

    /// Whether this one was known, which then counts for one less.
    pub(super) fn take(&mut self, field: &FieldPath, message: &str) -> bool {
        match self.0.get_mut(&hash(field, message)) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }
}

fn hash(field: &FieldPath, message: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (field.stable_path(), message).hash(&mut hasher);
    hasher.finish()
}

/// The words for a rule that was broken before.
pub(super) fn let_pass(message: &str) -> String {
    format!("{message} (let pass, since it was so before)")
}

enum Mode {
    /// Remembers broken rules, and nothing else.
    Record(KnownViolations),
    /// Lists what is found, except for rules that were broken before.
    List { scope: Scope, known: KnownViolations },
}

/// Takes what the rules find.
pub(crate) struct Collector {
    mode: Mode,
    findings: Findings,
    denied: usize,
    warned: usize,
}

impl Collector {
    pub(super) fn new(scope: Scope) -> Self {
        Self::since(scope, KnownViolations::default())
    }

    /// For an object that broke these rules before.
    pub(super) fn since(scope: Scope, known: KnownViolations) -> Self {
        Self { mode: Mode::List { scope, known }, findings: Findings::default(), denied: 0, warned: 0 }
    }

    pub(super) fn recording() -> Self {
        Self {
            mode: Mode::Record(KnownViolations::default()),
            findings: Findings::default(),
            denied: 0,
            warned: 0,
        }
    }

    /// Whether warnings are wanted. What costs more than a look is computed only then.
    pub(super) fn wants_advice(&self) -> bool {
        matches!(self.mode, Mode::List { scope: Scope::RulesAndWarnings, .. })
    }

    /// Notes a broken rule.
    pub(super) fn deny(&mut self, field: FieldPath, message: impl Into<String>) {
        let message = message.into();
        let was_broken = match &mut self.mode {
            Mode::Record(known) => return known.add(&field, &message),
            Mode::List { known, .. } => known.take(&field, &message),
        };
        if was_broken {
            return self.warn(field, let_pass(&message));
        }
        self.denied += 1;
        if self.denied <= MAX_FINDINGS {
            self.findings.violations.push(violation(field, &message));
        }
    }

    /// Notes that a component's specification at `path` breaks a rule.
    pub(super) fn deny_rule(&mut self, path: &FieldPath, rule: &Rule) {
        self.deny(path.field(rule.field), rule.message);
    }

    /// Notes what is most likely not meant.
    pub(super) fn warn(&mut self, field: FieldPath, message: impl Into<String>) {
        if self.wants_advice() {
            self.warned += 1;
            if self.warned <= MAX_FINDINGS {
                self.findings.warnings.push(violation(field, &message.into()));
            }
        }
    }

    pub(super) fn finish(mut self) -> Findings {
        let more = |count: usize, what| {
            let rest = count.checked_sub(MAX_FINDINGS).filter(|rest| *rest > 0)?;
            let message = format!("{rest} more {what}; only the first {MAX_FINDINGS} are listed");
            Some(Violation { field: FieldPath::root("spec"), message })
        };
        self.findings.violations.extend(more(self.denied, "violations"));
        self.findings.warnings.extend(more(self.warned, "warnings"));
        self.findings
    }

    pub(super) fn into_known(self) -> KnownViolations {
        match self.mode {
            Mode::Record(known) => known,
            Mode::List { .. } => KnownViolations::default(),
        }
    }
}

fn violation(field: FieldPath, message: &str) -> Violation {
    Violation { field, message: shorten(message, MAX_MESSAGE).into_owned() }
}
