//! What the operator decided about the replicas of a component, and how that differs from what is set.

use function_mesh_api::types::ScalingStatus;
use serde::Serialize;
use serde_json::{Value, json};

/// What `status` shows of the scaling of a component: null without a decision.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredView {
    /// `Auto` or `Recommend`.
    pub mode: String,
    /// Replicas that the operator wants, or recommends.
    pub desired_replicas: Option<u32>,
    /// Why, in one word.
    pub reason: Option<String>,
    /// Why, in one sentence.
    pub message: Option<String>,
    /// What limits the replicas, if more were wanted.
    pub limited_by: Option<String>,
}

impl DesiredView {
    pub(super) fn of(object: &Value, status: &ScalingStatus) -> Self {
        let recommends = object.pointer("/spec/scaling/mode") == Some(&json!("Recommend"));
        Self {
            mode: if recommends { "Recommend" } else { "Auto" }.to_owned(),
            desired_replicas: status.desired_replicas,
            reason: status.reason.clone(),
            message: status.message.clone(),
            limited_by: status.limited_by.clone(),
        }
    }

    /// The desired replicas, if they differ from those that are set.
    pub(super) fn difference(&self, replicas: i32) -> Option<String> {
        let desired = self.desired_replicas.filter(|desired| i64::from(*desired) != i64::from(replicas))?;
        let verb = if self.mode == "Auto" { "wanted" } else { "recommended" };
        let noun = if desired == 1 { "replica" } else { "replicas" };
        let why = [&self.reason, &self.message].into_iter().flatten().cloned().collect::<Vec<_>>().join(": ");
        Some(if why.is_empty() {
            format!("{desired} {noun} {verb}")
        } else {
            format!("{desired} {noun} {verb}, {why}")
        })
    }
}
