//! The pods of a clean-up Job: how its container ended, and why it failed.
//!
//! The Job controller waits for all containers of a pod. An injected proxy never ends, so the clean-up is over when its
//! own container is.

use function_mesh_api::printable;
use function_mesh_workloads::{CANNOT_START, CLEANUP_CONTAINER, without_credentials};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use kube::ResourceExt;

use function_mesh_kube::apply::{ChildApplier, ChildError, controller_of};
use function_mesh_kube::events::truncate;

/// Longest message of a pod or of the API server, in bytes; a whole note has at most 1024.
const MAX_REASON_LEN: usize = 700;

/// How the container of an unfinished Job ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ContainerEnd {
    Succeeded,
    /// Another attempt may succeed. The Job makes none, since other containers of the pod still run.
    Failed,
    /// No attempt can succeed.
    CannotStart,
}

/// The pods of a Job.
pub(super) async fn list(job: &Job, children: &ChildApplier<'_>) -> Result<Vec<Pod>, ChildError> {
    let mut pods = children.list::<Pod>(&format!("job-name={}", job.name_any())).await?;
    // Any client can set the label.
    pods.retain(|pod| controller_of(pod).is_some_and(|owner| Some(&owner.uid) == job.metadata.uid.as_ref()));
    Ok(pods)
}

/// How the container ended. None while it runs, and for a failure that the Job itself handles.
pub(super) fn container_end(pods: &[Pod]) -> Option<ContainerEnd> {
    let mut end = None;
    for pod in pods {
        let Some(ended) = terminated(pod) else { continue };
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let is_of_job =
            matches!(phase, Some("Failed" | "Succeeded")) || pod.metadata.deletion_timestamp.is_some();
        match ended.exit_code {
            0 => return Some(ContainerEnd::Succeeded),
            _ if is_of_job => {}
            code if CANNOT_START.contains(&code) => end = Some(ContainerEnd::CannotStart),
            _ => end = end.or(Some(ContainerEnd::Failed)),
        }
    }
    end
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    containers.iter().find(|it| it.name == CLEANUP_CONTAINER)?.state.as_ref()?.terminated.as_ref()
}

/// The termination message of the last pod: what is not deleted, and why.
pub(super) fn message(pods: &[Pod]) -> Option<String> {
    let messages = pods.iter().filter_map(|pod| {
        let ended = terminated(pod)?;
        let message = ended.message.as_deref().filter(|message| !message.trim().is_empty())?;
        Some((ended.finished_at.as_ref().map(|at| at.0), message))
    });
    messages.max_by_key(|(at, _)| *at).map(|(_, message)| shown(message))
}

/// A message within the length of a note.
pub(super) fn shown(message: &str) -> String {
    truncate(&printable(&without_credentials(message)), MAX_REASON_LEN).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(phase: &str, code: Option<i32>) -> Pod {
        let state = match code {
            Some(code) => {
                json!({ "terminated": { "exitCode": code, "message": format!("ended with {code}") } })
            }
            None => json!({ "running": {} }),
        };
        let status = |name: &str, state: &Value| json!({ "name": name, "image": "i", "imageID": "i", "ready": false, "restartCount": 0, "state": state });
        let proxy = json!({ "running": {} });
        serde_json::from_value(json!({
            "status": { "phase": phase, "containerStatuses": [status("istio-proxy", &proxy), status("cleanup", &state)] },
        }))
        .expect("a pod")
    }

    #[test]
    fn container_decides_and_not_its_sidecars() {
        use ContainerEnd::{CannotStart, Failed, Succeeded};
        for (pods, expected) in [
            (vec![], None),
            (vec![pod("Running", None)], None),
            (vec![pod("Pending", None)], None),
            (vec![pod("Running", Some(0))], Some(Succeeded)),
            (vec![pod("Running", Some(1))], Some(Failed)),
            (vec![pod("Running", Some(127))], Some(CannotStart)),
            // The Job counts a failed pod, and starts another one.
            (vec![pod("Failed", Some(1))], None),
            (vec![pod("Failed", Some(127))], None),
            (vec![pod("Failed", Some(1)), pod("Running", None)], None),
            (vec![pod("Failed", Some(1)), pod("Running", Some(0))], Some(Succeeded)),
            (vec![pod("Running", Some(126)), pod("Running", Some(1))], Some(CannotStart)),
        ] {
            assert_eq!(container_end(&pods), expected, "{pods:?}");
        }
        let mut deleted = pod("Running", Some(1));
        deleted.metadata =
            serde_json::from_value(json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" })).expect("metadata");
        assert_eq!(container_end(&[deleted]), None);
    }
}
