//! A hash of the part of a spec that determines pods. It distinguishes a change of the component from other changes of
//! its pods, such as an operator upgrade or a changed BackendConfig.

use function_mesh_api::{Component, labels};
use serde_json::{Value, json};

use function_mesh_kube::apply;

/// Fields that do not determine pods: scaling, clean-up, stalls and what happens to a bad rollout.
const IGNORED_FIELDS: [&[&str]; 13] = [
    &["replicas"],
    &["minReplicas"],
    &["maxReplicas"],
    &["cleanupSubscription"],
    &["cleanupImage"],
    &["stallAfter"],
    &["onStall"],
    &["scaling"],
    &["rollout"],
    &["pod", "vpa"],
    &["pod", "builtinAutoscaler"],
    &["pod", "autoScalingMetrics"],
    &["pod", "autoScalingBehavior"],
];

/// The hash of a component's spec, and of its restart annotation.
pub(super) fn hash<C: Component>(component: &C) -> String {
    // The spec was decoded from JSON, so it can be serialized.
    let mut spec = serde_json::to_value(component.spec()).unwrap_or_default();
    for place in IGNORED_FIELDS {
        if let Some((last, path)) = place.split_last() {
            let parent = path.iter().try_fold(&mut spec, |value, key| value.get_mut(key));
            _ = parent.and_then(Value::as_object_mut).map(|parent| parent.remove(*last));
        }
    }
    // A policy without other fields equals a missing one.
    if let Some(spec) = spec.as_object_mut() {
        spec.retain(|_, value| value.as_object().is_none_or(|object| !object.is_empty()));
    }
    apply::hash(&json!([spec, labels::annotation(component.meta(), labels::RESTARTED_AT)]))
}

#[cfg(test)]
mod tests {
    use function_mesh_api::Function;
    use function_mesh_testkit::fixtures;

    use super::*;

    #[test]
    fn hash_ignores_scaling_and_depends_on_the_image() {
        let plain = Function::with_spec("f", fixtures::java_function("f"));
        let mut scaled = plain.clone();
        scaled.spec.replicas = Some(3);
        scaled.spec.max_replicas = Some(5);
        scaled.spec.pod = serde_json::from_value(json!({ "builtinAutoscaler": [] })).ok();
        assert_eq!(hash(&scaled), hash(&plain));
        let mut other = plain.clone();
        other.spec.image = Some("i".to_owned());
        assert_ne!(hash(&other), hash(&plain));
        let mut again = plain.clone();
        let restarted = [(labels::RESTARTED_AT.to_owned(), "now".to_owned())];
        again.metadata.annotations = Some(restarted.into());
        assert_ne!(hash(&again), hash(&plain));
    }
}
