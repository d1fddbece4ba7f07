//! Pods of clean-up Jobs of previous objects of this name. A Job that a user deletes is gone at once, and its pod continues
//! for the grace period: it would delete the subscription that new pods create.

use function_mesh_api::{Component, Role, labels};
use function_mesh_workloads::names;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::summary::PodSummary;
use function_mesh_kube::cache::Cache;

/// How long after its grace period a pod that does not go is waited for: its node may be lost.
const LOST_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// Names of pods that still clean up for a previous object.
pub(super) fn running<C: Component>(pods: &Cache<PodSummary>, component: &C) -> Vec<String> {
    let (name, namespace, now) =
        (component.name_any(), component.namespace().unwrap_or_default(), Timestamp::now());
    let prefix = prefix(&name, C::ROLE);
    let cleaning = pods.state_filter(|pod| {
        // The name first: this looks at all pods.
        pod.metadata.name.as_deref().is_some_and(|name| name.starts_with(&prefix))
            && pod.metadata.namespace.as_deref() == Some(&*namespace)
            && is_cleaning(pod, &name, now)
    });
    let mut found: Vec<_> = cleaning.iter().map(|pod| pod.name_any()).collect();
    found.sort();
    found
}

/// What the names of the pods of clean-up Jobs of an object begin with, for any UID.
fn prefix(object: &str, role: Role) -> String {
    const UID: &str = "11111111";
    names::cleanup_job(object, role, Some(UID)).trim_end_matches(UID).to_owned()
}

/// Whether a pod whose name has the prefix cleans up for an object of this name.
fn is_cleaning(pod: &PodSummary, object: &str, now: Timestamp) -> bool {
    let is_of_job = pod.labels().get(labels::NAME).map(String::as_str) == Some(object);
    let is_lost =
        pod.metadata.deletion_timestamp.as_ref().is_some_and(|at| now.duration_since(at.0) > LOST_AFTER);
    let runs = pod.containers.iter().any(|it| it.name == "cleanup" && it.state.running.is_some());
    is_of_job && runs && !is_lost
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn is_cleaning_pod(name: &str, container: &str, state: &str, deleted: &Value) -> bool {
        let pod = json!({
            "metadata": { "name": name, "labels": { labels::NAME: "f" }, "deletionTimestamp": deleted },
            "status": { "containerStatuses": [{ "name": container, "state": { state: {} } }] },
        });
        let pod = PodSummary::parse(&pod.to_string()).expect("a pod");
        pod.name_any().starts_with(&prefix("f", Role::Function))
            && is_cleaning(&pod, "f", "2026-01-01T00:00:00Z".parse().expect("a time"))
    }

    #[test]
    fn running_pods_of_cleanup_jobs_are_waited_for() {
        let (job, recently, long_ago) = (
            "f-function-cleanup-0a1b2c3d-x7f9k",
            json!("2026-01-01T00:00:20Z"),
            json!("2025-12-31T23:58:00Z"),
        );
        for (name, container, state, deleted, expected) in [
            (job, "cleanup", "running", &Value::Null, true),
            (job, "cleanup", "running", &recently, true),
            (job, "cleanup", "running", &long_ago, false),
            (job, "cleanup", "terminated", &recently, false),
            (job, "istio-proxy", "running", &recently, false),
            ("f-function-0", "cleanup", "running", &Value::Null, false),
            ("g-function-cleanup-0a1b2c3d-x7f9k", "cleanup", "running", &Value::Null, false),
        ] {
            assert_eq!(
                is_cleaning_pod(name, container, state, deleted),
                expected,
                "{name} {container} {state} {deleted}"
            );
        }
    }
}
