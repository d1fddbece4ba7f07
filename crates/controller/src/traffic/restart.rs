//! `spec.onStall: Restart`: deletes a pod that holds unacknowledged messages.
//!
//! The status records a restart before it happens: a crash between the two costs a restart, and never adds one.

use std::sync::Arc;
use std::time::Duration;

use function_mesh_api::conditions::Reason;
use function_mesh_observer::stall::RestartDecision;
use function_mesh_observer::{Monotonic, UnixMillis, Workload};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::Api;
use kube::api::{DeleteParams, Preconditions};

use super::Observer;
use super::observed::Observed;
use crate::context::Shared;
use function_mesh_api::labels::API_VERSION;

/// Time after which a restart that the status does not record is decided again.
const GIVE_UP: Duration = Duration::from_mins(5);

/// A restart that waits until the status has recorded it.
#[derive(Clone, Debug)]
pub(super) struct PendingRestart {
    /// Number of the restart.
    count: u32,
    /// When it was decided.
    since: Monotonic,
    pod: String,
    pod_uid: String,
    component: ObjectReference,
}

impl Observer {
    /// Decides about a restart of a pod of a stalled component.
    pub(super) fn decide_restart(
        &mut self,
        key: &str,
        workload: &Workload,
        now: Monotonic,
        wall: UnixMillis,
    ) {
        if self.restarts.contains_key(key) {
            return;
        }
        let Some(component) = self.components.get_mut(key) else { return };
        let Some(kind) = self.kinds.get(component.kind) else { return };
        let pods = kind.pods(&component.namespace, &component.name, workload.wanted);
        let ready: Vec<_> = pods.iter().filter(|pod| pod.is_ready).map(|pod| pod.ordinal).collect();
        let decision = component.restart(&ready, now);
        if decision == Some(RestartDecision::Exhausted) && component.tell_exhausted() {
            let shared = Arc::clone(&self.shared);
            let regarding = reference(kind.name(), component);
            tokio::spawn(async move {
                let note =
                    "three restarts in a row did not end the stall; the operator restarts no more pods";
                shared.events.publish(&regarding, false, Reason::RestartsExhausted, "Restart", note).await;
            });
        }
        let Some(RestartDecision::Restart { ordinal }) = decision else { return };
        let Some(pod) = pods.into_iter().find(|pod| pod.ordinal == ordinal) else { return };
        let report = component.count_restart(now, wall);
        let regarding = reference(kind.name(), component);
        let count = report.traffic.restarts.unwrap_or_default();
        let pending =
            PendingRestart { count, since: now, pod: pod.name, pod_uid: pod.uid, component: regarding };
        self.restarts.insert(key.to_owned(), pending);
        self.board.publish(key, &component.uid, report);
        kind.trigger(&component.namespace, &component.name);
    }

    /// The status has recorded this number of restarts: deletes the pod if its restart is among them.
    pub(super) fn restart_recorded(&mut self, key: &str, recorded: u32, now: Monotonic) {
        let Some(pending) = self.restarts.get(key) else { return };
        let is_recorded = recorded >= pending.count;
        if !is_recorded && now.since(pending.since) < GIVE_UP {
            return;
        }
        let Some(pending) = self.restarts.remove(key).filter(|_| is_recorded) else { return };
        // It may have resumed, or the user may have changed their mind, while the status could not be written.
        let is_wanted = self.components.get(key).is_some_and(|component| {
            component.wants_restart() && Some(&component.uid) == pending.component.uid.as_ref()
        });
        if is_wanted {
            tokio::spawn(restart(pending, Arc::clone(&self.shared)));
        }
    }
}

pub(super) fn reference(kind: &str, component: &Observed) -> ObjectReference {
    ObjectReference {
        api_version: Some(API_VERSION.to_owned()),
        kind: Some(kind.to_owned()),
        namespace: Some(component.namespace.clone()),
        name: Some(component.name.clone()),
        uid: Some(component.uid.clone()),
        ..ObjectReference::default()
    }
}

async fn restart(pending: PendingRestart, shared: Arc<Shared>) {
    let PendingRestart { count, pod, pod_uid, component, .. } = pending;
    let namespace = component.namespace.clone().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(shared.client.clone(), &namespace);
    // Another pod of the same name has already been restarted.
    let preconditions = Some(Preconditions { uid: Some(pod_uid), resource_version: None });
    let params = DeleteParams { preconditions, ..DeleteParams::default() };
    match pods.delete(&pod, &params).await {
        Ok(_) => {
            let note =
                format!("restarted pod {pod}: it makes no progress (restart {count} of at most 3 in a row)");
            shared.events.publish(&component, true, Reason::PodRestarted, "Restart", &note).await;
        }
        Err(error) => {
            let error = function_mesh_kube::decode_error::message(&error);
            let note = format!("failed to restart pod {pod}: {error}");
            shared.events.publish(&component, false, Reason::PodRestartFailed, "Restart", &note).await;
        }
    }
}
