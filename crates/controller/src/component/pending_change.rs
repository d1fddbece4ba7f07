//! The text of `status.pendingChange`: what a deferred rollout would change.

use function_mesh_workloads::change::line;
use function_mesh_workloads::diff::{Difference, differences};
use k8s_openapi::api::apps::v1::StatefulSet;

use function_mesh_kube::events::truncate;

/// Longest text, in bytes.
const MAX_LEN: usize = 4096;

/// Fields that change no running pod.
const NOT_OF_PODS: [&str; 2] = ["replicas", "minReadySeconds"];

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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
