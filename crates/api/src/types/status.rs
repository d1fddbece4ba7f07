//! What the operator observed of a component or a mesh.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// Status of a Function, Source or Sink.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// One entry for each child: `StatefulSet`, `Service`, `HorizontalPodAutoscaler`, `VerticalPodAutoscaler`.
    #[serde(default)]
    pub conditions: BTreeMap<String, ResourceCondition>,
    /// Standard conditions: Ready, Progressing, Degraded, Paused, Accepted. `conditions` is a map in this version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub standard_conditions: Vec<Condition>,
    /// Replicas that the StatefulSet was told to run.
    #[serde(default)]
    pub replicas: i32,
    /// Replicas that are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Replicas that run the newest version of the pod.
    #[serde(default)]
    pub updated_replicas: i32,
    /// Selector of the pods, for autoscalers.
    #[serde(default)]
    pub selector: String,
    /// One word for the state of the component.
    #[serde(default)]
    pub phase: Phase,
    /// Why the component is in this phase, when it is not simply ready.
    pub message: Option<String>,
    /// Generation of the specification that was last acted on.
    pub observed_generation: Option<i64>,
    /// Version of the cluster's BackendConfig that was last applied.
    pub global_backend_config_revision: Option<String>,
    /// Version of the namespace's BackendConfig that was last applied.
    pub namespaced_backend_config_revision: Option<String>,
    /// Difference between the running StatefulSet and the wanted one that a paused rollout holds back.
    pub pending_change: Option<String>,
    /// Subscriptions that its pods made before a change of name, tenant, topics or subscription, and no longer read.
    /// With `cleanupSubscription` they are removed together with the component; without it they stay in Pulsar, and
    /// keep their backlog, until somebody removes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub retired_subscriptions: Vec<Subscription>,
}

/// A subscription in Pulsar.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The topic, or the pattern that stands for topics.
    #[serde(default)]
    pub topic: String,
    /// Whether that is a pattern.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_pattern: bool,
}

impl std::fmt::Display for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = if self.is_pattern { "all topics that match " } else { "" };
        write!(f, "subscription {} of {of}{}", self.name, self.topic)
    }
}

/// State of a component in one word.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Phase {
    /// Accepted; nothing runs yet.
    #[default]
    Pending,
    /// Pods start or are replaced.
    Progressing,
    /// All pods run the newest version and are ready.
    Ready,
    /// Something keeps the component from running; `message` says what.
    Degraded,
    /// A change is held back on request.
    Paused,
    /// Scaled to zero on request.
    Suspended,
    /// Being deleted.
    Deleting,
    /// The specification breaks a rule; nothing was changed.
    Invalid,
}

impl Phase {
    /// The phase as it stands in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Progressing => "Progressing",
            Self::Ready => "Ready",
            Self::Degraded => "Degraded",
            Self::Paused => "Paused",
            Self::Suspended => "Suspended",
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

/// State of one child of a component, or of one component of a mesh.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceCondition {
    /// What is judged, for example `StatefulSetReady`, `FunctionReady` or `MeshReady`.
    pub condition: Option<String>,
    /// `True` only when it was seen to be so, else `False`.
    pub status: Option<String>,
    /// What the operator does about it: `Create`, `Update`, `Delete`, `Wait` or `NoAction`.
    pub action: Option<String>,
}

/// Status of a FunctionMesh.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionMeshStatus {
    /// One entry for each function of the mesh, by name.
    pub function_conditions: Option<BTreeMap<String, ResourceCondition>>,
    /// One entry for each source of the mesh, by name.
    pub source_conditions: Option<BTreeMap<String, ResourceCondition>>,
    /// One entry for each sink of the mesh, by name.
    pub sink_conditions: Option<BTreeMap<String, ResourceCondition>>,
    /// The mesh as a whole.
    pub condition: Option<ResourceCondition>,
    /// Standard conditions: Ready, Progressing, Degraded, Paused, Accepted.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Option<Vec<Condition>>,
    /// Ready components and all components, for example `2/3`.
    pub components: Option<String>,
    /// Generation of the specification that was last acted on.
    pub observed_generation: Option<i64>,
}
