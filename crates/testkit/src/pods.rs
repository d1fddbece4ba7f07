//! A fake kubelet: marks pods as running, and pods of Jobs as completed; and the scheduler, which has no node.

use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use futures::TryStreamExt;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

/// Concurrent requests.
const AT_A_TIME: usize = 100;

/// Marks every pod of a namespace as running and ready, and returns their number. No container runs.
pub async fn mark_running(client: &Client, namespace: &str) -> anyhow::Result<usize> {
    mark(client, namespace, running).await
}

/// Marks every pod of a namespace as the scheduler does without a node for it, and returns their number.
pub async fn mark_unschedulable(client: &Client, namespace: &str) -> anyhow::Result<usize> {
    let message = "no nodes available to schedule pods";
    let condition = json!({
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
    });
    mark(client, namespace, |_| json!({ "phase": "Pending", "conditions": [condition] })).await
}

async fn mark(client: &Client, namespace: &str, status: impl Fn(&Pod) -> Value) -> anyhow::Result<usize> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let pods = api.list(&ListParams::default()).await?.items;
    for pod in &pods {
        patch_status_of(&api, pod, &status(pod)).await?;
    }
    Ok(pods.len())
}

/// Sets the address of all pods. Returns their number.
pub async fn set_pod_ip(client: &Client, namespace: &str, ip: IpAddr) -> anyhow::Result<usize> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let pods = api.list(&ListParams::default()).await?.items;
    let status = json!({ "podIP": ip, "podIPs": [{ "ip": ip }] });
    for batch in pods.chunks(AT_A_TIME) {
        try_join_all(batch.iter().map(|pod| patch_status_of(&api, pod, &status))).await?;
    }
    Ok(pods.len())
}

/// Marks unfinished pods of Jobs with this name prefix as terminated with this exit code. Returns their number. No
/// container runs.
pub async fn mark_ended(client: &Client, namespace: &str, job: &str, code: i32) -> anyhow::Result<usize> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let mut pods = api.list(&ListParams::default().labels("job-name")).await?.items;
    pods.retain(|pod| pod.labels().get("job-name").is_some_and(|name| name.starts_with(job)));
    let has_ended = |pod: &Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    for pod in pods.iter().filter(|pod| !has_ended(pod)) {
        patch_status_of(&api, pod, &ended(pod, code)).await?;
    }
    Ok(pods.len())
}

/// Marks the containers of a Job's pods as terminated with this exit code, while an injected sidecar keeps the pods
/// running. Returns the names of the pods.
pub async fn pretend_container_to_end(
    client: &Client,
    namespace: &str,
    job: &str,
    code: i32,
) -> anyhow::Result<Vec<String>> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let mut pods = api.list(&ListParams::default().labels("job-name")).await?.items;
    pods.retain(|pod| pod.labels().get("job-name").is_some_and(|name| name.starts_with(job)));
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    for pod in &pods {
        let mut status = ended(pod, code);
        status["phase"] = json!("Running");
        patch_status_of(&api, pod, &status).await?;
    }
    Ok(pods.iter().map(ResourceExt::name_any).collect())
}

/// Runs a fake kubelet for a namespace forever: marks every new pod as running and ready, and every pod of a Job as
/// succeeded.
pub async fn fake_kubelet(client: Client, namespace: String) {
    let api = Api::<Pod>::namespaced(client, &namespace);
    loop {
        // A watch ends every few minutes, and a pod may be deleted before it is marked.
        _ = follow_pods(&api).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn follow_pods(api: &Api<Pod>) -> anyhow::Result<()> {
    // Version 0 starts with all existing pods.
    let mut events = pin!(api.watch(&WatchParams::default(), "0").await?);
    while let Some(event) = events.try_next().await? {
        let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else { continue };
        let is_of_job = pod.owner_references().iter().any(|owner| owner.kind == "Job");
        let (status, phase) =
            if is_of_job { (ended(&pod, 0), "Succeeded") } else { (running(&pod), "Running") };
        let now = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if now != Some(phase) && pod.metadata.deletion_timestamp.is_none() {
            // It may have been deleted.
            _ = patch_status_of(api, &pod, &status).await;
        }
    }
    Ok(())
}

async fn patch_status_of(api: &Api<Pod>, pod: &Pod, status: &Value) -> Result<(), kube::Error> {
    let patch = Patch::Merge(json!({ "metadata": { "uid": pod.uid() }, "status": status }));
    api.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await.map(|_| ())
}

fn running(pod: &Pod) -> Value {
    json!({
        "phase": "Running",
        "conditions": [
            { "type": "PodScheduled", "status": "True" },
            { "type": "ContainersReady", "status": "True" },
            // Long ago: a pod that has just become ready is not available yet.
            { "type": "Ready", "status": "True", "lastTransitionTime": "2000-01-01T00:00:00Z" },
        ],
        "containerStatuses": containers(pod, &json!({ "ready": true, "state": { "running": {} } })),
    })
}

fn ended(pod: &Pod, code: i32) -> Value {
    let (phase, reason) = if code == 0 { ("Succeeded", "Completed") } else { ("Failed", "Error") };
    let ended = json!({ "terminated": { "exitCode": code, "reason": reason } });
    json!({
        "phase": phase,
        "containerStatuses": containers(pod, &json!({ "ready": false, "state": ended })),
    })
}

fn containers(pod: &Pod, status: &Value) -> Vec<Value> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let one = |name: &str| {
        let mut one = json!({ "name": name, "image": "none", "imageID": "none", "restartCount": 0 });
        if let (Some(one), Some(status)) = (one.as_object_mut(), status.as_object()) {
            one.extend(status.clone());
        }
        one
    };
    containers.map(|container| one(&container.name)).collect()
}
