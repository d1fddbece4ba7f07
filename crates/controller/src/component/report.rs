//! Stage five, on every path: the status, and an event for each transition.

use std::time::Duration;

use function_mesh_api::conditions::Reason;
use function_mesh_api::types::{ComponentStatus, Phase};
use function_mesh_api::{Component, Spec as _, labels};
use function_mesh_workloads::subscriptions::without;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;

use super::status::{Outcome, status_of};
use crate::context::Shared;
use crate::error::Error;
use function_mesh_kube::apply::Change;
use function_mesh_kube::compact::{Compact, status};
use function_mesh_kube::decode_error::words;
use function_mesh_kube::events::clip;
use function_mesh_kube::status::write_status;

/// How long news that something goes on may wait for what follows: children are made, then their pods, and then
/// those run or do not, often within seconds.
const UNDER_WAY: Duration = Duration::from_secs(3);

/// How long another broken rule in place of one waits: somebody edits the object, or alternates two of them.
const STILL_INVALID: Duration = Duration::from_secs(2);

/// Writes the status if it says anything new, and tells what happened. News that can wait are told later: then
/// this says when.
pub(super) async fn report<C: Component>(
    component: &C,
    outcome: &Outcome,
    shared: &Shared,
) -> Result<Option<Duration>, kube::Error> {
    shared.undecodable.forget(&super::key(component));
    let before = component.status();
    let now = status_of(before, component.meta().generation, outcome, &Time(jiff::Timestamp::now()));
    let regarding = component.object_ref(&());
    let made = made(outcome);
    if !made.is_empty() {
        shared.events.publish(&regarding, true, Reason::Applied, "Apply", &made).await;
    }
    let wait = super::key(component);
    if before == Some(&now) {
        shared.status_debounce.forget(&wait);
        return Ok(None);
    }
    let longest = if is_under_way(before, &now) {
        UNDER_WAY
    } else if is_still_invalid(before, &now) {
        STILL_INVALID
    } else {
        Duration::ZERO
    };
    if let Some(remaining) = shared.status_debounce.remaining(&wait, longest) {
        return Ok(Some(remaining));
    }
    let is_transition = before.is_none_or(|before| before.phase != now.phase || worse(before, &now));
    write_status(&shared.client, component, &now, labels::managers::STATUS).await?;
    shared.metrics.wrote(C::ROLE.kind(), "status");
    report_retired(component, before, &now, shared).await;
    // That pods start after something was applied goes without saying.
    let is_expected = match now.phase {
        Phase::Pending => true,
        Phase::Progressing => !made.is_empty() || before.is_none_or(|before| before.phase == Phase::Pending),
        _ => false,
    };
    if is_transition && !is_expected {
        let normal = !matches!(now.phase, Phase::Degraded | Phase::Invalid);
        let reason = match outcome {
            Outcome::Failed(error) if error.is_final() => error.final_reason(),
            _ => Reason::from(now.phase),
        };
        let note = now
            .message
            .clone()
            .unwrap_or_else(|| format!("{} of {} pods are ready", now.ready_replicas, now.replicas));
        shared.events.publish(&regarding, normal, reason, "Report", &note).await;
    }
    Ok(None)
}

/// Says in the status of an object that cannot be decoded why that is so. It is a courtesy: the API server may not
/// take it, since it checks the whole object, and the event tells it too.
pub(super) async fn report_undecodable<C: Component>(
    object: &Compact<C>,
    json: &str,
    error: Error,
    shared: &Shared,
) {
    let before = status(json).and_then(|status| serde_json::from_str::<ComponentStatus>(status.get()).ok());
    let now = status_of(
        before.as_ref(),
        object.meta().generation,
        &Outcome::Failed(error),
        &Time(jiff::Timestamp::now()),
    );
    let message = now.message.clone().unwrap_or_default();
    let is_news = shared.undecodable.note(&super::key_of_meta::<C>(object.meta()), &message);
    if before.as_ref() == Some(&now) || before.is_none() && !is_news {
        return;
    }
    match write_status(&shared.client, object, &now, labels::managers::STATUS).await {
        Ok(()) => shared.metrics.wrote(C::ROLE.kind(), "status"),
        Err(error) => {
            let (kind, meta) = (C::ROLE.kind(), object.meta());
            let (namespace, name, error) = (meta.namespace.as_deref(), meta.name.as_deref(), words(&error));
            tracing::warn!(kind, namespace, name, error, "cannot write the status of what cannot be decoded");
        }
    }
}

/// Tells of subscriptions that a change left behind.
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
    let names = clip(&names, 600);
    let view = component.spec().view();
    let is_removed = view.consuming.is_none_or(|consuming| consuming.cleanup_subscription);
    let (normal, note) = if is_removed {
        (true, format!("no longer read: {names}; removed when the {} is deleted", C::ROLE))
    } else {
        let what = "keeps its backlog in Pulsar; remove it with `pulsar-admin topics unsubscribe`, or set cleanupSubscription";
        (false, format!("no longer read: {names}; it {what}"))
    };
    shared
        .events
        .publish(&component.object_ref(&()), normal, Reason::SubscriptionRetired, "Report", &note)
        .await;
}

/// Whether there is nothing to tell but that it goes on, or that it began.
fn is_under_way(before: Option<&ComponentStatus>, now: &ComponentStatus) -> bool {
    let began = before.is_none_or(|before| matches!(before.phase, Phase::Pending | Phase::Progressing));
    began && now.phase == Phase::Progressing
}

/// Whether the object was invalid before, in another way.
fn is_still_invalid(before: Option<&ComponentStatus>, now: &ComponentStatus) -> bool {
    now.phase == Phase::Invalid && before.is_some_and(|before| before.phase == Phase::Invalid)
}

/// What was done to the children, in words.
fn made(outcome: &Outcome) -> String {
    let Outcome::Applied(seen) = outcome else { return String::new() };
    let made = seen.applied.changes.iter().map(|(kind, change)| format!("{kind} {}", verb(*change)));
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
