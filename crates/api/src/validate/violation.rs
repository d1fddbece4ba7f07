//! Field paths, violations and findings.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Maximum length of a key or name in a path.
const MAX_STEP: usize = 120;

/// Path of a field in an object, for example `spec.functions[0].input.topics[1]`.
///
/// Also holds a stable path, which identifies the field in another version of the object: with components by name, and
/// without indices of other lists. Comparison of paths ignores it.
#[derive(Clone, Debug)]
pub struct FieldPath {
    text: String,
    stable_path: String,
}

impl FieldPath {
    /// The path of a top-level field.
    pub fn root(field: &str) -> Self {
        Self { text: field.to_owned(), stable_path: field.to_owned() }
    }

    /// Truncates keys and names, since a path is created for each of many values, and one name can be as long as the
    /// object. A hash keeps the stable path unique.
    fn step(
        &self,
        text: impl FnOnce(&str) -> String,
        stable_path: impl FnOnce(&str) -> String,
        name: &str,
    ) -> Self {
        match shorten(name, MAX_STEP) {
            Cow::Borrowed(name) => self.then(&text(name), &stable_path(name)),
            Cow::Owned(short) => {
                let mut hasher = DefaultHasher::new();
                name.hash(&mut hasher);
                self.then(&text(&short), &stable_path(&format!("{short}{:x}", hasher.finish())))
            }
        }
    }

    fn then(&self, text: &str, stable_path: &str) -> Self {
        Self {
            text: format!("{}{text}", self.text),
            stable_path: format!("{}{stable_path}", self.stable_path),
        }
    }

    /// The path of a field. A dotted name descends several levels.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        let step = |name: &str| format!(".{name}");
        self.step(step, step, name)
    }

    /// The path of a list item.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.then(&format!("[{index}]"), "[]")
    }

    /// The path of a list item with a unique name.
    #[must_use]
    pub fn item(&self, index: usize, name: &str) -> Self {
        self.step(|_| format!("[{index}]"), |name| format!("[{name:?}]"), name)
    }

    /// The path of a map entry.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let step = |key: &str| format!("[{key:?}]");
        self.step(step, step, key)
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path that identifies the field in another version of the object.
    pub(crate) fn stable_path(&self) -> &str {
        &self.stable_path
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

/// Truncates a text to a maximum of bytes and appends `…`.
pub(crate) fn shorten(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()))
}

/// A violation of a rule, or a warning.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Violation {
    /// The field that causes it.
    pub field: FieldPath,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl std::error::Error for Violation {}

/// The result of validation. Violations reject an object, warnings do not.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Findings {
    /// Violations, in the order of the fields.
    pub violations: Vec<Violation>,
    /// Valid values that are probably mistakes.
    pub warnings: Vec<Violation>,
}

impl Findings {
    /// The warnings, or the error that lists all violations.
    pub fn into_result(self) -> Result<Vec<Violation>, Violations> {
        if self.violations.is_empty() { Ok(self.warnings) } else { Err(Violations(self.violations)) }
    }
}

/// All violations of an object. Never empty.
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
