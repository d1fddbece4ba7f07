//! In what an object differs from what is wanted of it. Pure: no client.
//!
//! The API server only ever adds to what it is given: defaults, metadata, a status. So what is wanted is
//! there when it is a part of what is live. Amounts are equal by value, and nothing is equal to empty. None of
//! this holds within configuration that is the user's own: that is equal or it is not. Which is which the
//! object's kind and the place in it tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use function_mesh_api::quantity;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Map, Value};

use crate::shape::Shape;

/// Fields by which the items of a list of objects are told apart, where they have one.
const KEYS: [&str; 2] = ["name", "mountPath"];

/// One step down into an object.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// A field, or an entry of a map.
    Field(String),
    /// An item of a list, by its name.
    Item(String),
    /// An item of a list, by its place.
    Index(usize),
}

/// A place in an object.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Path(pub Vec<Step>);

impl Path {
    /// This place with one step more.
    #[must_use]
    pub fn then(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }

    /// Whether this place is at or within a field that is so many fields down.
    pub fn is_within(&self, fields: &[&str]) -> bool {
        fields.len() <= self.0.len()
            && fields.iter().zip(&self.0).all(|(field, step)| matches!(step, Step::Field(it) if it == field))
    }

    /// Whether this place is, or holds, another one.
    pub fn holds(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl fmt::Display for Path {
    /// As people write it: `spec.template.spec.containers[main].image`, `metadata.labels["a.b/c"]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if name.contains(['.', '/', '[', ' ', '-']) => write!(f, "[{name:?}]")?,
                Step::Field(name) => write!(f, "{}{name}", if index == 0 { "" } else { "." })?,
                Step::Item(name) => write!(f, "[{name}]")?,
                Step::Index(place) => write!(f, "[{place}]")?,
            }
        }
        Ok(())
    }
}

/// One place at which two objects differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Where.
    pub path: Path,
    /// What is there; None where there is nothing.
    pub live: Option<Value>,
    /// What is wanted; None where nothing is wanted any more.
    pub wanted: Option<Value>,
}

/// Every place at which `wanted` is not a part of `live`. What `live` has beyond that is no difference, but in
/// configuration that is the user's own it is. The kind is the one that `wanted` says.
pub fn differences(wanted: &Value, live: &Value) -> Vec<Difference> {
    differences_of(kind(wanted), wanted, live)
}

/// The same for objects, or parts of them, that do not say which kind they are of.
pub fn differences_of(kind: &str, wanted: &Value, live: &Value) -> Vec<Difference> {
    found(Shape::of_kind(kind), wanted, live)
}

/// Every place at which two objects differ, what only the live one has included.
pub fn all_differences(wanted: &Value, live: &Value) -> Vec<Difference> {
    all_differences_of(kind(wanted), wanted, live)
}

/// The same for objects, or parts of them, that do not say which kind they are of.
pub fn all_differences_of(kind: &str, wanted: &Value, live: &Value) -> Vec<Difference> {
    let mut found = differences_of(kind, wanted, live);
    for Difference { path, live, wanted } in differences_of(kind, live, wanted) {
        if !found.iter().any(|other| other.path.holds(&path) || path.holds(&other.path)) {
            found.push(Difference { path, live: wanted, wanted: live });
        }
    }
    found
}

/// Every place at which two values differ that are the user's own. There is none only if they are equal.
pub fn exact_differences(wanted: &Value, live: &Value) -> Vec<Difference> {
    found(Shape::Free, wanted, live)
}

/// A value that stands at this place of an object of a kind, with `stand_in` for all configuration in it that is the
/// user's own.
#[must_use]
pub fn mask_free_form(kind: &str, path: &Path, value: &Value, stand_in: &str) -> Value {
    let into = |shape: Shape, step: &Step| match step {
        Step::Field(name) => shape.field(name),
        Step::Item(_) | Step::Index(_) => shape,
    };
    masked(path.0.iter().fold(Shape::of_kind(kind), into), value, stand_in)
}

fn masked(shape: Shape, value: &Value, stand_in: &str) -> Value {
    match value {
        Value::Null => Value::Null,
        _ if matches!(shape, Shape::Free) => Value::String(stand_in.to_owned()),
        Value::Object(fields) => {
            let field =
                |(name, value): (&String, &Value)| (name.clone(), masked(shape.field(name), value, stand_in));
            Value::Object(fields.iter().map(field).collect())
        }
        Value::Array(items) => items.iter().map(|item| masked(shape, item, stand_in)).collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn kind(object: &Value) -> &str {
    object.get("kind").and_then(Value::as_str).unwrap_or_default()
}

fn found(shape: Shape, wanted: &Value, live: &Value) -> Vec<Difference> {
    let mut walk = Walk { found: Vec::new() };
    walk.values(&Path::default(), wanted, live, shape);
    walk.found
}

struct Walk {
    found: Vec<Difference>,
}

impl Walk {
    fn values(&mut self, path: &Path, wanted: &Value, live: &Value, shape: Shape) {
        let is_free = matches!(shape, Shape::Free);
        match (wanted, live) {
            (Value::Object(ours), Value::Object(theirs)) => {
                self.objects(path, ours, theirs, shape);
                for (key, more) in theirs.iter().filter(|(key, _)| is_free && !ours.contains_key(*key)) {
                    let path = path.then(Step::Field(key.clone()));
                    self.found.push(Difference { path, live: Some(more.clone()), wanted: None });
                }
            }
            (Value::Array(ours), Value::Array(theirs)) => {
                let key = KEYS.into_iter().find(|key| !is_free && tells_apart(ours, key));
                if let Some(key) = key {
                    self.named(path, (ours, theirs), key, shape);
                } else if ours.len() == theirs.len() {
                    for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                        self.values(&path.then(Step::Index(index)), ours, theirs, shape);
                    }
                } else {
                    self.note(path.clone(), Some(live), wanted);
                }
            }
            _ if is_same(wanted, live, shape) => {}
            _ => self.note(path.clone(), Some(live), wanted),
        }
    }

    fn objects(&mut self, path: &Path, wanted: &Map<String, Value>, live: &Map<String, Value>, shape: Shape) {
        for (key, wanted) in wanted {
            let path = path.then(Step::Field(key.clone()));
            let field = shape.field(key);
            // In a map of the user's the key alone says something, and so does an empty configuration.
            let is_counted = match (shape, field) {
                (Shape::Free, _) => true,
                (Shape::Map(_), _) | (_, Shape::Free) => !wanted.is_null(),
                _ => !is_nothing(wanted),
            };
            match live.get(key) {
                Some(live) => self.values(&path, wanted, live, field),
                None if is_counted => self.note(path, None, wanted),
                None => {}
            }
        }
    }

    fn named(&mut self, path: &Path, (wanted, live): (&[Value], &[Value]), key: &str, shape: Shape) {
        for wanted in wanted {
            let name = wanted.get(key);
            let label = name.and_then(Value::as_str).unwrap_or_default();
            let path = path.then(Step::Item(label.to_owned()));
            match live.iter().find(|live| live.get(key) == name) {
                Some(live) => self.values(&path, wanted, live, shape),
                None => self.note(path, None, wanted),
            }
        }
    }

    fn note(&mut self, path: Path, live: Option<&Value>, wanted: &Value) {
        self.found.push(Difference { path, live: live.cloned(), wanted: Some(wanted.clone()) });
    }
}

fn is_same(a: &Value, b: &Value, shape: Shape) -> bool {
    a == b
        || match shape {
            Shape::Amount => is_same_amount(a, b),
            Shape::Free => is_same_number(a, b),
            _ => false,
        }
}

/// Whether two numbers are one to the API server, which writes `1.0` as `1` and holds what is larger than an
/// integer as a floating-point number.
fn is_same_number(a: &Value, b: &Value) -> bool {
    let is_float = |value: &Value| value.is_number() && !value.is_i64();
    (is_float(a) || is_float(b)) && a.as_f64().is_some() && a.as_f64() == b.as_f64()
}

/// Whether every item has this field, each with a value of its own.
fn tells_apart(items: &[Value], key: &str) -> bool {
    let mut seen = BTreeSet::new();
    !items.is_empty()
        && items
            .iter()
            .all(|item| item.get(key).and_then(Value::as_str).is_some_and(|name| seen.insert(name)))
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(object) => object.values().all(is_nothing),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn is_same_amount(a: &Value, b: &Value) -> bool {
    let amount = |value: &Value| match value {
        Value::String(text) => quantity::value(&Quantity(text.clone())),
        Value::Number(number) => number.as_f64(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    amount(a).is_some() && amount(a) == amount(b)
}

/// Leaves one of each name in the lists of pods whose items have names: in the first one's place, since later
/// items may refer to it, with the last one's content. Of two variables of one name the later counts anyway,
/// and server-side apply refuses such a list. Lists within configuration that is the user's own stay.
pub fn dedup_keyed_lists(object: &mut Value) {
    let shape = Shape::of_kind(kind(object));
    distinct(object, shape);
}

fn distinct(value: &mut Value, shape: Shape) {
    if matches!(shape, Shape::Plain | Shape::Amount | Shape::Free) {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                distinct(value, shape.field(name));
            }
        }
        Value::Array(items) => {
            for item in items.iter_mut() {
                distinct(item, shape);
            }
            if let Shape::Keyed(key, _) = shape {
                merge(items, key);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn merge(items: &mut Vec<Value>, key: &str) {
    let mut places = BTreeMap::new();
    let mut merged: Vec<Value> = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        let next = merged.len();
        let name = item.get(key).and_then(Value::as_str);
        let place = name.map_or(next, |name| *places.entry(name.to_owned()).or_insert(next));
        match merged.get_mut(place) {
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

    fn places(found: &[Difference]) -> Vec<String> {
        found.iter().map(|difference| difference.path.to_string()).collect()
    }

    fn of(wanted: Value, live: Value) -> Vec<String> {
        places(&differences(&wanted, &live))
    }

    #[test]
    fn what_the_api_server_adds_is_no_difference() {
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
    fn amounts_are_equal_by_value_and_only_amounts_are() {
        let set = |cpu: &str, memory: &str| {
            let container = json!({ "name": "c", "resources": { "limits": { "cpu": cpu, "memory": memory } },
                "env": [{ "name": "A", "value": cpu }] });
            json!({ "kind": "StatefulSet", "spec": { "template": { "spec": { "containers": [container] } } } })
        };
        let place = "spec.template.spec.containers[c].env[A].value";
        assert_eq!(of(set("0.2", "1G"), set("200m", "1000M")), [place]);
    }

    #[test]
    fn nothing_equals_empty() {
        assert_eq!(of(json!({ "a": {}, "b": [], "c": { "d": null }, "e": "" }), json!({})), [""; 0]);
        assert_eq!(of(json!({ "a": false }), json!({})), ["a"]);
    }

    #[test]
    fn every_difference_is_told_with_both_its_sides() {
        let wanted = json!({ "image": "b", "more": 1, "labels": { "a.b/c": "x" }, "names": [{ "name": "n", "v": 1 }] });
        let live =
            json!({ "image": "a", "labels": { "a.b/c": "y" }, "names": [{ "name": "o" }], "extra": 1 });
        let found = differences(&wanted, &live);
        assert_eq!(places(&found), ["image", "labels[\"a.b/c\"]", "more", "names[n]"]);
        assert_eq!((&found[0].live, &found[0].wanted), (&Some(json!("a")), &Some(json!("b"))));
        assert_eq!((&found[2].live, &found[2].wanted), (&None, &Some(json!(1))));
    }

    #[test]
    fn lists_without_names_are_compared_by_place_and_by_length() {
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
    fn both_ways_what_is_no_longer_wanted_is_a_difference_too() {
        let (wanted, live) = (json!({ "a": { "b": 1 } }), json!({ "a": { "b": 2, "c": 3 }, "d": {} }));
        let found = all_differences(&wanted, &live);
        assert_eq!(places(&found), ["a.b", "a.c"]);
        assert_eq!((&found[1].live, &found[1].wanted), (&Some(json!(3)), &None));
    }

    #[test]
    fn the_last_of_one_name_counts_and_stands_where_the_first_stood() {
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
