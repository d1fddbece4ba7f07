//! Parses JSON that is no YAML, for example with surrogates: without source locations.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::super::scalar::from_f64;
use super::super::tree::{Entry, Node, Tree};
use super::{Fields, Loaded, Repeated};

/// The documents of a text; None if it is no JSON.
pub(super) fn load(text: &str) -> Option<Loaded> {
    let mut json = serde_json::Deserializer::from_str(text);
    let mut loaded = Loaded::default();
    while json.end().is_err() {
        loaded.documents.push(Reader(&mut loaded.repeated).deserialize(&mut json).ok()?);
    }
    Some(loaded)
}

/// Reads a value, and the keys that are there twice. The JSON parser limits the depth itself.
struct Reader<'a>(&'a mut Vec<Repeated>);

fn node(tree: Tree) -> Node {
    Node { tree, at: 0..0, depth: 0 }
}

fn scalar(value: impl Into<Value>) -> Node {
    node(Tree::Scalar(value.into()))
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(scalar(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(scalar(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(scalar(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(scalar(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(scalar(from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(scalar(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(Reader(self.0))? {
            items.push(item);
        }
        Ok(node(Tree::List(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = access.next_key::<String>()? {
            let node = access.next_value_seed(Reader(self.0))?;
            fields.set(Entry { key, key_at: 0..0, node }, false, self.0);
        }
        Ok(node(Tree::Map(fields.entries)))
    }
}
