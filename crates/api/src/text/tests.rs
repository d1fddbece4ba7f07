use serde_json::json;

use super::*;
use crate::{Function, FunctionMesh, parse};

fn assert_same(raw: &Value) {
    let (tree, text) = (parse::<Function>(raw.clone()), parse_text::<Function>(&raw.to_string()));
    match (tree, text) {
        (Ok(tree), Ok(text)) => assert_eq!(tree.spec, text.spec, "{raw}"),
        (Err(tree), Err(text)) => assert_eq!(tree, text, "{raw}"),
        (tree, text) => panic!("{raw}: {tree:?} {text:?}"),
    }
}

#[test]
fn parses_like_a_tree() {
    for spec in [
        json!({}),
        json!(null),
        json!("x"),
        json!({ "replicas": "three" }),
        json!({ "replicas": 1.5 }),
        json!({ "replicas": null, "input": { "topics": [null, "a", null] } }),
        json!({ "input": { "topics": "a" } }),
        json!({ "input": { "topics": [{}] } }),
        json!({ "input": [] }),
        json!({ "funcConfig": { "a": [null, 1.0, { "b": null }] }, "unknown": [{ "": 0 }] }),
        json!({ "funcConfig": "x" }),
        json!({ "resources": { "requests": { "cpu": 0.5, "memory": 1_000_000_000 }, "limits": null } }),
        json!({ "pod": { "labels": { "config": "a", "b": 1 } } }),
        json!({ "pod": { "vpa": { "resourcePolicy": { "containerPolicies": [{
            "minAllowed": { "cpu": 0.5, "memory": 1024, "a": null }, "maxAllowed": { "memory": 8_589_934_592_i64 },
        }] } } } }),
        json!({ "processingGuarantee": "never" }),
        json!({ "pod": { "sidecars": [{ "name": "s", "ports": [{ "containerPort": "x" }] }] } }),
    ] {
        assert_same(&json!({ "metadata": { "name": "f" }, "spec": spec }));
    }
    assert_same(&json!({ "metadata": { "name": "f", "labels": { "a": null } } }));
    assert_same(&json!([]));
    assert_same(&json!(1));
}

#[test]
fn skipped_fields_cost_no_memory() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let text = format!(
        r#"{{"metadata":{{"name":"f","managedFields":{deep}}},"spec":{{"unknown":{deep}}},"status":{deep}}}"#
    );
    assert_eq!(parse_text::<Function>(&text).expect("an object").metadata.name.as_deref(), Some("f"));
}

#[test]
fn memory_is_limited() {
    for list in [
        r#""functions":[ITEMS]"#,
        r#""functions":[{"pod":{"sidecars":[ITEMS]}}]"#,
        r#""sinks":[{"volumeMounts":[ITEMS]},{"pod":{"volumes":[ITEMS]}}]"#,
    ] {
        let spec = list.replace("ITEMS", &vec!["{}"; 400_000].join(","));
        let fault = parse_text::<FunctionMesh>(&format!(r#"{{"spec":{{{spec}}}}}"#)).expect_err(list);
        assert!(fault.message.contains("takes more than 32 MiB"), "{fault}");
    }
}
