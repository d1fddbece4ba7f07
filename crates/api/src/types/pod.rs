//! The pods of a component: everything about them that is not Pulsar.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscalerBehavior, MetricSpec};
use k8s_openapi::api::core::v1::{
    Affinity, Container, EnvVar, LocalObjectReference, PodSecurityContext, Probe, Toleration, Volume,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// Policy of a component's pods.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodPolicy {
    /// Labels of the pods.
    pub labels: Option<BTreeMap<String, String>>,
    /// Labels that a node must have.
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Rules that draw pods to nodes or keep them off.
    pub affinity: Option<Affinity>,
    /// Taints of nodes that the pods tolerate.
    pub tolerations: Option<Vec<Toleration>>,
    /// Annotations of the pods.
    pub annotations: Option<BTreeMap<String, String>>,
    /// Security settings of the pods. Default: user 10000, group 10001, the runtime's seccomp profile.
    pub security_context: Option<PodSecurityContext>,
    /// Seconds that a pod has to end.
    pub termination_grace_period_seconds: Option<i64>,
    /// More volumes of the pods; `volumeMounts` of the component mounts them.
    pub volumes: Option<Vec<Volume>>,
    /// Secrets to pull images with.
    pub image_pull_secrets: Option<Vec<LocalObjectReference>>,
    /// Containers that run, one after the other, before the component.
    pub init_containers: Option<Vec<Container>>,
    /// Containers that run beside the component.
    pub sidecars: Option<Vec<Container>>,
    /// ServiceAccount of the pods.
    pub service_account_name: Option<String>,
    /// Ready-made scaling rules, used when `maxReplicas` is set:
    /// `AverageUtilizationCPUPercent80`, `…50`, `…20`, `AverageUtilizationMemoryPercent80`, `…50`, `…20`.
    pub builtin_autoscaler: Option<Vec<String>>,
    /// Scaling metrics, used when `maxReplicas` is set and no built-in rule applies.
    pub auto_scaling_metrics: Option<Vec<MetricSpec>>,
    /// How fast replicas are added and removed.
    pub auto_scaling_behavior: Option<HorizontalPodAutoscalerBehavior>,
    /// Vertical scaling: requests that follow the load. Not together with `maxReplicas`.
    pub vpa: Option<VpaSpec>,
    /// Environment of the component.
    pub env: Option<Vec<EnvVar>>,
    /// Restarts a component that no longer answers.
    pub liveness: Option<Liveness>,
    /// Holds the liveness check back until the component has started.
    pub startup_probe: Option<Probe>,
    /// Whether to leave out the rule that spreads the pods over nodes. Default: false.
    pub disable_default_affinity: Option<bool>,
}

/// A liveness check of the runner's HTTP port.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Liveness {
    /// Seconds between two checks, and the time that one may take. Zero or less: no check.
    pub period_seconds: Option<i32>,
    /// Seconds before the first check.
    pub initial_delay_seconds: Option<i32>,
    /// Successes after which the component counts as alive. Default: 1.
    pub success_threshold: Option<i32>,
    /// Failures after which the container is restarted. Default: 3.
    pub failure_threshold: Option<i32>,
}

/// Vertical scaling, by the VerticalPodAutoscaler of the cluster.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VpaSpec {
    /// When recommendations are put into effect.
    pub update_policy: Option<PodUpdatePolicy>,
    /// Limits of the recommendations.
    pub resource_policy: Option<PodResourcePolicy>,
}

/// When recommendations are put into effect.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodUpdatePolicy {
    /// Off: never; Initial: for new pods; Recreate and Auto: pods are replaced.
    pub update_mode: Option<UpdateMode>,
    /// Replicas that must be alive before a pod is replaced.
    pub min_replicas: Option<i32>,
}

/// When a VerticalPodAutoscaler acts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum UpdateMode {
    Off,
    Initial,
    Recreate,
    Auto,
}

/// Limits of the recommendations.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodResourcePolicy {
    /// One policy a container.
    pub container_policies: Option<Vec<ContainerResourcePolicy>>,
}

/// Limits of the recommendations for one container.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerResourcePolicy {
    /// Name of the container, or `*` for all that have no policy of their own.
    pub container_name: Option<String>,
    /// Whether this container is scaled.
    pub mode: Option<ContainerScalingMode>,
    /// Least amount of each resource.
    pub min_allowed: Option<BTreeMap<String, IntOrString>>,
    /// Greatest amount of each resource.
    pub max_allowed: Option<BTreeMap<String, IntOrString>>,
    /// Resources to scale. Default: cpu and memory.
    pub controlled_resources: Option<Vec<String>>,
    /// What is scaled. Default: `RequestsAndLimits`.
    pub controlled_values: Option<ContainerControlledValues>,
}

/// Whether a container is scaled.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum ContainerScalingMode {
    Auto,
    Off,
}

/// What is scaled in a container.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum ContainerControlledValues {
    RequestsAndLimits,
    RequestsOnly,
}
