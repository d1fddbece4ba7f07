//! Data, hostile objects and large meshes; and the objects that all tests of the status share.

use std::time::{Duration, Instant};

use function_mesh_api::is_printable;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::text::text;
use super::*;

/// 1970-01-01T01:00:00Z.
pub(super) const NOW: i64 = 3600;

pub(super) fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

/// A time so many seconds ago.
pub(super) fn ago(seconds: i64) -> String {
    Timestamp::from_second(NOW - seconds).unwrap().to_string()
}

pub(super) fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": ago(720), "observedGeneration": 1,
    })
}

pub(super) fn mesh(spec: &Value, conditions: &[Value]) -> Value {
    json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "FunctionMesh",
        "metadata": { "namespace": "shop", "name": "orders", "uid": "u1", "generation": 1 },
        "spec": spec,
        "status": { "observedGeneration": 1, "conditions": conditions },
    })
}

/// in -> clean -> out
pub(super) fn pipe() -> Value {
    json!({
        "functions": [{ "name": "clean", "input": { "topics": ["raw"] }, "output": { "topic": "good" } }],
        "sinks": [{ "name": "out", "input": { "topics": ["good"] } }],
        "sources": [{ "name": "in", "output": { "topic": "raw" } }],
    })
}

pub(super) fn component(kind: &str, name: &str, status: Value) -> Value {
    let mut object = json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": kind,
        "metadata": {
            "namespace": "shop", "name": name, "generation": 1,
            "labels": { "compute.functionmesh.io/mesh": "orders" },
            "ownerReferences": [{
                "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "FunctionMesh", "name": "orders",
                "uid": "u1", "controller": true,
            }],
        },
        "spec": {},
    });
    if !status.is_null() {
        object["status"] = status;
        object["status"]["observedGeneration"] = 1.into();
    }
    object
}

pub(super) fn ready(traffic: &Value) -> Value {
    json!({ "phase": "Ready", "replicas": 2, "readyReplicas": 2, "traffic": traffic })
}

pub(super) fn flowing() -> Value {
    json!({ "backlog": 0, "lagSeconds": 0, "inRate": 45.0, "outRate": 44.6, "exceptions": 0, "observedAt": ago(20) })
}

pub(super) fn producing() -> Value {
    json!({ "outRate": 45.0, "exceptions": 0, "observedAt": ago(20) })
}

/// The text of a mesh whose operator reports it ready.
pub(super) fn shown(components: &[Value]) -> (StatusView, String) {
    let ready = condition("Ready", "True", "ComponentsReady", "all 3 components are ready");
    let view = mesh_status(&mesh(&pipe(), &[ready]), components);
    let text = text(&view, now(), false);
    (view, text)
}

#[test]
fn cycles_are_shown() {
    let spec = json!({ "functions": [
        { "name": "a", "input": { "topics": ["2"] }, "output": { "topic": "1" } },
        { "name": "b", "input": { "topics": ["1"] }, "output": { "topic": "2" } },
    ] });
    let view = mesh_status(&mesh(&spec, &[]), &[]);
    let names: Vec<_> = view.components.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["orders-a", "orders-b"]);
}

#[test]
fn data_has_every_field_and_null_for_unknown_numbers() {
    let (view, _) = shown(&[component("Source", "orders-in", ready(&producing()))]);
    let data = serde_json::to_value(&view).unwrap();
    assert_eq!(data["health"], "NotReady");
    assert_eq!(
        data["mesh"],
        json!({
            "namespace": "shop", "name": "orders", "health": "Healthy", "state": "Ready", "since": ago(720),
            "ready": 1, "wanted": 3, "reasons": [],
        })
    );
    assert_eq!(
        data["components"][0],
        json!({
            "kind": "Source", "namespace": "shop", "name": "orders-in", "mesh": "orders", "exists": true,
            "health": "Healthy", "phase": "Ready", "pods": { "ready": 2, "wanted": 2 },
            "traffic": {
                "backlog": null, "lagSeconds": null, "inRate": null, "outRate": 45.0, "exceptions": 0,
                "lastAcked": null, "observedAt": ago(20), "restarts": null, "lastRestart": null,
                "access": null, "message": null,
            },
            "stalled": null, "scaling": null, "reasons": [],
        })
    );
    let missing = &data["components"][1];
    assert_eq!(
        (&missing["exists"], &missing["pods"], &missing["traffic"]),
        (&json!(false), &Value::Null, &Value::Null)
    );
}

#[test]
fn s15_hostile_text_is_harmless() {
    let hostile = "x\u{1b}[2J\u{9b}1m\r\n├─ healthy\u{202e}\u{200b}\u{2028}";
    let long = "n".repeat(253);
    for name in [hostile, &long] {
        let mut object = component(
            "Function",
            name,
            json!({
                "phase": "Degraded", "message": name.repeat(100), "replicas": -1, "readyReplicas": i32::MAX,
                "traffic": { "inRate": -1e300, "outRate": 1e308, "backlog": u64::MAX, "lagSeconds": u64::MAX,
                             "exceptions": u64::MAX, "message": name },
                "standardConditions": [condition("Stalled", "True", name, name)],
            }),
        );
        object["metadata"]["namespace"] = name.into();
        object["metadata"]["ownerReferences"][0]["name"] = name.into();
        let mut whole = mesh(
            &json!({}),
            &[condition("Ready", "False", name, name), condition("Stalled", "True", name, name)],
        );
        whole["metadata"]["name"] = name.into();
        whole["metadata"]["namespace"] = name.into();
        object["metadata"]["labels"] = json!({ "compute.functionmesh.io/mesh": name });
        let views = [component_status(&object).unwrap(), mesh_status(&whole, std::slice::from_ref(&object))];
        for view in views {
            assert_eq!(view.components.len(), 1);
            let top = TopView::new(view.components.clone(), Sort::Lag);
            for text in [text(&view, now(), false), top.text(true, false)] {
                let odd = text.chars().find(|letter| !is_printable(*letter) && *letter != '\n');
                assert_eq!(odd, None, "{text:?}");
                assert!(text.lines().all(|line| line.chars().count() < 500), "{text}");
                let rows = text.lines().filter(|line| line.starts_with("├─")).count();
                assert_eq!(rows, 0, "a forged row: {text}");
            }
            let value = serde_json::to_value(&view).unwrap();
            let yaml = crate::output::yaml(&crate::output::sanitized(value.clone())).unwrap();
            for text in [crate::output::json(&value), yaml] {
                assert!(text.chars().all(|letter| letter == '\n' || is_printable(letter)), "{text:?}");
            }
        }
    }
}

#[test]
fn thousand_components_take_no_time() {
    let function = |index: usize| {
        json!({ "name": format!("f{index}"), "input": { "topics": [format!("t{index}")] },
                "output": { "topic": format!("t{}", index + 1) } })
    };
    let spec = json!({ "functions": (0..1000).rev().map(function).collect::<Vec<_>>() });
    let objects: Vec<_> = (0..1000)
        .map(|index| component("Function", &format!("orders-f{index}"), ready(&flowing())))
        .collect();
    let start = Instant::now();
    let view = mesh_status(&mesh(&spec, &[]), &objects);
    let text = text(&view, now(), false);
    let top = TopView::new(view.components.clone(), Sort::Lag).text(false, false);
    // A debug build on a busy machine; about a tenth of it otherwise.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!((text.lines().count(), top.lines().count()), (1003, 1001));
    assert_eq!(view.components.last().map(|it| it.name.as_str()), Some("orders-f999"));
}
