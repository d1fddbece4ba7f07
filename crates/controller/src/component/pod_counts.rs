//! Counts of the pods of a StatefulSet.

use k8s_openapi::api::apps::v1::StatefulSet;

/// Pod counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Pods {
    pub(super) wanted: i32,
    /// Pods that exist.
    pub(super) existing: i32,
    pub(super) ready: i32,
    /// Pods that have been ready for `minReadySeconds`.
    pub(super) available: i32,
    pub(super) updated: i32,
    /// Whether the StatefulSet controller has observed the current generation.
    pub(super) is_current: bool,
}

impl Pods {
    pub(super) fn of(stateful_set: &StatefulSet) -> Self {
        let (spec, status) = (stateful_set.spec.as_ref(), stateful_set.status.as_ref());
        let seen = status.and_then(|status| status.observed_generation);
        let ready = status.and_then(|status| status.ready_replicas).unwrap_or_default();
        let available = status.and_then(|status| status.available_replicas).unwrap_or_default();
        let has_delay = spec.and_then(|spec| spec.min_ready_seconds).is_some_and(|seconds| seconds > 0);
        Self {
            wanted: spec.and_then(|spec| spec.replicas).unwrap_or(1),
            existing: status.map(|status| status.replicas).unwrap_or_default(),
            ready,
            available: if has_delay { available } else { ready },
            updated: status.and_then(|status| status.updated_replicas).unwrap_or_default(),
            is_current: seen.is_some() && seen == stateful_set.metadata.generation,
        }
    }

    pub(super) fn are_ready(self) -> bool {
        self.is_current
            && self.ready == self.wanted
            && self.available == self.wanted
            && self.updated == self.wanted
    }

    /// Whether the StatefulSet controller has yet to create pods.
    pub(super) fn are_missing(self) -> bool {
        self.is_current && self.existing < self.wanted
    }

    /// What is still to happen until all pods are ready.
    pub(super) fn progress(self) -> String {
        let Self { wanted, existing, ready, available, updated, .. } = self;
        if existing == 0 && wanted > 0 {
            format!("waiting for the StatefulSet controller to create {wanted} pods")
        } else if updated < wanted {
            format!("{updated} of {wanted} pods are updated to the newest revision")
        } else if ready > wanted {
            format!("waiting for {} surplus pods to terminate", ready - wanted)
        } else if ready == wanted && available < wanted {
            format!("{available} of {wanted} pods have been ready for minReadySeconds")
        } else {
            format!("{ready} of {wanted} pods are ready")
        }
    }
}

/// Whether some pods have an older revision than others.
pub(super) fn is_rolling_out(stateful_set: &StatefulSet) -> bool {
    let Some(status) = &stateful_set.status else { return false };
    let pods = Pods::of(stateful_set);
    status.update_revision != status.current_revision && pods.updated < pods.wanted
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn pods(min_ready_seconds: Option<i32>, status: &Value) -> Pods {
        let set = json!({
            "metadata": { "generation": 2 },
            "spec": { "replicas": 2, "minReadySeconds": min_ready_seconds, "selector": {}, "template": {} },
            "status": status,
        });
        Pods::of(&from_value(set).expect("a StatefulSet"))
    }

    #[test]
    fn pods_are_ready_once_available() {
        let status = |available: i32| {
            json!({ "observedGeneration": 2, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 2,
                "availableReplicas": available })
        };
        for (min_ready_seconds, available, expected) in [
            (None, 0, true),
            (Some(0), 0, true),
            (Some(10), 2, true),
            (Some(10), 1, false),
            (Some(10), 0, false),
        ] {
            let found = pods(min_ready_seconds, &status(available));
            assert_eq!(found.are_ready(), expected, "{min_ready_seconds:?} {available}");
        }
        let progress = pods(Some(10), &status(1)).progress();
        assert_eq!(progress, "1 of 2 pods have been ready for minReadySeconds");
    }

    #[test]
    fn progress_never_counts_ready_pods_of_none() {
        for (status, expected) in [
            (json!({}), "waiting for the StatefulSet controller to create 2 pods"),
            (json!({ "replicas": 1 }), "0 of 2 pods are updated to the newest revision"),
            (json!({ "replicas": 2, "updatedReplicas": 2, "readyReplicas": 1 }), "1 of 2 pods are ready"),
            (
                json!({ "replicas": 3, "updatedReplicas": 2, "readyReplicas": 3 }),
                "waiting for 1 surplus pods to terminate",
            ),
        ] {
            assert_eq!(pods(None, &status).progress(), expected, "{status}");
        }
    }

    #[test]
    fn missing_pods_need_a_current_status() {
        for (status, expected) in [
            (json!({ "observedGeneration": 2, "replicas": 1 }), true),
            (json!({ "observedGeneration": 2, "replicas": 2 }), false),
            (json!({ "observedGeneration": 1, "replicas": 1 }), false),
        ] {
            assert_eq!(pods(None, &status).are_missing(), expected, "{status}");
        }
    }

    #[test]
    fn a_rollout_lasts_until_all_pods_have_its_revision() {
        let rolling = |status: Value| {
            let set = json!({ "metadata": {}, "spec": { "replicas": 2, "selector": {}, "template": {} }, "status": status });
            is_rolling_out(&from_value(set).expect("a StatefulSet"))
        };
        let status = |current: &str, updated| json!({ "replicas": 2, "currentRevision": current, "updateRevision": "b", "updatedReplicas": updated });
        assert!(rolling(status("a", 1)));
        assert!(!rolling(status("a", 2)) && !rolling(status("b", 1)) && !rolling(Value::Null));
    }
}
