//! Free-form configuration: JSON objects that the operator keeps as text.

mod raw;
#[cfg(test)]
mod tests;
mod transcode;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::complexity;

pub use raw::{canonical, raw_entries};

use transcode::{FromRaw, RAW_VALUE, ToRaw};

/// Free-form configuration, which the operator passes on unread: a JSON object, kept as text.
///
/// As a tree of values it would take a hundred times the memory, and numbers would lose digits. It converts from and to
/// any format of serde; JSON is kept byte for byte. The error of deserialization says what was found instead of a map,
/// or that the value is nested too deep.
///
/// ```
/// use function_mesh_api::types::FreeForm;
///
/// let config: FreeForm = serde_json::from_str(r#"{ "b": 1.10, "a": [12345678901234567890123] }"#).expect("an object");
/// assert_eq!(config.canonical(), r#"{"a":[12345678901234567890123],"b":1.10}"#);
/// assert_eq!(config.entries().len(), 2);
/// ```
#[derive(Clone)]
pub struct FreeForm(Box<RawValue>);

impl FreeForm {
    /// An empty configuration.
    pub fn new() -> Self {
        Self::default()
    }

    /// The JSON text, as it was read.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Whether the object has no entries.
    pub fn is_empty(&self) -> bool {
        self.as_str().bytes().filter(|byte| !byte.is_ascii_whitespace()).eq(*b"{}")
    }

    /// The entries by key. The last entry of a duplicate key wins.
    pub fn entries(&self) -> BTreeMap<Cow<'_, str>, &RawValue> {
        raw_entries(&self.0)
    }

    /// The canonical JSON text: without whitespace, keys sorted at every level.
    pub fn canonical(&self) -> String {
        canonical(&self.0)
    }

    fn from_text(text: String) -> Result<Self, String> {
        if !text.trim_start().starts_with('{') {
            let what = match text.trim_start().bytes().next() {
                Some(b'[') => "a list",
                Some(b'"') => "a string",
                Some(b't' | b'f') => "a boolean",
                Some(b'n') => "null",
                _ => "a number",
            };
            return Err(format!("expected a map, found {what}"));
        }
        complexity::check_part(text.as_bytes()).map_err(|error| error.to_string())?;
        RawValue::from_string(text).map(Self).map_err(|error| error.to_string())
    }
}

impl Default for FreeForm {
    fn default() -> Self {
        // An empty object is valid JSON, so the fallback never applies.
        Self(RawValue::from_string("{}".to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

/// Equality is that of the canonical text.
impl PartialEq for FreeForm {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str() || self.canonical() == other.canonical()
    }
}

/// Omits the content, which can contain passwords.
impl fmt::Debug for FreeForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FreeForm({} bytes)", self.as_str().len())
    }
}

impl FromIterator<(String, Value)> for FreeForm {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(entries: I) -> Self {
        let object = Value::Object(entries.into_iter().collect());
        RawValue::from_string(object.to_string()).map(Self).unwrap_or_default()
    }
}

impl<const N: usize> From<[(String, Value); N]> for FreeForm {
    fn from(entries: [(String, Value); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl Serialize for FreeForm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        FromRaw(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FreeForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut text = String::new();
        deserializer.deserialize_newtype_struct(RAW_VALUE, ToRaw { text: &mut text, depth: 0 })?;
        Self::from_text(text).map_err(D::Error::custom)
    }
}
