//! Free-form configuration is never changed: regardless of its keys, nothing in it is deduplicated, converted or
//! omitted, in the components of a mesh and in comparisons.

use function_mesh_api::FunctionMesh;
use function_mesh_api::validate::valid_mesh;
use function_mesh_workloads::components;
use function_mesh_workloads::diff::{all_differences, dedup_keyed_lists, differences};
use proptest::prelude::*;
use serde_json::{Map, Number, Value, json};

/// Names with a meaning elsewhere: list maps, quantities, references.
const NAMES: [&str; 18] = [
    "env",
    "volumes",
    "volumeMounts",
    "imagePullSecrets",
    "containers",
    "limits",
    "requests",
    "capacity",
    "sizeLimit",
    "divisor",
    "minAllowed",
    "resources",
    "metadata",
    "name",
    "mountPath",
    "value",
    "funcConfig",
    "",
];

/// Different values that are equal as quantities, or equal to an absent field.
const VALUES: [&str; 10] = ["A", "B", "1", "1000m", "1k", "1000", "0.5", "500m", "", "1Gi"];

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => prop::sample::select(&VALUES[..]).prop_map(|text| json!(text)),
        1 => (-2_i64..3).prop_map(|number| json!(number)),
        1 => prop::sample::select(&[0.5, 1000.5, 1e300][..]).prop_map(|number| json!(number)),
        1 => Just(json!(9_007_199_254_740_993_i64)),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => Just(Value::Null),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(5, 40, 4, |inner| {
        let name = prop::sample::select(&NAMES[..]).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((name, inner), 0..5)
                .prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(&NAMES[..]).prop_map(str::to_owned);
    prop::collection::vec((name, value()), 0..6)
        .prop_map(|all| Value::Object(all.into_iter().collect::<Map<_, _>>()))
}

/// A mesh with a configuration in every free-form field.
fn mesh(config: &Value) -> Value {
    let common = json!({ "className": "C", "java": { "jar": "f.jar" }, "pulsar": { "pulsarConfig": "p" } });
    let component = |name: &str, own: Value| {
        let mut component = common.clone();
        component["name"] = json!(name);
        for (field, value) in own.as_object().into_iter().flatten() {
            component[field] = value.clone();
        }
        component
    };
    let batch = json!({ "discoveryTriggererClassName": "T", "discoveryTriggererConfig": config });
    let state = json!({ "pulsar": { "serviceUrl": "bk://b", "javaProvider": { "className": "P", "config": config } } });
    json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "FunctionMesh",
        "metadata": { "name": "m", "namespace": "n", "uid": "u" },
        "spec": {
            "functions": [component("f", json!({
                "input": { "topics": ["a"] }, "funcConfig": config, "statefulConfig": state,
                "sourceConfig": { "configs": config, "batchSourceConfig": batch },
                "sinkConfig": { "configs": config },
            }))],
            "sources": [component("s", json!({
                "output": { "topic": "a" }, "sourceConfig": config, "batchSourceConfig": batch,
            }))],
            "sinks": [component("k", json!({ "input": { "topics": ["a"] }, "sinkConfig": config }))],
        },
    })
}

/// The component objects of a mesh, as applied.
fn applied(mesh: &Value) -> [Value; 3] {
    let mesh: FunctionMesh = function_mesh_api::parse(mesh.clone()).expect("a mesh");
    let all = components(&valid_mesh(mesh).expect("a valid mesh"));
    let mut applied = [
        serde_json::to_value(&all.functions[0]).expect("JSON"),
        serde_json::to_value(&all.sources[0]).expect("JSON"),
        serde_json::to_value(&all.sinks[0]).expect("JSON"),
    ];
    applied.iter_mut().for_each(dedup_keyed_lists);
    applied
}

/// Free-form fields of the components.
const FIELDS: [(usize, &str); 8] = [
    (0, "/spec/funcConfig"),
    (0, "/spec/sourceConfig/configs"),
    (0, "/spec/sourceConfig/batchSourceConfig/discoveryTriggererConfig"),
    (0, "/spec/sinkConfig/configs"),
    (0, "/spec/statefulConfig/pulsar/javaProvider/config"),
    (1, "/spec/sourceConfig"),
    (1, "/spec/batchSourceConfig/discoveryTriggererConfig"),
    (2, "/spec/sinkConfig"),
];

#[test]
fn duplicates_in_free_form_configuration_are_kept() {
    let config = json!({ "env": [{ "name": "A", "v": 1 }, { "name": "A", "v": 2 }] });
    let applied = applied(&mesh(&config));
    for (component, field) in FIELDS {
        assert_eq!(applied[component].pointer(field), Some(&config), "{field}");
    }
}

/// Typed fields are still deduplicated: server-side apply rejects duplicate volumes.
#[test]
fn duplicates_in_list_maps_are_removed() {
    let twice = json!([{ "name": "A", "value": "1" }, { "name": "A", "value": "2" }]);
    let mut mesh = mesh(&json!({}));
    mesh["spec"]["functions"][0]["pod"] = json!({
        "env": twice, "sidecars": [{ "name": "s", "env": twice }],
        "annotations": { "env": "x" },
    });
    let pod = applied(&mesh)[0]["spec"]["pod"].clone();
    assert_eq!(pod["env"], json!([{ "name": "A", "value": "2" }]));
    assert_eq!(pod["sidecars"][0]["env"], json!([{ "name": "A", "value": "2" }]));
    // A rule rejects duplicate volumes, but stored objects can have them.
    let volumes = json!([{ "name": "v", "emptyDir": {} }, { "name": "v", "hostPath": { "path": "/x" } }]);
    let mut stored = json!({ "kind": "Function", "spec": { "pod": { "volumes": volumes } } });
    dedup_keyed_lists(&mut stored);
    assert_eq!(stored["spec"]["pod"]["volumes"], json!([{ "name": "v", "hostPath": { "path": "/x" } }]));
}

#[test]
fn user_defined_keys_are_not_quantities() {
    let object = |annotations: Value| {
        json!({ "kind": "Function", "metadata": { "annotations": annotations },
            "spec": { "resources": { "limits": { "cpu": "1000m" } }, "input": { "sourceSpecs": annotations } } })
    };
    let same = object(json!({ "limits": "1" }));
    assert_eq!(differences(&same, &same), []);
    for (wanted, live) in [
        (json!({ "limits": "1" }), json!({ "limits": "1000m" })),
        (json!({ "requests": "" }), json!({})),
        (json!({ "capacity": {} }), json!({})),
    ] {
        let found = differences(&object(wanted), &object(live));
        assert_eq!(found.len(), 2, "{found:?}");
    }
    let cpu = |amount: &str| json!({ "kind": "Function", "spec": { "resources": { "limits": { "cpu": amount } } } });
    assert_eq!(differences(&cpu("1"), &cpu("1000m")), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn mesh_components_keep_configuration(config in object()) {
        let applied = applied(&mesh(&config));
        for (component, field) in FIELDS {
            prop_assert_eq!(applied[component].pointer(field), Some(&config), "{}", field);
        }
        for component in &applied {
            prop_assert_eq!(differences(component, component), []);
        }
    }

    #[test]
    fn configurations_compare_exactly(one in object(), other in object()) {
        let is_same = one == other;
        let (ones, others) = (applied(&mesh(&one)), applied(&mesh(&other)));
        for (wanted, live) in ones.iter().zip(&others) {
            prop_assert_eq!(differences(wanted, live).is_empty(), is_same, "{}", wanted);
            prop_assert_eq!(all_differences(wanted, live).is_empty(), is_same);
        }
    }

    /// Two configurations that differ in one value.
    #[test]
    fn one_changed_value_is_a_difference(config in object(), at in any::<prop::sample::Index>(), new in leaf()) {
        let mut changed = config.clone();
        let places = leaves(&config, String::new());
        prop_assume!(!places.is_empty());
        let place = at.get(&places);
        *changed.pointer_mut(place).expect("a place") = new.clone();
        let is_same = config.pointer(place) == Some(&new);
        let (ones, others) = (applied(&mesh(&config)), applied(&mesh(&changed)));
        for (wanted, live) in ones.iter().zip(&others) {
            prop_assert_eq!(differences(wanted, live).is_empty(), is_same, "{}", place);
        }
    }
}

/// JSON pointers of all leaf values.
fn leaves(value: &Value, at: String) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            fields.iter().flat_map(|(key, value)| leaves(value, format!("{at}/{key}"))).collect()
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .flat_map(|(index, value)| leaves(value, format!("{at}/{index}")))
            .collect(),
        _ => vec![at],
    }
}

/// The API server normalizes numbers.
#[test]
fn numbers_equal_their_normalized_form() {
    let object = |number: Value| json!({ "kind": "Sink", "spec": { "sinkConfig": { "n": number } } });
    let large = json!(u64::MAX);
    let float = Value::Number(Number::from_f64(18_446_744_073_709_551_615.0).expect("a number"));
    for (wanted, live) in [(json!(1.0), json!(1)), (large, float)] {
        assert_eq!(differences(&object(wanted), &object(live)), []);
    }
    let near = [json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992_i64)].map(object);
    assert_eq!(differences(&near[0], &near[1]).len(), 1);
    assert_eq!(differences(&object(json!("1")), &object(json!(1))).len(), 1);
}
