//! The generated CRDs: size, documentation, defaults, required fields and limits.

#![allow(clippy::print_stdout, reason = "a failed test shows all sizes")]

use std::sync::LazyLock;

use function_mesh_api::validate::rules;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

/// The API server accepts requests of 3 MiB, etcd objects of 1.5 MiB; people also read and diff these files.
const BUDGET: [(&str, usize); 5] = [
    ("backendconfigs", 150_000),
    ("functions", 190_000),
    ("sources", 180_000),
    ("sinks", 180_000),
    ("functionmeshes", 700_000),
];

/// Fields of Kubernetes types.
const EMBEDDED: [&str; 14] = [
    "affinity",
    "autoScalingBehavior",
    "autoScalingMetrics",
    "env",
    "imagePullSecrets",
    "initContainers",
    "resources",
    "securityContext",
    "sidecars",
    "startupProbe",
    "tolerations",
    "volumeClaimTemplates",
    "volumeMounts",
    "volumes",
];

fn crds() -> &'static [CustomResourceDefinition] {
    static ALL: LazyLock<Vec<CustomResourceDefinition>> =
        LazyLock::new(|| function_mesh_api::crd::all().expect("definitions"));
    &ALL
}

fn schema(plural: &str) -> Value {
    let crd = crds().iter().find(|crd| crd.spec.names.plural == plural).expect(plural);
    let version = crd.spec.versions.first().expect("a version");
    serde_json::to_value(
        version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()).expect("a schema"),
    )
    .expect("JSON")
}

fn at<'a>(schema: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(schema, |schema, field| {
        let schema = schema.get("items").unwrap_or(schema);
        schema.pointer(&format!("/properties/{field}")).unwrap_or_else(|| panic!("{path}: no {field}"))
    })
}

#[test]
fn sizes_are_within_budget() {
    for (plural, budget) in BUDGET {
        let crd = crds().iter().find(|crd| crd.spec.names.plural == plural).expect(plural);
        let size = serde_json::to_vec(crd).expect("JSON").len();
        println!("{plural}: {size} bytes of {budget}");
        assert!(size < budget, "{plural} has {size} bytes, the budget is {budget}");
    }
}

/// Every field is documented, except within embedded Kubernetes types.
#[test]
fn fields_are_documented() {
    fn walk(path: &str, schema: &Value, missing: &mut Vec<String>) {
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}.{name}");
            if property.get("description").is_none() {
                missing.push(path.clone());
            }
            if !EMBEDDED.contains(&name.as_str())
                && !matches!(name.as_str(), "conditions" | "standardConditions")
            {
                walk(&path, property, missing);
                walk(&format!("{path}[]"), property.get("items").unwrap_or(&Value::Null), missing);
                walk(
                    &format!("{path}{{}}"),
                    property.get("additionalProperties").unwrap_or(&Value::Null),
                    missing,
                );
            }
        }
    }
    for plural in ["functions", "sources", "sinks", "functionmeshes", "backendconfigs"] {
        let mut missing = Vec::new();
        walk("spec", at(&schema(plural), "spec"), &mut missing);
        walk("status", at(&schema(plural), "status"), &mut missing);
        assert!(missing.is_empty(), "{plural}: {missing:?}");
    }
}

#[test]
fn only_min_replicas_has_a_default() {
    fn walk(path: &str, schema: &Value, found: &mut Vec<(String, Value)>) {
        if let Some(default) = schema.get("default") {
            found.push((path.to_owned(), default.clone()));
        }
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            walk(&format!("{path}.{name}"), property, found);
        }
        for inner in ["items", "additionalProperties"].into_iter().filter_map(|inner| schema.get(inner)) {
            walk(path, inner, found);
        }
    }
    let mut found = Vec::new();
    walk("spec", at(&schema("functionmeshes"), "spec"), &mut found);
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [
        ("spec", json!({})),
        ("spec.functions.minReplicas", json!(1)),
        ("spec.sinks.minReplicas", json!(1)),
        ("spec.sources.minReplicas", json!(1)),
    ];
    assert_eq!(found, expected.map(|(path, default)| (path.to_owned(), default)));
}

#[test]
fn required_fields_equal_those_of_function_mesh_for_go() {
    let functions = schema("functions");
    assert_eq!(at(&functions, "spec").get("required"), None);
    for (path, required) in [
        ("spec.java", json!(["jar"])),
        ("spec.python", json!(["py"])),
        ("spec.golang", json!(["go"])),
        ("spec.genericRuntime", json!(["functionFile", "language"])),
        ("spec.java.log.logConfig", json!(["key", "name"])),
        ("spec.sourceConfig.batchSourceConfig", json!(["discoveryTriggererClassName"])),
        (
            "spec.pulsar.authConfig.genericAuth",
            json!(["clientAuthenticationParameters", "clientAuthenticationPlugin"]),
        ),
    ] {
        assert_eq!(at(&functions, path).get("required"), Some(&required), "{path}");
    }
    // The webhook of Function Mesh for Go sets them, so they are optional.
    assert_eq!(at(&functions, "spec.windowConfig").get("required"), None);
}

#[test]
fn components_have_scale_and_status_subresources() {
    for crd in crds() {
        let version = crd.spec.versions.first().expect("a version");
        let subresources = version.subresources.as_ref().expect("subresources");
        assert!(subresources.status.is_some());
        let scales = matches!(crd.spec.names.kind.as_str(), "Function" | "Source" | "Sink");
        assert_eq!(subresources.scale.is_some(), scales, "{}", crd.spec.names.kind);
        assert!(!version.additional_printer_columns.as_deref().unwrap_or_default().is_empty());
        assert_eq!(crd.spec.names.categories.as_deref(), Some(&["pulsar".to_owned()][..]));
    }
}

#[test]
fn integer_formats_are_signed() {
    for crd in crds() {
        let text = serde_json::to_string(crd).expect("JSON");
        assert!(!text.contains("\"uint"), "{}", crd.spec.names.kind);
    }
}

#[test]
fn free_form_configuration_is_preserved() {
    let raw = json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "Sink", "metadata": { "name": "k" },
        "spec": { "sinkConfig": {
            "big": 9_007_199_254_740_993_u64, "float": 1.0, "null": null, "deep": { "list": [1, "two", [3.5]], "null": null },
        } },
    });
    let sink: function_mesh_api::Sink = function_mesh_api::parse(raw.clone()).expect("a sink");
    let back = serde_json::to_value(&sink).expect("JSON");
    assert_eq!(back["spec"]["sinkConfig"], raw["spec"]["sinkConfig"]);
    assert_eq!(serde_json::to_string(&back["spec"]["sinkConfig"]["big"]).expect("JSON"), "9007199254740993");
    for path in ["sinkConfig", "deadLetterTopic"] {
        let field = at(&schema("sinks"), &format!("spec.{path}")).clone();
        let kept = field.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
        assert_eq!(kept, path == "sinkConfig");
    }
}

#[test]
fn null_means_absent() {
    let raw = json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "Function", "metadata": { "name": "f", "labels": null },
        "spec": {
            "java": null, "replicas": null, "volumeMounts": null, "secretsMap": null,
            "pod": { "labels": { "a": null, "b": "c" }, "env": [null], "tolerations": null, "securityContext": null },
            "input": { "topics": null, "sourceSpecs": { "t": null } },
        },
    });
    let function: function_mesh_api::Function = function_mesh_api::parse(raw).expect("a function");
    let pod = function.spec.pod.expect("a pod policy");
    assert_eq!(pod.labels.expect("labels").into_keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(pod.env, Some(Vec::new()));
    assert_eq!(function.spec.java, None);
}

#[test]
fn quantities_and_ports_can_be_numbers() {
    let raw = json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "Function", "metadata": { "name": "f" },
        "spec": {
            "resources": { "requests": { "cpu": 1, "memory": 1_000_000_000 }, "limits": { "cpu": 0.5 } },
            "pod": { "startupProbe": { "httpGet": { "port": 9094 }, "periodSeconds": 5 } },
        },
    });
    let function: function_mesh_api::Function = function_mesh_api::parse(raw).expect("a function");
    let resources = function.spec.resources.expect("resources");
    assert_eq!(resources.requests.expect("requests")["memory"].0, "1000000000");
    assert_eq!(function_mesh_api::quantity::value(&resources.limits.expect("limits")["cpu"]), Some(0.5));
}

#[test]
fn fields_have_size_limits() {
    fn walk(path: &str, schema: &Value, missing: &mut Vec<String>) {
        let bound = match schema["type"].as_str() {
            Some("array") => Some("maxItems"),
            Some("object") if schema["additionalProperties"].is_object() => Some("maxProperties"),
            Some("string") if schema["enum"].is_null() && schema["format"].is_null() => Some("maxLength"),
            _ => None,
        };
        if bound.is_some_and(|bound| schema[bound].is_null()) {
            missing.push(path.to_owned());
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if !EMBEDDED.contains(&name.as_str()) {
                walk(&format!("{path}.{name}"), property, missing);
            }
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                walk(&format!("{path}[]"), &schema[inner], missing);
            }
        }
    }
    let mut missing = Vec::new();
    for (plural, _) in BUDGET {
        walk(plural, &schema(plural)["properties"]["spec"], &mut missing);
    }
    assert!(missing.is_empty(), "{missing:?}");
}

/// The API server estimates what an expression costs at most, and rejects the whole CRD.
#[test]
fn expressions_compare_values_and_sizes_only() {
    for rule in rules::ALL {
        for call in [".matches(", ".contains(", ".find(", ".split(", ".all(", ".exists(", ".map(", ".filter("]
        {
            let (field, cel) = (rule.field, rule.cel);
            assert!(
                !cel.contains(call),
                "the rule on {field} calls `{call}…`: too expensive for the API server, so write it in Rust alone: {cel}"
            );
        }
    }
}
