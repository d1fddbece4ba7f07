//! Which revision all pods of a component get when its canary is promoted.

use function_mesh_api::types::{CanaryState, ComponentStatus};
use serde_json::Value;

/// The revision that the canary of a component tries, unless all its pods have it for good.
pub fn tried_revision(component: &Value) -> Option<String> {
    let status: ComponentStatus = serde_json::from_value(component.get("status")?.clone()).ok()?;
    if status.observed_generation != component.pointer("/metadata/generation").and_then(Value::as_i64) {
        return None;
    }
    let canary = status.rollout?.canary?;
    canary.revision.filter(|_| !matches!(canary.state, CanaryState::Promoted | CanaryState::Skipped))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_canary_that_goes_on_or_has_failed_can_be_promoted() {
        let component = |state: &str, revision: Value, generation: i64| {
            let canary = json!({ "state": state, "revision": revision });
            json!({ "metadata": { "generation": 2 },
                "status": { "observedGeneration": generation, "rollout": { "state": "Progressing", "canary": canary } } })
        };
        for (state, expected) in [
            ("Progressing", true),
            ("Analyzing", true),
            ("Inconclusive", true),
            ("Failed", true),
            ("Promoted", false),
            ("Skipped", false),
        ] {
            let found = tried_revision(&component(state, json!("f-2"), 2));
            assert_eq!(found, expected.then(|| "f-2".to_owned()), "{state}");
        }
        // Another spec has another revision, which is not known yet.
        assert_eq!(tried_revision(&component("Analyzing", json!("f-2"), 1)), None);
        assert_eq!(tried_revision(&component("Analyzing", Value::Null, 2)), None);
        assert_eq!(tried_revision(&json!({})), None);
    }
}
