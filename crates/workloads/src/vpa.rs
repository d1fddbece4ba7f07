//! The VerticalPodAutoscaler of a component, and its type.

use function_mesh_api::types::{PodResourcePolicy, PodUpdatePolicy};
use k8s_openapi::api::autoscaling::v1::CrossVersionObjectReference;
use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::context::Context;
use crate::names;

/// Spec of a VerticalPodAutoscaler.
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
    /// The scaled object.
    pub target_ref: Option<CrossVersionObjectReference>,
    /// When the autoscaler applies recommendations.
    pub update_policy: Option<PodUpdatePolicy>,
    /// Limits of the recommendations, by container.
    pub resource_policy: Option<PodResourcePolicy>,
}

/// Builds the VerticalPodAutoscaler. None without `pod.vpa`.
pub(crate) fn build_vertical_autoscaler(context: &Context<'_>) -> Option<VerticalPodAutoscaler> {
    let vpa = context.pod.vpa.as_ref()?;
    let name = names::stateful_set(context.object_name(), context.role());
    Some(VerticalPodAutoscaler {
        metadata: context.child_metadata(name.clone()),
        spec: VerticalPodAutoscalerSpec {
            target_ref: Some(CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "StatefulSet".to_owned(),
                name,
            }),
            update_policy: vpa.update_policy.clone(),
            resource_policy: vpa.resource_policy.clone(),
        },
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::{function, with_defaults};
    use serde_json::json;

    #[test]
    fn targets_the_stateful_set() {
        assert_eq!(with_defaults(&function(json!({})), super::build_vertical_autoscaler), None);
        let vpa = json!({ "updatePolicy": { "updateMode": "Off" } });
        let found =
            with_defaults(&function(json!({ "pod": { "vpa": vpa } })), super::build_vertical_autoscaler)
                .unwrap();
        let found = serde_json::to_value(found).unwrap();
        assert_eq!(found["apiVersion"], "autoscaling.k8s.io/v1");
        assert_eq!(found["kind"], "VerticalPodAutoscaler");
        let target = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "f-function" });
        assert_eq!(found["spec"], json!({ "targetRef": target, "updatePolicy": { "updateMode": "Off" } }));
    }
}
