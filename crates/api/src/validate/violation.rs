//! What a rule has to say: which field, what is wrong, and what to do about it.

use std::fmt;

use super::rules::Rule;

/// The place of a field in an object, as people write it: `spec.functions[0].input.topics[1]`.
///
/// Beside it stands the same place as it outlasts changes of the object: with components by name, and no place
/// in any other list. Comparing paths compares what people see.
#[derive(Clone, Debug)]
pub struct FieldPath {
    text: String,
    lasting: String,
}

impl FieldPath {
    /// The path of a top-level field.
    pub fn root(field: &str) -> Self {
        Self { text: field.to_owned(), lasting: field.to_owned() }
    }

    fn then(&self, text: &str, lasting: &str) -> Self {
        Self { text: format!("{}{text}", self.text), lasting: format!("{}{lasting}", self.lasting) }
    }

    /// A field of the object here. A dotted name goes several steps down.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        let step = format!(".{name}");
        self.then(&step, &step)
    }

    /// An item of the list here.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.then(&format!("[{index}]"), "[]")
    }

    /// An item of the list here that has a name of its own.
    #[must_use]
    pub fn item(&self, index: usize, name: &str) -> Self {
        self.then(&format!("[{index}]"), &format!("[{name:?}]"))
    }

    /// An entry of the map here.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let step = format!("[{key:?}]");
        self.then(&step, &step)
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path by which the field is found again in another version of the object.
    pub(crate) fn lasting(&self) -> &str {
        &self.lasting
    }
}

impl PartialEq for FieldPath {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for FieldPath {}

impl PartialOrd for FieldPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FieldPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One broken rule.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Violation {
    /// The field at fault.
    pub field: FieldPath,
    /// What is wrong with it, and what to write instead.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl std::error::Error for Violation {}

/// What the rules found: violations refuse an object, warnings let it pass with a word to its author.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Findings {
    /// Broken rules, in the order of the fields.
    pub violations: Vec<Violation>,
    /// What is allowed and yet most likely not meant.
    pub warnings: Vec<Violation>,
}

impl Findings {
    /// Notes a broken rule.
    pub(crate) fn deny(&mut self, field: FieldPath, message: impl Into<String>) {
        self.violations.push(Violation { field, message: message.into() });
    }

    /// Notes that a component's specification at `path` breaks a rule.
    pub(crate) fn deny_rule(&mut self, path: &FieldPath, rule: &Rule) {
        self.deny(path.field(rule.field), rule.message);
    }

    /// Notes what is most likely not meant.
    pub(crate) fn warn(&mut self, field: FieldPath, message: impl Into<String>) {
        self.warnings.push(Violation { field, message: message.into() });
    }

    /// Turns the findings into the error that lists all violations, if there are any.
    pub fn into_result(self) -> Result<Vec<Violation>, Violations> {
        if self.violations.is_empty() { Ok(self.warnings) } else { Err(Violations(self.violations)) }
    }
}

/// All rules that an object breaks. Never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violations(pub Vec<Violation>);

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.0.iter().enumerate() {
            write!(f, "{}{violation}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}
