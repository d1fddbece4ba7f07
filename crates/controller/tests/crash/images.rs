//! A kubelet for rollouts that fail: a pod whose image begins with `missing` never starts, the others run.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

/// Runs it forever.
pub(crate) async fn picky_kubelet(client: Client, namespace: String) {
    let api = Api::<Pod>::namespaced(client, &namespace);
    loop {
        // A pod may be deleted before it is marked.
        _ = play(&api).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn play(api: &Api<Pod>) -> Result<(), kube::Error> {
    for pod in api.list(&ListParams::default()).await?.items {
        let is_marked = pod.status.as_ref().is_some_and(|status| status.container_statuses.is_some());
        if is_marked || pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let patch = Patch::Merge(json!({ "metadata": { "uid": pod.uid() }, "status": status(&pod) }));
        _ = api.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await;
    }
    Ok(())
}

fn status(pod: &Pod) -> Value {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    let name = container.map(|container| container.name.as_str()).unwrap_or_default();
    let image = container.and_then(|container| container.image.as_deref()).unwrap_or_default();
    let is_ready = !image.starts_with("missing");
    let state = if is_ready {
        json!({ "running": {} })
    } else {
        json!({ "waiting": { "reason": "ImagePullBackOff", "message": "not found" } })
    };
    let container = json!({
        "name": name, "image": image, "imageID": "none", "restartCount": 0, "ready": is_ready, "state": state,
    });
    json!({
        "phase": if is_ready { "Running" } else { "Pending" },
        "conditions": [
            { "type": "PodScheduled", "status": "True" },
            // Long ago: a pod that has just become ready is not available yet.
            { "type": "Ready", "status": if is_ready { "True" } else { "False" },
              "lastTransitionTime": "2000-01-01T00:00:00Z" },
        ],
        "containerStatuses": [container],
    })
}
