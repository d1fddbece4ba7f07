//! Properties of the defaulting patch over arbitrary objects.

use function_mesh_api::{BackendConfig, Function, FunctionMesh, Sink, Source};
use function_mesh_webhook::AdmissionKind;
use json_patch::PatchOperation;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn defaulting_patch<K: AdmissionKind>(
    raw: &Value,
) -> Result<json_patch::Patch, function_mesh_api::validate::Violation> {
    let patch = function_mesh_webhook::patch::defaulting_patch::<K>(&raw.to_string())?;
    Ok(serde_json::from_str(&patch).expect("a patch"))
}

/// Arbitrary JSON, with numbers that lose precision in a careless parser.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::sample::select(vec![9_007_199_254_740_993_i64, i64::MIN, -1, 0]).prop_map(Value::from),
        prop::sample::select(vec![1.0, 0.1, -0.0, 1e300, 5e-324]).prop_map(Value::from),
        "[a-z/~.\"ä ]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z/~]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn free_form() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-zA-Z/~]{1,8}", any_json(), 0..4)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

fn quantity() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(1),
        json!(0),
        json!(0.5),
        json!(1.0),
        json!(1_000_000_000),
        json!(8_589_934_592_i64),
        json!("0"),
        json!("500m"),
        json!("1.1G"),
        json!(null),
    ])
}

fn text() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![json!(""), json!("text"), json!(null)])
}

fn count() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![json!(0), json!(1), json!(7), json!(null)])
}

/// An object with some of these fields.
fn some_of(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, value)| prop::option::weighted(0.4, value).prop_map(move |value| Some((name, value?))))
        .collect();
    fields
        .prop_map(|fields| {
            let fields = fields.into_iter().flatten().map(|(name, value)| (name.to_owned(), value));
            Value::Object(fields.collect::<Map<_, _>>())
        })
        .boxed()
}

fn or_null(value: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    prop_oneof![9 => value, 1 => Just(Value::Null)].boxed()
}

fn list_of(value: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    prop::collection::vec(or_null(value), 0..4).prop_map(Value::from).boxed()
}

fn resources() -> BoxedStrategy<Value> {
    let amounts = || or_null(some_of(vec![("cpu", quantity().boxed()), ("memory", quantity().boxed())]));
    or_null(some_of(vec![("requests", amounts()), ("limits", amounts()), ("unknown", any_json().boxed())]))
}

fn pod() -> BoxedStrategy<Value> {
    let volume = some_of(vec![("emptyDir", some_of(vec![("sizeLimit", quantity().boxed())]))]);
    let container = some_of(vec![("resources", resources()), ("image", text().boxed())]);
    let policy = some_of(vec![
        ("containerName", text().boxed()),
        ("minAllowed", some_of(vec![("cpu", quantity().boxed()), ("memory", quantity().boxed())])),
    ]);
    let vpa = some_of(vec![("resourcePolicy", some_of(vec![("containerPolicies", list_of(policy))]))]);
    or_null(some_of(vec![
        ("volumes", list_of(volume)),
        ("sidecars", list_of(container.clone())),
        ("initContainers", list_of(container)),
        ("labels", some_of(vec![("a/b~c", text().boxed()), ("config", text().boxed())])),
        ("vpa", or_null(vpa)),
        ("unknown", any_json().boxed()),
    ]))
}

fn io() -> BoxedStrategy<Value> {
    or_null(some_of(vec![
        ("topics", list_of(Just(json!("topic")).boxed())),
        ("topic", text().boxed()),
        ("typeClassName", text().boxed()),
        (
            "sourceSpecs",
            some_of(vec![("persistent://a/b/c", some_of(vec![("receiverQueueSize", count().boxed())]))]),
        ),
        ("unknown", any_json().boxed()),
    ]))
}

fn component(config: &'static str) -> BoxedStrategy<Value> {
    let window = some_of(vec![
        ("windowLengthCount", count().boxed()),
        ("windowLengthDurationMs", count().boxed()),
        ("actualWindowFunctionClassName", text().boxed()),
    ]);
    or_null(some_of(vec![
        ("name", text().boxed()),
        ("className", text().boxed()),
        ("tenant", text().boxed()),
        ("replicas", count().boxed()),
        ("minReplicas", count().boxed()),
        ("logTopic", text().boxed()),
        ("input", io()),
        ("output", io()),
        ("resources", resources()),
        ("pod", pod()),
        (
            "java",
            or_null(some_of(vec![("jar", text().boxed()), ("javaOpts", list_of(Just(json!("-X")).boxed()))])),
        ),
        ("windowConfig", or_null(window)),
        ("secretsMap", some_of(vec![("s", some_of(vec![("path", text().boxed())]))])),
        (config, or_null(free_form().boxed())),
        ("unknown", any_json().boxed()),
    ]))
}

fn object(kind: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1",
        "kind": kind,
        "metadata": { "name": "some-name", "creationTimestamp": null },
        "spec": spec,
        "status": null,
    })
}

/// Whether a patch may remove or replace this value.
fn may_be_changed(path: &str, value: &Value) -> bool {
    let field = path.rsplit('/').next().unwrap_or_default();
    match value {
        Value::Null => true,
        Value::Number(number) => {
            let is_limit = ["/minAllowed/", "/maxAllowed/"].iter().any(|part| path.contains(part));
            // Zero memory is replaced by the default.
            let is_zero = field == "memory" && number.as_f64() == Some(0.0);
            is_zero || is_limit && number.is_f64()
        }
        Value::String(text) => match field {
            "memory" => text == "0",
            "actualWindowFunctionClassName" => true,
            _ => text.is_empty(),
        },
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

fn check_patch<K: AdmissionKind + PartialEq + Clone + std::fmt::Debug>(
    raw: &Value,
) -> Result<(), TestCaseError> {
    let mut expected: K = function_mesh_api::parse(raw.clone()).expect("a decodable object");
    expected.apply_defaults();
    let patch = defaulting_patch::<K>(raw).expect("a patch");
    let mut patched = raw.clone();
    json_patch::patch(&mut patched, &patch).expect("a patch that applies");

    let read: K = function_mesh_api::parse(patched.clone()).expect("a decodable object");
    prop_assert_eq!(&read, &expected, "defaults by patch and in place");
    let again = defaulting_patch::<K>(&patched).expect("a patch");
    prop_assert!(again.is_empty(), "a second patch changes {}", again);
    for operation in patch.iter() {
        let at = operation.path().to_string();
        prop_assert!(at.starts_with("/spec"), "{}", at);
        match operation {
            PatchOperation::Add(_) => {}
            PatchOperation::Replace(_) | PatchOperation::Remove(_) => {
                // Removing nulls shifts indices, but only removals follow.
                let value = raw.pointer(&at).expect("something to replace");
                prop_assert!(may_be_changed(&at, value), "{} changes {}", operation, value);
            }
            other => prop_assert!(false, "{}", other),
        }
    }
    Ok(())
}

fn check_unchanged(
    raw: &Value,
    kind: fn(&Value) -> json_patch::Patch,
    field: &str,
) -> Result<(), TestCaseError> {
    let at = format!("/spec/{field}");
    let mut patched = raw.clone();
    json_patch::patch(&mut patched, &kind(raw)).expect("a patch that applies");
    let before = raw.pointer(&at).filter(|value| !value.is_null());
    // Compared as text, since -0.0 equals 0.0, and 1.0 may equal 1.
    prop_assert_eq!(before.map(Value::to_string), patched.pointer(&at).map(Value::to_string));
    Ok(())
}

fn patch_of<K: AdmissionKind>(raw: &Value) -> json_patch::Patch {
    defaulting_patch::<K>(raw).expect("a patch")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(400), ..ProptestConfig::default() })]

    #[test]
    fn functions(spec in component("funcConfig")) {
        let raw = object("Function", &spec);
        check_patch::<Function>(&raw)?;
        check_unchanged(&raw, patch_of::<Function>, "funcConfig")?;
        check_unchanged(&raw, patch_of::<Function>, "pod/labels/unknown")?;
    }

    #[test]
    fn sources(spec in component("sourceConfig")) {
        let raw = object("Source", &spec);
        check_patch::<Source>(&raw)?;
        check_unchanged(&raw, patch_of::<Source>, "sourceConfig")?;
    }

    #[test]
    fn sinks(spec in component("sinkConfig")) {
        let raw = object("Sink", &spec);
        check_patch::<Sink>(&raw)?;
        check_unchanged(&raw, patch_of::<Sink>, "sinkConfig")?;
    }

    #[test]
    fn meshes(functions in list_of(component("funcConfig")), sinks in or_null(list_of(component("sinkConfig")))) {
        check_patch::<FunctionMesh>(&object("FunctionMesh", &json!({ "functions": functions, "sinks": sinks })))?;
    }

    #[test]
    fn backend_configs(pod in pod(), env in some_of(vec![("A", text().boxed())])) {
        check_patch::<BackendConfig>(&object("BackendConfig", &json!({ "pod": pod, "env": env })))?;
    }
}

#[test]
fn missing_spec_is_added() {
    let mut raw = object("Function", &Value::Null);
    assert!(!defaulting_patch::<Function>(&raw).unwrap().is_empty());
    raw.as_object_mut().unwrap().remove("spec");
    json_patch::patch(&mut raw.clone(), &defaulting_patch::<Function>(&raw).unwrap()).unwrap();
}

#[test]
fn complete_object_needs_no_patch() {
    let mut raw = object("Function", &json!({ "unknown": null, "funcConfig": { "a": [null, 1.0] } }));
    let patch = patch_of::<Function>(&raw);
    json_patch::patch(&mut raw, &patch).unwrap();
    assert_eq!(raw["spec"]["funcConfig"].to_string(), r#"{"a":[null,1.0]}"#);
    assert_eq!(patch_of::<Function>(&raw).to_string(), "[]");
}

#[test]
fn required_fields_are_not_added() {
    let raw = object("Function", &json!({ "java": { "jar": null }, "volumeMounts": [{ "name": "v" }] }));
    let patch = patch_of::<Function>(&raw).to_string();
    assert!(!patch.contains("mountPath"), "{patch}");
    assert!(patch.contains(r#"{"op":"remove","path":"/spec/java/jar"}"#), "{patch}");
}
