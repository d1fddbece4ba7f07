//! Stage five, on every path: the status, and an event for each transition.

use function_mesh_api::types::{ComponentStatus, Phase};
use function_mesh_api::{Component, labels};

use super::status::{Outcome, status_of};
use crate::context::Shared;
use crate::kit::children::Change;
use crate::kit::status::write_status;

pub(super) async fn report<C: Component>(
    component: &C,
    outcome: &Outcome,
    shared: &Shared,
) -> Result<(), kube::Error> {
    let before = component.status();
    let now = status_of(before, component.meta().generation, outcome);
    let regarding = component.object_ref(&());
    if let Outcome::Applied(seen) = outcome {
        let made: Vec<_> =
            seen.children.made.iter().map(|(kind, change)| format!("{kind} {}", verb(*change))).collect();
        if !made.is_empty() {
            shared.events.publish(&regarding, true, "Applied", "Apply", &made.join(", ")).await;
        }
    }
    if before == Some(&now) {
        return Ok(());
    }
    let is_transition = before.is_none_or(|before| before.phase != now.phase || worse(before, &now));
    write_status(&shared.client, component, &now, labels::managers::STATUS).await?;
    shared.metrics.wrote(C::ROLE.kind(), "status");
    if is_transition && !matches!(now.phase, Phase::Pending | Phase::Progressing) {
        let normal = !matches!(now.phase, Phase::Degraded | Phase::Invalid);
        let note = now
            .message
            .clone()
            .unwrap_or_else(|| format!("{} of {} pods are ready", now.ready_replicas, now.replicas));
        shared.events.publish(&regarding, normal, now.phase.as_str(), "Report", &note).await;
    }
    Ok(())
}

/// The same bad phase for another reason is a transition too.
fn worse(before: &ComponentStatus, now: &ComponentStatus) -> bool {
    matches!(now.phase, Phase::Degraded | Phase::Invalid) && before.message != now.message
}

fn verb(change: Change) -> &'static str {
    match change {
        Change::None => "unchanged",
        Change::Created => "created",
        Change::Updated => "updated",
    }
}
