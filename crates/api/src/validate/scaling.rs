//! Rules of replicas, autoscaling and resources.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::BuiltinMetric;
use crate::component::{Common, Role, SpecView};
use crate::quantity;

use super::collector::Collector;
use super::rules;
use super::violation::FieldPath;

/// Whether the API server has stored the object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lifecycle {
    /// About to be created, or part of a mesh.
    New,
    /// Stored. An autoscaler may have set its replicas, so they must not block a change of the limits.
    Stored,
}

pub(super) fn check(path: &FieldPath, view: &SpecView<'_>, lifecycle: Lifecycle, findings: &mut Collector) {
    let spec = &view.common;
    // Without an autoscaler any number of replicas is valid, and minReplicas has no effect.
    if let Some(max) = spec.max_replicas {
        limits(path, max, spec.min_replicas.unwrap_or(1), spec.replicas.unwrap_or(1), lifecycle, findings);
    }
    let Some(pod) = spec.pod else { return };
    let pod_path = path.field("pod");
    if let Some(vpa) = &pod.vpa {
        if spec.max_replicas.is_some() {
            findings.deny_rule(path, &rules::TWO_AUTOSCALERS);
        }
        let policies =
            vpa.resource_policy.iter().flat_map(|policy| policy.container_policies.iter().flatten());
        for (index, policy) in policies.enumerate() {
            let at = pod_path.field("vpa.resourcePolicy.containerPolicies").index(index);
            if policy.container_name.as_deref().unwrap_or_default().is_empty() {
                findings.deny(at.field("containerName"), "must name a container, or be `*` for all");
            }
            for (limits, field) in [(&policy.min_allowed, "minAllowed"), (&policy.max_allowed, "maxAllowed")]
            {
                for (resource, quantity) in limits.iter().flatten() {
                    if let IntOrString::String(text) = quantity
                        && quantity::value(&Quantity(text.clone())).is_none()
                    {
                        findings.deny(at.field(field).field(resource), invalid_quantity(text));
                    }
                }
            }
        }
    }
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (index, rule) in pod.builtin_autoscaler.iter().flatten().enumerate() {
        let field = pod_path.field("builtinAutoscaler").index(index);
        let Some(BuiltinMetric { resource, .. }) = BuiltinMetric::parse(rule) else {
            findings.warn(field, format!("unknown built-in metric {rule:?}; ignored"));
            continue;
        };
        if let Some(first) = seen.insert(resource, rule) {
            let message = format!("duplicate metric for {resource}: {first:?} is already set");
            match view.role {
                Role::Function => findings.deny(field, message),
                // Function Mesh for Go and the API server accept it.
                Role::Source | Role::Sink => findings.warn(field, message),
            }
        }
    }
}

fn limits(
    path: &FieldPath,
    max: i32,
    min: i32,
    replicas: i32,
    lifecycle: Lifecycle,
    findings: &mut Collector,
) {
    // One message: the other limits are compared with a `maxReplicas` that the author takes for a switch.
    if max < 1 {
        findings.deny_rule(path, &rules::NO_MAX);
        return;
    }
    if replicas == 0 {
        findings.deny_rule(path, &rules::ZERO_UNDER_AUTOSCALER);
    }
    if min < 1 {
        findings.deny_rule(path, &rules::LEAST_REPLICAS);
    }
    if min > max {
        findings.deny_rule(path, &rules::MIN_OVER_MAX);
    }
    let outside = match () {
        () if replicas > max => Some(("maxReplicas", "must not be less than `replicas`")),
        () if min <= max && min > replicas => Some(("minReplicas", "must not exceed `replicas`")),
        () => None,
    };
    match (outside, lifecycle) {
        (Some((field, message)), Lifecycle::New) => findings.deny(path.field(field), message),
        // Zero replicas disable the autoscaler, so it adjusts nothing.
        (Some((field, message)), Lifecycle::Stored) if replicas != 0 => {
            findings.warn(path.field(field), format!("{message}; the autoscaler will adjust the replicas"));
        }
        (Some(_), Lifecycle::Stored) | (None, _) => {}
    }
}

fn invalid_quantity(text: &str) -> String {
    format!("invalid quantity {text:?}; use for example `500m` or `1Gi`")
}

pub(super) fn resources(path: &FieldPath, spec: &Common<'_>, findings: &mut Collector) {
    let none = ResourceRequirements::default();
    let resources = spec.resources.unwrap_or(&none);
    let path = path.field("resources");
    for (list, field) in [(&resources.requests, "requests"), (&resources.limits, "limits")] {
        for (resource, quantity) in list.iter().flatten() {
            let field = path.field(field).field(resource);
            match quantity::value(quantity) {
                None => findings.deny(field, invalid_quantity(&quantity.0)),
                Some(value) if value < 0.0 => findings.deny(field, "must be 0 or more"),
                Some(_) => {}
            }
        }
    }
    for resource in ["memory", "cpu"] {
        let quantity = |list: &Option<BTreeMap<String, Quantity>>| {
            list.as_ref().and_then(|list| list.get(resource)).and_then(quantity::value)
        };
        if let (Some(request), Some(limit)) = (quantity(&resources.requests), quantity(&resources.limits))
            && request > limit
            && limit > 0.0
        {
            findings.deny(path.field("requests").field(resource), "must not exceed the limit");
        }
    }
}
