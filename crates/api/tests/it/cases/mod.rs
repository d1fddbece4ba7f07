//! One case for each rule: an object that violates only this rule, and a valid counterpart. The tests of the Rust
//! rules and of the CEL rules share the table.

#![allow(dead_code, reason = "the tests of the command line use a part of the table")]

mod delivery;
mod message_scaling;
mod pods;
mod rollout;
mod runtimes;
mod scaling;
mod topics;

use function_mesh_api::validate::{Findings, check_component, check_mesh};
use function_mesh_api::{Function, FunctionMesh, Sink, Source, parse};
use serde_json::{Value, json};

/// A rule, with an invalid and a valid change of a valid object. Changes are merged into the object; null removes a
/// field.
pub(crate) struct Case {
    /// Short name of the rule, for the failure message.
    pub(crate) rule: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) bad: Value,
    pub(crate) good: Value,
    /// The fields of the violations, in order.
    pub(crate) fields: Vec<&'static str>,
}

pub(crate) fn base(kind: &str) -> Value {
    let spec = match kind {
        "Function" => json!({
            "className": "org.example.F", "java": { "jar": "f.jar" }, "input": { "topics": ["in"] },
            "output": { "topic": "out" }, "pulsar": { "pulsarConfig": "p" },
        }),
        "Source" => json!({
            "className": "org.example.S", "java": { "jar": "s.nar" }, "sourceConfig": {},
            "output": { "topic": "out" }, "pulsar": { "pulsarConfig": "p" },
        }),
        "Sink" => json!({
            "className": "org.example.K", "java": { "jar": "k.nar" }, "sinkConfig": {},
            "input": { "topics": ["in"] }, "pulsar": { "pulsarConfig": "p" },
        }),
        other => unreachable!("{other}"),
    };
    json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": kind, "metadata": { "name": "it" }, "spec": spec,
    })
}

pub(crate) fn merge(target: &mut Value, change: &Value) {
    let Value::Object(changes) = change else {
        *target = change.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else { return };
    for (key, value) in changes {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// The base object with a change of its spec.
pub(crate) fn object(kind: &str, spec: &Value) -> Value {
    let mut object = base(kind);
    // The key `metadata.name` changes the object's name.
    let mut spec = spec.clone();
    if let Some(name) = spec.as_object_mut().and_then(|spec| spec.remove("metadata.name")) {
        object["metadata"]["name"] = name;
    }
    merge(&mut object["spec"], &spec);
    object
}

const F: &[&str] = &["Function"];
const FK: &[&str] = &["Function", "Sink"];
const FS: &[&str] = &["Function", "Source"];
const ALL: &[&str] = &["Function", "Sink", "Source"];

struct Table(Vec<Case>);

impl Table {
    #[allow(clippy::needless_pass_by_value, reason = "the table reads better without references")]
    fn add(
        &mut self,
        rule: &'static str,
        kinds: &[&'static str],
        fields: &[&'static str],
        bad: Value,
        good: Value,
    ) {
        for kind in kinds {
            self.0.push(Case { rule, kind, fields: fields.to_vec(), bad: bad.clone(), good: good.clone() });
        }
    }
}

/// The cases of all rules.
pub(crate) fn all() -> Vec<Case> {
    let mut table = Table(Vec::new());
    runtimes::runtimes(&mut table);
    scaling::numbers(&mut table);
    message_scaling::scaling(&mut table);
    rollout::rollouts(&mut table);
    rollout::canaries(&mut table);
    delivery::delivery(&mut table);
    topics::topics(&mut table);
    delivery::pulsar_and_state(&mut table);
    delivery::windows(&mut table);
    pods::pods(&mut table);
    table.0
}

/// What the Rust rules find in an object.
pub(crate) fn check(object: &Value) -> Findings {
    match object["kind"].as_str() {
        Some("Function") => check_component(&parse::<Function>(object.clone()).expect("a function")),
        Some("Source") => check_component(&parse::<Source>(object.clone()).expect("a source")),
        Some("Sink") => check_component(&parse::<Sink>(object.clone()).expect("a sink")),
        _ => check_mesh(&parse::<FunctionMesh>(object.clone()).expect("a mesh")),
    }
}

/// A mesh with this spec.
pub(crate) fn mesh(spec: &Value) -> Value {
    json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "FunctionMesh", "metadata": { "name": "m" },
        "spec": spec,
    })
}

/// A component spec for a mesh: the base of its kind with changes.
pub(crate) fn component(kind: &str, name: &str, change: &Value) -> Value {
    let mut spec = object(kind, change)["spec"].clone();
    spec["name"] = name.into();
    spec
}
