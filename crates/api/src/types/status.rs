//! The observed state of components and meshes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{RolloutStatus, ScalingStatus, TrafficStatus};

/// Status of a Function, Source or Sink.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// One entry for each child, by kind: `StatefulSet`, `Service`, `HorizontalPodAutoscaler`, `VerticalPodAutoscaler`.
    #[serde(default)]
    pub conditions: BTreeMap<String, ResourceCondition>,
    /// Standard conditions: Ready, Progressing, Degraded, Paused, Accepted, and Stalled if the operator observes Pulsar.
    /// `conditions` is a map in this version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub standard_conditions: Vec<Condition>,
    /// Desired replicas of the StatefulSet.
    #[serde(default)]
    pub replicas: i32,
    /// Ready replicas.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Replicas at the current revision of the StatefulSet.
    #[serde(default)]
    pub updated_replicas: i32,
    /// Label selector of the pods, for the scale subresource.
    #[serde(default)]
    pub selector: String,
    /// Phase of the component.
    #[serde(default)]
    pub phase: Phase,
    /// Cause of the phase, unless the component is ready without remarks.
    pub message: Option<String>,
    /// Generation of the spec that the operator last applied.
    pub observed_generation: Option<i64>,
    /// Resource version of the global BackendConfig that the StatefulSet was built with.
    pub global_backend_config_revision: Option<String>,
    /// Resource version of the namespaced BackendConfig that the StatefulSet was built with.
    pub namespaced_backend_config_revision: Option<String>,
    /// Deferred change: the difference between the live StatefulSet and the desired one while rollouts are paused.
    pub pending_change: Option<String>,
    /// Subscriptions without a consumer, left by a change of name, tenant, topics or subscription. With
    /// `cleanupSubscription`, deleting the component deletes them; otherwise they stay in Pulsar and retain their
    /// backlog until you delete them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub retired_subscriptions: Vec<Subscription>,
    /// Message traffic. Absent if the operator does not observe Pulsar, and until it has.
    pub traffic: Option<TrafficStatus>,
    /// What the operator decided about the replicas, if `spec.scaling` is set.
    pub scaling: Option<ScalingStatus>,
    /// The rollout of the pods, if `spec.rollout` is set.
    pub rollout: Option<RolloutStatus>,
}

/// A subscription in Pulsar.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// Name of the subscription.
    #[serde(default)]
    pub name: String,
    /// Topic name or topic pattern.
    #[serde(default)]
    pub topic: String,
    /// Whether the topic is a pattern.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_pattern: bool,
}

impl std::fmt::Display for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = if self.is_pattern { "all topics that match " } else { "" };
        write!(f, "subscription {} of {of}{}", self.name, self.topic)
    }
}

/// Phase of a component.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Phase {
    /// Created, without pods yet.
    #[default]
    Pending,
    /// Pods are starting or rolling out.
    Progressing,
    /// All pods are at the current revision and ready.
    Ready,
    /// Pods cannot become ready; `message` names the cause.
    Degraded,
    /// A rollout failed, and the pods have the last good revision instead of the one of the spec.
    RolledBack,
    /// Rollouts are paused by annotation and a change is deferred.
    Paused,
    /// Scaled to zero, or suspended by annotation.
    Suspended,
    /// Scaled to zero by the operator, since there is nothing to do; a message wakes it.
    Asleep,
    /// Being deleted.
    Deleting,
    /// The spec violates a validation rule; nothing was changed.
    Invalid,
}

impl Phase {
    /// All phases.
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Progressing,
        Self::Ready,
        Self::Degraded,
        Self::RolledBack,
        Self::Paused,
        Self::Suspended,
        Self::Asleep,
        Self::Deleting,
        Self::Invalid,
    ];

    /// The phase as in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Progressing => "Progressing",
            Self::Ready => "Ready",
            Self::Degraded => "Degraded",
            Self::RolledBack => "RolledBack",
            Self::Paused => "Paused",
            Self::Suspended => "Suspended",
            Self::Asleep => "Asleep",
            Self::Deleting => "Deleting",
            Self::Invalid => "Invalid",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// State of a child of a component, or of a component of a mesh.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceCondition {
    /// Condition type, for example `StatefulSetReady`, `FunctionReady` or `MeshReady`.
    pub condition: Option<String>,
    /// `True` if observed, else `False`.
    pub status: Option<String>,
    /// Pending action of the operator: `Create`, `Update`, `Delete`, `Wait` or `NoAction`.
    pub action: Option<String>,
}

/// Status of a FunctionMesh.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionMeshStatus {
    /// One entry for each function, by name.
    pub function_conditions: Option<BTreeMap<String, ResourceCondition>>,
    /// One entry for each source, by name.
    pub source_conditions: Option<BTreeMap<String, ResourceCondition>>,
    /// One entry for each sink, by name.
    pub sink_conditions: Option<BTreeMap<String, ResourceCondition>>,
    /// State of the mesh as a whole.
    pub condition: Option<ResourceCondition>,
    /// Standard conditions: `Ready`, `Progressing`, `Degraded`, `Paused`, `Accepted`, and `Stalled` if the operator observes
    /// Pulsar.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Option<Vec<Condition>>,
    /// Ready components of all components, for example `2/3`.
    pub components: Option<String>,
    /// Generation of the spec that the operator last applied.
    pub observed_generation: Option<i64>,
}
