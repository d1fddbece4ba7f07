//! Which part of a component shapes its pods, as a digest: by it a change of the component is told from a
//! change of everything else that pods are made of, such as the operator's version or a BackendConfig.

use function_mesh_api::{Component, labels};
use serde_json::{Value, json};

use function_mesh_kube::apply::hash;

/// Places in a specification that do not shape pods: they say how many there are, and what comes after them.
const ELSEWHERE: [&[&str]; 9] = [
    &["replicas"],
    &["minReplicas"],
    &["maxReplicas"],
    &["cleanupSubscription"],
    &["cleanupImage"],
    &["pod", "vpa"],
    &["pod", "builtinAutoscaler"],
    &["pod", "autoScalingMetrics"],
    &["pod", "autoScalingBehavior"],
];

/// A digest of what the component's author says of its pods. A restart that was asked for is part of it.
pub(super) fn digest<C: Component>(component: &C) -> String {
    // A specification was read from JSON and has that form.
    let mut spec = serde_json::to_value(component.spec()).unwrap_or_default();
    for place in ELSEWHERE {
        if let Some((last, path)) = place.split_last() {
            let parent = path.iter().try_fold(&mut spec, |value, key| value.get_mut(key));
            _ = parent.and_then(Value::as_object_mut).map(|parent| parent.remove(*last));
        }
    }
    // A policy that says nothing else is as good as none.
    if let Some(spec) = spec.as_object_mut() {
        spec.retain(|_, value| value.as_object().is_none_or(|object| !object.is_empty()));
    }
    hash(&json!([spec, labels::annotation(component.meta(), labels::RESTARTED_AT)]))
}

#[cfg(test)]
mod tests {
    use function_mesh_api::Function;
    use function_mesh_testkit::fixtures;

    use super::*;

    #[test]
    fn scaling_is_no_change_of_pods_and_an_image_is() {
        let plain = Function::with_spec("f", fixtures::java_function("f"));
        let mut scaled = plain.clone();
        scaled.spec.replicas = Some(3);
        scaled.spec.max_replicas = Some(5);
        scaled.spec.pod = serde_json::from_value(json!({ "builtinAutoscaler": [] })).ok();
        assert_eq!(digest(&scaled), digest(&plain));
        let mut other = plain.clone();
        other.spec.image = Some("i".to_owned());
        assert_ne!(digest(&other), digest(&plain));
        let mut again = plain.clone();
        let restarted = [(labels::RESTARTED_AT.to_owned(), "now".to_owned())];
        again.metadata.annotations = Some(restarted.into());
        assert_ne!(digest(&again), digest(&plain));
    }
}
