//! Rules of BackendConfigs.

use crate::BackendConfigSpec;
use crate::types::PodPolicy;

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
    for (field, is_set) in fields_of_components(policy) {
        if is_set {
            findings.warn(root.field(field), "ignored in a BackendConfig; set it on the components");
        }
    }
}

/// The fields that only components have, and whether they are set. A new field fails to compile until it is here.
fn fields_of_components(policy: &PodPolicy) -> [(&'static str, bool); 9] {
    let PodPolicy {
        volumes,
        init_containers,
        sidecars,
        env,
        builtin_autoscaler,
        auto_scaling_metrics,
        auto_scaling_behavior,
        vpa,
        disable_default_affinity,
        // Defaults of components.
        labels: _,
        node_selector: _,
        affinity: _,
        tolerations: _,
        annotations: _,
        security_context: _,
        termination_grace_period_seconds: _,
        image_pull_secrets: _,
        service_account_name: _,
        liveness: _,
        startup_probe: _,
    } = policy;
    [
        ("volumes", volumes.is_some()),
        ("initContainers", init_containers.is_some()),
        ("sidecars", sidecars.is_some()),
        ("env", env.is_some()),
        ("builtinAutoscaler", builtin_autoscaler.is_some()),
        ("autoScalingMetrics", auto_scaling_metrics.is_some()),
        ("autoScalingBehavior", auto_scaling_behavior.is_some()),
        ("vpa", vpa.is_some()),
        ("disableDefaultAffinity", disable_default_affinity.is_some()),
    ]
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
