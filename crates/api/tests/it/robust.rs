//! Arbitrary input: no panic, bounded time, and consistent results.

use std::time::{Duration, Instant};

use function_mesh_api::topology::Topology;
use function_mesh_api::validate::{
    Findings, check_backend_config, check_component, check_mesh, ratchet, valid_component,
};
use function_mesh_api::{BackendConfig, Component, Function, FunctionMesh, SetDefaults, Sink, Source, parse};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use serde_json::{Value, json};

use crate::cases;

/// Far more than validation takes, and far less than the webhook timeout.
const MAX_DURATION: Duration = Duration::from_secs(3);

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "persistent://a/b/c",
            "a/b",
            "://",
            "non-persistent://",
            "function://a/b/c@1",
            "1Gi",
            "-1",
            "1e999",
            "(((((a{1000}){1000}){1000})))",
            "[",
            "\u{0}",
            "ä\u{200d}",
            "effectively_once",
            "Delete",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,6}",
        prop::sample::select(vec![
            "spec",
            "metadata",
            "name",
            "input",
            "topics",
            "topicPattern",
            "sourceSpecs",
            "output",
            "topic",
            "pod",
            "resources",
            "requests",
            "memory",
            "java",
            "jar",
            "functions",
            "windowConfig",
            "replicas",
            "isRegexPattern",
        ])
        .prop_map(str::to_owned),
    ]
}

/// JSON pointers of all values in a value.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                pointers(inner, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                pointers(inner, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// A nearly valid spec: some changes from the table of rules, then some overwritten values.
fn spec(kind: &'static str) -> impl Strategy<Value = Value> {
    let changes: Vec<_> = cases::all()
        .into_iter()
        .filter(|case| case.kind == kind)
        .flat_map(|case| [case.bad, case.good])
        .collect();
    let overwritten = prop::collection::vec((any::<prop::sample::Index>(), any_json()), 0..3);
    (prop::sample::subsequence(changes, 0..=5), overwritten).prop_map(move |(changes, overwritten)| {
        let mut object = cases::base(kind);
        for change in &changes {
            cases::merge(&mut object["spec"], change);
        }
        let mut spec = object["spec"].take();
        for (index, value) in overwritten {
            let mut all = Vec::new();
            pointers(&spec, "", &mut all);
            let pointer: &String = index.get(&all);
            if let Some(target) = spec.pointer_mut(pointer) {
                *target = value;
            }
        }
        spec
    })
}

fn object(kind: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": kind, "metadata": { "name": "it" }, "spec": spec,
    })
}

fn in_time<T>(what: impl FnOnce() -> T) -> Result<T, TestCaseError> {
    let start = Instant::now();
    let result = what();
    prop_assert!(start.elapsed() < MAX_DURATION, "it took {:?}", start.elapsed());
    Ok(result)
}

fn check_component_properties<C: Component + PartialEq>(raw: &Value) -> Result<(), TestCaseError> {
    let Ok(object) = in_time(|| parse::<C>(raw.clone()))? else { return Ok(()) };
    let findings = in_time(|| check_component(&object))?;
    let mut complete = object.clone();
    complete.spec_mut().set_defaults("it");
    let mut twice = complete.clone();
    twice.spec_mut().set_defaults("it");
    prop_assert_eq!(&complete, &twice, "defaulting is idempotent");
    prop_assert_eq!(&check_component(&complete), &findings, "defaulting does not change the findings");
    prop_assert_eq!(valid_component(object).is_ok(), findings.violations.is_empty());
    let written = serde_json::to_value(&complete).expect("JSON");
    prop_assert_eq!(&parse::<C>(written).expect("serialized objects parse"), &complete);
    prop_assert!(ratchet(&findings, findings.clone()).violations.is_empty(), "nothing is new");
    prop_assert_eq!(&ratchet(&Findings::default(), findings.clone()), &findings, "all is new");
    Ok(())
}

fn check_mesh_properties(raw: &Value) -> Result<(), TestCaseError> {
    let Ok(mesh) = in_time(|| parse::<FunctionMesh>(raw.clone()))? else { return Ok(()) };
    let findings = in_time(|| check_mesh(&mesh))?;
    let graph = in_time(|| Topology::of(&mesh.spec))?;
    in_time(|| {
        (
            graph.external_inputs().count(),
            graph.external_outputs().count(),
            graph.isolated().count(),
            graph.cycles().len(),
        )
    })?;
    let mut complete = mesh.clone();
    complete.spec.set_defaults();
    let mut twice = complete.clone();
    twice.spec.set_defaults();
    prop_assert_eq!(&complete, &twice);
    prop_assert_eq!(&check_mesh(&complete), &findings);
    prop_assert!(ratchet(&findings, findings.clone()).violations.is_empty());
    Ok(())
}

fn config() -> ProptestConfig {
    let kept = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig { failure_persistence: Some(Box::new(kept)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn functions(spec in spec("Function")) {
        check_component_properties::<Function>(&object("Function", &spec))?;
    }

    #[test]
    fn sources(spec in spec("Source")) {
        check_component_properties::<Source>(&object("Source", &spec))?;
    }

    #[test]
    fn sinks(spec in spec("Sink")) {
        check_component_properties::<Sink>(&object("Sink", &spec))?;
    }

    #[test]
    fn meshes(
        functions in prop::collection::vec(spec("Function"), 0..4),
        sinks in prop::collection::vec(spec("Sink"), 0..3),
        sources in prop_oneof![prop::collection::vec(spec("Source"), 0..3).prop_map(Value::from), any_json()],
    ) {
        check_mesh_properties(&object("FunctionMesh", &json!({ "functions": functions, "sinks": sinks, "sources": sources })))?;
    }

    /// Reordering components adds no violation to an update.
    #[test]
    fn reordered_meshes(functions in prop::collection::vec(spec("Function"), 0..5)) {
        let named = |(index, mut spec): (usize, Value)| {
            if let Some(spec) = spec.as_object_mut() {
                spec.insert("name".to_owned(), format!("f{index}").into());
            }
            spec
        };
        let mut functions: Vec<_> = functions.into_iter().enumerate().map(named).collect();
        let check = |functions: &[Value]| {
            parse::<FunctionMesh>(object("FunctionMesh", &json!({ "functions": functions }))).ok().map(|mesh| check_mesh(&mesh))
        };
        let before = check(&functions);
        functions.reverse();
        if let (Some(before), Some(after)) = (before, check(&functions)) {
            prop_assert_eq!(ratchet(&before, after).violations, []);
        }
    }

    #[test]
    fn arbitrary_json(raw in any_json(), spec in any_json()) {
        for raw in [&raw, &object("Any", &spec)] {
            check_component_properties::<Function>(raw)?;
            check_component_properties::<Sink>(raw)?;
            check_mesh_properties(raw)?;
            if let Ok(config) = parse::<BackendConfig>(raw.clone()) {
                check_backend_config(&config.spec);
            }
        }
    }
}

/// Hostile meshes of the maximum size of a request are validated in bounded time.
#[test]
fn hostile_meshes_are_validated_in_time() {
    let hub = |count: usize| -> Vec<Value> {
        (0..count)
            .map(|n| json!({ "name": format!("f{n}"), "input": { "topics": ["a"] }, "output": { "topic": "a" }, "logTopic": "a" }))
            .collect()
    };
    let patterns: serde_json::Map<_, _> = (0..4000)
        .map(|n| (format!("((((.{{50}}){{50}}){{50}})|x*{n})"), json!({ "isRegexPattern": true })))
        .collect();
    let topics: Vec<_> = (0..4000)
        .map(|n| json!({ "name": format!("s{n}"), "output": { "topic": format!("topic{n}x") } }))
        .collect();
    let nested = "(".repeat(1900);
    for spec in [
        json!({ "functions": hub(2000), "sinks": hub(2000) }),
        json!({ "functions": hub(20_000) }),
        json!({ "functions": [{ "input": { "sourceSpecs": patterns } }], "sources": topics[..2000] }),
        json!({ "sources": topics, "sinks": [{ "input": { "topics": (0..4000).map(|n| format!("topic{n}y")).collect::<Vec<_>>() } }] }),
        json!({ "sinks": [{ "input": { "topicPattern": nested, "topics": vec!["x"; 100_000] } }] }),
    ] {
        let mesh: FunctionMesh = parse(object("FunctionMesh", &spec)).expect("a mesh");
        let start = Instant::now();
        check_mesh(&mesh);
        // The webhook has four seconds; this build is not optimized.
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        println!("{:?}", start.elapsed());
    }
}
