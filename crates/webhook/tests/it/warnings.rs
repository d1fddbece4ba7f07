//! Warnings reach the author: the response of an admission review carries them.

use function_mesh_api::{Function, FunctionMesh, Source};
use function_mesh_webhook::{Action, AdmissionKind, decide};
use serde_json::{Value, json};

/// The warnings of the review of a new object, which is allowed.
fn warnings<K: AdmissionKind>(kind: &str, spec: &Value) -> Vec<String> {
    let mut review: Value = serde_json::from_str(include_str!("../reviews/create-function.json")).unwrap();
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

/// The verdict about a Function that scales on messages: the message of a denial, and the warnings.
fn scaling(fields: &Value) -> (String, Vec<String>) {
    let mut review: Value = serde_json::from_str(include_str!("../reviews/create-function.json")).unwrap();
    let mut spec = json!({
        "className": "C", "input": { "topics": ["in"] }, "java": { "jar": "f.jar" }, "pulsar": { "pulsarConfig": "p" },
    });
    spec.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap());
    review["request"]["object"]["spec"] = spec;
    let response = decide::<Function>(Action::Validate, review.to_string().as_bytes()).response;
    let denial = response.status.map(|status| status.message).unwrap_or_default();
    (denial, response.warnings.unwrap_or_default())
}

#[test]
fn scaling_on_messages_is_judged_at_admission() {
    let schedule = json!({ "start": "0 8 * * MON-FRI", "duration": "10h", "timeZone": "Europe/Berlin" });
    let fine = json!({ "scaling": { "minReplicas": 0, "lag": "30s", "schedules": [schedule] } });
    assert_eq!(scaling(&fine), (String::new(), Vec::new()));
    let (denied, _) = scaling(&json!({ "scaling": {}, "maxReplicas": 3 }));
    assert!(denied.contains("spec.scaling: must not be set with `maxReplicas`"), "{denied}");
    let broken = json!({ "start": "0 25 * * *", "duration": "8d", "timeZone": "Berlin" });
    let (denied, _) = scaling(&json!({ "scaling": { "lag": "1s", "schedules": [broken] } }));
    for expected in [
        "spec.scaling.lag: must be a duration from 5 seconds to a day",
        "spec.scaling.schedules[0].start: invalid hour",
        "spec.scaling.schedules[0].duration: must be a duration of at most a week",
        "spec.scaling.schedules[0].timeZone: unknown time zone",
    ] {
        assert!(denied.contains(expected), "{expected}: {denied}");
    }
    let (denied, warned) = scaling(&json!({ "scaling": {}, "replicas": 4, "minReplicas": 2 }));
    assert_eq!(denied, "");
    let fields: Vec<_> = warned.iter().filter_map(|it| it.split_once(": ")).map(|(field, _)| field).collect();
    assert_eq!(fields, ["spec.replicas", "spec.minReplicas"], "{warned:?}");
}
