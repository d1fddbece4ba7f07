//! In place of a kubelet: pods that say that they run.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

/// Gives every pod of a namespace the status of one that runs and is ready, and returns how many there are.
/// Nothing does run.
pub async fn pretend_to_run(client: &Client, namespace: &str) -> anyhow::Result<usize> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let pods = api.list(&ListParams::default()).await?.items;
    for pod in &pods {
        let container = |name: &str| {
            json!({
                "name": name, "image": "none", "imageID": "none", "ready": true, "restartCount": 0,
                "state": { "running": {} },
            })
        };
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let status = json!({ "status": {
            "phase": "Running",
            "conditions": [
                { "type": "PodScheduled", "status": "True" },
                { "type": "ContainersReady", "status": "True" },
                { "type": "Ready", "status": "True" },
            ],
            "containerStatuses": containers.map(|it| container(&it.name)).collect::<Vec<_>>(),
        } });
        api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&status)).await?;
    }
    Ok(pods.len())
}

/// Gives the pods of a Job that have not ended the status of ones that ended with this exit code, and returns
/// how many there are. Nothing did run.
pub async fn pretend_to_end(client: &Client, namespace: &str, job: &str, code: i32) -> anyhow::Result<usize> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let pods = api.list(&ListParams::default().labels(&format!("job-name={job}"))).await?.items;
    let has_ended = |pod: &Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    for pod in pods.iter().filter(|pod| !has_ended(pod)) {
        let container = |name: &str| {
            json!({
                "name": name, "image": "none", "imageID": "none", "ready": false, "restartCount": 0,
                "state": { "terminated": { "exitCode": code, "finishedAt": "2026-01-01T00:00:00Z" } },
            })
        };
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let status = json!({ "status": {
            "phase": if code == 0 { "Succeeded" } else { "Failed" },
            "containerStatuses": containers.map(|it| container(&it.name)).collect::<Vec<_>>(),
        } });
        api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&status)).await?;
    }
    Ok(pods.len())
}
