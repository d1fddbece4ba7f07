//! Warnings reach the author: the response of an admission review carries them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use function_mesh_api::{Function, FunctionMesh, Source};
use function_mesh_webhook::{Action, AdmissionKind, decide};
use serde_json::{Value, json};

/// The warnings of the review of a new object, which is allowed.
fn warnings<K: AdmissionKind>(kind: &str, spec: &Value) -> Vec<String> {
    let mut review: Value = serde_json::from_str(include_str!("reviews/create-function.json")).unwrap();
    review["request"]["kind"]["kind"] = kind.into();
    review["request"]["object"]["kind"] = kind.into();
    review["request"]["object"]["spec"] = spec.clone();
    let verdict = decide::<K>(Action::Validate, review.to_string().as_bytes());
    assert!(verdict.response.allowed, "{:?}", verdict.response);
    verdict.response.warnings.unwrap_or_default()
}

#[test]
fn what_cannot_work_is_a_warning_at_admission() {
    let mut function = json!({
        "className": "C", "input": { "topics": ["in"] }, "java": { "jar": "f.jar" }, "pulsar": { "pulsarConfig": "p" },
        "maxReplicas": 3, "resources": { "requests": { "memory": "1Gi" } }, "imagePullPolicy": "always",
    });
    let found = warnings::<Function>("Function", &function);
    let starts = ["spec.imagePullPolicy: ", "spec.resources.requests.cpu: "];
    assert!(
        found.len() == 2 && found.iter().zip(starts).all(|(it, start)| it.starts_with(start)),
        "{found:?}"
    );
    function["name"] = "f".into();
    let found = warnings::<FunctionMesh>("FunctionMesh", &json!({ "functions": [function] }));
    assert!(found.iter().any(|it| it.starts_with("spec.functions[0].resources.requests.cpu: ")), "{found:?}");
    let source = json!({
        "className": "org.apache.pulsar.functions.source.batch.BatchSourceExecutor", "sourceConfig": {},
        "batchSourceConfig": { "discoveryTriggererClassName": "T" }, "output": { "topic": "rows" },
        "java": { "jar": "s.nar" }, "pulsar": { "pulsarConfig": "p" },
    });
    let found = warnings::<Source>("Source", &source);
    assert!(found.len() == 1 && found[0].starts_with("spec.className: is the executor"), "{found:?}");
}
