//! Configuration that nobody here looks into: kept as the text that it is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use crate::complexity;

/// The name by which `RawValue` asks serde_json for text. A format that does not know it gives values instead.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// Configuration that the operator passes on without a look inside: a JSON object, as text.
///
/// As values it would take a hundred times its size, and numbers would lose digits. It can be read from and written to
/// any format that serde knows; from JSON it comes as it is written.
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
    /// A configuration without an entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// The text, as it was given.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.as_str().bytes().filter(|byte| !byte.is_ascii_whitespace()).eq(*b"{}")
    }

    /// The entries by their keys. Of a key that is given twice the last one counts.
    pub fn entries(&self) -> BTreeMap<Cow<'_, str>, &RawValue> {
        raw_entries(&self.0)
    }

    /// The text without spaces and with sorted keys, at every level.
    pub fn canonical(&self) -> String {
        canonical(&self.0)
    }

    fn from_text(text: String) -> Result<Self, String> {
        if !text.trim_start().starts_with('{') {
            let what = match text.trim_start().bytes().next() {
                Some(b'[') => "a list",
                Some(b'"') => "a text",
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
        // The text of an empty map is one.
        Self(RawValue::from_string("{}".to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

/// Two are equal that say the same, however it is written.
impl PartialEq for FreeForm {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str() || self.canonical() == other.canonical()
    }
}

/// Without the content, in which passwords stand.
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

/// The entries of a map, sorted; none of anything else.
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

/// Borrowed wherever it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

fn items(json: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(json.get()).unwrap_or_default()
}

/// JSON without spaces and with sorted keys, at every level. Numbers stay as they are written.
pub fn canonical(json: &RawValue) -> String {
    let mut text = String::with_capacity(json.get().len());
    write(json, 0, &mut text);
    text
}

/// As deep as a configuration may be.
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
        // Escapes that need not be are none afterwards.
        Some(b'"') => match serde_json::from_str::<Cow<'_, str>>(json.get()) {
            Ok(plain) => text.push_str(&serde_json::to_string(&plain).unwrap_or_default()),
            Err(_) => text.push_str(json.get().trim()),
        },
        _ => text.push_str(json.get().trim()),
    }
}

impl Serialize for FreeForm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written(&self.0).serialize(serializer)
    }
}

/// JSON text, written value by value, so that any format can take it.
struct Written<'a>(&'a RawValue);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0.get().trim();
        match text.bytes().next() {
            Some(b'{') => {
                let entries = raw_entries(self.0);
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(&key, &Written(value))?;
                }
                map.end()
            }
            Some(b'[') => {
                let items = items(self.0);
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Written(item))?;
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
                // serde_json reads a few numbers one unit beside the nearest one.
                match text.parse().ok().and_then(Number::from_f64) {
                    Some(exact) if exact.to_string() == text => exact.serialize(serializer),
                    // Only JSON itself can take a number of more digits than a machine's.
                    _ => self.0.serialize(serializer),
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for FreeForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut text = String::new();
        deserializer.deserialize_newtype_struct(RAW_VALUE, Text { text: &mut text, depth: 0 })?;
        Self::from_text(text).map_err(D::Error::custom)
    }
}

/// Writes down what a format gives, as JSON.
struct Text<'a> {
    text: &'a mut String,
    depth: usize,
}

impl Text<'_> {
    fn push(self, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.text.push_str(&serde_json::to_string(value)?);
        Ok(())
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Text<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.depth > complexity::MAX_DEPTH {
            let most = complexity::MAX_DEPTH;
            return Err(D::Error::custom(format!("nested more than {most} levels deep; flatten it")));
        }
        deserializer.deserialize_newtype_struct(RAW_VALUE, self)
    }
}

impl<'de> Visitor<'de> for Text<'_> {
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
            map.next_value_seed(Text { text, depth: depth + 1 })?;
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
            if list.next_element_seed(Text { text, depth: depth + 1 })?.is_none() {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const DIGITS: &str =
        r#"{"b":[1.10,12345678901234567890123,1e3,-0],"a":{"z":null,"y":"\u00e9\n\"","y2":[[],{}]},"":0}"#;
    const CANONICAL: &str = "{\"\":0,\"a\":{\"y\":\"é\\n\\\"\",\"y2\":[[],{}],\"z\":null},\"b\":[1.10,12345678901234567890123,1e3,-0]}";

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Holder {
        config: Option<FreeForm>,
    }

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Flat {
        #[serde(flatten)]
        inner: Holder,
    }

    #[test]
    fn every_digit_survives_json() {
        let config: FreeForm = serde_json::from_str(DIGITS).unwrap();
        assert_eq!(config.canonical(), CANONICAL);
        assert_eq!(serde_json::to_string(&config).unwrap(), CANONICAL);
        let text = format!(r#"{{"config":{DIGITS}}}"#);
        let holder: Holder = serde_json::from_str(&text).unwrap();
        assert_eq!(holder.config.unwrap().canonical(), CANONICAL);
    }

    #[test]
    fn reads_from_values_flattened_fields_and_other_formats() {
        let value = json!({ "config": { "b": [1, 2.5, null, true], "a": { "x": "é" } } });
        let canonical = r#"{"a":{"x":"é"},"b":[1,2.5,null,true]}"#;
        let holders: [Holder; 4] = [
            serde_json::from_value(value.clone()).unwrap(),
            Holder::deserialize(&value).unwrap(),
            serde_json::from_value::<Flat>(value.clone()).unwrap().inner,
            serde_saphyr::from_str("config:\n  b: [1, 2.5, null, true]\n  a: {x: é}\n").unwrap(),
        ];
        for holder in holders {
            assert_eq!(holder.config.as_ref().unwrap().canonical(), canonical);
            assert_eq!(serde_json::to_value(Flat { inner: holder }).unwrap(), value);
        }
        let tracked: Holder = serde_path_to_error::deserialize(value).unwrap();
        assert_eq!(tracked.config.unwrap().canonical(), canonical);
    }

    #[test]
    fn yaml_gets_values_and_no_text() {
        let holder: Holder = serde_json::from_str(r#"{"config":{"a":[1,"x"]}}"#).unwrap();
        let yaml = serde_saphyr::to_string(&holder).unwrap();
        assert_eq!(serde_saphyr::from_str::<Holder>(&yaml).unwrap(), holder, "{yaml}");
    }

    #[test]
    fn only_maps_are_configurations() {
        for text in ["[]", "1", "\"x\"", "true"] {
            let error = serde_json::from_str::<FreeForm>(text).unwrap_err().to_string();
            assert!(error.starts_with("expected a map, found "), "{error}");
        }
        assert_eq!(serde_json::from_str::<Holder>(r#"{"config":null}"#).unwrap().config, None);
    }

    #[test]
    fn what_is_nested_too_deep_is_refused_in_every_format() {
        let deep =
            |levels: usize| format!(r#"{{"config":{{"a":{}{}}}}}"#, "[".repeat(levels), "]".repeat(levels));
        assert!(serde_json::from_str::<Holder>(&deep(60)).is_ok());
        for text in [deep(70), deep(100)] {
            let error = serde_json::from_str::<Holder>(&text).unwrap_err().to_string();
            assert!(error.contains("64 levels deep"), "{error}");
            let value: Value = serde_json::from_str(&text).unwrap();
            let error = serde_json::from_value::<Flat>(value).unwrap_err().to_string();
            assert!(error.contains("64 levels deep"), "{error}");
        }
    }

    #[test]
    fn content_is_not_shown_in_debug_output() {
        let config: FreeForm = [("password".to_owned(), json!("canary"))].into();
        assert!(!format!("{config:?}").contains("canary"));
        assert!(FreeForm::new().is_empty() && !config.is_empty());
        assert_eq!(FreeForm::new().as_str(), "{}");
    }

    proptest! {
        #[test]
        fn says_what_a_tree_says(entries in prop::collection::btree_map("[a-c\"\\\\é]{0,3}", values(), 0..5)) {
            let value = Value::Object(entries.into_iter().collect());
            let config: FreeForm = serde_json::from_str(&serde_json::to_string_pretty(&value).unwrap()).unwrap();
            prop_assert_eq!(config.canonical(), value.to_string());
            prop_assert_eq!(serde_json::to_value(&config).unwrap(), value.clone());
            prop_assert_eq!(serde_json::from_value::<FreeForm>(value).unwrap(), config);
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            // serde_json itself reads other fractions a digit off.
            any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
            "[a\"\\\\\né]{0,4}".prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c\n]{0,2}", inner, 0..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }
}
