//! The rules of replicas, autoscaling and resources.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::component::Common;
use crate::quantity;

use super::{FieldPath, Findings};

pub(super) fn check(path: &FieldPath, spec: &Common<'_>, findings: &mut Findings) {
    // Without an autoscaler any number of replicas will do, none included; minReplicas then means nothing.
    if let Some(most) = spec.max_replicas {
        let replicas = spec.replicas.unwrap_or(1);
        let least = spec.min_replicas.unwrap_or(1);
        if replicas == 0 {
            findings.deny(
                path.field("replicas"),
                "cannot be 0 under an autoscaler; remove `maxReplicas` to scale to zero",
            );
        }
        if replicas > most {
            findings.deny(path.field("maxReplicas"), format!("{most} is less than `replicas`, {replicas}"));
        }
        if least < 1 {
            findings.deny(path.field("minReplicas"), "must be 1 or more");
        }
        if least > most {
            findings.deny(path.field("minReplicas"), format!("{least} is more than `maxReplicas`, {most}"));
        } else if least > replicas {
            findings.deny(path.field("minReplicas"), format!("{least} is more than `replicas`, {replicas}"));
        }
    }
    let Some(pod) = spec.pod else { return };
    let pod_path = path.field("pod");
    if let Some(vpa) = &pod.vpa {
        if spec.max_replicas.is_some() {
            findings.deny(pod_path.field("vpa"), "`maxReplicas` is set too; scale either way, not both");
        }
        let policies =
            vpa.resource_policy.iter().flat_map(|policy| policy.container_policies.iter().flatten());
        for (index, policy) in policies.enumerate() {
            if policy.container_name.as_deref().unwrap_or_default().is_empty() {
                let field = pod_path.field("vpa.resourcePolicy.containerPolicies").index(index);
                findings.deny(field.field("containerName"), "must name a container, or be `*` for all");
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
            findings.deny(
                field,
                format!("{first:?} is a rule for {resource} already; one rule a resource is possible"),
            );
        }
    }
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

pub(super) fn resources(path: &FieldPath, spec: &Common<'_>, findings: &mut Findings) {
    let none = ResourceRequirements::default();
    let resources = spec.resources.unwrap_or(&none);
    let path = path.field("resources");
    for (list, field) in [(&resources.requests, "requests"), (&resources.limits, "limits")] {
        for (resource, amount) in list.iter().flatten() {
            let field = path.field(field).field(resource);
            match quantity::value(amount) {
                None => findings
                    .deny(field, format!("{:?} is no amount; write for example `500m` or `1Gi`", amount.0)),
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
