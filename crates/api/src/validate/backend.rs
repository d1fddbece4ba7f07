//! Rules of BackendConfigs.

use crate::BackendConfigSpec;

use super::collector::Collector;
use super::violation::FieldPath;
use super::{environment, labels, pod};
use k8s_openapi::api::core::v1::Probe;

pub(super) fn check(spec: &BackendConfigSpec, findings: &mut Collector) {
    let root = FieldPath::root("spec");
    for name in spec.env.iter().flat_map(|env| env.keys()) {
        if let Some(error) = labels::variable_error(name) {
            findings.deny(root.field("env").key(name), error);
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
            findings.warn(root.field(field), "ignored in a BackendConfig; set it on the components");
        }
    }
}

/// Rejects fields that run code in the pods of other users or obtain their credentials. [`check`] warns of ignored
/// fields.
pub(super) fn check_safe(spec: &BackendConfigSpec, findings: &mut Collector) {
    let root = FieldPath::root("spec");
    for name in spec.env.iter().flat_map(|env| env.keys()) {
        if let Some(error) = environment::unsafe_variable(name) {
            findings.deny(root.field("env").key(name), error);
        }
    }
    let probe = spec.pod.as_ref().and_then(|pod| pod.startup_probe.as_ref());
    if probe.is_some_and(is_unsafe_probe) {
        findings.deny(root.field("pod.startupProbe.exec"), environment::unsafe_probe());
    }
}

/// Whether a probe runs a command in the container.
pub fn is_unsafe_probe(probe: &Probe) -> bool {
    probe.exec.is_some()
}
