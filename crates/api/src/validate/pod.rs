//! Rules of pod settings: labels, environment and tolerations. Without them the API server rejects the pods, and
//! reports that to the operator instead of the author.

use k8s_openapi::api::core::v1::Toleration;

use crate::types::PodPolicy;

use super::collector::Collector;
use super::labels;
use super::violation::FieldPath;

/// Validates pod settings at `path`.
pub(super) fn check(path: &FieldPath, pod: &PodPolicy, findings: &mut Collector) {
    for (map, field) in [(&pod.labels, "labels"), (&pod.node_selector, "nodeSelector")] {
        for (key, value) in map.iter().flatten() {
            let at = path.field(field).key(key);
            if let Some(error) = labels::key_error(key) {
                findings.deny(at, error);
            } else if let Some(error) = labels::value_error(value) {
                findings.deny(at, error);
            }
        }
    }
    for key in pod.annotations.iter().flat_map(|map| map.keys()) {
        if let Some(error) = labels::annotation_key_error(key) {
            findings.deny(path.field("annotations").key(key), error);
        }
    }
    for (index, variable) in pod.env.iter().flatten().enumerate() {
        if let Some(error) = labels::variable_error(&variable.name) {
            findings.deny(path.field("env").item(index, &variable.name).field("name"), error);
        }
    }
    for (index, one) in pod.tolerations.iter().flatten().enumerate() {
        toleration(&path.field("tolerations").index(index), one, findings);
    }
    if pod.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        // As the API server does.
        findings.warn(path.field("terminationGracePeriodSeconds"), "must be 0 or more; Kubernetes takes 1");
    }
}

fn toleration(path: &FieldPath, toleration: &Toleration, findings: &mut Collector) {
    let given = |text: &'_ Option<String>| text.clone().filter(|text| !text.is_empty());
    let (key, value) = (given(&toleration.key), given(&toleration.value));
    let operator = given(&toleration.operator);
    let effect = given(&toleration.effect);
    if let Some(error) = key.as_deref().and_then(labels::key_error) {
        findings.deny(path.field("key"), error);
    }
    match operator.as_deref() {
        Some("Exists") if value.is_some() => {
            findings.deny(path.field("value"), "must be empty with operator `Exists`");
        }
        Some("Exists") => {}
        None | Some("Equal") => {
            if key.is_none() {
                findings.deny(path.field("operator"), "must be `Exists` without a key");
            }
            if let Some(error) = value.as_deref().and_then(labels::value_error) {
                findings.deny(path.field("value"), error);
            }
        }
        // Later Kubernetes versions can have more operators.
        Some(_) => findings.warn(path.field("operator"), "unknown operator; known are `Equal` and `Exists`"),
    }
    if !matches!(effect.as_deref(), None | Some("NoSchedule" | "PreferNoSchedule" | "NoExecute")) {
        findings.deny(path.field("effect"), "must be `NoSchedule`, `PreferNoSchedule` or `NoExecute`");
    }
    if toleration.toleration_seconds.is_some() && effect.as_deref() != Some("NoExecute") {
        findings.deny(path.field("effect"), "must be `NoExecute` with `tolerationSeconds`");
    }
}
