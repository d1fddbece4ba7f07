//! What admission makes of our writes. A mutating webhook or policy may change a field that we apply; without a memory
//! of it, every reconcile would see a difference and send the same apply again.
//!
//! A write is repeated once what we want changes, or the live object differs from what came back. The memory is lost
//! with the process, which costs one write per object.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use function_mesh_api::labels;
use function_mesh_workloads::diff::{Difference, differences};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::body::{hash, to_json};
use super::{Child, ChildError};

/// Objects that are remembered. Beyond that it is cleared.
const MAX_OBJECTS: usize = 16_384;

/// Remembers what admission made of writes, by UID of the object.
#[derive(Debug, Default)]
pub struct Rewrites(Mutex<HashMap<String, Rewrite>>);

#[derive(Debug, Eq, PartialEq)]
struct Rewrite {
    /// Hash of what was applied.
    wanted: String,
    /// Hash of how the object differs from it.
    outcome: String,
}

/// How a live object differs from the desired one.
#[derive(Debug)]
pub(super) struct Outcome {
    uid: Option<String>,
    /// The annotation with the hash of what was applied, which admission can change too.
    mark: Option<String>,
    pub(super) differences: Vec<Difference>,
}

impl Outcome {
    pub(super) fn of<K: Child>(wanted: &Value, live: &K) -> Result<Self, ChildError> {
        Ok(Self {
            uid: live.uid(),
            mark: labels::annotation(live.meta(), labels::APPLIED_HASH).map(str::to_owned),
            differences: differences(wanted, &to_json(live)?),
        })
    }

    /// Paths of the fields that differ.
    pub(super) fn paths(&self) -> Vec<String> {
        self.differences.iter().map(|difference| difference.path.to_string()).collect()
    }

    fn hash(&self) -> String {
        let of = |it: &Difference| json!([it.path.to_string(), it.live]);
        hash(&json!([self.mark, self.differences.iter().map(of).collect::<Vec<_>>()]))
    }
}

impl Rewrites {
    /// Whether this is what came back when the same was applied before.
    pub(super) fn is_known(&self, wanted: &Value, outcome: &Outcome) -> bool {
        let Some(uid) = &outcome.uid else { return false };
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(uid).is_some_and(|it| it.wanted == hash(wanted) && it.outcome == outcome.hash())
    }

    /// Remembers what came back after a write with this mark, and returns the paths of the fields that admission changed.
    pub(super) fn record(&self, wanted: &Value, mark: &str, outcome: &Outcome) -> Vec<String> {
        let Some(uid) = &outcome.uid else { return Vec::new() };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome.differences.is_empty() && outcome.mark.as_deref() == Some(mark) {
            known.remove(uid);
            return Vec::new();
        }
        if known.len() >= MAX_OBJECTS {
            known.clear();
        }
        known.insert(uid.clone(), Rewrite { wanted: hash(wanted), outcome: outcome.hash() });
        outcome.paths()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use serde_json::from_value;

    use super::*;

    fn wanted(port: i32) -> Value {
        json!({ "kind": "Service", "spec": { "type": "ClusterIP", "ports": [{ "name": "p", "port": port }] } })
    }

    fn outcome(type_: &str, mark: &str, wanted: &Value) -> Outcome {
        let live: Service = from_value(json!({
            "metadata": { "uid": "u", "annotations": { labels::APPLIED_HASH: mark } },
            "spec": { "type": type_, "ports": [{ "name": "p", "port": 1 }] },
        }))
        .expect("a Service");
        Outcome::of(wanted, &live).expect("JSON")
    }

    #[test]
    fn the_same_apply_is_known_until_either_side_changes() {
        let rewrites = Rewrites::default();
        let rewritten = outcome("NodePort", "a", &wanted(1));
        assert!(!rewrites.is_known(&wanted(1), &rewritten));
        assert_eq!(rewrites.record(&wanted(1), "a", &rewritten), ["spec.type"]);
        assert!(rewrites.is_known(&wanted(1), &rewritten));
        // What we want changes, or the live object does, or our mark.
        assert!(!rewrites.is_known(&wanted(2), &outcome("NodePort", "a", &wanted(2))));
        assert!(!rewrites.is_known(&wanted(1), &outcome("LoadBalancer", "a", &wanted(1))));
        assert!(!rewrites.is_known(&wanted(1), &outcome("NodePort", "b", &wanted(1))));
        // A policy that only removes our mark.
        rewrites.record(&wanted(1), "b", &outcome("ClusterIP", "a", &wanted(1)));
        assert!(rewrites.is_known(&wanted(1), &outcome("ClusterIP", "a", &wanted(1))));
        // The policy is gone: the next write is as wanted.
        assert_eq!(rewrites.record(&wanted(1), "a", &outcome("ClusterIP", "a", &wanted(1))), [""; 0]);
        assert!(!rewrites.is_known(&wanted(1), &rewritten));
    }

    #[test]
    fn memory_is_bounded() {
        let rewrites = Rewrites::default();
        let known = || rewrites.0.lock().expect("no panic").len();
        for n in 0..=MAX_OBJECTS {
            let rewritten = Outcome { uid: Some(n.to_string()), ..outcome("NodePort", "a", &wanted(1)) };
            rewrites.record(&wanted(1), "a", &rewritten);
        }
        assert_eq!(known(), 1);
    }
}
