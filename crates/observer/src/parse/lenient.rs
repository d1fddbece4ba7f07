//! Decoding of JSON that accepts what a broker of any version sends.
//!
//! A number of an unexpected type is unknown instead of an error, and the entries of an object are borrowed text, so
//! that only those that a component needs are decoded.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::Reading;

/// A type that a reading can have in JSON.
pub(super) trait Scalar: Sized {
    fn from_bool(_: bool) -> Option<Self> {
        None
    }
    fn from_u64(_: u64) -> Option<Self> {
        None
    }
    fn from_f64(_: f64) -> Option<Self> {
        None
    }
}

impl Scalar for bool {
    fn from_bool(value: bool) -> Option<Self> {
        Some(value)
    }
}

impl Scalar for u64 {
    fn from_u64(value: u64) -> Option<Self> {
        Some(value)
    }
    fn from_f64(value: f64) -> Option<Self> {
        count(value)
    }
}

impl Scalar for f64 {
    #[allow(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
    fn from_u64(value: u64) -> Option<Self> {
        Some(value as Self)
    }
    fn from_f64(value: f64) -> Option<Self> {
        value.is_finite().then_some(value)
    }
}

/// A count that is written as a floating-point number. None for a negative one, which Pulsar writes for "not measured".
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked before")]
pub(super) fn count(value: f64) -> Option<u64> {
    // The largest float below 2^64.
    (value.is_finite() && (0.0..=18_446_744_073_709_549_568.0).contains(&value)).then_some(value as u64)
}

impl<'de, T: Scalar> Deserialize<'de> for Reading<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadingVisitor(PhantomData))
    }
}

struct ReadingVisitor<T>(PhantomData<T>);

impl<'de, T: Scalar> Visitor<'de> for ReadingVisitor<T> {
    type Value = Reading<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Reading<T>, E> {
        Ok(T::from_bool(value).into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Reading<T>, E> {
        Ok(T::from_u64(value).into())
    }
    #[allow(clippy::cast_precision_loss, reason = "only negative numbers, which are no counts")]
    fn visit_i64<E>(self, value: i64) -> Result<Reading<T>, E> {
        Ok(T::from_f64(value as f64).into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Reading<T>, E> {
        Ok(T::from_f64(value).into())
    }
    /// The values of a map of strings, such as the metadata of a consumer.
    fn visit_str<E>(self, value: &str) -> Result<Reading<T>, E> {
        Ok(value.parse().ok().and_then(T::from_u64).into())
    }
    fn visit_unit<E>(self) -> Result<Reading<T>, E> {
        Ok(Reading::default())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Reading<T>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Reading::default())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Reading<T>, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Reading::default())
    }
}

/// Key of an entry, which borrows unless it contains escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The entries of a JSON object, not decoded. Null is an object without entries.
#[derive(Debug, Default)]
pub(super) struct Entries<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for EntriesVisitor<'a> {
            type Value = Entries<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_unit<E>(self) -> Result<Entries<'a>, E> {
                Ok(Entries::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Entries<'a>, A::Error> {
                let mut all = Vec::new();
                while let Some((key, value)) = entries.next_entry::<Key<'a>, &'a RawValue>()? {
                    all.push((key.0, value));
                }
                Ok(Entries(all))
            }
        }

        deserializer.deserialize_any(EntriesVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reading::Known;

    fn read<T: Scalar>(json: &str) -> Reading<T> {
        serde_json::from_str(json).expect(json)
    }

    #[test]
    fn counts_are_whole_and_not_negative() {
        assert_eq!(read::<u64>("7"), Known(7));
        assert_eq!(read::<u64>("7.0"), Known(7));
        assert_eq!(read::<u64>("1e3"), Known(1000));
        assert_eq!(read::<u64>("\"3\""), Known(3));
        for json in ["-1", "-0.5", "1e300", "null", "true", "\"x\"", "[1,[2]]", "{\"a\":{}}"] {
            assert!(!read::<u64>(json).is_known(), "{json}");
        }
    }

    #[test]
    fn rates_and_switches_are_typed() {
        assert_eq!(read::<f64>("7"), Known(7.0));
        assert_eq!(read::<f64>("-1"), Known(-1.0));
        assert_eq!(read::<bool>("true"), Known(true));
        assert!(!read::<bool>("1").is_known());
    }

    #[test]
    fn entries_are_borrowed() {
        let entries: Entries<'_> = serde_json::from_str(r#"{"a": {"x": [1]}, "b\n": 2}"#).unwrap();
        let all: Vec<_> = entries.0.iter().map(|(key, value)| (key.as_ref(), value.get())).collect();
        assert_eq!(all, [("a", r#"{"x": [1]}"#), ("b\n", "2")]);
        assert!(matches!(entries.0[0].0, Cow::Borrowed(_)));
        assert!(serde_json::from_str::<Entries<'_>>("null").unwrap().0.is_empty());
        assert!(serde_json::from_str::<Entries<'_>>("[]").is_err());
    }
}
