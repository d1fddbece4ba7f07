//! Immutable fields of a StatefulSet.

use function_mesh_workloads::diff::differences_of;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use kube::Resource;

/// Keeps the immutable fields of a live StatefulSet. Pods must still match the selector, so its labels go into the
/// template.
pub(super) fn keep(wanted: &mut StatefulSet, live: &StatefulSet) {
    let diffs = diffs(wanted, live);
    let (Some(wanted), Some(live)) = (wanted.spec.as_mut(), live.spec.as_ref()) else { return };
    for field in diffs {
        match field {
            "selector" => {
                wanted.selector = live.selector.clone();
                let labels = wanted.template.metadata.get_or_insert_default().labels.get_or_insert_default();
                labels.extend(live.selector.match_labels.clone().unwrap_or_default());
            }
            "serviceName" => wanted.service_name.clone_from(&live.service_name),
            "podManagementPolicy" => wanted.pod_management_policy.clone_from(&live.pod_management_policy),
            _ => wanted.volume_claim_templates.clone_from(&live.volume_claim_templates),
        }
    }
}

/// Immutable fields that differ between the wanted and the live StatefulSet.
pub(super) fn diffs(wanted: &StatefulSet, live: &StatefulSet) -> Vec<&'static str> {
    let (Some(wanted), Some(live)) = (wanted.spec.as_ref(), live.spec.as_ref()) else { return Vec::new() };
    let claims = |spec: &StatefulSetSpec| spec.volume_claim_templates.clone().unwrap_or_default();
    let differs = [
        ("selector", wanted.selector != live.selector),
        ("serviceName", wanted.service_name != live.service_name),
        ("podManagementPolicy", wanted.pod_management_policy != live.pod_management_policy),
        ("volumeClaimTemplates", !same_claims(&claims(wanted), &claims(live))),
    ];
    differs.into_iter().filter_map(|(field, differs)| differs.then_some(field)).collect()
}

fn same_claims<K: Resource<DynamicType = ()> + serde::Serialize>(wanted: &[K], live: &[K]) -> bool {
    match (serde_json::to_value(wanted), serde_json::to_value(live)) {
        (Ok(wanted), Ok(live)) => differences_of("PersistentVolumeClaim", &wanted, &live).is_empty(),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "fixtures read better so")]
mod tests {
    use serde_json::json;

    use super::*;

    fn stateful_set(spec: serde_json::Value) -> StatefulSet {
        serde_json::from_value(json!({ "metadata": { "name": "f-function" }, "spec": spec }))
            .expect("a StatefulSet")
    }

    #[test]
    fn keeps_and_lists_immutable_fields() {
        let mut wanted = stateful_set(json!({
            "serviceName": "f-function-headless", "podManagementPolicy": "Parallel",
            "selector": { "matchLabels": { "name": "f" } },
            "template": { "metadata": { "labels": { "name": "f" } } },
        }));
        let live = stateful_set(json!({
            "serviceName": "f", "podManagementPolicy": "OrderedReady",
            "selector": { "matchLabels": { "old": "f" } },
            "template": { "metadata": { "labels": { "old": "f" } } },
        }));
        assert_eq!(diffs(&wanted, &live), ["selector", "serviceName", "podManagementPolicy"]);
        keep(&mut wanted, &live);
        let spec = wanted.spec.expect("a spec");
        assert_eq!(spec.selector.match_labels, live.spec.as_ref().expect("a spec").selector.match_labels);
        let labels = spec.template.metadata.and_then(|meta| meta.labels).expect("labels");
        assert_eq!(labels.into_keys().collect::<Vec<_>>(), ["name", "old"]);
        assert_eq!(spec.service_name.as_deref(), Some("f"));
    }

    #[test]
    fn ignores_defaults_of_volume_claims() {
        let claim = json!({ "metadata": { "name": "data" }, "spec": { "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": "1Gi" } } } });
        let mut completed = claim.clone();
        completed["status"] = json!({ "phase": "Pending" });
        completed["spec"]["volumeMode"] = json!("Filesystem");
        let spec = |claim: serde_json::Value| json!({ "selector": {}, "template": {}, "volumeClaimTemplates": [claim] });
        let wanted = stateful_set(spec(claim.clone()));
        assert_eq!(diffs(&wanted, &stateful_set(spec(completed))), [""; 0]);
        let mut other = claim;
        other["spec"]["resources"]["requests"]["storage"] = json!("2Gi");
        assert_eq!(diffs(&wanted, &stateful_set(spec(other))), ["volumeClaimTemplates"]);
    }
}
