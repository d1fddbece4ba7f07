//! The path of the value at a position of a JSON text, for messages. A deserializer that keeps the path would be a second
//! copy of the code that decodes every type, a sixth of the controller's program, for objects that hardly ever occur.

use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The path of the innermost value that contains the last byte before the position of an error, such as
/// `spec.functions[3].replicas`. Empty for the whole text.
pub(crate) fn of_error(json: &str, error: &serde_json::Error) -> String {
    let line: usize = json.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let end = line + error.column();
    // A list or a map where another type is expected is not consumed.
    let is_next = matches!(json.as_bytes().get(end), Some(b'{' | b'['));
    let at = json.as_ptr().addr() + if is_next { end } else { end.saturating_sub(1) };
    let (mut path, mut text) = (String::new(), json);
    loop {
        let mut below = None;
        // An invalid text, and a value that has no others in it, end the path.
        _ = serde_json::Deserializer::from_str(text).deserialize_any(Finder { at, below: &mut below });
        let Some((step, value)) = below else { return path };
        let dot = if path.is_empty() || step.starts_with('[') { "" } else { "." };
        path += dot;
        path += &step;
        text = value;
    }
}

/// Finds the item of a list, or the entry of a map, that contains an address.
struct Finder<'a, 'de> {
    at: usize,
    below: &'a mut Option<(String, &'de str)>,
}

impl Finder<'_, '_> {
    fn is_in(&self, value: &RawValue) -> bool {
        let begin = value.get().as_ptr().addr();
        (begin..begin + value.get().len()).contains(&self.at)
    }
}

impl<'de> Visitor<'de> for Finder<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or a map")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut index = 0_usize;
        while let Some(value) = items.next_element::<&RawValue>()? {
            if self.is_in(value) {
                *self.below = Some((format!("[{index}]"), value.get()));
                break;
            }
            index += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some((key, value)) = entries.next_entry::<String, &RawValue>()? {
            if self.is_in(value) {
                *self.below = Some((key, value.get()));
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[serde(rename = "a")]
        _a: Vec<i32>,
        #[serde(rename = "b")]
        _b: Option<BTreeMap<String, bool>>,
    }

    fn path(json: &str) -> String {
        of_error(json, &serde_json::from_str::<BTreeMap<String, Vec<Inner>>>(json).unwrap_err())
    }

    #[test]
    fn innermost_value_is_named() {
        for (json, expected) in [
            (r#"{"x":[{"a":[1,"2"]}]}"#, "x[0].a[1]"),
            (r#"{"x":[{"a":[]},{"a":{"SECRET":1}}]}"#, "x[1].a"),
            (r#"{"x":[{"a":[],"b":{"y.z":true,"é":null}}]}"#, "x[0].b.é"),
            (r#"{"x":[{"a":[],"b":{"c":"true"}}],"y":[]}"#, "x[0].b.c"),
            ("{\n\"x\": [\n{\"a\":\n[3000000000]}]}", "x[0].a[0]"),
            // A missing field is missing in the value that ends here.
            (r#"{"x":[{"a":[]},{"b":{}}]}"#, "x[1]"),
            (r#"{"x":[[]]}"#, "x[0]"),
            (r#"{"x":5}"#, "x"),
            (r#"{"x":[{"a":[[1]]}]}"#, "x[0].a[0]"),
            (r#"{"x": {"y":1}}"#, "x"),
            ("[]", ""),
            ("5", ""),
            // Not JSON from here on.
            (r#"{"x":[{"a":[]},{"a":!}]}"#, ""),
            (r#"{"x":"#, ""),
            ("", ""),
        ] {
            assert_eq!(path(json), expected, "{json}");
        }
    }
}
