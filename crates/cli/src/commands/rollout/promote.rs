//! Gives all pods of components the version that their canary tries, with an annotation.

use function_mesh_api::labels;
use function_mesh_api::types::{CanaryState, ComponentStatus};
use serde_json::Value;

use super::{Named, annotate, components};
use crate::object_ref::ObjectRef;
use crate::{Failure, Outcome, Streams};

/// Promotes the canary of a component, or each one of a mesh.
pub(super) fn run(named: &Named, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    let (cluster, id) = named.open()?;
    let found = components(&cluster, &id)?;
    let canaries: Vec<_> = found.iter().filter_map(|it| Some((ObjectRef::of(it), revision(it)?))).collect();
    if canaries.is_empty() {
        let name = format!("{}/{}", id.kind.to_lowercase(), id.name);
        return Err(Failure::Message(format!("{name} has no canary that is not promoted")));
    }
    for (id, revision) in &canaries {
        annotate(&cluster, id, labels::PROMOTE_CANARY, Some(revision), streams)?;
    }
    Ok(Outcome::Success)
}

/// The revision that the canary of a component tries, unless all its pods have it for good.
fn revision(component: &Value) -> Option<String> {
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
            let found = revision(&component(state, json!("f-2"), 2));
            assert_eq!(found, expected.then(|| "f-2".to_owned()), "{state}");
        }
        // Another spec has another revision, which is not known yet.
        assert_eq!(revision(&component("Analyzing", json!("f-2"), 1)), None);
        assert_eq!(revision(&component("Analyzing", Value::Null, 2)), None);
        assert_eq!(revision(&json!({})), None);
    }
}
