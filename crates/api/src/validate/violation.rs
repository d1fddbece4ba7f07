//! What a rule has to say: which field, what is wrong, and what to do about it.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Longest key or name in a path.
const MAX_STEP: usize = 120;

/// The place of a field in an object, as people write it: `spec.functions[0].input.topics[1]`.
///
/// Beside it stands the same place as it outlasts changes of the object: with components by name, and no place
/// in any other list. Comparing paths compares what people see.
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

    /// Keys and names are cut in the text, and told apart by a hash in the other: a path is made for each of many
    /// values, of which one may be as long as the object.
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

    /// A field of the object here. A dotted name goes several steps down.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        let step = |name: &str| format!(".{name}");
        self.step(step, step, name)
    }

    /// An item of the list here.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.then(&format!("[{index}]"), "[]")
    }

    /// An item of the list here that has a name of its own.
    #[must_use]
    pub fn item(&self, index: usize, name: &str) -> Self {
        self.step(|_| format!("[{index}]"), |name| format!("[{name:?}]"), name)
    }

    /// An entry of the map here.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let step = |key: &str| format!("[{key:?}]");
        self.step(step, step, key)
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path by which the field is found again in another version of the object.
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

/// A text of at most so many bytes: what is longer ends in `…`.
pub(crate) fn shorten(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()))
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
