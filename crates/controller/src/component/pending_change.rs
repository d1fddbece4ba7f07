//! The text of `status.pendingChange`: what a deferred rollout would change.

use function_mesh_api::printable;
use function_mesh_workloads::diff::{Difference, Step, differences};
use function_mesh_workloads::redact;
use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::Value;

use function_mesh_kube::events::truncate;

/// Longest text, in bytes.
const MAX_LEN: usize = 4096;
/// Longest value in it, in bytes.
const MAX_VALUE_LEN: usize = 120;

/// Fields that change no running pod.
const NOT_OF_PODS: [&str; 2] = ["replicas", "minReadySeconds"];
/// Fields whose values may contain secrets: commands and variables contain configuration, headers of probes and hooks
/// may contain credentials.
const SENSITIVE_FIELDS: [&str; 5] = ["command", "args", "env", "annotations", "httpHeaders"];

/// Describes the change, one line per field; None without a change. Replicas are never deferred.
pub(super) fn describe(wanted: &StatefulSet, live: &StatefulSet) -> Option<String> {
    let (Ok(wanted), Ok(live)) = (serde_json::to_value(wanted), serde_json::to_value(live)) else {
        return None;
    };
    let found = differences(&wanted, &live);
    let is_of_pods = |it: &&Difference| {
        it.path.is_within(&["spec"]) && !NOT_OF_PODS.iter().any(|field| it.path.is_within(&["spec", field]))
    };
    let of_pods = found.iter().filter(is_of_pods);
    let lines: Vec<_> = of_pods.map(line).collect();
    (!lines.is_empty()).then(|| truncate(&lines.join("\n"), MAX_LEN).to_owned())
}

fn line(difference: &Difference) -> String {
    let Difference { path, live, wanted } = difference;
    let is_sensitive = path
        .0
        .iter()
        .any(|step| matches!(step, Step::Field(name) if SENSITIVE_FIELDS.contains(&name.as_str())));
    let text = |value: &Option<Value>| {
        let value = value.as_ref().map(|value| redact::value_at(path, &redact_fields(value)).to_string());
        value.map_or_else(|| "nothing".to_owned(), |value| truncate(&value, MAX_VALUE_LEN).to_owned())
    };
    let line = if is_sensitive {
        format!("{path}: changes")
    } else {
        format!("{path}: {} becomes {}", text(live), text(wanted))
    };
    printable(&line).into_owned()
}

/// A value with redacted fields: the change may be a whole container or probe.
fn redact_fields(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                let is_sensitive = SENSITIVE_FIELDS.contains(&name.as_str());
                let value = if is_sensitive {
                    Value::String(redact::HIDDEN.to_owned())
                } else {
                    redact_fields(value)
                };
                (name.clone(), value)
            };
            Value::Object(fields.iter().map(field).collect())
        }
        Value::Array(items) => items.iter().map(redact_fields).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stateful_set(replicas: i32, image: &str, command: &str) -> StatefulSet {
        let container = json!({ "name": "c", "image": image, "command": [command] });
        let spec = json!({ "replicas": replicas, "selector": {}, "template": { "spec": { "containers": [container] } } });
        serde_json::from_value(json!({ "spec": spec })).expect("a StatefulSet")
    }

    #[test]
    fn describes_changes_and_redacts_values() {
        let live = stateful_set(1, "old", "password=x");
        assert_eq!(describe(&stateful_set(3, "old", "password=x"), &live), None);
        let mut later = live.clone();
        later.spec.as_mut().expect("a spec").min_ready_seconds = Some(10);
        assert_eq!(describe(&later, &live), None);
        let expected = "spec.template.spec.containers[c].command[0]: changes\n\
            spec.template.spec.containers[c].image: \"old\" becomes \"new\"";
        assert_eq!(describe(&stateful_set(1, "new", "password=y"), &live).as_deref(), Some(expected));
    }

    /// Headers of probes and hooks, alone or as part of a larger change; and characters that change text direction.
    #[test]
    fn redacts_headers_of_probes_and_hooks() {
        let set = |container: Value| -> StatefulSet {
            let spec = json!({ "selector": {}, "template": { "spec": { "containers": [container] } } });
            serde_json::from_value(json!({ "spec": spec })).expect("a StatefulSet")
        };
        let get = |value: &str| json!({ "httpGet": { "port": 1, "httpHeaders": [{ "name": "Authorization", "value": value }] } });
        let live = set(json!({ "name": "c", "startupProbe": get("CANARY-1") }));
        for wanted in [
            json!({ "name": "c", "startupProbe": get("CANARY-2") }),
            json!({ "name": "c", "startupProbe": get("CANARY-1"), "readinessProbe": get("CANARY-2") }),
            json!({ "name": "c", "lifecycle": { "preStop": get("CANARY-2") } }),
            json!({ "name": "d", "env": [{ "name": "A", "value": "CANARY" }], "image": "i", "args": ["CANARY"] }),
        ] {
            let text = describe(&set(wanted.clone()), &live).unwrap_or_else(|| panic!("{wanted}"));
            assert!(!text.contains("CANARY"), "{text}");
        }
        let text =
            describe(&set(json!({ "name": "c", "image": "a\u{202e}b\u{2028}" })), &live).expect("a change");
        assert!(text.ends_with("becomes \"a\u{fffd}b\u{fffd}\""), "{text}");
    }
}
