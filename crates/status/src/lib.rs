//! The health of a mesh and of its components as the operator reports it, as data.
//!
//! [`mesh_status`] and [`component_status`] build a [`StatusView`] from objects of the API server; they do no I/O.
//! `kubectl mesh status` and the console show it. Serialized it has the field names below in camelCase, every field always
//! present, `null` for what is unknown. Fields may join; a field is only removed after a deprecation.

mod build;
mod desired;
mod health;
pub mod object_ref;
mod order;

use function_mesh_api::types::{TrafficAccess, TrafficStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;

pub use build::{MeshPlan, component_status, component_view, components, mesh_status, planned_status};
pub use desired::DesiredView;
pub use order::flow_order;

/// A mesh with its components, or one component.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusView {
    /// The worst health of the mesh and its components.
    pub health: Health,
    /// The mesh; null for one component.
    pub mesh: Option<MeshView>,
    /// The components in the order of the flow: those without a predecessor first, sources before functions before sinks.
    /// Components of a cycle share a place.
    pub components: Vec<ComponentView>,
}

/// Health in one word, from the best to the worst.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Health {
    /// Works as requested: ready, asleep, suspended, or ready with a deferred change.
    Healthy,
    /// Starts, rolls out, is being deleted, does not exist yet, or cannot be decoded.
    NotReady,
    /// The condition Stalled is True, and nothing else is wrong: messages wait and none is acknowledged. The phase is then
    /// Degraded.
    Stalled,
    /// The phase is Degraded or Invalid for another reason.
    Degraded,
}

/// A FunctionMesh.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshView {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Health of the mesh itself, from its conditions.
    pub health: Health,
    /// `Ready`, `Progressing`, `Degraded`, `Stalled`, `Invalid`, `Pending` without a status, or `Deleting`.
    pub state: String,
    /// Since when it has this state, in RFC 3339; null if its conditions do not say so.
    pub since: Option<Time>,
    /// Components that are ready, asleep, suspended, or ready with a deferred change.
    pub ready: usize,
    /// Components in the spec.
    pub wanted: usize,
    /// Causes for people, one sentence each. Their words may change.
    pub reasons: Vec<String>,
}

/// A Function, Source or Sink.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentView {
    /// `Function`, `Source` or `Sink`.
    pub kind: &'static str,
    /// Namespace.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Name of its FunctionMesh; null without one.
    pub mesh: Option<String>,
    /// Whether the object exists.
    pub exists: bool,
    /// Health.
    pub health: Health,
    /// A phase of the API; `Progressing` also while the operator has not applied the current spec, `Missing` if the object
    /// does not exist, `Unknown` if its status cannot be decoded.
    pub phase: String,
    /// Pods; null without a status.
    pub pods: Option<PodsView>,
    /// Message traffic; null if the operator does not observe Pulsar, and until it has.
    pub traffic: Option<TrafficView>,
    /// The condition Stalled; null without one.
    pub stalled: Option<StallView>,
    /// What the operator decided about the replicas; null without `spec.scaling`, and until it has.
    pub scaling: Option<DesiredView>,
    /// Causes for people, one sentence each. Their words may change.
    pub reasons: Vec<String>,
}

/// Numbers of pods.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodsView {
    /// Ready pods.
    pub ready: i32,
    /// Desired pods.
    pub wanted: i32,
}

/// Message traffic of a component. A number is null if it is unknown, and if the component cannot have it: a Source has
/// no input.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficView {
    /// Entries that wait in the subscription; a batch of messages counts as one.
    pub backlog: Option<u64>,
    /// Age of the oldest entry that waits, in seconds.
    pub lag_seconds: Option<u64>,
    /// Messages published to the input topics, per second.
    pub in_rate: Option<f64>,
    /// Messages processed by the pods, per second.
    pub out_rate: Option<f64>,
    /// Exceptions in the pods within ten minutes.
    pub exceptions: Option<u64>,
    /// Time of the last acknowledgement, in RFC 3339.
    pub last_acked: Option<Time>,
    /// Time of the observation that was written last, in RFC 3339. The operator observes more often, and writes when a
    /// number has changed noticeably: the age of this says nothing about the numbers.
    pub observed_at: Option<Time>,
    /// Pods that the operator restarted in a row, since the component is stalled and `onStall` is `Restart`.
    pub restarts: Option<u32>,
    /// Time of the last of these restarts, in RFC 3339.
    pub last_restart: Option<Time>,
    /// `Anonymous`, `Token` or `ClientCertificate`: how the operator authenticates to Pulsar.
    pub access: Option<TrafficAccess>,
    /// Why a number is unknown.
    pub message: Option<String>,
}

/// The condition Stalled.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StallView {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Reason of the condition.
    pub reason: String,
    /// Message of the condition.
    pub message: String,
}

impl StatusView {
    /// The same without the times that change although nothing else does: `--watch` compares this.
    #[must_use]
    pub fn without_times(&self) -> Self {
        let mut view = self.clone();
        for traffic in view.components.iter_mut().filter_map(|component| component.traffic.as_mut()) {
            traffic.observed_at = None;
            traffic.last_acked = None;
        }
        view
    }
}

impl TrafficView {
    fn of(traffic: TrafficStatus) -> Self {
        let TrafficStatus {
            backlog,
            lag_seconds,
            in_rate,
            out_rate,
            exceptions,
            last_acked,
            observed_at,
            restarts,
            last_restart,
            access,
            message,
        } = traffic;
        Self {
            backlog,
            lag_seconds,
            in_rate,
            out_rate,
            exceptions,
            last_acked,
            observed_at,
            restarts,
            last_restart,
            access,
            message,
        }
    }
}
