//! The pages of whole, half and hostile meshes.

#![allow(clippy::needless_pass_by_value, clippy::unnecessary_box_returns, reason = "helpers read better")]

use function_mesh_api::is_printable;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::state::State;
use crate::store::{Change, KINDS, MeshKey, STANDALONE, Store};
use crate::visible::Visible;

fn key(name: &str) -> MeshKey {
    MeshKey { namespace: "shop".to_owned(), name: name.to_owned() }
}

fn pipe() -> Value {
    json!({
        "sources": [{ "name": "in", "output": { "topic": "raw" } }],
        "functions": [{ "name": "clean", "replicas": 2, "input": { "topics": ["raw"] }, "output": { "topic": "clean" } }],
        "sinks": [{ "name": "out", "input": { "topics": ["clean", "more"] } }],
    })
}

fn object(name: &str, mesh: Option<&str>, status: Value) -> Box<Value> {
    let owner = json!({ "kind": "FunctionMesh", "name": mesh, "uid": "u1", "controller": true });
    Box::new(json!({
        "metadata": {
            "namespace": "shop", "name": name, "uid": "u1", "generation": 1,
            "labels": { "compute.functionmesh.io/mesh": mesh },
            "ownerReferences": mesh.map(|_| owner).into_iter().collect::<Vec<_>>(),
        },
        "status": status,
    }))
}

fn status(phase: &str, ready: i32, traffic: Value) -> Value {
    json!({ "phase": phase, "observedGeneration": 1, "replicas": 2, "readyReplicas": ready, "updatedReplicas": ready, "traffic": traffic })
}

fn store(spec: &Value, components: Vec<(&'static str, Box<Value>)>) -> Store {
    let mut store = Store::default();
    let mut mesh = object("m", None, json!({ "observedGeneration": 1 }));
    mesh["spec"] = spec.clone();
    store.apply(Change::Apply("FunctionMesh".into(), mesh));
    for (kind, component) in components {
        store.apply(Change::Apply(kind.into(), component));
    }
    for kind in KINDS {
        store.apply(Change::InitDone(kind.into()));
    }
    store
}

static ALL: Visible = Visible::all();

fn page(store: &Store) -> State {
    mesh(store.seen_by(&ALL), &key("m"), &mut Layouts::default())
}

fn of_type<'a>(state: &'a State, name: &'a str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    state.items.iter().filter(move |(_, item)| item["type"] == name)
}

#[test]
fn a_mesh_is_a_graph_with_numbers() {
    let traffic =
        json!({ "backlog": 1300, "lagSeconds": 200, "inRate": 45.5, "outRate": 40, "exceptions": 3 });
    let components = vec![
        ("Function", object("m-clean", Some("m"), status("Ready", 2, traffic.clone()))),
        ("Sink", object("m-out", Some("m"), status("Suspended", 0, traffic))),
    ];
    let state = page(&store(&pipe(), components));
    let ids: Vec<&str> =
        state.items.keys().map(String::as_str).filter(|id| !id.starts_with("edge")).collect();
    let topic = |name: &str| format!("topic/persistent://public/default/{name}");
    assert_eq!(
        ids,
        ["function/m-clean", "sink/m-out", "source/m-in", &topic("clean"), &topic("more"), &topic("raw")]
    );
    let clean = &state.items["function/m-clean"];
    assert_eq!(
        (&clean["inRate"], &clean["backlog"], &clean["pods"], &clean["asleep"], &clean["detail"]),
        (&json!(45.5), &json!(1300), &json!({ "ready": 2, "wanted": 2 }), &json!(false), &json!("×2"))
    );
    assert_eq!(state.items["sink/m-out"]["asleep"], true);
    // The source does not exist yet: what is unknown is null.
    let source = &state.items["source/m-in"];
    assert_eq!(
        (&source["exists"], &source["pods"], &source["outRate"]),
        (&json!(false), &Value::Null, &Value::Null)
    );
    // A backlog is on an edge only if it is that of one topic.
    let edge = |to: &str, topic: &str| {
        let id = format!("edge/messages/topic/persistent://public/default/{topic}>{to}");
        (state.items[&id]["backlog"].clone(), state.items[&id]["lagSeconds"].clone())
    };
    assert_eq!(edge("function/m-clean", "raw"), (json!(1300), json!(200)));
    assert_eq!(edge("sink/m-out", "clean"), (Value::Null, Value::Null));
    assert_eq!(state.items[&topic("raw")]["rate"], 45.5);
    assert_eq!(state.items[&topic("more")]["rate"], Value::Null);
}

#[test]
fn numbers_and_phases_move_nothing() {
    let places = |traffic: Value, phase: &str| {
        let components = vec![("Function", object("m-clean", Some("m"), status(phase, 1, traffic)))];
        let state = page(&store(&pipe(), components));
        let place = |(id, item): (&String, &Value)| (id.clone(), item["x"].clone(), item["y"].clone());
        state.items.iter().map(place).collect::<Vec<_>>()
    };
    assert_eq!(
        places(json!({}), "Pending"),
        places(json!({ "backlog": u64::MAX, "inRate": 1e300 }), "Ready")
    );
}

#[test]
fn half_of_the_data_is_half_of_a_graph() {
    // A spec that cannot be decoded: the components are there, without arrows.
    let spec = json!({ "functions": "none" });
    let components = vec![("Function", object("m-clean", Some("m"), status("Ready", 2, Value::Null)))];
    let state = page(&store(&spec, components));
    assert_eq!(state.items.keys().collect::<Vec<_>>(), ["function/m-clean"]);
    assert_eq!(state.head["health"], "Degraded");
    // A status of a newer operator.
    let asleep = json!({ "phase": "Asleep", "replicas": 0 });
    let state = page(&store(&pipe(), vec![("Function", object("m-clean", Some("m"), asleep))]));
    assert_eq!(state.items["function/m-clean"]["asleep"], true);
    // No mesh at all.
    let state = mesh(Store::default().seen_by(&ALL), &key("m"), &mut Layouts::default());
    assert_eq!(
        (state.items.len(), &state.head["exists"], &state.head["synced"]),
        (0, &json!(false), &json!(false))
    );
}

#[test]
fn rollouts_are_those_with_old_pods() {
    let rolling = |phase: &str, updated: i32| {
        let mut of = status(phase, 2, Value::Null);
        of["updatedReplicas"] = updated.into();
        let state = page(&store(&pipe(), vec![("Function", object("m-clean", Some("m"), of))]));
        state.items["function/m-clean"]["rolling"] == true
    };
    assert!(rolling("Progressing", 1) && rolling("Degraded", 0));
    assert!(!rolling("Progressing", 2) && !rolling("Suspended", 0));
}

#[test]
fn components_without_a_mesh_have_a_page() {
    let mut alone = object("alone", None, status("Ready", 2, json!({ "backlog": 5 })));
    alone["spec"] = json!({ "input": { "topics": ["a"] }, "output": { "topic": "b" } });
    let mut faulty = object("faulty", None, Value::Null);
    faulty["spec"] = json!({ "input": 1 });
    let store = store(&pipe(), vec![("Function", alone), ("Sink", faulty)]);
    let state = mesh(store.seen_by(&ALL), &key(STANDALONE), &mut Layouts::default());
    assert_eq!(
        of_type(&state, "component").map(|(id, _)| id.as_str()).collect::<Vec<_>>(),
        ["function/alone", "sink/faulty"]
    );
    assert_eq!((of_type(&state, "edge").count(), &state.head["wanted"]), (2, &json!(2)));
    let rows = overview(store.seen_by(&ALL), &[], &mut Rows::default()).items;
    assert_eq!(rows.keys().collect::<Vec<_>>(), ["shop/-", "shop/m"]);
    assert_eq!((&rows["shop/-"]["backlog"], &rows["shop/m"]["backlog"]), (&json!(5), &Value::Null));
}

#[test]
fn hostile_names_are_replaced_or_kept_as_text() {
    let long = "x".repeat(253);
    for name in [
        "<script>alert(1)</script>",
        "\u{202e}gnp.exe",
        "\u{1b}[2J",
        "</title><img src=x onerror=alert(1)>",
        "__proto__",
        &long,
    ] {
        let spec = json!({ "functions": [
            { "name": name, "input": { "topics": [name] }, "output": { "topic": name } },
            { "name": name, "input": { "topics": [name] } },
        ] });
        let state = page(&store(&spec, Vec::new()));
        assert_eq!(of_type(&state, "component").count(), 2, "{name}");
        for (_, item) in of_type(&state, "component").chain(of_type(&state, "topic")) {
            for field in ["label", "full", "reason", "detail"] {
                assert!(item[field].as_str().unwrap_or_default().chars().all(is_printable), "{item}");
            }
            assert!(item["width"].as_i64().unwrap() < 500, "{item}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Boxes do not overlap, each arrow has its ends and something to draw, and all of it is within the picture.
    #[test]
    fn every_mesh_can_be_drawn(parts in proptest::collection::vec((0..6_u8, 0..6_u8), 0..12)) {
        let functions: Vec<_> = parts.iter().enumerate().map(|(n, (from, to))| json!({
            "name": format!("f{n}"), "input": { "topics": [format!("t{from}")] }, "output": { "topic": format!("t{to}") },
        })).collect();
        let state = page(&store(&json!({ "functions": functions }), Vec::new()));
        let number = |item: &Value, field: &str| item[field].as_i64().unwrap();
        let boxes: Vec<_> = state.items.values().filter(|item| item["type"] != "edge").collect();
        for (place, one) in boxes.iter().enumerate() {
            let (x, y) = (number(one, "x"), number(one, "y"));
            prop_assert!(x >= 0 && x + number(one, "width") <= state.head["width"].as_i64().unwrap());
            prop_assert!(y >= 0 && y + number(one, "height") <= state.head["height"].as_i64().unwrap());
            for other in boxes.iter().skip(place + 1) {
                let apart = |at: &str, size: &str| {
                    number(one, at) + number(one, size) <= number(other, at)
                        || number(other, at) + number(other, size) <= number(one, at)
                };
                prop_assert!(apart("x", "width") || apart("y", "height"), "{one} {other}");
            }
        }
        for (_, edge) in of_type(&state, "edge") {
            for end in ["from", "to"] {
                prop_assert!(state.items.contains_key(edge[end].as_str().unwrap()));
            }
            prop_assert!(!edge["pieces"].as_array().unwrap().is_empty());
        }
    }
}
