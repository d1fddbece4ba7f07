//! Raw JSON to and from any format of serde, value by value.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use crate::complexity;

use super::raw::{items, raw_entries};

/// The name by which `RawValue` requests text from serde_json. Other formats do not know it and give values.
pub(super) const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// Serializes raw JSON value by value, for formats other than JSON.
pub(super) struct FromRaw<'a>(pub(super) &'a RawValue);

impl Serialize for FromRaw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0.get().trim();
        match text.bytes().next() {
            Some(b'{') => {
                let entries = raw_entries(self.0);
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(&key, &FromRaw(value))?;
                }
                map.end()
            }
            Some(b'[') => {
                let items = items(self.0);
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&FromRaw(item))?;
                }
                list.end()
            }
            Some(b'"') => {
                let text: Cow<'_, str> = serde_json::from_str(text).map_err(S::Error::custom)?;
                serializer.serialize_str(&text)
            }
            Some(b't') => serializer.serialize_bool(true),
            Some(b'f') => serializer.serialize_bool(false),
            Some(b'n') | None => serializer.serialize_unit(),
            Some(_) => {
                let number: Value = serde_json::from_str(text).map_err(S::Error::custom)?;
                let written = number.to_string();
                if written == text {
                    return number.serialize(serializer);
                }
                // serde_json parses a few numbers one unit in the last place off.
                match text.parse().ok().and_then(Number::from_f64) {
                    Some(exact) if exact.to_string() == text => exact.serialize(serializer),
                    // Only JSON can represent more digits than a 64-bit number.
                    _ => self.0.serialize(serializer),
                }
            }
        }
    }
}

/// Deserializes a value of any format as JSON text.
pub(super) struct ToRaw<'a> {
    pub(super) text: &'a mut String,
    pub(super) depth: usize,
}

impl ToRaw<'_> {
    fn push(self, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.text.push_str(&serde_json::to_string(value)?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for ToRaw<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.depth > complexity::MAX_DEPTH {
            let most = complexity::MAX_DEPTH;
            return Err(D::Error::custom(format!("nested more than {most} levels deep; flatten it")));
        }
        deserializer.deserialize_newtype_struct(RAW_VALUE, self)
    }
}

impl<'de> Visitor<'de> for ToRaw<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.depth == 0 { "a map" } else { "a value" })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { text, depth } = self;
        let Some(mut key) = map.next_key::<String>()? else {
            text.push_str("{}");
            return Ok(());
        };
        if key == RAW_VALUE {
            text.push_str(&map.next_value::<Cow<'_, str>>()?);
            return Ok(());
        }
        let mut mark = '{';
        loop {
            text.push(mark);
            text.push_str(&serde_json::to_string(&key).map_err(A::Error::custom)?);
            text.push(':');
            map.next_value_seed(ToRaw { text, depth: depth + 1 })?;
            mark = ',';
            match map.next_key::<String>()? {
                Some(next) => key = next,
                None => break,
            }
        }
        text.push('}');
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { text, depth } = self;
        text.push('[');
        let start = text.len();
        loop {
            let end = text.len();
            if end > start {
                text.push(',');
            }
            if list.next_element_seed(ToRaw { text, depth: depth + 1 })?.is_none() {
                text.truncate(end);
                break;
            }
        }
        text.push(']');
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.push(&value).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.push(&value).map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.push(&value).map_err(E::custom)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.push(&value).map_err(E::custom)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.push(&value).map_err(E::custom)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.push(&()).map_err(E::custom)
    }
}
