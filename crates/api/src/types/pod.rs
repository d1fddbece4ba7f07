//! Pod settings of a component: everything that does not concern Pulsar.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscalerBehavior, MetricSpec};
use k8s_openapi::api::core::v1::{
    Affinity, Container, EnvVar, LocalObjectReference, PodSecurityContext, Probe, Toleration, Volume,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// Settings of a component's pods.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodPolicy {
    /// Labels of the pods.
    pub labels: Option<BTreeMap<String, String>>,
    /// Node labels that the pods require.
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Affinity and anti-affinity of the pods.
    pub affinity: Option<Affinity>,
    /// Tolerations of the pods.
    pub tolerations: Option<Vec<Toleration>>,
    /// Annotations of the pods.
    pub annotations: Option<BTreeMap<String, String>>,
    /// Security context of the pods. Defaults to user 10000, group 10001 and the seccomp profile `RuntimeDefault`.
    pub security_context: Option<PodSecurityContext>,
    /// Termination grace period of the pods, in seconds.
    pub termination_grace_period_seconds: Option<i64>,
    /// Additional volumes of the pods, which `volumeMounts` of the component mounts.
    pub volumes: Option<Vec<Volume>>,
    /// Image pull secrets.
    pub image_pull_secrets: Option<Vec<LocalObjectReference>>,
    /// Init containers, which run in order before the main container.
    pub init_containers: Option<Vec<Container>>,
    /// Sidecar containers.
    pub sidecars: Option<Vec<Container>>,
    /// ServiceAccount of the pods.
    pub service_account_name: Option<String>,
    /// Built-in metrics of the HorizontalPodAutoscaler, at most one for CPU and one for memory. Each is a percentage of
    /// the limit: `AverageUtilizationCPUPercent80`, `…50` or `…20`, `AverageUtilizationMemoryPercent80`, `…50` or `…20`.
    pub builtin_autoscaler: Option<Vec<String>>,
    /// Metrics of the HorizontalPodAutoscaler, used without `builtinAutoscaler`.
    pub auto_scaling_metrics: Option<Vec<MetricSpec>>,
    /// Scaling behavior of the HorizontalPodAutoscaler, used without `builtinAutoscaler`.
    pub auto_scaling_behavior: Option<HorizontalPodAutoscalerBehavior>,
    /// VerticalPodAutoscaler of the component. Excludes `maxReplicas`.
    pub vpa: Option<VpaSpec>,
    /// Environment variables of the main container.
    pub env: Option<Vec<EnvVar>>,
    /// Liveness probe of the main container.
    pub liveness: Option<Liveness>,
    /// Startup probe of the main container, which delays the liveness probe.
    pub startup_probe: Option<Probe>,
    /// Whether to omit the default anti-affinity, which spreads the pods over nodes. Defaults to false.
    pub disable_default_affinity: Option<bool>,
}

/// HTTP liveness probe of the runner's metrics port.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Liveness {
    /// Period and timeout of the probe, in seconds. 0 or less disables the probe.
    pub period_seconds: Option<i32>,
    /// Seconds before the first probe.
    pub initial_delay_seconds: Option<i32>,
    /// Successes before the container counts as alive. Defaults to 1.
    pub success_threshold: Option<i32>,
    /// Failures before the kubelet restarts the container. Defaults to 3.
    pub failure_threshold: Option<i32>,
}

/// VerticalPodAutoscaler of a component.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VpaSpec {
    /// When the autoscaler applies recommendations.
    pub update_policy: Option<PodUpdatePolicy>,
    /// Limits of the recommendations, by container.
    pub resource_policy: Option<PodResourcePolicy>,
}

/// When the autoscaler applies recommendations.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodUpdatePolicy {
    /// Update mode, passed on as it is: `Off`, `Initial`, `Recreate`, `InPlaceOrRecreate`, or what the installed
    /// VerticalPodAutoscaler knows. `Auto` is deprecated since 1.4 of it.
    pub update_mode: Option<String>,
    /// Live replicas that an eviction requires.
    pub min_replicas: Option<i32>,
}

/// Limits of the recommendations, by container.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodResourcePolicy {
    /// One policy for each container.
    pub container_policies: Option<Vec<ContainerResourcePolicy>>,
}

/// Limits of the recommendations for one container.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerResourcePolicy {
    /// Name of the container, or `*` for all containers without their own policy.
    pub container_name: Option<String>,
    /// Whether the autoscaler scales this container, passed on as it is: `Auto` or `Off`.
    pub mode: Option<String>,
    /// Lower limit of each resource.
    pub min_allowed: Option<BTreeMap<String, IntOrString>>,
    /// Upper limit of each resource.
    pub max_allowed: Option<BTreeMap<String, IntOrString>>,
    /// Resources to scale. Defaults to `cpu` and `memory`.
    pub controlled_resources: Option<Vec<String>>,
    /// What the autoscaler scales, passed on as it is: `RequestsAndLimits` or `RequestsOnly`. Defaults to
    /// `RequestsAndLimits`.
    pub controlled_values: Option<String>,
}

/// The image pull policies of Kubernetes.
const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];

/// The image pull policy of Kubernetes that a text means, in any case: Pulsar's worker service writes `always`. None for
/// an unknown one.
pub fn image_pull_policy(text: &str) -> Option<&'static str> {
    PULL_POLICIES.into_iter().find(|policy| policy.eq_ignore_ascii_case(text))
}
