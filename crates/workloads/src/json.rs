//! JSON for commands: compact, struct fields in order of declaration, map keys sorted.

use std::borrow::Cow;
use std::collections::BTreeMap;

use function_mesh_api::types::{FreeForm, canonical};
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// Serializes a value. All types here are valid JSON; an error would give an empty string.
pub(crate) fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Entries of free-form configuration, as raw JSON.
pub(crate) type Entries<'a> = BTreeMap<Cow<'a, str>, Cow<'a, RawValue>>;

/// The entries of a configuration.
pub(crate) fn entries(config: &FreeForm) -> Entries<'_> {
    config.entries().into_iter().map(|(key, value)| (key, Cow::Borrowed(value))).collect()
}

/// A string as raw JSON.
pub(crate) fn raw<'a>(text: &str) -> Cow<'a, RawValue> {
    to_raw_value(text).map_or(Cow::Borrowed(RawValue::NULL), Cow::Owned)
}

/// A JSON object of entries that are JSON.
pub(crate) fn map<'a>(entries: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut written = String::from("{");
    for (key, value) in entries {
        if written.len() > 1 {
            written.push(',');
        }
        written += &text(&key);
        written.push(':');
        written += &value;
    }
    written.push('}');
    written
}

/// A JSON object of raw entries, in canonical form.
pub(crate) fn map_of(entries: &Entries<'_>) -> String {
    map(entries.iter().map(|(key, value)| (key.as_ref(), canonical(value))))
}

/// Whether a field has its default, so that it is omitted.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Serializes a 64-bit integer as a string, since JSON parsers lose digits of large numbers.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
pub(crate) fn quoted<S: Serializer>(number: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// Serializes a number, without a fraction if it is integral.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "checked by the comparison")]
pub(crate) fn number<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    let whole = *number as i64;
    if (whole as f64 - number).abs() < f64::EPSILON {
        serializer.serialize_i64(whole)
    } else {
        serializer.serialize_f64(*number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Numbers {
        #[serde(serialize_with = "quoted")]
        long: i64,
        #[serde(serialize_with = "number")]
        whole: f64,
        #[serde(serialize_with = "number")]
        part: f64,
    }

    #[test]
    fn numbers_have_the_format_of_the_runners() {
        let numbers = Numbers { long: i64::MAX, whole: 2.0, part: 0.1 };
        assert_eq!(text(&numbers), r#"{"long":"9223372036854775807","whole":2,"part":0.1}"#);
    }
}
