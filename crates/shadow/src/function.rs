//! The function object of a shadow, and the change that promotes it.
//!
//! A shadow must not touch what the real function owns: its subscription, its output, its dead letters and its logs.

use function_mesh_api::labels::{self, SHADOW_CHANGE, SHADOW_OF};
use function_mesh_api::printable;
use serde_json::{Value, json};

/// Suffix of the shadow's name, subscription and output topic.
pub const SUFFIX: &str = "-shadow";

/// Fields of the spec that a shadow cannot try: it would read other messages, or write to where the real function does.
const NOT_TRIED: [&str; 14] = [
    "input",
    "output",
    "subscriptionName",
    "subscriptionPosition",
    "skipToLatest",
    "cleanupSubscription",
    "name",
    "tenant",
    "namespace",
    "clusterName",
    "pulsar",
    "processingGuarantee",
    "sourceConfig",
    "sinkConfig",
];
/// Fields that only the real function has: its number of pods, its rollouts, and where failed messages and logs go.
const LEFT_OUT: [&str; 8] = [
    "scaling",
    "rollout",
    "minReplicas",
    "maxReplicas",
    "deadLetterTopic",
    "logTopic",
    "skipToLatest",
    "onStall",
];

/// Why there can be no shadow.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Its work has effects outside of Pulsar, or no input that two can read.
    #[error(
        "{0} cannot have a shadow: only a Function with input topics can, whose result is a message or nothing"
    )]
    Kind(String),
    /// It is a shadow.
    #[error("{0} is a shadow itself; promote or discard it first")]
    IsShadow(String),
    /// The change is none.
    #[error("the change must be an object with fields of the spec, such as {{\"image\": \"shout:2\"}}")]
    NoObject,
    /// The change is empty, or has no effect.
    #[error("the change has no effect: the spec already is as it asks for")]
    NoEffect,
    /// The change is a transition.
    #[error(
        "`{0}` cannot be tried by a shadow, which reads the same messages and has a separate output; change it in the manifest"
    )]
    Field(String),
    /// The object is no shadow.
    #[error("function/{0} is no shadow: it has no annotation {SHADOW_OF}")]
    NoShadow(String),
    /// The annotation with the change was edited.
    #[error("the annotation {SHADOW_CHANGE} of function/{0} is no JSON object")]
    Change(String),
}

/// The name of a function's shadow.
pub fn name_of(name: &str) -> String {
    format!("{name}{SUFFIX}")
}

/// The shadow of a function object, with a change of its spec as a JSON merge patch.
///
/// Its owner is the real function, so that it is deleted with it. It has one pod; its subscription begins with the newest
/// message and is deleted with it.
///
/// # Errors
///
/// If the object is no function that can have a shadow, or the change is one that a shadow cannot try.
pub fn shadow(object: &Value, change: &Value) -> Result<Value, Refusal> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    let has = |field: &str| object["spec"].get(field).is_some_and(|value| !value.is_null());
    if kind != "Function" || has("sinkConfig") || has("sourceConfig") || !has("input") {
        return Err(Refusal::Kind(format!("{}/{name}", kind.to_lowercase())));
    }
    if of(object).is_some() {
        return Err(Refusal::IsShadow(format!("function/{name}")));
    }
    let mut spec = changed(&object["spec"], change)?;
    for field in LEFT_OUT {
        if let Some(fields) = spec.as_object_mut() {
            fields.remove(field);
        }
    }
    let function_name = spec.get("name").and_then(Value::as_str).unwrap_or(name);
    spec["name"] = name_of(function_name).into();
    if let Some(subscription) =
        spec.get("subscriptionName").and_then(Value::as_str).filter(|it| !it.is_empty())
    {
        spec["subscriptionName"] = name_of(subscription).into();
    }
    spec["subscriptionPosition"] = "latest".into();
    spec["cleanupSubscription"] = true.into();
    spec["replicas"] = 1.into();
    if let Some(topic) = output_of(object) {
        spec["output"]["topic"] = name_of(topic).into();
    }
    Ok(json!({
        "apiVersion": labels::API_VERSION,
        "kind": "Function",
        "metadata": {
            "name": name_of(name),
            "namespace": text("/metadata/namespace"),
            "annotations": { SHADOW_OF: name, SHADOW_CHANGE: change.to_string() },
            "ownerReferences": [{
                "apiVersion": labels::API_VERSION, "kind": "Function", "name": name, "uid": text("/metadata/uid"),
            }],
        },
        "spec": spec,
    }))
}

/// The spec with a change that a shadow can try, and that changes something.
fn changed(spec: &Value, change: &Value) -> Result<Value, Refusal> {
    let fields = change.as_object().ok_or(Refusal::NoObject)?;
    if let Some(field) = fields.keys().find(|field| NOT_TRIED.contains(&field.as_str())) {
        return Err(Refusal::Field(printable(field).into_owned()));
    }
    let changed = merged(spec, change);
    if changed == *spec { Err(Refusal::NoEffect) } else { Ok(changed) }
}

/// The spec with a JSON merge patch.
pub fn merged(spec: &Value, change: &Value) -> Value {
    let mut changed = spec.clone();
    json_patch::merge(&mut changed, change);
    changed
}

/// The name of the real function, if an object is a shadow.
pub fn of(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(SHADOW_OF)?.as_str()
}

/// The change that a shadow tries.
///
/// # Errors
///
/// If the object is no shadow, or its annotation was edited to something else.
pub fn change_of(object: &Value) -> Result<Value, Refusal> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    if of(object).is_none() {
        return Err(Refusal::NoShadow(name.to_owned()));
    }
    let text = object["metadata"]["annotations"][SHADOW_CHANGE].as_str().unwrap_or_default();
    let change = serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
    change.ok_or_else(|| Refusal::Change(name.to_owned()))
}

/// The output topic of a function object.
pub fn output_of(object: &Value) -> Option<&str> {
    object.pointer("/spec/output/topic").and_then(Value::as_str).filter(|topic| !topic.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function() -> Value {
        json!({
            "kind": "Function",
            "metadata": { "name": "clean", "namespace": "shop", "uid": "u-1", "annotations": { "a": "b" } },
            "spec": {
                "image": "clean:1", "replicas": 4, "subscriptionName": "s", "logTopic": "logs", "deadLetterTopic": "dead",
                "scaling": { "maxReplicas": 9 }, "input": { "topics": ["in"] },
                "output": { "topic": "out", "typeClassName": "java.lang.String" },
            },
        })
    }

    #[test]
    fn a_shadow_owns_what_it_writes_to() {
        let shadow = shadow(&function(), &json!({ "image": "clean:2" })).expect("a shadow");
        assert_eq!(
            shadow["spec"],
            json!({
                "name": "clean-shadow", "image": "clean:2", "replicas": 1, "subscriptionName": "s-shadow",
                "subscriptionPosition": "latest", "cleanupSubscription": true, "input": { "topics": ["in"] },
                "output": { "topic": "out-shadow", "typeClassName": "java.lang.String" },
            })
        );
        assert_eq!(shadow["metadata"]["name"], "clean-shadow");
        assert_eq!(shadow["metadata"]["ownerReferences"][0]["uid"], "u-1");
        assert_eq!(of(&shadow), Some("clean"));
        assert_eq!(change_of(&shadow), Ok(json!({ "image": "clean:2" })));
        assert_eq!(output_of(&shadow), Some("out-shadow"));
    }

    #[test]
    fn the_default_subscription_follows_the_name() {
        let mut object = function();
        object["spec"]["subscriptionName"] = Value::Null;
        object["spec"]["output"] = Value::Null;
        let shadow = shadow(&object, &json!({ "image": "clean:2" })).expect("a shadow");
        assert!(shadow["spec"]["subscriptionName"].is_null() && output_of(&shadow).is_none());
        assert!(shadow["spec"]["output"].is_null());
    }

    #[test]
    fn what_a_shadow_cannot_try_is_refused() {
        let with = |field: &str, value: Value| {
            let mut object = function();
            object["spec"][field] = value;
            object
        };
        let image = json!({ "image": "clean:2" });
        let mut sink = function();
        sink["kind"] = "Sink".into();
        let own = shadow(&function(), &image).expect("a shadow");
        for (object, change, expected) in [
            (&sink, &image, "sink/clean cannot have a shadow"),
            (&with("sinkConfig", json!({})), &image, "cannot have a shadow"),
            (&with("input", Value::Null), &image, "cannot have a shadow"),
            (&own, &image, "is a shadow itself"),
            (&function(), &json!("image"), "must be an object"),
            (&function(), &json!({ "image": "clean:1" }), "no effect"),
            (&function(), &json!({}), "no effect"),
            (&function(), &json!({ "output": { "topic": "x" } }), "`output` cannot be tried"),
        ] {
            let error = shadow(object, change).expect_err("an error").to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(change_of(&function()), Err(Refusal::NoShadow("clean".to_owned())));
        let mut edited = own;
        edited["metadata"]["annotations"][SHADOW_CHANGE] = "[".into();
        assert_eq!(change_of(&edited), Err(Refusal::Change("clean-shadow".to_owned())));
    }
}
