//! What a held-back rollout would change, in words: it stands in `status.pendingChange`.

use function_mesh_workloads::difference::{Difference, differences};
use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::Value;

use crate::kit::events::clip;

/// Longest text, in bytes.
const LONGEST: usize = 4096;
/// Longest value in it, in bytes.
const LONGEST_VALUE: usize = 120;

/// Fields whose values may hold passwords: commands carry configurations, and so do variables.
const SECRETIVE: [&str; 4] = ["command", "args", "env", "annotations"];

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
    let path = path.to_string();
    if SECRETIVE.iter().any(|field| path.split(['.', '[']).any(|step| step == *field)) {
        return format!("{path}: changes");
    }
    let text = |value: &Option<Value>| {
        value
            .as_ref()
            .map_or_else(|| "nothing".to_owned(), |value| clip(&value.to_string(), LONGEST_VALUE).to_owned())
    };
    format!("{path}: {} becomes {}", text(live), text(wanted))
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
}
