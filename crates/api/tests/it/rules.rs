//! Validation rules: each is violated by one object and satisfied by another; warnings; ratcheting.

use function_mesh_api::validate::{Findings, check_backend_config, ratchet};
use serde_json::{Value, json};

use crate::cases::{self, check, component, mesh};

fn fields(findings: &Findings) -> Vec<&str> {
    findings.violations.iter().map(|violation| violation.field.as_str()).collect()
}

#[test]
fn each_rule_has_an_invalid_and_a_valid_object() {
    for case in cases::all() {
        let bad = check(&cases::object(case.kind, &case.bad));
        assert_eq!(fields(&bad), case.fields, "{} of {}: {}: {bad:?}", case.rule, case.kind, case.bad);
        let good = check(&cases::object(case.kind, &case.good));
        assert_eq!(fields(&good), [""; 0], "{} of {}: {}", case.rule, case.kind, case.good);
    }
}

/// The CRDs contain the fields of all violations, so that `kubectl explain` finds them.
#[test]
fn violations_name_fields_of_the_crds() {
    let crds = function_mesh_api::crd::all().expect("definitions");
    for case in cases::all() {
        let crd = crds.iter().find(|crd| crd.spec.names.kind == case.kind).expect("a CRD");
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).expect("JSON");
        for field in case.fields.iter().filter(|field| field.starts_with("spec")) {
            let mut at = &schema["openAPIV3Schema"];
            for step in field.replace("[\"x://t\"]", "[]").split('.') {
                let (name, _) = step.split_once('[').unwrap_or((step, ""));
                at = match (&at["properties"][name], &at["additionalProperties"]) {
                    (Value::Null, Value::Null) if step == "name" || step == "metadata" => &Value::Null,
                    (Value::Null, inner @ Value::Object(_)) => inner,
                    (Value::Null, _) if at["type"] == "object" && at["properties"].is_null() => at,
                    (Value::Null, _) if at.is_null() => at,
                    (Value::Null, _) => panic!("{field}: there is no {name}"),
                    (found, _) => found,
                };
                if step.contains('[') {
                    at = if at["items"].is_null() { &at["additionalProperties"] } else { &at["items"] };
                }
            }
        }
    }
}

#[test]
fn mesh_components_follow_the_component_rules() {
    for case in cases::all().into_iter().filter(|case| !case.fields.contains(&"metadata.name")) {
        let list = format!("{}s", case.kind.to_lowercase());
        let of = |change| check(&mesh(&json!({ &list: [component(case.kind, "a", change)] })));
        let expected: Vec<_> =
            case.fields.iter().map(|field| field.replacen("spec", &format!("spec.{list}[0]"), 1)).collect();
        assert_eq!(fields(&of(&case.bad)), expected, "{}: {}", case.rule, case.bad);
        assert_eq!(fields(&of(&case.good)), [""; 0], "{}: {}", case.rule, case.good);
    }
}

#[test]
fn name_is_required_unless_generated() {
    let mut object = cases::base("Function");
    object["metadata"] = json!({});
    assert_eq!(fields(&check(&object)), ["metadata.name"]);
    object["metadata"] = json!({ "generateName": "f-" });
    assert_eq!(fields(&check(&object)), [""; 0]);
}

/// An autoscaler may have set the replicas of a stored object, so they do not block a change of the limits.
#[test]
fn stored_replicas_do_not_block_new_limits() {
    for (change, field) in [
        (json!({ "replicas": 5, "minReplicas": 1, "maxReplicas": 3 }), "spec.maxReplicas"),
        (json!({ "replicas": 1, "minReplicas": 2, "maxReplicas": 3 }), "spec.minReplicas"),
    ] {
        let mut object = cases::object("Function", &change);
        assert_eq!(fields(&check(&object)), [field]);
        object["metadata"]["resourceVersion"] = "1".into();
        let findings = check(&object);
        assert_eq!(fields(&findings), [""; 0]);
        assert_eq!(findings.warnings[0].field.as_str(), field);
    }
}

/// The replicas of a stored object are the operator's. Those in a manifest are its author's.
#[test]
fn replicas_beside_scaling_are_warned_of_in_manifests() {
    let scaling = |replicas: Value| json!({ "scaling": { "minReplicas": 1 }, "replicas": replicas });
    let found = |object: &Value| {
        let findings = check(object);
        let warned = findings.warnings.iter().any(|warning| warning.field.as_str() == "spec.replicas");
        (fields(&findings).len(), warned)
    };
    let mut written = cases::object("Function", &scaling(json!(3)));
    assert_eq!(found(&written), (0, true));
    assert_eq!(found(&cases::object("Function", &scaling(json!(1)))), (0, false), "that is the default");
    assert_eq!(found(&cases::object("Function", &scaling(Value::Null))), (0, false));
    let recommended = json!({ "scaling": { "mode": "Recommend" }, "replicas": 3 });
    assert_eq!(found(&cases::object("Function", &recommended)), (0, false));
    written["metadata"]["resourceVersion"] = "1".into();
    assert_eq!(found(&written), (0, false));
    // The bounds of a sleeping component can be raised.
    written["spec"]["replicas"] = 0.into();
    assert_eq!(found(&written), (0, false));
}

#[test]
fn a_budget_of_a_mesh_has_to_fit_its_components() {
    let of = |total: i32, change: Value| {
        let object = mesh(&json!({
            "scaling": { "maxTotalReplicas": total }, "functions": [component("Function", "a", &change)],
        }));
        let findings = check(&object);
        let at = "spec.scaling.maxTotalReplicas";
        let warned = findings.warnings.iter().find(|warning| warning.field.as_str() == at);
        let text = warned.map(|warning| warning.message.clone()).unwrap_or_default();
        (fields(&findings).into_iter().map(str::to_owned).collect::<Vec<_>>(), text)
    };
    let scaled = |min: i32| json!({ "scaling": { "minReplicas": min } });
    assert_eq!(of(0, scaled(1)).0, ["spec.scaling.maxTotalReplicas"]);
    assert_eq!(of(3, scaled(3)), (Vec::new(), String::new()));
    assert!(of(2, scaled(3)).1.contains("which are 3 together"));
    assert!(of(2, json!({ "scaling": { "mode": "Recommend" } })).1.starts_with("no effect"));
}

#[test]
fn an_atomic_rollout_needs_a_component_that_rolls_back() {
    let warns = |rollout: Value| {
        let functions = [component("Function", "a", &json!({ "rollout": rollout }))];
        let findings = check(&mesh(&json!({ "rollout": { "atomic": true }, "functions": functions })));
        findings.warnings.iter().any(|warning| warning.field.as_str() == "spec.rollout.atomic")
    };
    assert!(warns(Value::Null) && warns(json!({})));
    assert!(warns(json!({ "onFailure": "RollBack", "mode": "Recommend" })));
    assert!(!warns(json!({ "onFailure": "RollBack" })));
}

#[test]
fn mesh_names_are_unique_and_valid() {
    let functions = |names: &[&str]| -> Vec<Value> {
        names.iter().map(|name| component("Function", name, &json!({}))).collect()
    };
    for (spec, field) in [
        (json!({ "functions": functions(&["a", "b", "a"]) }), "spec.functions[2].name"),
        (json!({ "functions": functions(&[""]) }), "spec.functions[0].name"),
        (json!({ "functions": functions(&["A"]) }), "spec.functions[0].name"),
        (json!({ "functions": functions(&["a."]) }), "spec.functions[0].name"),
        (json!({ "functions": functions(&["a-"]) }), "spec.functions[0].name"),
        (json!({ "functions": functions(&[&"a".repeat(42)]) }), "spec.functions[0].name"),
    ] {
        assert_eq!(fields(&check(&mesh(&spec))), [field], "{spec}");
    }
    // The rule is on the whole name.
    for name in ["2fa-check", "2", "-a"] {
        assert_eq!(fields(&check(&mesh(&json!({ "functions": functions(&[name]) })))), [""; 0], "{name}");
    }
    let of_two_roles = json!({
        "functions": functions(&["a", &"b".repeat(41)]),
        "sinks": [component("Sink", "a", &json!({ "input": { "topics": ["out"] } }))],
    });
    assert_eq!(fields(&check(&mesh(&of_two_roles))), [""; 0]);
    let many: Vec<_> = (0..2001).map(|n| component("Sink", &format!("k{n}"), &json!({}))).collect();
    assert_eq!(fields(&check(&mesh(&json!({ "sinks": many })))), ["spec.sinks"]);
}

fn warnings(object: &Value) -> Vec<String> {
    let findings = check(object);
    assert_eq!(findings.violations, [], "{object}");
    findings.warnings.iter().map(ToString::to_string).collect()
}

/// A mesh of a source that produces to one topic and a sink that consumes another.
fn pair(output: &str, input: &str) -> Value {
    mesh(&json!({
        "sources": [component("Source", "feed", &json!({ "output": { "topic": output } }))],
        "sinks": [component("Sink", "drain", &json!({ "input": { "topics": [input] } }))],
    }))
}

#[test]
fn configuration_longer_than_an_argument_is_rejected() {
    let function = |name: &str, config: Value| {
        let mut function = json!({
            "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "Function", "metadata": { "name": "f" },
            "spec": {
                "className": "C", "java": { "jar": "f.jar" }, "input": { "topics": ["in"] },
                "pulsar": { "pulsarConfig": "pulsar" },
            },
        });
        function["spec"][name] = config;
        function
    };
    let violations = |function: &Value| -> Vec<String> {
        check(function).violations.iter().map(ToString::to_string).collect()
    };
    let table = |letter: &str, count: usize| json!({ "table": letter.repeat(count) });
    assert_eq!(violations(&function("funcConfig", table("x", 130_000))), [""; 0]);
    // A quote of a shell takes five bytes, one of JSON within JSON within JSON four.
    for (letter, bytes) in [("x", 1), ("'", 5), ("\"", 4), ("\\", 4), ("\n", 3)] {
        let count = 131_072 / bytes;
        let found = violations(&function("funcConfig", table(letter, count)));
        let [violation] = found.try_into().expect("one violation");
        let size = count * bytes + r#"{\"table\":\"\"}"#.len();
        assert!(violation.starts_with("spec.funcConfig: "), "{violation}");
        assert!(
            violation.contains(&format!("takes {size} bytes")) && violation.contains("131071"),
            "{violation}"
        );
    }
    // Both configurations are part of the same argument.
    let mut two = function("funcConfig", table("x", 70_000));
    two["spec"]["sinkConfig"] = json!({ "configs": table("x", 70_000) });
    assert!(violations(&two).iter().any(|violation| violation.contains("takes 1400")));
}

#[test]
fn similar_topic_names_are_warnings() {
    for (output, input) in [
        ("orders", "order"),
        ("orders", "Orders"),
        ("orders", "ordres"),
        ("orders", "non-persistent://public/default/orders"),
        ("a/b/orders", "persistent://a/b/orderz"),
    ] {
        let [warning] = warnings(&pair(output, input)).try_into().expect("one warning");
        assert!(
            warning.starts_with("spec.sinks[0].input: no component of the mesh produces to"),
            "{warning}"
        );
        assert!(
            warning.contains("did you mean") && warning.ends_with("the output of \"feed\"?"),
            "{warning}"
        );
    }
    for (output, input) in
        [("orders-1", "orders-2"), ("in", "on"), ("a/b/orders", "orders"), ("orders", "events")]
    {
        let found = warnings(&pair(output, input));
        assert!(found.iter().all(|warning| warning.contains("no topic connects")), "{found:?}");
    }
    assert_eq!(warnings(&pair("orders", "orders")), [""; 0]);
}

#[test]
fn conflicts_between_components_are_warnings() {
    let types = |read: &str| {
        warnings(&mesh(&json!({
            "sources": [component("Source", "feed", &json!({ "output": { "topic": "t", "typeClassName": "A" } }))],
            "sinks": [component("Sink", "drain", &json!({ "input": { "topics": ["t"], "typeClassName": read } }))],
        })))
    };
    assert_eq!(
        types("B"),
        [
            "spec.sinks[0].input.typeClassName: type mismatch: consumes B, but \"feed\" produces A to the same topic"
        ]
    );
    // GenericRecord accepts any schema.
    assert_eq!(types("org.apache.pulsar.client.api.schema.GenericRecord"), [""; 0]);
    let one_name = |more: Value| {
        warnings(&mesh(&json!({
            "functions": [component("Function", "a", &json!({}))],
            "sinks": [component("Sink", "a", &more)],
        })))
    };
    let found = one_name(json!({ "input": { "topics": ["in", "out"] } }));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("spec.sinks[0].name: a function of this mesh has the same identity"));
    assert!(
        found[1].starts_with("spec.sinks[0].subscriptionName: functions[0] consumes \"in\" with the same")
    );
    assert_eq!(one_name(json!({ "tenant": "other", "input": { "topics": ["out"] } })), [""; 0]);
}

#[test]
fn backend_configs_are_validated() {
    for (spec, field) in [
        (json!({ "env": { "": "x" } }), "spec.env[\"\"]"),
        (json!({ "env": { "A=B": "x" } }), "spec.env[\"A=B\"]"),
        (json!({ "env": { "Ä": "x" } }), "spec.env[\"Ä\"]"),
        (json!({ "env": { "BASH_ENV": "$(id)" } }), "spec.env[\"BASH_ENV\"]"),
        (json!({ "env": { "brokerServiceURL": "x" } }), "spec.env[\"brokerServiceURL\"]"),
        (
            json!({ "pod": { "startupProbe": { "exec": { "command": ["sh", "-c", "id"] } } } }),
            "spec.pod.startupProbe.exec",
        ),
        (json!({ "pod": { "labels": { "a": "b c" } } }), "spec.pod.labels[\"a\"]"),
        (json!({ "pod": { "nodeSelector": { "a b": "c" } } }), "spec.pod.nodeSelector[\"a b\"]"),
        (
            json!({ "pod": { "tolerations": [{ "effect": "NoSchedule" }] } }),
            "spec.pod.tolerations[0].operator",
        ),
    ] {
        let findings = check_backend_config(&serde_json::from_value(spec).expect("a spec"));
        assert_eq!(fields(&findings), [field]);
    }
    let good = json!({ "env": { "A.b-c": "x" }, "pod": { "labels": { "a": "b" }, "tolerations": [{ "operator": "Exists" }] } });
    assert_eq!(check_backend_config(&serde_json::from_value(good).expect("a spec")), Findings::default());
}

/// A violation in one component of a stored mesh does not block changes of other components, nor adding, removing and
/// moving components.
#[test]
fn known_violation_does_not_block_other_changes() {
    let broken =
        component("Sink", "old", &json!({ "timeout": 5, "processingGuarantee": "effectively_once" }));
    let fine = component("Sink", "fine", &json!({}));
    let before = check(&mesh(&json!({ "sinks": [broken, fine] })));
    assert_eq!(before.violations.len(), 1);
    let mut changed = fine.clone();
    changed["className"] = "org.example.Other".into();
    let after = ratchet(
        &before,
        check(&mesh(&json!({ "sinks": [component("Sink", "new", &json!({})), changed, broken] }))),
    );
    assert_eq!(after.violations, []);
    assert!(
        after.warnings.iter().any(|warning| warning.field.as_str() == "spec.sinks[2].timeout"),
        "{after:?}"
    );
    let mut worse = broken.clone();
    worse["className"] = "".into();
    let after = ratchet(&before, check(&mesh(&json!({ "sinks": [worse] }))));
    assert_eq!(fields(&after), ["spec.sinks[0].className"]);
    let mut renamed = broken;
    renamed["name"] = "another".into();
    let after = ratchet(&before, check(&mesh(&json!({ "sinks": [renamed] }))));
    assert_eq!(fields(&after), ["spec.sinks[0].timeout"], "a new component keeps the rules");
}
