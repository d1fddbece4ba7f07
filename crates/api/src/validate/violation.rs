//! What a rule has to say: which field, what is wrong, and what to do about it.

use std::fmt;

/// The place of a field in an object, as people write it: `spec.functions[0].input.topics[1]`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct FieldPath(String);

impl FieldPath {
    /// The path of a top-level field.
    pub fn root(field: &str) -> Self {
        Self(field.to_owned())
    }

    /// A field of the object here. A dotted name goes several steps down.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        Self(format!("{}.{name}", self.0))
    }

    /// An item of the list here.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// An entry of the map here.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key:?}]", self.0))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
