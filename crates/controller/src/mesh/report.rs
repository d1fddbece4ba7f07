//! The status of a mesh, and an event for each transition.

use std::time::Duration;

use function_mesh_api::conditions::{ConditionType, Reason};
use function_mesh_api::types::FunctionMeshStatus;
use function_mesh_api::{FunctionMesh, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Resource;

use super::status::{Outcome, status_of};
use crate::context::Shared;
use crate::error::Error;
use function_mesh_kube::compact::{Compact, status};
use function_mesh_kube::decode_error::words;
use function_mesh_kube::status::write_status;

/// How long news that something goes on may wait for what follows.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// Writes the status if it says anything new, and tells what happened. News that can wait are told later: then
/// this says when.
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
    let wait = super::key(mesh);
    if before == Some(&now) {
        shared.status_debounce.forget(&wait);
        return Ok(None);
    }
    // That a few more components came along may wait for those that follow.
    let is_under_way = before.is_some_and(|before| {
        let same = |of: fn(&Condition) -> &str| ready(before).map(of) == ready(&now).map(of);
        let generation = before.observed_generation == now.observed_generation;
        generation
            && same(|it| &it.reason)
            && ready(&now).is_some_and(|it| it.reason == Reason::ComponentsNotReady.as_str())
    });
    let longest = if is_under_way { UNDER_WAY } else { Duration::ZERO };
    if let Some(remaining) = shared.status_debounce.remaining(&wait, longest) {
        return Ok(Some(remaining));
    }
    write_status(&shared.client, mesh, &now, labels::managers::STATUS).await?;
    shared.metrics.wrote("FunctionMesh", "status");
    let (earlier, ready) = (before.and_then(ready), ready(&now));
    // That components start after something was applied goes without saying.
    let is_expected = earlier.is_none() || !changes.is_empty();
    let turned = earlier.map(|c| (&c.status, &c.reason)) != ready.map(|c| (&c.status, &c.reason));
    if let Some(ready) = ready
        && turned
        && let Some(reason) = Reason::ALL.iter().copied().find(|reason| reason.as_str() == ready.reason)
        && !(is_expected && reason == Reason::ComponentsNotReady)
    {
        let is_well = ready.status == "True" || reason == Reason::Deleting;
        shared.events.publish(&regarding, is_well, reason, "Report", &ready.message).await;
    }
    Ok(None)
}

/// Says in the status of a mesh that cannot be decoded why that is so, as
/// [`report_undecodable`](crate::component) does of components.
pub(super) async fn report_undecodable(object: &Compact<FunctionMesh>, error: Error, shared: &Shared) {
    let before = status(object.json().unwrap_or_default());
    let before = before.and_then(|status| serde_json::from_str::<FunctionMeshStatus>(status.get()).ok());
    let is_news = shared.undecodable.note(&super::key(object), &error.to_string());
    let outcome = Outcome::failed(error);
    let now = Time(jiff::Timestamp::now());
    let now = status_of(before.as_ref(), object.meta().generation, &outcome, &now);
    if before.as_ref() == Some(&now) || before.is_none() && !is_news {
        return;
    }
    match write_status(&shared.client, object, &now, labels::managers::STATUS).await {
        Ok(()) => shared.metrics.wrote("FunctionMesh", "status"),
        Err(error) => {
            let (meta, error) = (object.meta(), words(&error));
            let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
            tracing::warn!(
                kind = "FunctionMesh",
                namespace,
                name,
                error,
                "cannot write the status of what cannot be decoded"
            );
        }
    }
}

fn ready(status: &FunctionMeshStatus) -> Option<&Condition> {
    status.conditions.as_ref()?.iter().find(|condition| condition.type_ == ConditionType::Ready.as_str())
}
