//! Compares JSON texts one level at a time, without building a tree.

use std::borrow::Cow;
use std::fmt;

use function_mesh_api::complexity;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// The members of an object, sorted by name. Of duplicates the last one counts.
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Members<'a> {
    pub(crate) fn of(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        let index = self.0.binary_search_by(|(member, _)| (**member).cmp(name)).ok()?;
        self.0.get(index).map(|(_, text)| *text)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, text)| (&**name, *text))
    }
}

/// The items of an array.
pub(crate) struct Items<'a>(pub(crate) Vec<&'a str>);

impl<'a> Items<'a> {
    pub(crate) fn of(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// Whether two specs are equal: as text, which the API server writes alike, or else as JSON. Specs above the complexity
/// limits are compared as text only.
pub(crate) fn spec_eq(new: Option<&RawValue>, old: Option<&RawValue>) -> bool {
    match (new, old) {
        (None, None) => true,
        (Some(new), Some(old)) => {
            let is_within_limits = |text: &RawValue| complexity::check(text.get().as_bytes()).is_ok();
            new.get() == old.get()
                || is_within_limits(new) && is_within_limits(old) && json_eq(new.get(), old.get())
        }
        _ => false,
    }
}

/// Whether two JSON texts are equal. Recursion is bounded by [`complexity::MAX_DEPTH`], which the caller has checked.
pub(crate) fn json_eq(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    match (one.as_bytes().first(), other.as_bytes().first()) {
        (Some(b'{'), Some(b'{')) => match (Members::of(one), Members::of(other)) {
            (Some(one), Some(other)) => {
                one.0.len() == other.0.len()
                    && one
                        .iter()
                        .zip(other.iter())
                        .all(|((name, text), (other_name, other))| name == other_name && json_eq(text, other))
            }
            _ => false,
        },
        (Some(b'['), Some(b'[')) => match (Items::of(one), Items::of(other)) {
            (Some(one), Some(other)) => {
                one.0.len() == other.0.len()
                    && one.0.iter().zip(&other.0).all(|(one, other)| json_eq(one, other))
            }
            _ => false,
        },
        (Some(b'{' | b'['), _) | (_, Some(b'{' | b'[')) => false,
        _ => scalar(one).is_some_and(|one| scalar(other).is_some_and(|other| one == other)),
    }
}

/// The value of a scalar; None for objects and arrays.
pub(crate) fn scalar(text: &str) -> Option<Value> {
    if text.starts_with(['{', '[']) { None } else { serde_json::from_str(text).ok() }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), text)) = map.next_entry::<Name<'de>, &RawValue>()? {
                    members.push((name, text.get()));
                }
                // A stable sort keeps duplicates in order, so that the last one wins.
                members.sort_by(|(one, _), (other, _)| one.cmp(other));
                members.reverse();
                members.dedup_by(|(later, _), (kept, _)| later == kept);
                members.reverse();
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(text) = list.next_element::<&RawValue>()? {
                    items.push(text.get());
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(Read)
    }
}

#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compared_by_content() {
        for (one, other, expected) in [
            (r#"{"a":1,"b":[1,"x"]}"#, r#"{ "b": [1, "\u0078"], "a": 1 }"#, true),
            (r#"{"a":1}"#, r#"{"a":1,"b":null}"#, false),
            (r#"{"a":0,"a":1}"#, r#"{"a": 1}"#, true),
            ("[1,2]", "[2, 1]", false),
            ("[{}]", "[[]]", false),
            ("1", "1.0", false),
            ("\"1\"", "1", false),
            ("null", "{}", false),
        ] {
            assert_eq!(json_eq(one, other), expected, "{one} {other}");
            assert_eq!(json_eq(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn deep_specs_are_compared_as_text() {
        let deep = |space: &str| format!("{}{space}{}", "[".repeat(100_000), "]".repeat(100_000));
        let (one, other) = (deep(""), deep(" "));
        let raw = |text: &String| RawValue::from_string(text.clone()).unwrap();
        assert!(spec_eq(Some(&*raw(&one)), Some(&*raw(&one))));
        assert!(!spec_eq(Some(&*raw(&one)), Some(&*raw(&other))));
    }
}
