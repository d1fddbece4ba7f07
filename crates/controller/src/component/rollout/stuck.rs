//! Deletes a pod of an earlier revision that blocks its own repair, so that its StatefulSet creates it again.

use function_mesh_api::Component;
use function_mesh_api::conditions::Reason;
use function_mesh_kube::decode_error;
use function_mesh_rollout::StuckPod;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, ResourceExt};

use crate::context::Shared;

/// Deletes the pod, if it is still as it was observed, and publishes an Event.
pub(in crate::component) async fn delete_stuck_pod<C: Component>(
    pod: StuckPod,
    component: &C,
    shared: &Shared,
) {
    let StuckPod { name, uid, resource_version, revision } = pod;
    let namespace = component.namespace().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(shared.client.clone(), &namespace);
    let preconditions = Preconditions { uid: Some(uid), resource_version: Some(resource_version) };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let regarding = component.object_ref(&());
    match pods.delete(&name, &params).await {
        Ok(_) => {
            shared.metrics.wrote("Pod", "deleted");
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
