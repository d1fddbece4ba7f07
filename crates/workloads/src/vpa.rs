//! VerticalPodAutoscaler: its type, and the one of a component.

use function_mesh_api::types::{PodResourcePolicy, PodUpdatePolicy};
use k8s_openapi::api::autoscaling::v1::CrossVersionObjectReference;
use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::context::Context;
use crate::names;

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

/// The autoscaler of a component, when `pod.vpa` asks for one.
pub(crate) fn of(context: &Context<'_>) -> Option<VerticalPodAutoscaler> {
    let vpa = context.pod.vpa.as_ref()?;
    let name = names::stateful_set(context.object(), context.role());
    Some(VerticalPodAutoscaler {
        metadata: context.child(name.clone()),
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
    use crate::testing::{function, of as look};
    use serde_json::json;

    #[test]
    fn it_scales_the_stateful_set_as_the_user_wants_it() {
        assert_eq!(look(&function(json!({})), super::of), None);
        let vpa = json!({ "updatePolicy": { "updateMode": "Off" } });
        let found = look(&function(json!({ "pod": { "vpa": vpa } })), super::of).unwrap();
        let found = serde_json::to_value(found).unwrap();
        assert_eq!(found["apiVersion"], "autoscaling.k8s.io/v1");
        assert_eq!(found["kind"], "VerticalPodAutoscaler");
        let target = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "f-function" });
        assert_eq!(found["spec"], json!({ "targetRef": target, "updatePolicy": { "updateMode": "Off" } }));
    }
}
