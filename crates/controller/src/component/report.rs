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
    let made = made(outcome);
    if !made.is_empty() {
        shared.events.publish(&regarding, true, "Applied", "Apply", &made).await;
    }
    if before == Some(&now) {
        return Ok(());
    }
    let is_transition = before.is_none_or(|before| before.phase != now.phase || worse(before, &now));
    write_status(&shared.client, component, &now, labels::managers::STATUS).await?;
    shared.metrics.wrote(C::ROLE.kind(), "status");
    // That pods start after something was applied goes without saying.
    let is_expected = match now.phase {
        Phase::Pending => true,
        Phase::Progressing => !made.is_empty() || before.is_none_or(|before| before.phase == Phase::Pending),
        _ => false,
    };
    if is_transition && !is_expected {
        let normal = !matches!(now.phase, Phase::Degraded | Phase::Invalid);
        let note = now
            .message
            .clone()
            .unwrap_or_else(|| format!("{} of {} pods are ready", now.ready_replicas, now.replicas));
        shared.events.publish(&regarding, normal, now.phase.as_str(), "Report", &note).await;
    }
    Ok(())
}

/// What was done to the children, in words.
fn made(outcome: &Outcome) -> String {
    let Outcome::Applied(seen) = outcome else { return String::new() };
    let made = seen.children.made.iter().map(|(kind, change)| format!("{kind} {}", verb(*change)));
    made.collect::<Vec<_>>().join(", ")
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
