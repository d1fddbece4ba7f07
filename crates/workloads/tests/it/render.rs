//! Invariants of rendered objects, and golden tests of some components.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use function_mesh_api::validate::{Valid, valid_component};
use function_mesh_api::{Component, Function, Sink, Source, parse};
use function_mesh_workloads::{Backends, Edition, Settings, Workload, cleanup, render, render_edition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proptest::prelude::*;
use serde_json::{Value, json};

fn valid<C: Component>(object: Value) -> Valid<C> {
    let object = parse(object).expect("an object");
    valid_component(object).expect("a valid object")
}

fn object(kind: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": kind,
        "metadata": { "name": "f", "namespace": "ns" }, "spec": spec,
    })
}

fn children<C: Component>(component: &Valid<C>, settings: &Settings) -> Vec<Value> {
    let children = render(component, Backends::default(), settings).to_json().expect("JSON");
    let job = cleanup(component, Backends::default(), settings);
    let job = job.map(|job| serde_json::to_value(job).expect("JSON"));
    children.into_iter().chain([job]).flatten().collect()
}

fn specs() -> [(&'static str, Value); 3] {
    let common = json!({
        "className": "C", "java": { "jar": "a.jar" }, "pulsar": { "pulsarConfig": "p" },
        "pod": { "labels": { "app": "mine", "component": "mine" }, "vpa": {} },
    });
    let with = |own: Value| {
        let mut spec = common.clone();
        for (key, value) in own.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        spec
    };
    [
        ("Function", with(json!({ "input": { "topics": ["in"] } }))),
        (
            "Source",
            with(json!({ "output": { "topic": "out" }, "sourceConfig": {}, "maxReplicas": 3, "pod": null })),
        ),
        ("Sink", with(json!({ "input": { "topics": ["in"] }, "sinkConfig": {} }))),
    ]
}

fn workload(kind: &str, spec: &Value) -> Workload {
    let (object, settings) = (object(kind, spec), Settings::default());
    match kind {
        "Function" => render(&valid::<Function>(object), Backends::default(), &settings),
        "Source" => render(&valid::<Source>(object), Backends::default(), &settings),
        _ => render(&valid::<Sink>(object), Backends::default(), &settings),
    }
}

#[test]
fn selectors_match_the_pods() {
    for (kind, spec) in specs() {
        let Workload { stateful_set, service, .. } = workload(kind, &spec);
        let set = stateful_set.spec.unwrap();
        let labels = set.template.metadata.unwrap().labels.unwrap();
        let matches = |selector: BTreeMap<String, String>| {
            assert!(!selector.is_empty());
            assert!(
                selector.iter().all(|(key, value)| labels.get(key) == Some(value)),
                "{selector:?} {labels:?}"
            );
        };
        matches(set.selector.match_labels.unwrap());
        matches(service.spec.unwrap().selector.unwrap());
        assert_eq!(set.service_name, service.metadata.name);
    }
}

#[test]
fn children_are_in_the_order_of_their_kinds() {
    let mut seen = std::collections::BTreeSet::new();
    for (kind, spec) in specs() {
        let children = workload(kind, &spec).to_json().expect("JSON");
        for (child, kind) in children.into_iter().zip(Workload::KINDS) {
            let Some(child) = child else { continue };
            assert_eq!(child["kind"], kind);
            seen.insert(kind);
        }
    }
    assert_eq!(seen.len(), Workload::KINDS.len(), "each child is in one of the specs: {seen:?}");
}

#[test]
fn children_have_owner_references() {
    for (kind, spec) in specs() {
        let children: Vec<_> = workload(kind, &spec).to_json().expect("JSON").into_iter().flatten().collect();
        assert!(children.len() > 2, "no autoscaler");
        for child in children {
            let meta: ObjectMeta = serde_json::from_value(child["metadata"].clone()).expect("metadata");
            let owner = &meta.owner_references.as_ref().unwrap()[0];
            assert_eq!((owner.kind.as_str(), owner.name.as_str()), (kind, "f"));
            assert_eq!(owner.uid, "00000000-0000-0000-0000-000000000000");
            assert_eq!((owner.controller, owner.block_owner_deletion), (Some(true), Some(true)));
            assert_eq!(meta.namespace.as_deref(), Some("ns"));
            assert_eq!(meta.labels.unwrap()["compute.functionmesh.io/name"], "f");
        }
    }
}

fn reversed(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let fields =
                object.iter().rev().map(|(key, value)| format!("{}:{}", json!(key), reversed(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(reversed).collect::<Vec<_>>().join(",")),
        scalar => scalar.to_string(),
    }
}

fn golden<C: Component>(name: &str, settings: &Settings) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let given = fs::read_to_string(folder.join(format!("{name}.json"))).expect(name);
    let given: Value = serde_json::from_str(&given).expect(name);
    let rendered = |object: Value| {
        let children = children(&valid::<C>(object), settings);
        format!("{:#}\n", Value::Array(children))
    };
    let found = rendered(given.clone());
    assert_eq!(
        found,
        rendered(serde_json::from_str(&reversed(&given)).expect(name)),
        "the output depends on the order of keys"
    );
    let file = folder.join(format!("{name}.rendered.json"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &found).expect(name);
    }
    let expected = fs::read_to_string(&file).expect(name);
    assert_eq!(
        found, expected,
        "run the test with UPDATE_GOLDEN=1 to accept the new output, and review the diff"
    );
}

/// An upgrade of the operator must not restart pods: the first edition renders what the releases before editions wrote.
/// These files are never updated.
fn first_edition<C: Component>(name: &str, settings: &Settings) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let read = |file: String| -> Value {
        serde_json::from_str(&fs::read_to_string(folder.join(&file)).expect(&file)).expect(&file)
    };
    let component = valid::<C>(read(format!("{name}.json")));
    let workload = render_edition(&component, Backends::default(), settings, Edition::First);
    let template = workload.stateful_set.spec.expect("a spec").template;
    assert_eq!(serde_json::to_value(template).expect("JSON"), read(format!("first-edition/{name}.json")));
}

#[test]
fn first_edition_is_what_earlier_releases_rendered() {
    first_edition::<Function>("java", &Settings::default());
    first_edition::<Function>("python", &Settings { enable_init_containers: true, ..Settings::default() });
    first_edition::<Function>("go", &Settings::default());
    first_edition::<Source>("source", &Settings::default());
    first_edition::<Sink>("sink", &Settings::default());
}

#[test]
fn golden_java_function() {
    golden::<Function>("java", &Settings::default());
}

#[test]
fn golden_python_function() {
    golden::<Function>("python", &Settings { enable_init_containers: true, ..Settings::default() });
}

#[test]
fn golden_go_function() {
    golden::<Function>("go", &Settings::default());
}

#[test]
fn golden_batch_source() {
    golden::<Source>("source", &Settings::default());
}

#[test]
fn golden_sink() {
    golden::<Sink>("sink", &Settings::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_renders_deterministically(texts in prop::collection::vec(".{0,12}", 12), flags in any::<u16>()) {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = texts.as_slice() else { unreachable!() };
        let flag = |bit: u32| flags >> bit & 1 == 1;
        let mut spec = json!({
            "name": a, "className": format!("C{b}"), "tenant": c, "clusterName": d, "subscriptionName": e,
            "input": { "topics": ["in"] }, "output": { "topic": "out", "sinkSchemaType": f },
            "funcConfig": { g: h }, "runtimeFlags": i, "image": j, "cleanupSubscription": flag(0),
            "pulsar": { "pulsarConfig": "p", "authConfig": { "genericAuth": {
                "clientAuthenticationPlugin": format!("P{k}"), "clientAuthenticationParameters": l,
            } } },
            "retainOrdering": flag(1), "showPreciseParallelism": flag(2),
        });
        let file = format!("f{a}");
        if flag(3) {
            spec["golang"] = json!({ "go": file });
        } else if flag(4) {
            spec["python"] = json!({ "py": file, "log": { "rotatePolicy": "TimedPolicyWithDaily" } });
        } else if flag(5) {
            spec["genericRuntime"] = json!({ "functionFile": file, "language": format!("l{b}") });
        } else {
            spec["java"] = json!({ "jar": file, "jarLocation": format!("https://{c}"), "extraDependenciesDir": d });
        }
        let function = valid::<Function>(object("Function", &spec));
        let settings = Settings { enable_init_containers: flag(6), ..Settings::default() };
        prop_assert_eq!(children(&function, &settings), children(&function, &settings));
    }
}
