//! Collects violations and warnings, limits their number and length, and compares them with known violations.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::rules::Rule;
use super::violation::{FieldPath, Findings, Violation, shorten};

/// Maximum violations, and maximum warnings, that are listed. One more entry counts the rest.
pub const MAX_FINDINGS: usize = 100;
/// Maximum length of a message, which can quote a value as long as the object.
const MAX_MESSAGE: usize = 600;

/// What validation looks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Violations only, without the cost of warnings: for the controller, which validates in each reconcile.
    Rules,
    /// Violations and warnings: for admission and the command line.
    RulesAndWarnings,
}

/// Violations of the stored object, as hashes with counts: there can be as many as the object has values.
#[derive(Debug, Default)]
pub struct KnownViolations(HashMap<u64, usize>);

impl KnownViolations {
    pub(super) fn add(&mut self, field: &FieldPath, message: &str) {
        *self.0.entry(hash(field, message)).or_default() += 1;
    }

    /// Whether the violation is known. Each known violation matches once.
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

/// The message of a known violation.
pub(super) fn not_enforced(message: &str) -> String {
    format!("{message} (pre-existing violation; not enforced)")
}

enum Mode {
    /// Records violations as known.
    Record(KnownViolations),
    /// Lists findings, with known violations as warnings.
    List { scope: Scope, known: KnownViolations },
}

/// Collects the findings of the rules.
pub(crate) struct Collector {
    mode: Mode,
    findings: Findings,
    denied: usize,
    warned: usize,
}

impl Collector {
    pub(super) fn new(scope: Scope) -> Self {
        Self::with_known(scope, KnownViolations::default())
    }

    /// A collector for an update of an object with known violations.
    pub(super) fn with_known(scope: Scope, known: KnownViolations) -> Self {
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

    /// Whether to compute expensive warnings.
    pub(super) fn wants_warnings(&self) -> bool {
        matches!(self.mode, Mode::List { scope: Scope::RulesAndWarnings, .. })
    }

    /// Adds a violation.
    pub(super) fn deny(&mut self, field: FieldPath, message: impl Into<String>) {
        let message = message.into();
        let was_broken = match &mut self.mode {
            Mode::Record(known) => return known.add(&field, &message),
            Mode::List { known, .. } => known.take(&field, &message),
        };
        if was_broken {
            return self.warn(field, not_enforced(&message));
        }
        self.denied += 1;
        if self.denied <= MAX_FINDINGS {
            self.findings.violations.push(violation(field, &message));
        }
    }

    /// Adds a violation of a rule by the component spec at `path`.
    pub(super) fn deny_rule(&mut self, path: &FieldPath, rule: &Rule) {
        self.deny(path.field(rule.field), rule.message);
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, field: FieldPath, message: impl Into<String>) {
        if self.wants_warnings() {
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
