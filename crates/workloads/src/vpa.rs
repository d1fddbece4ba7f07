//! VerticalPodAutoscaler: its type, and the one of a component.

use function_mesh_api::types::{PodResourcePolicy, PodUpdatePolicy};
use k8s_openapi::api::autoscaling::v1::CrossVersionObjectReference;
use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// What a VerticalPodAutoscaler scales, and how.
#[skip_serializing_none]
#[derive(Clone, CustomResource, Debug, Default, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "autoscaling.k8s.io",
    version = "v1",
    kind = "VerticalPodAutoscaler",
    namespaced,
    schema = "disabled",
    derive = "PartialEq",
    doc = "Vertical scaling of a component, by the autoscaler of the cluster."
)]
#[serde(rename_all = "camelCase")]
pub struct VerticalPodAutoscalerSpec {
    /// What is scaled.
    pub target_ref: Option<CrossVersionObjectReference>,
    /// When recommendations are put into effect.
    pub update_policy: Option<PodUpdatePolicy>,
    /// Limits of the recommendations.
    pub resource_policy: Option<PodResourcePolicy>,
}
