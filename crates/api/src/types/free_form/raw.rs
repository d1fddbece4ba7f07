//! Raw JSON values: entries by key and the canonical form, without a tree of values.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::complexity;

/// The entries of a JSON object by key. Empty for any other value.
pub fn raw_entries(json: &RawValue) -> BTreeMap<Cow<'_, str>, &RawValue> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = BTreeMap<Cow<'de, str>, &'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = BTreeMap::new();
            while let Some((Key(key), value)) = map.next_entry()? {
                entries.insert(key, value);
            }
            Ok(entries)
        }
    }
    serde_json::Deserializer::from_str(json.get()).deserialize_map(Entries).unwrap_or_default()
}

/// Borrowed from the text unless it contains escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

pub(super) fn items(json: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(json.get()).unwrap_or_default()
}

/// Canonical JSON: without whitespace, keys sorted at every level. Numbers keep their digits.
pub fn canonical(json: &RawValue) -> String {
    let mut text = String::with_capacity(json.get().len());
    write(json, 0, &mut text);
    text
}

/// Recurses no deeper than validation allows.
fn write(json: &RawValue, depth: usize, text: &mut String) {
    let is_deep = depth > complexity::MAX_DEPTH;
    match json.get().trim_start().bytes().next() {
        Some(b'{') if !is_deep => {
            text.push('{');
            for (index, (key, value)) in raw_entries(json).into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&serde_json::to_string(&key).unwrap_or_default());
                text.push(':');
                write(value, depth + 1, text);
            }
            text.push('}');
        }
        Some(b'[') if !is_deep => {
            text.push('[');
            for (index, item) in items(json).into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(item, depth + 1, text);
            }
            text.push(']');
        }
        // Reads the string to drop unnecessary escapes.
        Some(b'"') => match serde_json::from_str::<Cow<'_, str>>(json.get()) {
            Ok(plain) => text.push_str(&serde_json::to_string(&plain).unwrap_or_default()),
            Err(_) => text.push_str(json.get().trim()),
        },
        _ => text.push_str(json.get().trim()),
    }
}
