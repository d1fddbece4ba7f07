//! The rules of replicas, autoscaling and resources.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::component::{Common, Role, SpecView};
use crate::quantity;

use super::collector::Collector;
use super::rules;
use super::violation::FieldPath;

/// Whether an object is new to the cluster, or was taken already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lifecycle {
    /// It is about to be created, or stands in a mesh.
    New,
    /// It is stored. Then its number of replicas is the autoscaler's, and no fault of whoever changes a limit.
    Stored,
}

pub(super) fn check(path: &FieldPath, view: &SpecView<'_>, lifecycle: Lifecycle, findings: &mut Collector) {
    let spec = &view.common;
    // Without an autoscaler any number of replicas will do, none included; minReplicas then means nothing.
    if let Some(most) = spec.max_replicas {
        limits(path, most, spec.min_replicas.unwrap_or(1), spec.replicas.unwrap_or(1), lifecycle, findings);
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
                for (resource, amount) in limits.iter().flatten() {
                    if let IntOrString::String(text) = amount
                        && quantity::value(&Quantity(text.clone())).is_none()
                    {
                        findings.deny(at.field(field).field(resource), no_amount(text));
                    }
                }
            }
        }
    }
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (index, rule) in pod.builtin_autoscaler.iter().flatten().enumerate() {
        let field = pod_path.field("builtinAutoscaler").index(index);
        let Some(resource) = builtin_resource(rule) else {
            findings.warn(field, format!("{rule:?} is no built-in rule and has no effect"));
            continue;
        };
        if let Some(first) = seen.insert(resource, rule) {
            let message =
                format!("{first:?} is a rule for {resource} already; one rule a resource is possible");
            match view.role {
                Role::Function => findings.deny(field, message),
                // The original takes it, and so does the API server.
                Role::Source | Role::Sink => findings.warn(field, message),
            }
        }
    }
}

fn limits(
    path: &FieldPath,
    most: i32,
    least: i32,
    replicas: i32,
    lifecycle: Lifecycle,
    findings: &mut Collector,
) {
    if replicas == 0 {
        findings.deny_rule(path, &rules::ZERO_UNDER_AUTOSCALER);
    }
    if least < 1 {
        findings.deny_rule(path, &rules::LEAST_REPLICAS);
    }
    if least > most {
        findings.deny_rule(path, &rules::MIN_OVER_MAX);
    }
    let outside = match () {
        () if replicas > most => Some(("maxReplicas", "must not be less than `replicas`")),
        () if least <= most && least > replicas => Some(("minReplicas", "must not be more than `replicas`")),
        () => None,
    };
    match (outside, lifecycle) {
        (Some((field, message)), Lifecycle::New) => findings.deny(path.field(field), message),
        // Zero switches the autoscaler off, so it moves nothing then.
        (Some((field, message)), Lifecycle::Stored) if replicas != 0 => {
            findings.warn(path.field(field), format!("{message}; the autoscaler will move them"));
        }
        (Some(_), Lifecycle::Stored) | (None, _) => {}
    }
}

fn no_amount(text: &str) -> String {
    format!("{text:?} is no amount; write for example `500m` or `1Gi`")
}

fn builtin_resource(rule: &str) -> Option<&'static str> {
    let rule = rule.strip_prefix("AverageUtilization")?;
    let (resource, percent) = match rule.split_once("Percent")? {
        ("CPU", percent) => ("cpu", percent),
        ("Memory", percent) => ("memory", percent),
        _ => return None,
    };
    matches!(percent, "80" | "50" | "20").then_some(resource)
}

pub(super) fn resources(path: &FieldPath, spec: &Common<'_>, findings: &mut Collector) {
    let none = ResourceRequirements::default();
    let resources = spec.resources.unwrap_or(&none);
    let path = path.field("resources");
    for (list, field) in [(&resources.requests, "requests"), (&resources.limits, "limits")] {
        for (resource, amount) in list.iter().flatten() {
            let field = path.field(field).field(resource);
            match quantity::value(amount) {
                None => findings.deny(field, no_amount(&amount.0)),
                Some(value) if value < 0.0 => findings.deny(field, "must be 0 or more"),
                Some(_) => {}
            }
        }
    }
    for resource in ["memory", "cpu"] {
        let amount = |list: &Option<BTreeMap<String, Quantity>>| {
            list.as_ref().and_then(|list| list.get(resource)).and_then(quantity::value)
        };
        if let (Some(request), Some(limit)) = (amount(&resources.requests), amount(&resources.limits))
            && request > limit
            && limit > 0.0
        {
            findings.deny(path.field("requests").field(resource), "is more than the limit");
        }
    }
}
