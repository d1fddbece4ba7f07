//! The standard conditions of a component. Upstream's `status.conditions` stays a map from child kind to state.

use function_mesh_api::conditions::{ConditionType, Reason};
use function_mesh_api::types::{ComponentStatus, Phase};

use super::status::{Outcome, summary};
use crate::condition::ConditionSpec;

/// The standard conditions, which follow from phase and message.
pub(super) fn of(status: &ComponentStatus, outcome: &Outcome) -> Vec<ConditionSpec> {
    let phase = status.phase;
    let message = summary(status);
    let final_reason = outcome.final_reason();
    let reason = final_reason.unwrap_or_else(|| Reason::from(phase));
    let spec = ConditionSpec::new;
    let is_moving = matches!(phase, Phase::Pending | Phase::Progressing | Phase::Deleting);
    let progressing = match (is_moving, final_reason) {
        (true, _) => spec(ConditionType::Progressing, true, reason, &message),
        (false, Some(reason)) => {
            spec(ConditionType::Progressing, false, reason, "reconcile blocked until the spec is valid")
        }
        (false, None) => spec(ConditionType::Progressing, false, Reason::Stable, "no rollout in progress"),
    };
    let rollout = match outcome {
        Outcome::Applied(seen) => seen.rollout.as_ref(),
        _ => None,
    };
    // A pod that fails within the deadline ends no rollout.
    let rollout = rollout.and_then(|report| report.condition(phase == Phase::Degraded));
    let progressing = rollout.unwrap_or(progressing);
    let degraded = if matches!(phase, Phase::Degraded | Phase::RolledBack | Phase::Invalid) {
        spec(ConditionType::Degraded, true, reason, &message)
    } else {
        spec(ConditionType::Degraded, false, Reason::AsExpected, "no pod is degraded")
    };
    let paused = match &status.pending_change {
        Some(_) => {
            let message = "a change of the pods is deferred; status.pendingChange has it";
            spec(ConditionType::Paused, true, Reason::RolloutPaused, message)
        }
        None => spec(ConditionType::Paused, false, Reason::NotPaused, "no change of the pods is deferred"),
    };
    let accepted = match final_reason {
        Some(reason) => spec(ConditionType::Accepted, false, reason, &message),
        None => spec(ConditionType::Accepted, true, Reason::ValidationSucceeded, "the spec is valid"),
    };
    // Suspended, sleeping and paused components work as requested.
    let is_ready = matches!(phase, Phase::Ready | Phase::Suspended | Phase::Asleep | Phase::Paused);
    let ready = spec(ConditionType::Ready, is_ready, reason, &message);
    let stalled = match outcome {
        Outcome::Applied(seen) => seen.traffic.report().and_then(|report| report.stall.as_ref()),
        _ => None,
    };
    let all = [ready, progressing, degraded, paused, accepted];
    all.into_iter().chain(stalled.map(ConditionSpec::stalled)).collect()
}
