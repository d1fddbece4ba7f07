//! Stage five, on every path: the status, and an Event for each transition.

use std::time::Duration;

use function_mesh_api::conditions::Reason;
use function_mesh_api::types::{ComponentStatus, Phase};
use function_mesh_api::{Component, Spec as _};
use function_mesh_workloads::subscriptions::without;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::rollout::canary_event;
use super::status::{Outcome, status_of, summary};
use crate::condition::rewritten_message;
use crate::context::Shared;
use crate::traffic::StallReport;
use function_mesh_kube::apply::Change;
use function_mesh_kube::events::truncate;

/// How long a status that only shows progress is deferred: children, pods and their start follow within seconds, and a
/// status for each would be one write more of the API server.
const PROGRESS_DEBOUNCE: Duration = Duration::from_secs(3);

/// How long a status with another validation error is deferred, for users who edit, or alternate two invalid specs.
const INVALID_DEBOUNCE: Duration = Duration::from_secs(2);

/// How long the first problem of a new component is deferred, whose StatefulSet has yet to count its pods; and that count.
const COUNT_DEBOUNCE: Duration = Duration::from_secs(1);

/// Writes the status if it has changed, and publishes Events. Returns when to report again if the write is deferred.
pub(super) async fn report<C: Component>(
    component: &C,
    outcome: &Outcome,
    shared: &Shared,
) -> Result<Option<Duration>, kube::Error> {
    shared.undecodable.forget(&super::key(component));
    let before = component.status();
    let now = status_of(before, component.meta().generation, outcome, &Time(jiff::Timestamp::now()));
    let regarding = component.object_ref(&());
    let changes = changes(outcome);
    // The children of a new component are expected: its first status reports them.
    let is_creation = is_new(before) && are_created(outcome);
    if !changes.is_empty() && !is_creation {
        shared.events.publish(&regarding, true, Reason::Applied, "Apply", &changes).await;
    }
    let children = if let Outcome::Applied(seen) = outcome { Some(&seen.applied) } else { None };
    let (adopted, rewritten) = children.map(|it| (&*it.adopted, &*it.rewritten)).unwrap_or_default();
    if !adopted.is_empty() {
        shared.events.publish(&regarding, true, Reason::Adopted, "Adopt", &adopted.join(", ")).await;
    }
    if let Some((reason, note)) = children.and_then(|it| it.recreate.as_ref()?.event.as_ref()) {
        shared.events.publish(&regarding, true, *reason, "Recreate", note).await;
    }
    let key = super::key(component);
    if before == Some(&now) {
        shared.status_debounce.forget(&key);
        return Ok(None);
    }
    let max_delay = if is_progress(before, &now) {
        PROGRESS_DEBOUNCE
    } else if is_still_invalid(before, &now) {
        INVALID_DEBOUNCE
    } else if is_first_problem(before, &now) || is_count_of_updated(before, &now) {
        COUNT_DEBOUNCE
    } else {
        Duration::ZERO
    };
    if let Some(remaining) = shared.status_debounce.remaining(&key, max_delay) {
        return Ok(Some(remaining));
    }
    let is_transition =
        before.is_none_or(|before| before.phase != now.phase || has_new_failure(before, &now));
    shared.write_status(component, &now).await?;
    shared.metrics.wrote(C::ROLE.kind(), "status");
    report_retired(component, before, &now, shared).await;
    if !rewritten.is_empty() && before.is_none_or(|before| before.message != now.message) {
        let note = rewritten_message(rewritten);
        shared.events.publish(&regarding, false, Reason::FieldsRewritten, "Apply", &note).await;
    }
    // After an apply, starting pods are expected: no Event.
    let is_expected = match now.phase {
        Phase::Pending => true,
        Phase::Progressing => !changes.is_empty() || is_new(before),
        _ => false,
    };
    if is_transition && !is_expected {
        let normal = !matches!(now.phase, Phase::Degraded | Phase::RolledBack | Phase::Invalid);
        let stall = if let Outcome::Applied(seen) = outcome { seen.traffic.stall() } else { None };
        let stall = stall.filter(|stall| now.message.as_deref() == Some(stall.message.as_str()));
        let reason = outcome.final_reason().or(stall.map(|stall| stall.reason));
        let reason = reason.unwrap_or_else(|| Reason::from(now.phase));
        shared.events.publish(&regarding, normal, reason, "Report", &summary(&now)).await;
    }
    if let Some(message) = exceeded(&now).filter(|_| before.and_then(exceeded).is_none()) {
        let reason = Reason::ProgressDeadlineExceeded;
        shared.events.publish(&regarding, false, reason, "RollOut", message).await;
    }
    if let Some((normal, reason, note)) = canary_event(before, &now) {
        shared.events.publish(&regarding, normal, reason, "RollOut", truncate(&note, 900)).await;
    }
    if let Some((normal, stall)) = knowledge_change(before, &now) {
        shared.events.publish(&regarding, normal, stall.reason, "Observe", &stall.message).await;
    }
    Ok(None)
}

/// The message of a rollout without progress.
fn exceeded(status: &ComponentStatus) -> Option<&str> {
    let mut conditions = status.standard_conditions.iter();
    let found = conditions.find(|it| it.reason == Reason::ProgressDeadlineExceeded.as_str());
    found.map(|found| found.message.as_str())
}

/// The condition Stalled if it became unknown, or is known again, and whether its Event is Normal. The first condition of a
/// component is no transition, and a stall or suspension that the phase reports needs no second Event.
fn knowledge_change(before: Option<&ComponentStatus>, now: &ComponentStatus) -> Option<(bool, StallReport)> {
    let was_known = StallReport::of(&before?.standard_conditions)?.holds.is_some();
    let stall = StallReport::of(&now.standard_conditions)?;
    match stall.holds {
        None if was_known => Some((false, stall)),
        Some(false) if !was_known && stall.reason != Reason::Suspended => Some((true, stall)),
        Some(true) if !was_known && now.message.as_deref() != Some(stall.message.as_str()) => {
            Some((false, stall))
        }
        _ => None,
    }
}

/// Publishes an Event about subscriptions that a change retired.
async fn report_retired<C: Component>(
    component: &C,
    before: Option<&ComponentStatus>,
    now: &ComponentStatus,
    shared: &Shared,
) {
    let before = before.map(|before| before.retired_subscriptions.as_slice()).unwrap_or_default();
    let retired = without(&now.retired_subscriptions, before);
    if retired.is_empty() {
        return;
    }
    let names = retired.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let names = truncate(&names, 600);
    let view = component.spec().view();
    let is_removed = view.consuming.is_none_or(|consuming| consuming.cleanup_subscription);
    let (normal, note) = if is_removed {
        (true, format!("no longer consumed: {names}; will be deleted with the {}", C::ROLE))
    } else {
        let remedy = "delete it with `pulsar-admin topics unsubscribe`, or set cleanupSubscription";
        (false, format!("no longer consumed: {names}; its backlog remains in Pulsar: {remedy}"))
    };
    shared
        .events
        .publish(&component.object_ref(&()), normal, Reason::SubscriptionRetired, "Report", &note)
        .await;
}

/// Whether the status only shows progress.
fn is_progress(before: Option<&ComponentStatus>, now: &ComponentStatus) -> bool {
    let was_starting =
        before.is_none_or(|before| matches!(before.phase, Phase::Pending | Phase::Progressing));
    was_starting && now.phase == Phase::Progressing
}

/// Whether only the number of updated pods differs.
fn is_count_of_updated(before: Option<&ComponentStatus>, now: &ComponentStatus) -> bool {
    before.is_some_and(|before| {
        *before == ComponentStatus { updated_replicas: before.updated_replicas, ..now.clone() }
    })
}

/// Whether no phase was reported before.
fn is_new(before: Option<&ComponentStatus>) -> bool {
    before.is_none_or(|before| before.phase == Phase::Pending)
}

/// Whether a new component has its first problem.
fn is_first_problem(before: Option<&ComponentStatus>, now: &ComponentStatus) -> bool {
    is_new(before) && now.phase == Phase::Degraded
}

/// Whether the object was invalid before, with another error.
fn is_still_invalid(before: Option<&ComponentStatus>, now: &ComponentStatus) -> bool {
    now.phase == Phase::Invalid && before.is_some_and(|before| before.phase == Phase::Invalid)
}

/// Whether all changed children were created.
fn are_created(outcome: &Outcome) -> bool {
    let Outcome::Applied(seen) = outcome else { return false };
    seen.applied.changes.values().all(|change| *change == Change::Created)
}

/// The changes of the children, for an Event.
fn changes(outcome: &Outcome) -> String {
    let Outcome::Applied(seen) = outcome else { return String::new() };
    let changes = seen.applied.changes.iter();
    let changes = changes.filter_map(|(kind, change)| Some(format!("{kind} {}", change.verb()?)));
    changes.collect::<Vec<_>>().join(", ")
}

/// Whether the message of a failure is new, even if the phase is the same.
fn has_new_failure(before: &ComponentStatus, now: &ComponentStatus) -> bool {
    matches!(now.phase, Phase::Degraded | Phase::RolledBack | Phase::Invalid) && before.message != now.message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::{ConditionSpec, with_history};

    /// A status with this condition, and with a message.
    fn status(holds: Option<bool>, reason: Reason, message: &str) -> ComponentStatus {
        let stall = StallReport { holds, reason, message: "why".to_owned() };
        let time = Time(jiff::Timestamp::UNIX_EPOCH);
        let standard_conditions = with_history([ConditionSpec::stalled(&stall)], &[], None, &time);
        ComponentStatus { standard_conditions, message: Some(message.to_owned()), ..Default::default() }
    }

    #[test]
    fn traffic_that_becomes_unknown_or_known_is_an_event() {
        let unobserved = ComponentStatus::default();
        let unknown = status(None, Reason::AccessDenied, "");
        let other_cause = status(None, Reason::PulsarUnavailable, "");
        let known = status(Some(false), Reason::NotStalled, "");
        let suspended = status(Some(false), Reason::Suspended, "");
        let (stalled, crashing) =
            (status(Some(true), Reason::Failing, "why"), status(Some(true), Reason::Failing, "pod crashes"));
        for (before, now, expected) in [
            (&unobserved, &unknown, None),
            (&unobserved, &known, None),
            (&known, &unobserved, None),
            (&known, &unknown, Some((false, Reason::AccessDenied))),
            (&stalled, &unknown, Some((false, Reason::AccessDenied))),
            (&unknown, &unknown, None),
            (&unknown, &other_cause, None),
            (&unknown, &known, Some((true, Reason::NotStalled))),
            (&unknown, &suspended, None),
            (&unknown, &stalled, None),
            (&unknown, &crashing, Some((false, Reason::Failing))),
            (&known, &stalled, None),
        ] {
            let found = knowledge_change(Some(before), now).map(|(normal, stall)| (normal, stall.reason));
            assert_eq!(found, expected, "{before:?} {now:?}");
        }
        assert_eq!(knowledge_change(None, &unknown), None);
    }
}
