//! JSON inside commands: compact, fields in the order of their declaration, keys of maps sorted.

use serde::{Serialize, Serializer};

/// A value as JSON. What cannot be JSON, which no type here is, becomes an empty text.
pub(crate) fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Whether a field holds what its absence means too.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A 64-bit integer, as a text: readers of JSON lose digits of such numbers.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
pub(crate) fn quoted<S: Serializer>(number: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// A number, without a fraction when it has none.
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
    fn numbers_are_written_as_the_runners_read_them() {
        let numbers = Numbers { long: i64::MAX, whole: 2.0, part: 0.1 };
        assert_eq!(text(&numbers), r#"{"long":"9223372036854775807","whole":2,"part":0.1}"#);
    }
}
