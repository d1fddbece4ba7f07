//! The StatefulSet of a component.

use function_mesh_api::labels;
use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::context::Context;
use crate::optional::none_if_empty;
use crate::{edition, names, pod};

/// Builds the StatefulSet of a component.
pub(crate) fn build_stateful_set(context: &Context<'_>) -> StatefulSet {
    let name = names::stateful_set(context.object_name(), context.role());
    let function = context.view.function();
    let claims = function.and_then(|function| function.volume_claim_templates.clone());
    let retention = function.and_then(|function| function.persistent_volume_claim_retention_policy.as_ref());
    let template = pod::build_template(context);
    let annotations = edition::annotations(context.edition, &template).into();
    StatefulSet {
        metadata: ObjectMeta { annotations: Some(annotations), ..context.child_metadata(name) },
        spec: Some(StatefulSetSpec {
            replicas: if labels::is_suspended(context.meta) { Some(0) } else { context.common.replicas },
            selector: LabelSelector { match_labels: Some(context.labels()), match_expressions: None },
            service_name: Some(names::service(context.object_name(), context.role())),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: None,
            }),
            // Not part of the template: it restarts no pods.
            min_ready_seconds: Some(context.settings.min_ready_seconds).filter(|seconds| *seconds > 0),
            template,
            volume_claim_templates: claims.and_then(none_if_empty),
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
    use crate::testing::{function, with_defaults, with_settings};

    #[test]
    fn suspended_component_has_no_replicas_or_autoscaler() {
        let function = function(json!({ "replicas": 3, "maxReplicas": 5 }));
        let meta = |value: &str| ObjectMeta {
            annotations: Some(BTreeMap::from([(labels::SUSPEND.to_owned(), value.to_owned())])),
            ..ObjectMeta::default()
        };
        for (value, replicas, is_scaled) in [("true", 0, false), ("false", 3, true), ("", 3, true)] {
            let meta = meta(value);
            let found = with_defaults(&function, |context| {
                let context = Context { meta: &meta, ..context.clone() };
                (
                    super::build_stateful_set(&context).spec.unwrap().replicas,
                    crate::hpa::build_autoscaler(&context).is_some(),
                )
            });
            assert_eq!(found, (Some(replicas), is_scaled), "{value}");
        }
    }

    #[test]
    fn min_ready_seconds_is_a_setting() {
        let found = |min_ready_seconds| {
            let settings = crate::Settings { min_ready_seconds, ..crate::Settings::default() };
            let set = with_settings(&function(json!({})), &settings, super::build_stateful_set);
            set.spec.unwrap().min_ready_seconds
        };
        assert_eq!([found(10), found(1), found(0)], [Some(10), Some(1), None]);
    }

    #[test]
    fn restarted_at_changes_the_pod_template() {
        let annotations = BTreeMap::from([(labels::RESTARTED_AT.to_owned(), "now".to_owned())]);
        let meta = ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() };
        let template = with_defaults(&function(json!({})), |context| {
            super::build_stateful_set(&Context { meta: &meta, ..context.clone() }).spec.unwrap().template
        });
        let found = template.metadata.unwrap().annotations.unwrap();
        assert_eq!(found[labels::RESTARTED_AT], "now");
    }
}
