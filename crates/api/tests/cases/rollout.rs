//! Rollouts.

use serde_json::json;

use super::{ALL, Table};

pub(super) fn rollouts(t: &mut Table) {
    for (field, at, bad, good) in [
        ("progressDeadline", "spec.rollout.progressDeadline", "9s", "10s"),
        ("progressDeadline", "spec.rollout.progressDeadline", "25h", "24h"),
        ("progressDeadline", "spec.rollout.progressDeadline", "1d", "1m30s"),
        ("minReady", "spec.rollout.minReady", "25h", "0s"),
        ("minReady", "spec.rollout.minReady", "soon", "24h"),
    ] {
        let rollout = |value: &str| json!({ "rollout": { "onFailure": "RollBack", field: value } });
        t.add("durations of rollouts", ALL, &[at], rollout(bad), rollout(good));
    }
}
