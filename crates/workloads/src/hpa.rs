//! The HorizontalPodAutoscaler of a component.

use std::collections::BTreeMap;

use function_mesh_api::{labels, quantity};
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec,
    MetricTarget, ResourceMetricSource,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::container::some;
use crate::context::Context;
use crate::names;

/// The autoscaler, when `maxReplicas` switches it on. It scales the component's own object, which then changes
/// its StatefulSet. While the component is suspended there is nothing to measure, and so no autoscaler.
pub(crate) fn of(context: &Context<'_>) -> Option<HorizontalPodAutoscaler> {
    if labels::is_suspended(context.meta) {
        return None;
    }
    let most = context.common.max_replicas?;
    let least = context.common.min_replicas.unwrap_or(1);
    let policy = context.pod;
    let rules = policy.builtin_autoscaler.as_deref().unwrap_or_default();
    let metrics = policy.auto_scaling_metrics.as_deref().unwrap_or_default();
    let behavior = policy.auto_scaling_behavior.as_ref();
    let (metrics, behavior) = if !rules.is_empty() && most > least {
        (builtin(context, rules), None)
    } else if most > least && rules.is_empty() && metrics.is_empty() && behavior.is_none() {
        (vec![utilization(context, "cpu", 80.0)], None)
    } else {
        (metrics.to_vec(), behavior.cloned())
    };
    Some(HorizontalPodAutoscaler {
        metadata: context.child(names::stateful_set(context.object(), context.role())),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some(labels::API_VERSION.to_owned()),
                kind: context.role().kind().to_owned(),
                name: context.object().to_owned(),
            },
            min_replicas: Some(least),
            max_replicas: most,
            metrics: some(metrics),
            behavior,
        }),
        status: None,
    })
}

/// The metrics of the built-in rules: one a resource, the first that is named.
fn builtin(context: &Context<'_>, rules: &[String]) -> Vec<MetricSpec> {
    let mut seen = Vec::new();
    let mut metrics = Vec::new();
    for (resource, percent) in rules.iter().filter_map(|rule| builtin_rule(rule)) {
        if !seen.contains(&resource) {
            seen.push(resource);
            metrics.push(utilization(context, resource, percent));
        }
    }
    metrics
}

fn builtin_rule(rule: &str) -> Option<(&'static str, f64)> {
    Some(match rule {
        "AverageUtilizationCPUPercent80" => ("cpu", 80.0),
        "AverageUtilizationCPUPercent50" => ("cpu", 50.0),
        "AverageUtilizationCPUPercent20" => ("cpu", 20.0),
        "AverageUtilizationMemoryPercent80" => ("memory", 80.0),
        "AverageUtilizationMemoryPercent50" => ("memory", 50.0),
        "AverageUtilizationMemoryPercent20" => ("memory", 20.0),
        _ => return None,
    })
}

/// A share of the limit. Kubernetes reckons by the request, so the share is raised by the ratio of the two.
#[allow(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
fn utilization(context: &Context<'_>, resource: &str, percent: f64) -> MetricSpec {
    let resources = context.common.resources;
    let amount = |list: Option<&BTreeMap<String, Quantity>>| {
        // Whole thousandths, as Kubernetes counts: binary fractions of decimal amounts would fall short.
        let amount = list?.get(resource).and_then(quantity::value)? * 1000.0;
        Some(amount.round()).filter(|amount| *amount > 0.0)
    };
    let limit = amount(resources.and_then(|resources| resources.limits.as_ref()));
    let request = amount(resources.and_then(|resources| resources.requests.as_ref()));
    let factor = limit.zip(request).map_or(1.0, |(limit, request)| limit / request);
    let utilization = (percent * factor) as i32;
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource {
            name: resource.to_owned(),
            target: MetricTarget {
                type_: "Utilization".to_owned(),
                average_utilization: Some(utilization),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{function, of as look};
    use serde_json::{Value, json};

    fn autoscaler(spec: Value) -> HorizontalPodAutoscalerSpec {
        look(&function(spec), super::of).and_then(|autoscaler| autoscaler.spec).expect("an autoscaler")
    }

    fn targets(spec: &HorizontalPodAutoscalerSpec) -> Vec<(String, i32)> {
        let resources = spec.metrics.iter().flatten().filter_map(|metric| metric.resource.as_ref());
        resources.map(|it| (it.name.clone(), it.target.average_utilization.unwrap_or_default())).collect()
    }

    #[test]
    fn without_max_replicas_nothing_scales() {
        assert_eq!(look(&function(json!({})), super::of), None);
    }

    #[test]
    fn shares_are_shares_of_the_limit() {
        let resources = json!({
            "requests": { "cpu": "0.1", "memory": "1G" }, "limits": { "cpu": "0.7", "memory": "1.1G" },
        });
        let found = autoscaler(json!({ "maxReplicas": 5, "resources": resources }));
        assert_eq!(targets(&found), [("cpu".to_owned(), 560)]);
        assert_eq!(found.scale_target_ref.kind, "Function");
        let rules = ["AverageUtilizationMemoryPercent80", "unknown", "AverageUtilizationCPUPercent20"];
        let found = autoscaler(json!({
            "maxReplicas": 5, "resources": resources,
            "pod": { "builtinAutoscaler": rules, "autoScalingBehavior": { "scaleUp": {} } },
        }));
        assert_eq!(targets(&found), [("memory".to_owned(), 88), ("cpu".to_owned(), 140)]);
        assert_eq!(found.behavior, None);
    }

    #[test]
    fn metrics_and_behavior_of_the_users_own_are_passed_on() {
        let found =
            autoscaler(json!({ "maxReplicas": 5, "pod": { "autoScalingBehavior": { "scaleUp": {} } } }));
        assert_eq!(found.metrics, None);
        assert!(found.behavior.is_some());
    }

    #[test]
    fn where_nothing_can_vary_nothing_is_measured() {
        let found = autoscaler(json!({ "maxReplicas": 1, "minReplicas": 1 }));
        assert_eq!((found.min_replicas, found.max_replicas, found.metrics), (Some(1), 1, None));
    }
}
