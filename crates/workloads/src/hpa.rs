//! The HorizontalPodAutoscaler of a component.

use std::collections::BTreeMap;

use function_mesh_api::{BuiltinMetric, labels, quantity};
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricSource, CrossVersionObjectReference, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::context::Context;
use crate::names;
use crate::optional::none_if_empty;

/// Builds the HorizontalPodAutoscaler. None without `maxReplicas`, or while the component is suspended, since there
/// are no pods to measure. It scales the component object, whose controller then scales the StatefulSet.
pub(crate) fn build_autoscaler(context: &Context<'_>) -> Option<HorizontalPodAutoscaler> {
    if labels::is_suspended(context.meta) {
        return None;
    }
    let max = context.common.max_replicas?;
    let min = context.common.min_replicas.unwrap_or(1);
    let policy = context.pod;
    let rules = policy.builtin_autoscaler.as_deref().unwrap_or_default();
    let metrics = policy.auto_scaling_metrics.as_deref().unwrap_or_default();
    let behavior = policy.auto_scaling_behavior.as_ref();
    let (metrics, behavior) = if !rules.is_empty() && max > min {
        (builtin_metrics(context, rules), None)
    } else if max > min && rules.is_empty() && metrics.is_empty() && behavior.is_none() {
        (vec![utilization_metric(context, "cpu", 80.0)], None)
    } else {
        (metrics.to_vec(), behavior.cloned())
    };
    Some(HorizontalPodAutoscaler {
        metadata: context.child_metadata(names::stateful_set(context.object_name(), context.role())),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some(labels::API_VERSION.to_owned()),
                kind: context.role().kind().to_owned(),
                name: context.object_name().to_owned(),
            },
            min_replicas: Some(min),
            max_replicas: max,
            metrics: none_if_empty(metrics),
            behavior,
        }),
        status: None,
    })
}

/// Makes an autoscaler keep the replicas as they are, within its bounds. All else stays as its user wrote it.
pub fn hold_replicas(autoscaler: &mut HorizontalPodAutoscaler) {
    let Some(spec) = &mut autoscaler.spec else { return };
    let behavior = spec.behavior.get_or_insert_default();
    for direction in [&mut behavior.scale_up, &mut behavior.scale_down] {
        direction.get_or_insert_default().select_policy = Some("Disabled".to_owned());
    }
}

/// The built-in metrics. The first metric of each resource wins.
fn builtin_metrics(context: &Context<'_>, rules: &[String]) -> Vec<MetricSpec> {
    let mut seen = Vec::new();
    let mut metrics = Vec::new();
    for BuiltinMetric { resource, percent } in rules.iter().filter_map(|rule| BuiltinMetric::parse(rule)) {
        if !seen.contains(&resource) {
            seen.push(resource);
            metrics.push(utilization_metric(context, resource, f64::from(percent)));
        }
    }
    metrics
}

/// A utilization metric for a percentage of the limit. Kubernetes measures utilization of the request, so the
/// percentage is scaled by the ratio of limit to request.
#[allow(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
fn utilization_metric(context: &Context<'_>, resource: &str, percent: f64) -> MetricSpec {
    let resources = context.common.resources;
    let quantity = |list: Option<&BTreeMap<String, Quantity>>| {
        // Milli-units like Kubernetes: binary fractions of decimal quantities would truncate.
        let quantity = list?.get(resource).and_then(quantity::value)? * 1000.0;
        Some(quantity.round()).filter(|quantity| *quantity > 0.0)
    };
    let limit = quantity(resources.and_then(|resources| resources.limits.as_ref()));
    let request = quantity(resources.and_then(|resources| resources.requests.as_ref()));
    let factor = limit.zip(request).map_or(1.0, |(limit, request)| limit / request);
    let utilization = (percent * factor) as i32;
    // Of the runner alone: a sidecar without a request, injected or not, would end all scaling.
    MetricSpec {
        type_: "ContainerResource".to_owned(),
        container_resource: Some(ContainerResourceMetricSource {
            container: context.container_name(),
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
    use crate::testing::{function, with_defaults};
    use serde_json::{Value, json};

    fn autoscaler(spec: Value) -> HorizontalPodAutoscalerSpec {
        with_defaults(&function(spec), super::build_autoscaler)
            .and_then(|autoscaler| autoscaler.spec)
            .expect("an autoscaler")
    }

    fn targets(spec: &HorizontalPodAutoscalerSpec) -> Vec<(String, i32)> {
        let resources = spec.metrics.iter().flatten().filter_map(|metric| metric.container_resource.as_ref());
        resources.map(|it| (it.name.clone(), it.target.average_utilization.unwrap_or_default())).collect()
    }

    #[test]
    fn no_autoscaler_without_max_replicas() {
        assert_eq!(with_defaults(&function(json!({})), super::build_autoscaler), None);
    }

    #[test]
    fn held_autoscaler_scales_in_no_direction() {
        let behavior = json!({ "scaleUp": { "selectPolicy": "Max", "stabilizationWindowSeconds": 7 } });
        let given = function(json!({ "maxReplicas": 5, "pod": { "autoScalingBehavior": behavior } }));
        let mut found = with_defaults(&given, super::build_autoscaler).expect("an autoscaler");
        let before = found.clone();
        hold_replicas(&mut found);
        let held = json!({
            "scaleUp": { "selectPolicy": "Disabled", "stabilizationWindowSeconds": 7 },
            "scaleDown": { "selectPolicy": "Disabled" },
        });
        let mut spec = found.spec.expect("a spec");
        assert_eq!(serde_json::to_value(spec.behavior.take()).expect("JSON"), held);
        let others = HorizontalPodAutoscalerSpec { behavior: None, ..before.spec.expect("a spec") };
        assert_eq!(spec, others);
    }

    #[test]
    fn utilization_is_a_percentage_of_the_limit() {
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
    fn metrics_are_of_the_runner_alone() {
        let rules = json!(["AverageUtilizationMemoryPercent80", "AverageUtilizationCPUPercent20"]);
        for pod in [
            json!({}),
            json!({ "builtinAutoscaler": rules }),
            json!({ "sidecars": [{ "name": "s" }], "builtinAutoscaler": rules }),
        ] {
            for metric in autoscaler(json!({ "maxReplicas": 5, "pod": pod })).metrics.unwrap() {
                assert_eq!((metric.type_.as_str(), metric.resource), ("ContainerResource", None));
                assert_eq!(metric.container_resource.unwrap().container, "pulsar-function");
            }
        }
    }

    #[test]
    fn user_behavior_is_kept() {
        let found =
            autoscaler(json!({ "maxReplicas": 5, "pod": { "autoScalingBehavior": { "scaleUp": {} } } }));
        assert_eq!(found.metrics, None);
        assert!(found.behavior.is_some());
    }

    #[test]
    fn equal_limits_have_no_metrics() {
        let found = autoscaler(json!({ "maxReplicas": 1, "minReplicas": 1 }));
        assert_eq!((found.min_replicas, found.max_replicas, found.metrics), (Some(1), 1, None));
    }
}
