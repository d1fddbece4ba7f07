//! Deletes a pod of an earlier revision that blocks its own repair, so that its StatefulSet creates it again.
//!
//! Before each deletion its time is recorded in an annotation of the StatefulSet: the limit an hour outlives the operator.

use function_mesh_api::Component;
use function_mesh_api::conditions::Reason;
use function_mesh_api::labels::{self, managers};
use function_mesh_kube::decode_error;
use function_mesh_rollout::{MAX_DELETIONS_PER_HOUR, StuckPod};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::context::Shared;

/// A deletion that was decided.
#[derive(Debug)]
pub(in crate::component) struct Deletion {
    pod: StuckPod,
    /// Name and UID of the StatefulSet.
    owner: (String, Option<String>),
    /// The record of this deletion and those before.
    record: String,
}

impl Deletion {
    pub(super) fn new(pod: StuckPod, owner: &StatefulSet, times: &[Timestamp]) -> Self {
        let record = times.iter().map(Timestamp::to_string).collect::<Vec<_>>().join(",");
        Self { pod, owner: (owner.name_any(), owner.uid()), record }
    }
}

/// When pods of a StatefulSet were deleted. What cannot be read is left out.
pub(super) fn recorded(owner: &StatefulSet) -> Vec<Timestamp> {
    let record = labels::annotation(&owner.metadata, labels::POD_DELETIONS).unwrap_or_default();
    record.split(',').take(MAX_DELETIONS_PER_HOUR).filter_map(|at| at.parse().ok()).collect()
}

/// Records the deletion, deletes the pod if it is still as it was observed, and publishes an Event.
pub(in crate::component) async fn delete_stuck_pod<C: Component>(
    deletion: Deletion,
    component: &C,
    shared: &Shared,
) {
    let regarding = component.object_ref(&());
    let StuckPod { name, revision, .. } = deletion.pod.clone();
    match execute(deletion, &component.namespace().unwrap_or_default(), shared).await {
        Ok(()) => {
            let note =
                format!("deleted pod {name}: it is not ready, and its revision {revision} is not the newest");
            shared.events.publish(&regarding, true, Reason::StuckPodDeleted, "Unstick", &note).await;
        }
        // It is gone, or has changed: the next reconcile sees it as it is.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
        Err(error) => {
            let note = format!(
                "failed to delete pod {name}, which blocks its own repair: {}",
                decode_error::message(&error)
            );
            shared.events.publish(&regarding, false, Reason::StuckPodNotDeleted, "Unstick", &note).await;
        }
    }
}

async fn execute(deletion: Deletion, namespace: &str, shared: &Shared) -> Result<(), kube::Error> {
    let Deletion { pod, owner: (owner, uid), record } = deletion;
    let metadata = json!({ "uid": uid, "annotations": { labels::POD_DELETIONS: record } });
    let params =
        PatchParams { field_manager: Some(managers::POD_DELETIONS.to_owned()), ..PatchParams::default() };
    let owners: Api<StatefulSet> = Api::namespaced(shared.client.clone(), namespace);
    owners.patch_metadata(&owner, &params, &Patch::Merge(json!({ "metadata": metadata }))).await?;
    shared.metrics.wrote("StatefulSet", "updated");
    let preconditions = Preconditions { uid: Some(pod.uid), resource_version: Some(pod.resource_version) };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let pods: Api<Pod> = Api::namespaced(shared.client.clone(), namespace);
    pods.delete(&pod.name, &params).await?;
    shared.metrics.wrote("Pod", "deleted");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_is_written() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let pod = StuckPod {
            name: "p".to_owned(),
            uid: "u".to_owned(),
            resource_version: "1".to_owned(),
            revision: "r".to_owned(),
        };
        let mut owner = StatefulSet::default();
        assert_eq!(recorded(&owner), []);
        let record = Deletion::new(pod, &owner, &[at(0), at(3_600)]).record;
        assert_eq!(record, "1970-01-01T00:00:00Z,1970-01-01T01:00:00Z");
        for (text, expected) in [(&*record, vec![at(0), at(3_600)]), ("", vec![]), (",x,1970", vec![])] {
            owner.metadata.annotations = Some([(labels::POD_DELETIONS.to_owned(), text.to_owned())].into());
            assert_eq!(recorded(&owner), expected, "{text}");
        }
    }
}
