//! The rules of what pods carry: labels, environment and tolerations. The API server would refuse the pods, and
//! say so to the operator instead of to the author.

use k8s_openapi::api::core::v1::Toleration;

use crate::types::PodPolicy;

use super::collector::Collector;
use super::labels;
use super::violation::FieldPath;

/// Checks the policy that stands at `path`.
pub(super) fn check(path: &FieldPath, pod: &PodPolicy, findings: &mut Collector) {
    for (map, field) in [(&pod.labels, "labels"), (&pod.node_selector, "nodeSelector")] {
        for (key, value) in map.iter().flatten() {
            let at = path.field(field).key(key);
            if let Some(fault) = labels::key_fault(key) {
                findings.deny(at, fault);
            } else if let Some(fault) = labels::value_fault(value) {
                findings.deny(at, fault);
            }
        }
    }
    for key in pod.annotations.iter().flat_map(|map| map.keys()) {
        if let Some(fault) = labels::annotation_key_fault(key) {
            findings.deny(path.field("annotations").key(key), fault);
        }
    }
    for (index, variable) in pod.env.iter().flatten().enumerate() {
        if let Some(fault) = labels::variable_fault(&variable.name) {
            findings.deny(path.field("env").item(index, &variable.name).field("name"), fault);
        }
    }
    for (index, one) in pod.tolerations.iter().flatten().enumerate() {
        toleration(&path.field("tolerations").index(index), one, findings);
    }
    if pod.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        findings.deny(path.field("terminationGracePeriodSeconds"), "must be 0 or more");
    }
}

fn toleration(path: &FieldPath, toleration: &Toleration, findings: &mut Collector) {
    let given = |text: &'_ Option<String>| text.clone().filter(|text| !text.is_empty());
    let (key, value) = (given(&toleration.key), given(&toleration.value));
    let operator = given(&toleration.operator);
    let effect = given(&toleration.effect);
    if let Some(fault) = key.as_deref().and_then(labels::key_fault) {
        findings.deny(path.field("key"), fault);
    }
    match operator.as_deref() {
        Some("Exists") if value.is_some() => {
            findings.deny(path.field("value"), "must be left out with operator `Exists`");
        }
        Some("Exists") => {}
        None | Some("Equal") => {
            if key.is_none() {
                findings.deny(path.field("operator"), "must be `Exists` when no key is given");
            }
            if let Some(fault) = value.as_deref().and_then(labels::value_fault) {
                findings.deny(path.field("value"), fault);
            }
        }
        // A later Kubernetes may know more of them.
        Some(_) => findings.warn(path.field("operator"), "is neither `Equal` nor `Exists`"),
    }
    if !matches!(effect.as_deref(), None | Some("NoSchedule" | "PreferNoSchedule" | "NoExecute")) {
        findings.deny(path.field("effect"), "must be `NoSchedule`, `PreferNoSchedule` or `NoExecute`");
    }
    if toleration.toleration_seconds.is_some() && effect.as_deref() != Some("NoExecute") {
        findings.deny(path.field("effect"), "must be `NoExecute` when `tolerationSeconds` is given");
    }
}
