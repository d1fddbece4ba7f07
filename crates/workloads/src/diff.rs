//! Differences between a desired and a live object. Pure: no client.
//!
//! The API server only adds to an applied object: defaults, metadata, status. So the objects match if the desired one
//! is a subset of the live one. Quantities are compared by value, and an absent field equals an empty one. Free-form
//! configuration is compared exactly. The shape of the kind decides which comparison a field gets.

mod path;

use std::collections::{BTreeMap, BTreeSet};

use function_mesh_api::quantity;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Map, Value};

use crate::shape::Shape;

use path::Position;
pub use path::{Path, Step};

/// Fields that identify the items of a list of objects.
const KEYS: [&str; 2] = ["name", "mountPath"];

/// A difference between two objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Path of the difference.
    pub path: Path,
    /// The live value, or None if it is absent.
    pub live: Option<Value>,
    /// The desired value, or None if it is absent.
    pub wanted: Option<Value>,
}

/// The differences that make `wanted` not a subset of `live`. Additional fields of `live` are ignored, except in
/// free-form configuration. `wanted` must contain its kind.
pub fn differences(wanted: &Value, live: &Value) -> Vec<Difference> {
    differences_of(kind(wanted), wanted, live)
}

/// Like [`differences`], for objects or parts of them without a kind.
pub fn differences_of(kind: &str, wanted: &Value, live: &Value) -> Vec<Difference> {
    found(Shape::of_kind(kind), wanted, live)
}

/// All differences, including fields that only the live object has.
pub fn all_differences(wanted: &Value, live: &Value) -> Vec<Difference> {
    all_differences_of(kind(wanted), wanted, live)
}

/// Like [`all_differences`], for objects or parts of them without a kind.
pub fn all_differences_of(kind: &str, wanted: &Value, live: &Value) -> Vec<Difference> {
    let mut found = differences_of(kind, wanted, live);
    for Difference { path, live, wanted } in differences_of(kind, live, wanted) {
        if !found.iter().any(|other| other.path.holds(&path) || path.holds(&other.path)) {
            found.push(Difference { path, live: wanted, wanted: live });
        }
    }
    found
}

/// The differences of free-form values, which are compared exactly.
pub fn exact_differences(wanted: &Value, live: &Value) -> Vec<Difference> {
    found(Shape::FreeForm, wanted, live)
}

/// The value at a path of an object, with `mask` instead of free-form configuration.
#[must_use]
pub fn mask_free_form(kind: &str, path: &Path, value: &Value, mask: &str) -> Value {
    let into = |shape: Shape, step: &Step| match step {
        Step::Field(name) => shape.field(name),
        Step::Item(_) | Step::Index(_) => shape,
    };
    mask_value(path.0.iter().fold(Shape::of_kind(kind), into), value, mask)
}

fn mask_value(shape: Shape, value: &Value, mask: &str) -> Value {
    match value {
        Value::Null => Value::Null,
        _ if matches!(shape, Shape::FreeForm) => Value::String(mask.to_owned()),
        Value::Object(fields) => {
            let field =
                |(name, value): (&String, &Value)| (name.clone(), mask_value(shape.field(name), value, mask));
            Value::Object(fields.iter().map(field).collect())
        }
        Value::Array(items) => items.iter().map(|item| mask_value(shape, item, mask)).collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn kind(object: &Value) -> &str {
    object.get("kind").and_then(Value::as_str).unwrap_or_default()
}

fn found(shape: Shape, wanted: &Value, live: &Value) -> Vec<Difference> {
    let mut walk = Walk { found: Vec::new() };
    walk.values(&Position::Root, wanted, live, shape);
    walk.found
}

struct Walk {
    found: Vec<Difference>,
}

impl Walk {
    fn values(&mut self, at: &Position<'_>, wanted: &Value, live: &Value, shape: Shape) {
        let is_free = matches!(shape, Shape::FreeForm);
        match (wanted, live) {
            (Value::Object(ours), Value::Object(theirs)) => {
                self.objects(at, ours, theirs, shape);
                for (key, more) in theirs.iter().filter(|(key, _)| is_free && !ours.contains_key(*key)) {
                    let path = Position::Field(at, key).path();
                    self.found.push(Difference { path, live: Some(more.clone()), wanted: None });
                }
            }
            (Value::Array(ours), Value::Array(theirs)) => {
                let key = KEYS.into_iter().find(|key| !is_free && is_key(ours, key));
                if let Some(key) = key {
                    self.named(at, (ours, theirs), key, shape);
                } else if ours.len() == theirs.len() {
                    for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                        self.values(&Position::Index(at, index), ours, theirs, shape);
                    }
                } else {
                    self.note(at, Some(live), wanted);
                }
            }
            _ if is_same(wanted, live, shape) => {}
            _ => self.note(at, Some(live), wanted),
        }
    }

    fn objects(
        &mut self,
        at: &Position<'_>,
        wanted: &Map<String, Value>,
        live: &Map<String, Value>,
        shape: Shape,
    ) {
        for (key, wanted) in wanted {
            let at = Position::Field(at, key);
            let field = shape.field(key);
            // An empty value counts in maps with user-defined keys and in free-form configuration.
            let is_counted = match (shape, field) {
                (Shape::FreeForm, _) => true,
                (Shape::Map(_), _) | (_, Shape::FreeForm) => !wanted.is_null(),
                _ => !is_empty(wanted),
            };
            match live.get(key) {
                Some(live) => self.values(&at, wanted, live, field),
                None if is_counted => self.note(&at, None, wanted),
                None => {}
            }
        }
    }

    fn named(&mut self, at: &Position<'_>, (wanted, live): (&[Value], &[Value]), key: &str, shape: Shape) {
        for wanted in wanted {
            let name = wanted.get(key);
            let at = Position::Item(at, name.and_then(Value::as_str).unwrap_or_default());
            match live.iter().find(|live| live.get(key) == name) {
                Some(live) => self.values(&at, wanted, live, shape),
                None => self.note(&at, None, wanted),
            }
        }
    }

    fn note(&mut self, at: &Position<'_>, live: Option<&Value>, wanted: &Value) {
        self.found.push(Difference { path: at.path(), live: live.cloned(), wanted: Some(wanted.clone()) });
    }
}

fn is_same(a: &Value, b: &Value, shape: Shape) -> bool {
    a == b
        || match shape {
            Shape::Quantity => is_same_quantity(a, b),
            Shape::FreeForm => is_same_number(a, b),
            _ => false,
        }
}

/// Whether two numbers are equal for the API server, which stores `1.0` as `1` and numbers beyond 64 bits as floating
/// point.
fn is_same_number(a: &Value, b: &Value) -> bool {
    let is_float = |value: &Value| value.is_number() && !value.is_i64();
    (is_float(a) || is_float(b)) && a.as_f64().is_some() && a.as_f64() == b.as_f64()
}

/// Whether the field identifies all items: it exists and is unique.
fn is_key(items: &[Value], key: &str) -> bool {
    let mut seen = BTreeSet::new();
    !items.is_empty()
        && items
            .iter()
            .all(|item| item.get(key).and_then(Value::as_str).is_some_and(|name| seen.insert(name)))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(object) => object.values().all(is_empty),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn is_same_quantity(a: &Value, b: &Value) -> bool {
    let quantity = |value: &Value| match value {
        Value::String(text) => Some(Quantity(text.clone())),
        Value::Number(number) => Some(Quantity(number.to_string())),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    matches!((quantity(a), quantity(b)), (Some(a), Some(b)) if quantity::is_equal(&a, &b))
}

/// Removes duplicate items from list maps, which server-side apply rejects. The last duplicate wins, as for environment
/// variables, at the position of the first one, since later items can refer to it. Free-form configuration stays
/// unchanged.
pub fn dedup_keyed_lists(object: &mut Value) {
    let shape = Shape::of_kind(kind(object));
    dedup(object, shape);
}

fn dedup(value: &mut Value, shape: Shape) {
    if matches!(shape, Shape::Plain | Shape::Quantity | Shape::FreeForm) {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                dedup(value, shape.field(name));
            }
        }
        Value::Array(items) => {
            for item in items.iter_mut() {
                dedup(item, shape);
            }
            if let Shape::ListMap(key, _) = shape {
                dedup_items(items, key);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn dedup_items(items: &mut Vec<Value>, key: &str) {
    let mut positions = BTreeMap::new();
    let mut merged: Vec<Value> = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        let next = merged.len();
        let name = item.get(key).and_then(Value::as_str);
        let position = name.map_or(next, |name| *positions.entry(name.to_owned()).or_insert(next));
        match merged.get_mut(position) {
            Some(earlier) => *earlier = item,
            None => merged.push(item),
        }
    }
    *items = merged;
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "JSON reads best where it is used")]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(found: &[Difference]) -> Vec<String> {
        found.iter().map(|difference| difference.path.to_string()).collect()
    }

    fn of(wanted: Value, live: Value) -> Vec<String> {
        paths(&differences(&wanted, &live))
    }

    #[test]
    fn additions_of_the_api_server_are_ignored() {
        let wanted =
            json!({ "spec": { "ports": [{ "name": "http", "port": 80 }], "selector": { "a": "b" } } });
        let live = json!({
            "metadata": { "uid": "u" },
            "spec": { "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }], "selector": { "a": "b" }, "type": "ClusterIP" },
            "status": {},
        });
        assert_eq!(of(wanted, live), [""; 0]);
    }

    #[test]
    fn only_quantities_compare_by_value() {
        let set = |cpu: &str, memory: &str| {
            let container = json!({ "name": "c", "resources": { "limits": { "cpu": cpu, "memory": memory } },
                "env": [{ "name": "A", "value": cpu }] });
            json!({ "kind": "StatefulSet", "spec": { "template": { "spec": { "containers": [container] } } } })
        };
        let position = "spec.template.spec.containers[c].env[A].value";
        assert_eq!(of(set("0.2", "1G"), set("200m", "1000M")), [position]);
    }

    #[test]
    fn absent_equals_empty() {
        assert_eq!(of(json!({ "a": {}, "b": [], "c": { "d": null }, "e": "" }), json!({})), [""; 0]);
        assert_eq!(of(json!({ "a": false }), json!({})), ["a"]);
    }

    #[test]
    fn differences_contain_both_values() {
        let wanted = json!({ "image": "b", "more": 1, "labels": { "a.b/c": "x" }, "names": [{ "name": "n", "v": 1 }] });
        let live =
            json!({ "image": "a", "labels": { "a.b/c": "y" }, "names": [{ "name": "o" }], "extra": 1 });
        let found = differences(&wanted, &live);
        assert_eq!(paths(&found), ["image", "labels[\"a.b/c\"]", "more", "names[n]"]);
        assert_eq!((&found[0].live, &found[0].wanted), (&Some(json!("a")), &Some(json!("b"))));
        assert_eq!((&found[2].live, &found[2].wanted), (&None, &Some(json!(1))));
    }

    #[test]
    fn lists_without_keys_compare_by_index() {
        let wanted = json!({ "command": ["a", "b"] });
        assert_eq!(of(wanted.clone(), json!({ "command": ["a", "c"] })), ["command[1]"]);
        assert_eq!(of(wanted, json!({ "command": ["a"] })), ["command"]);
        let twice = json!([{ "name": "A", "value": "1" }, { "name": "A", "value": "2" }]);
        assert_eq!(of(twice.clone(), twice.clone()), [""; 0]);
        assert_eq!(
            of(twice, json!([{ "name": "A", "value": "2" }, { "name": "A", "value": "2" }])),
            ["[0].value"]
        );
    }

    #[test]
    fn all_differences_include_removed_fields() {
        let (wanted, live) = (json!({ "a": { "b": 1 } }), json!({ "a": { "b": 2, "c": 3 }, "d": {} }));
        let found = all_differences(&wanted, &live);
        assert_eq!(paths(&found), ["a.b", "a.c"]);
        assert_eq!((&found[1].live, &found[1].wanted), (&Some(json!(3)), &None));
    }

    #[test]
    fn dedup_keeps_first_position_and_last_value() {
        let env = json!([
            { "name": "A", "value": "1" }, { "name": "B", "value": "$(A)" },
            { "name": "A", "value": "2" }, { "name": "A", "value": "3" },
        ]);
        let pod = json!({ "containers": [{ "env": env, "command": ["a", "a"] }],
            "tolerations": [{ "key": "k" }, { "key": "k" }] });
        let mut value = json!({ "kind": "Job", "spec": { "template": { "spec": pod } } });
        dedup_keyed_lists(&mut value);
        let pod = &value["spec"]["template"]["spec"];
        let expected = json!([{ "name": "A", "value": "3" }, { "name": "B", "value": "$(A)" }]);
        assert_eq!(pod["containers"][0]["env"], expected);
        assert_eq!(pod["containers"][0]["command"], json!(["a", "a"]));
        assert_eq!(pod["tolerations"], json!([{ "key": "k" }, { "key": "k" }]));
    }
}
