//! What a held-back rollout would change, in words: it stands in `status.pendingChange`.

use function_mesh_api::printable;
use function_mesh_workloads::diff::{Difference, Step, differences};
use function_mesh_workloads::redact;
use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::Value;

use function_mesh_kube::events::clip;

/// Longest text, in bytes.
const LONGEST: usize = 4096;
/// Longest value in it, in bytes.
const LONGEST_VALUE: usize = 120;

/// Fields whose values may hold passwords: commands carry configurations, and so do variables and the headers of
/// probes and hooks.
const SECRETIVE: [&str; 5] = ["command", "args", "env", "annotations", "httpHeaders"];

/// The change, one line a place; None when there is none. The number of replicas is never held back.
pub(super) fn change(wanted: &StatefulSet, live: &StatefulSet) -> Option<String> {
    let (Ok(wanted), Ok(live)) = (serde_json::to_value(wanted), serde_json::to_value(live)) else {
        return None;
    };
    let found = differences(&wanted, &live);
    let of_pods =
        found.iter().filter(|it| it.path.is_within(&["spec"]) && !it.path.is_within(&["spec", "replicas"]));
    let lines: Vec<_> = of_pods.map(line).collect();
    (!lines.is_empty()).then(|| clip(&lines.join("\n"), LONGEST).to_owned())
}

fn line(difference: &Difference) -> String {
    let Difference { path, live, wanted } = difference;
    let is_secretive =
        path.0.iter().any(|step| matches!(step, Step::Field(name) if SECRETIVE.contains(&name.as_str())));
    let text = |value: &Option<Value>| {
        let value = value.as_ref().map(|value| redact::value_at(path, &without_secretive(value)).to_string());
        value.map_or_else(|| "nothing".to_owned(), |value| clip(&value, LONGEST_VALUE).to_owned())
    };
    let line = if is_secretive {
        format!("{path}: changes")
    } else {
        format!("{path}: {} becomes {}", text(live), text(wanted))
    };
    printable(&line).into_owned()
}

/// A value with what may hold passwords hidden: a whole container or probe may be what changes.
fn without_secretive(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                let is_secretive = SECRETIVE.contains(&name.as_str());
                let value = if is_secretive {
                    Value::String(redact::HIDDEN.to_owned())
                } else {
                    without_secretive(value)
                };
                (name.clone(), value)
            };
            Value::Object(fields.iter().map(field).collect())
        }
        Value::Array(items) => items.iter().map(without_secretive).collect(),
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
    fn it_says_what_would_change_and_hides_what_may_be_secret() {
        let live = stateful_set(1, "old", "password=x");
        assert_eq!(change(&stateful_set(3, "old", "password=x"), &live), None);
        let expected = "spec.template.spec.containers[c].command[0]: changes\n\
            spec.template.spec.containers[c].image: \"old\" becomes \"new\"";
        assert_eq!(change(&stateful_set(1, "new", "password=y"), &live).as_deref(), Some(expected));
    }

    /// Headers of probes and hooks, alone or as a part of what changes as a whole; and a text that turns direction.
    #[test]
    fn s23_headers_of_probes_and_hooks_are_not_told() {
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
            let told = change(&set(wanted.clone()), &live).unwrap_or_else(|| panic!("{wanted}"));
            assert!(!told.contains("CANARY"), "{told}");
        }
        let told =
            change(&set(json!({ "name": "c", "image": "a\u{202e}b\u{2028}" })), &live).expect("a change");
        assert!(told.ends_with("becomes \"a\u{fffd}b\u{fffd}\""), "{told}");
    }
}
