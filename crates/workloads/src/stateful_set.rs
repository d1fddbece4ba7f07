//! The StatefulSet of a component.

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
            replicas: context.common.replicas,
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
