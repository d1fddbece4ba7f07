//! How pods are replaced when they change, and the stop and start of `strategy: Recreate`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// How pods are replaced when they change.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RolloutStrategy {
    /// One after the other, as a StatefulSet does it: old and new pods run at the same time.
    #[default]
    RollingUpdate,
    /// All old pods are stopped before the first new one starts, so that no two versions run at the same time and no producer
    /// of an old pod is connected when a new one connects. The component processes nothing in between.
    Recreate,
}

/// The last change with `strategy: Recreate`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecreateStatus {
    /// Where it is.
    pub step: RecreateStep,
    /// Since when it is there.
    pub since: Option<Time>,
    /// What it waits for.
    pub message: Option<String>,
    /// Time without a pod, in seconds: from when the operator saw that the last old pod is gone until it saw that the first new
    /// pod is ready.
    pub gap_seconds: Option<f64>,
}

/// Where a change with `strategy: Recreate` is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RecreateStep {
    /// The old pods are stopped.
    #[default]
    Stopping,
    /// No pod is left, and something may still consume the subscription.
    Draining,
    /// The new pods start, and none is ready.
    Starting,
    /// A new pod is ready.
    Complete,
}
