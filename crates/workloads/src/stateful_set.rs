//! The StatefulSet of a component.

use function_mesh_api::labels;
use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::container::some;
use crate::context::Context;
use crate::{names, pod};

/// The StatefulSet of a component.
pub(crate) fn of(context: &Context<'_>) -> StatefulSet {
    let name = names::stateful_set(context.object(), context.role());
    let function = context.view.function();
    let claims = function.and_then(|function| function.volume_claim_templates.clone());
    let retention = function.and_then(|function| function.persistent_volume_claim_retention_policy.as_ref());
    StatefulSet {
        metadata: context.child(name),
        spec: Some(StatefulSetSpec {
            replicas: if labels::is_suspended(context.meta) { Some(0) } else { context.common.replicas },
            selector: LabelSelector { match_labels: Some(context.labels()), match_expressions: None },
            service_name: Some(names::service(context.object(), context.role())),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: None,
            }),
            template: pod::template(context),
            volume_claim_templates: claims.and_then(some),
            persistent_volume_claim_retention_policy: retention.map(|policy| {
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: policy.when_deleted.clone(),
                    when_scaled: policy.when_scaled.clone(),
                }
            }),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use function_mesh_api::labels;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::json;

    use crate::context::Context;
    use crate::testing::{function, of as look};

    #[test]
    fn a_suspended_component_has_no_pods_and_nothing_that_scales_them() {
        let function = function(json!({ "replicas": 3, "maxReplicas": 5 }));
        let meta = |value: &str| ObjectMeta {
            annotations: Some(BTreeMap::from([(labels::SUSPEND.to_owned(), value.to_owned())])),
            ..ObjectMeta::default()
        };
        for (value, replicas, is_scaled) in [("true", 0, false), ("false", 3, true), ("", 3, true)] {
            let meta = meta(value);
            let found = look(&function, |context| {
                let context = Context { meta: &meta, ..context.clone() };
                (super::of(&context).spec.unwrap().replicas, crate::hpa::of(&context).is_some())
            });
            assert_eq!(found, (Some(replicas), is_scaled), "{value}");
        }
    }

    #[test]
    fn another_moment_of_restart_makes_other_pods() {
        let annotations = BTreeMap::from([(labels::RESTARTED_AT.to_owned(), "now".to_owned())]);
        let meta = ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() };
        let template = look(&function(json!({})), |context| {
            super::of(&Context { meta: &meta, ..context.clone() }).spec.unwrap().template
        });
        let found = template.metadata.unwrap().annotations.unwrap();
        assert_eq!(found[labels::RESTARTED_AT], "now");
    }
}
