//! The rules of defaults for components.

use crate::BackendConfigSpec;

use super::{FieldPath, Findings, labels, pod};

pub(super) fn check(spec: &BackendConfigSpec, findings: &mut Findings) {
    let root = FieldPath::root("spec");
    for name in spec.env.iter().flat_map(|env| env.keys()) {
        if let Some(fault) = labels::variable_fault(name) {
            findings.deny(root.field("env").key(name), fault);
        }
    }
    let Some(policy) = &spec.pod else { return };
    let root = root.field("pod");
    pod::check(&root, policy, findings);
    for (set, field) in [
        (policy.volumes.is_some(), "volumes"),
        (policy.init_containers.is_some(), "initContainers"),
        (policy.sidecars.is_some(), "sidecars"),
        (policy.env.is_some(), "env"),
        (policy.builtin_autoscaler.is_some(), "builtinAutoscaler"),
        (policy.auto_scaling_metrics.is_some(), "autoScalingMetrics"),
        (policy.auto_scaling_behavior.is_some(), "autoScalingBehavior"),
        (policy.vpa.is_some(), "vpa"),
    ] {
        if set {
            findings.warn(root.field(field), "has no effect in a BackendConfig; set it on the components");
        }
    }
}
