//! Streaming deserialization of objects from JSON text, without an intermediate tree.
//!
//! Applies the conversions of [`crate::parse`] on the fly: null means absent, and numbers are accepted as quantities.
//! Unknown fields cost no memory. Known values are charged against a memory limit by the size of their types, so that a
//! short text cannot become a large object: an item of `[{},{},…]` is two bytes of text and kilobytes as a container.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::value::CowStrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde_json::value::RawValue;
use serde_json::{Error, Map, Value};

use crate::parse::{FREE_FORM, quantity_to_text};
use crate::validate::{FieldPath, Violation};

/// Maximum memory of a parsed object, in bytes. A mesh of two thousand ordinary components takes less.
pub const MAX_MEMORY: usize = 32 * 1024 * 1024;
/// Maximum nesting of lists and maps.
const MAX_DEPTH: usize = 64;
/// The name by which `RawValue` requests text from serde_json.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// Parses the metadata and the spec of an object like [`crate::parse`]. Skips `status` and `metadata.managedFields`,
/// which admission does not need. The error names the field that failed.
///
/// ```
/// let text = r#"{"metadata":{"name":"f"},"spec":{"replicas":"three"}}"#;
/// let error = function_mesh_api::parse_text::<function_mesh_api::Function>(text).unwrap_err();
/// assert_eq!(error.field.as_str(), "spec.replicas");
/// ```
pub fn parse_text<T: DeserializeOwned>(text: &str) -> Result<T, Violation> {
    let left = Cell::new(MAX_MEMORY);
    let reader = Reader { text: text.trim(), part: Part::Object, depth: 0, left: &left };
    serde_path_to_error::deserialize(reader).map_err(|error| {
        let path = error.path().to_string();
        let field = FieldPath::root(if path == "." { "spec" } else { path.trim_start_matches('.') });
        Violation { field, message: without_position(&error.into_inner().to_string()).to_owned() }
    })
}

/// Removes the position from an error: it would refer to a fragment of the text.
fn without_position(message: &str) -> &str {
    match message.rsplit_once(" at line ") {
        Some((message, position)) if position.starts_with(|c: char| c.is_ascii_digit()) => message,
        _ => message,
    }
}

/// Which part of the object the text is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    /// The whole object.
    Object,
    /// Its metadata.
    Metadata,
    /// The limits of a VerticalPodAutoscaler.
    Quantities,
    /// One of these limits.
    Quantity,
    /// Free-form configuration, in which null is a value.
    FreeForm,
    /// Any other value.
    Other,
}

impl Part {
    fn field(self, name: &str) -> Self {
        match (self, name) {
            (Self::Object, "metadata") => Self::Metadata,
            (Self::Quantities, _) => Self::Quantity,
            (_, "minAllowed" | "maxAllowed") => Self::Quantities,
            _ if FREE_FORM.contains(&name) => Self::FreeForm,
            _ => Self::Other,
        }
    }

    fn skips(self, name: &str) -> bool {
        matches!((self, name), (Self::Object, "status") | (Self::Metadata, "managedFields"))
    }
}

#[derive(Clone, Copy)]
struct Reader<'a, 'de> {
    text: &'de str,
    part: Part,
    depth: usize,
    left: &'a Cell<usize>,
}

impl<'de> Reader<'_, 'de> {
    fn is_map(&self) -> bool {
        self.text.starts_with('{')
    }

    fn is_list(&self) -> bool {
        self.text.starts_with('[')
    }

    /// The scalar, or an empty list or map, whose type the error names.
    fn scalar(self) -> Result<Value, Error> {
        if self.is_map() {
            return Ok(Value::Object(Map::new()));
        }
        if self.is_list() {
            return Ok(Value::Array(Vec::new()));
        }
        self.charge(self.text.len())?;
        let mut value = serde_json::from_str(self.text)?;
        if self.part == Part::Quantity {
            quantity_to_text(&mut value);
        }
        Ok(value)
    }

    fn charge(&self, bytes: usize) -> Result<(), Error> {
        let left = self.left.get().checked_sub(bytes).ok_or_else(|| {
            Error::custom(format!(
                "the object takes more than {} MiB of memory; use fewer items or split the object",
                MAX_MEMORY / 1024 / 1024
            ))
        })?;
        self.left.set(left);
        Ok(())
    }

    /// The deserializer of serde_json, without conversions.
    fn plain(&self) -> serde_json::Deserializer<serde_json::de::StrRead<'de>> {
        serde_json::Deserializer::from_str(self.text)
    }

    fn below(self, text: &'de RawValue, part: Part) -> Result<Self, Error> {
        if self.depth == MAX_DEPTH {
            return Err(Error::custom(format!("nested more than {MAX_DEPTH} levels deep")));
        }
        Ok(Self { text: text.get(), part, depth: self.depth + 1, ..self })
    }

    fn map<V: Visitor<'de>>(self, visitor: V, is_struct: bool) -> Result<V::Value, Error> {
        self.plain().deserialize_map(Walk { reader: self, visitor, is_struct })
    }

    fn list<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.plain().deserialize_seq(Walk { reader: self, visitor, is_struct: false })
    }
}

macro_rules! scalars {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.scalar()?.$method(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_, 'de> {
    type Error = Error;

    scalars! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32
        deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_unit deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.part == Part::FreeForm {
            self.charge(self.text.len())?;
            return self.plain().deserialize_any(visitor);
        }
        if self.is_map() {
            self.map(visitor, false)
        } else if self.is_list() {
            self.list(visitor)
        } else {
            self.scalar()?.deserialize_any(visitor)
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.text == "null" { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == RAW_VALUE {
            self.charge(self.text.len())?;
            return self.plain().deserialize_newtype_struct(name, visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.scalar()?.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match () {
            () if self.part == Part::FreeForm => self.deserialize_any(visitor),
            () if self.is_list() => self.list(visitor),
            () => self.scalar()?.deserialize_seq(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match () {
            () if self.part == Part::FreeForm => self.deserialize_any(visitor),
            () if self.is_map() => self.map(visitor, false),
            () => self.scalar()?.deserialize_map(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match () {
            () if self.part == Part::FreeForm => self.deserialize_any(visitor),
            () if self.is_map() => self.map(visitor, true),
            () if self.is_list() => self.list(visitor),
            () => self.scalar()?.deserialize_struct(name, fields, visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.charge(self.text.len())?;
        self.plain().deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

/// Wraps the visitor of a list or map to convert its values.
struct Walk<'a, 'de, V> {
    reader: Reader<'a, 'de>,
    visitor: V,
    is_struct: bool,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Walk<'_, 'de, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(Items { reader: self.reader, inner }).map_err(A::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let needs_spec = self.reader.part == Part::Object;
        let entries =
            Entries { reader: self.reader, inner, is_struct: self.is_struct, needs_spec, value: None };
        self.visitor.visit_map(entries).map_err(A::Error::custom)
    }
}

struct Items<'a, 'de, A> {
    reader: Reader<'a, 'de>,
    inner: A,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<'_, 'de, A> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        while let Some(text) = self.inner.next_element::<&RawValue>().map_err(Error::custom)? {
            if text.get() != "null" {
                // A Vec doubles its capacity, so it can allocate twice its items.
                self.reader.charge(2 * size_of::<S::Value>())?;
                return seed.deserialize(self.reader.below(text, Part::Other)?).map(Some);
            }
        }
        Ok(None)
    }
}

struct Entries<'a, 'de, A> {
    reader: Reader<'a, 'de>,
    inner: A,
    is_struct: bool,
    /// The API server defaults `spec`, so a manifest can omit it.
    needs_spec: bool,
    value: Option<Reader<'a, 'de>>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<'_, 'de, A> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        while let Some(Key(key)) = self.inner.next_key().map_err(Error::custom)? {
            let text: &RawValue = self.inner.next_value().map_err(Error::custom)?;
            if text.get() == "null" || self.reader.part.skips(&key) {
                continue;
            }
            self.needs_spec &= key != "spec";
            if !self.is_struct {
                self.reader.charge(key.len() + size_of::<String>())?;
            }
            self.value = Some(self.reader.below(text, self.reader.part.field(&key))?);
            let key: CowStrDeserializer<'_, Error> = key.into_deserializer();
            return seed.deserialize(key).map(Some);
        }
        if std::mem::take(&mut self.needs_spec) {
            self.value = Some(Reader { text: "{}", part: Part::Other, ..self.reader });
            let key: CowStrDeserializer<'_, Error> = Cow::Borrowed("spec").into_deserializer();
            return seed.deserialize(key).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let reader = self.value.take().ok_or_else(|| Error::custom("a value without a key"))?;
        if !self.is_struct {
            reader.charge(2 * size_of::<S::Value>())?;
        }
        seed.deserialize(reader)
    }
}

/// A key, borrowed from the text unless it contains escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests;
