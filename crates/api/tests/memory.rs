//! Memory of parsed objects stays within their weight, and validation allocates linearly.

#![allow(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::alloc::System;
use std::sync::Mutex;

use function_mesh_api::complexity::{MAX_VALUES, STEP, weigh};
use function_mesh_api::validate::{
    Scope, check_component_for, check_component_update, check_mesh, component_violations, valid_mesh,
};
use function_mesh_api::{Function, FunctionMesh};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Generates an object with a number of values.
type Generator = Box<dyn Fn(usize) -> String>;

/// Serializes the tests, since the allocator counts for all threads.
static SERIAL: Mutex<()> = Mutex::new(());

/// Bytes that a parsed text retains.
fn retained<T: DeserializeOwned>(text: &str) -> usize {
    let region = Region::new(ALLOCATOR);
    let read: Result<T, _> = serde_json::from_str(text);
    let change = region.change();
    drop(read);
    change.bytes_allocated - change.bytes_deallocated
}

fn function(field: &str, items: &str) -> String {
    format!(r#"{{"kind":"Function","metadata":{{"name":"f"}},"spec":{{"{field}":{items}}}}}"#)
}

fn list(item: &str, count: usize) -> String {
    format!("[{}]", vec![item; count].join(","))
}

fn map(value: &str, count: usize) -> String {
    let entries: Vec<_> = (0..count).map(|index| format!(r#""{index:x}":{value}"#)).collect();
    format!("{{{}}}", entries.join(","))
}

/// The largest accepted object of a generator. Its weight is linear in the count.
fn largest(generate: impl Fn(usize) -> String) -> String {
    let weight = |count| weigh(generate(count).as_bytes()).unwrap();
    let each = (weight(300) - weight(100)).div_ceil(200);
    let count = (MAX_VALUES - weight(100)) / each;
    assert!(weigh(generate(count + count / 10).as_bytes()).is_err());
    generate(count)
}

#[test]
fn parsed_objects_stay_within_their_weight() {
    let _serial = SERIAL.lock();
    let pod =
        |field: &str, item: &str, count| function("pod", &format!(r#"{{"{field}":{}}}"#, list(item, count)));
    let mesh = |field: &str, item: &str, count| {
        format!(
            r#"{{"kind":"FunctionMesh","metadata":{{"name":"m"}},"spec":{{"{field}":{}}}}}"#,
            list(item, count)
        )
    };
    let generators: Vec<(&str, Generator)> = vec![
        (
            "lists of small maps",
            Box::new(|n| function("funcConfig", &format!(r#"{{"a":{}}}"#, list(r#"{"":0}"#, n)))),
        ),
        ("maps in maps", Box::new(|n| function("funcConfig", &map(r#"{"":{"":0}}"#, n)))),
        ("entries", Box::new(|n| function("funcConfig", &map("0", n)))),
        ("texts", Box::new(|n| function("funcConfig", &map(r#""a""#, n)))),
        ("small lists", Box::new(|n| function("funcConfig", &format!(r#"{{"a":{}}}"#, list("[0]", n))))),
        ("labels", Box::new(|n| function("pod", &format!(r#"{{"labels":{}}}"#, map(r#""a""#, n))))),
        ("secrets", Box::new(|n| function("secretsMap", &map("{}", n)))),
        ("topics", Box::new(|n| function("input", &format!(r#"{{"topics":{}}}"#, list(r#""a""#, n))))),
        ("consumers", Box::new(|n| function("input", &format!(r#"{{"sourceSpecs":{}}}"#, map("{}", n))))),
        ("volumes", Box::new(move |n| pod("volumes", "{}", n))),
        ("projected volumes", Box::new(move |n| pod("volumes", r#"{"projected":{"sources":[{}]}}"#, n))),
        (
            "volumes that are not projected",
            Box::new(move |n| pod("volumes", r#"{"configMap":{"items":[{}]}}"#, n)),
        ),
        ("containers", Box::new(move |n| pod("sidecars", "{}", n))),
        ("variables of containers", Box::new(move |n| pod("sidecars", r#"{"env":[{}]}"#, n))),
        (
            "ports of containers",
            Box::new(move |n| {
                pod("initContainers", r#"{"ports":[{}],"envFrom":[{}],"volumeMounts":[{}]}"#, n)
            }),
        ),
        ("variables", Box::new(move |n| pod("env", "{}", n))),
        ("tolerations", Box::new(move |n| pod("tolerations", "{}", n))),
        ("metrics", Box::new(move |n| pod("autoScalingMetrics", "{}", n))),
        ("mounts", Box::new(|n| function("volumeMounts", &list("{}", n)))),
        ("claims", Box::new(|n| function("volumeClaimTemplates", &list("{}", n)))),
        ("functions", Box::new(move |n| mesh("functions", "{}", n))),
        ("sources", Box::new(move |n| mesh("sources", "{}", n))),
        ("sinks", Box::new(move |n| mesh("sinks", "{}", n))),
        (
            "functions with consumers",
            Box::new(move |n| mesh("functions", r#"{"input":{"sourceSpecs":{"":{}}}}"#, n)),
        ),
        (
            "functions with lists",
            Box::new(move |n| {
                mesh(
                    "functions",
                    r#"{"input":{"topics":["a"]},"pod":{"env":[{}],"tolerations":[{}],"labels":{"a":"a"}},"volumeMounts":[{}]}"#,
                    n,
                )
            }),
        ),
        (
            "functions with volumes",
            Box::new(move |n| {
                mesh(
                    "functions",
                    r#"{"pod":{"volumes":[{}],"sidecars":[{}],"autoScalingMetrics":[{}]},"volumeClaimTemplates":[{}]}"#,
                    n,
                )
            }),
        ),
    ];
    let mut over = Vec::new();
    for (name, generate) in generators {
        let text = largest(generate);
        // A growing Vec reserves up to twice its items, mostly as untouched address space.
        let limit = MAX_VALUES * STEP * 3 / 2;
        let tree = retained::<Value>(&text);
        let typed = if text.contains("FunctionMesh") {
            retained::<FunctionMesh>(&text)
        } else {
            retained::<Function>(&text)
        };
        println!(
            "{name}: {} KB of text, {} KB as a tree, {} KB typed",
            text.len() / 1000,
            tree / 1000,
            typed / 1000
        );
        if tree.max(typed) > limit {
            over.push(format!("{name}: {tree} {typed} > {limit}"));
        }
    }
    assert!(over.is_empty(), "{over:#?}");
}

/// Bytes that a call allocates, which reveals unnecessary copies.
fn allocated(run: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    run();
    region.change().bytes_allocated
}

#[test]
fn validation_allocates_linearly() {
    let _serial = SERIAL.lock();
    let name = |count: usize| "n".repeat(count * 20);
    let invalid = |count: usize| {
        let mut object = json!({
            "metadata": { "name": "f" },
            "spec": {
                "name": name(count), "secretsMap": {}, "subscriptionName": name(count), "tenant": name(count),
                "input": { "topics": vec!["a/b"; count], "sourceSpecs": {} }, "output": { "topic": name(count) },
                "volumeMounts": vec![json!({ "name": "v", "mountPath": "/v" }); count],
                "pod": {
                    "env": vec![json!({ "name": "=" }); count], "volumes": vec![json!({ "name": "v" }); count],
                    "tolerations": vec![json!({ "effect": "x" }); count], "labels": {}, "annotations": {},
                },
                "resources": { "requests": {}, "limits": {} },
            },
        });
        for index in 0..count {
            let key = format!("{}{index}", "k/ ".repeat(10));
            object["spec"]["input"]["sourceSpecs"][&key] =
                json!({ "isRegexPattern": true, "receiverQueueSize": -1 });
            object["spec"]["pod"]["labels"][&key] = json!("? ?");
            object["spec"]["pod"]["annotations"][&key] = json!("");
            object["spec"]["resources"]["limits"][&key] = json!("many");
        }
        let long = json!({ "metadata": object["metadata"], "spec": { "functions": [object["spec"], object["spec"]] } });
        let many: Vec<_> = (0..count.min(1500))
            .map(|index| json!({ "name": format!("f{index}"), "input": { "topics": ["a", "a/b"] }, "output": { "topic": "a" } }))
            .collect();
        let many = json!({ "metadata": object["metadata"], "spec": { "functions": many } });
        (
            function_mesh_api::parse::<Function>(object).unwrap(),
            function_mesh_api::parse::<FunctionMesh>(long).unwrap(),
            function_mesh_api::parse::<FunctionMesh>(many).unwrap(),
        )
    };
    let runs = |count: usize| {
        let (function, long, many) = invalid(count);
        let other = invalid(count + 1).0;
        [
            ("rules of a function", allocated(|| drop(check_component_for(&function, Scope::Rules)))),
            (
                "rules and warnings",
                allocated(|| drop(check_component_for(&function, Scope::RulesAndWarnings))),
            ),
            (
                "an update",
                allocated(|| {
                    let known = component_violations(&other);
                    drop(check_component_update(&function, known, Scope::RulesAndWarnings));
                }),
            ),
            ("a mesh of long components", allocated(|| drop(check_mesh(&long)))),
            ("a mesh of many components", allocated(|| drop(check_mesh(&many)))),
            ("validity", allocated(|| drop(valid_mesh(many.clone())))),
        ]
    };
    for ((what, one), (_, three)) in runs(500).into_iter().zip(runs(1500)) {
        println!("{what}: {} KB, {} KB", one / 1000, three / 1000);
        assert!(three < 4 * one, "{what}: {one} bytes, then {three} for three times the size");
    }
}
