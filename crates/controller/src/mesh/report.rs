//! Reports a mesh: its status, and an Event for each transition.

use std::time::Duration;

use function_mesh_api::FunctionMesh;
use function_mesh_api::conditions::{ConditionType, Reason};
use function_mesh_api::types::FunctionMeshStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Resource;

use super::status::{Outcome, status_of};
use crate::condition::rewritten_message;
use crate::context::Shared;

/// How long a status that only shows progress is deferred.
const PROGRESS_DEBOUNCE: Duration = Duration::from_secs(1);

/// Writes the status if it has changed, and publishes Events. Returns when to report again if the write is deferred.
pub(super) async fn report(
    mesh: &FunctionMesh,
    outcome: &Outcome,
    shared: &Shared,
) -> Result<Option<Duration>, kube::Error> {
    shared.undecodable.forget(&super::key(mesh));
    let before = mesh.status.as_ref();
    let now = status_of(before, mesh.metadata.generation, outcome, &Time(jiff::Timestamp::now()));
    let regarding = mesh.object_ref(&());
    let changes = outcome.seen().map(|seen| seen.changes.as_slice()).unwrap_or_default();
    if !changes.is_empty() {
        let note = changes.join(", ");
        shared.events.publish(&regarding, true, Reason::Applied, "Apply", &note).await;
    }
    let (adopted, rewritten) =
        outcome.seen().map(|seen| (seen.adopted.as_slice(), seen.rewritten.as_slice())).unwrap_or_default();
    if !adopted.is_empty() {
        shared.events.publish(&regarding, true, Reason::Adopted, "Adopt", &adopted.join(", ")).await;
    }
    let key = super::key(mesh);
    if before == Some(&now) {
        shared.status_debounce.forget(&key);
        return Ok(None);
    }
    // A status in which only more components are ready is deferred.
    let is_progress = before.is_some_and(|before| {
        let same = |of: fn(&Condition) -> &str| ready(before).map(of) == ready(&now).map(of);
        let generation = before.observed_generation == now.observed_generation;
        generation
            && same(|it| &it.reason)
            && ready(&now).is_some_and(|it| it.reason == Reason::ComponentsNotReady.as_str())
    });
    let max_delay = if is_progress { PROGRESS_DEBOUNCE } else { Duration::ZERO };
    if let Some(remaining) = shared.status_debounce.remaining(&key, max_delay) {
        return Ok(Some(remaining));
    }
    shared.write_status(mesh, &now).await?;
    shared.metrics.wrote("FunctionMesh", "status");
    let (earlier, ready) = (before.and_then(ready), ready(&now));
    if !rewritten.is_empty() && earlier.map(|it| &it.message) != ready.map(|it| &it.message) {
        let note = rewritten_message(rewritten);
        shared.events.publish(&regarding, false, Reason::FieldsRewritten, "Apply", &note).await;
    }
    // After an apply, unready components are expected: no Event.
    let is_expected = earlier.is_none() || !changes.is_empty();
    let has_changed = earlier.map(|c| (&c.status, &c.reason)) != ready.map(|c| (&c.status, &c.reason));
    if let Some(ready) = ready
        && has_changed
        && let Some(reason) = Reason::ALL.iter().copied().find(|reason| reason.as_str() == ready.reason)
        && !(is_expected && reason == Reason::ComponentsNotReady)
    {
        let is_well = ready.status == "True" || reason == Reason::Deleting;
        shared.events.publish(&regarding, is_well, reason, "Report", &ready.message).await;
    }
    Ok(None)
}

fn ready(status: &FunctionMeshStatus) -> Option<&Condition> {
    status.conditions.as_ref()?.iter().find(|condition| condition.type_ == ConditionType::Ready.as_str())
}
