//! The status of a mesh, and an event for each transition.

use function_mesh_api::types::FunctionMeshStatus;
use function_mesh_api::{FunctionMesh, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Resource;

use super::status::{Outcome, status_of};
use crate::context::Shared;
use crate::kit::status::write_status;

pub(super) async fn report(
    mesh: &FunctionMesh,
    outcome: &Outcome,
    shared: &Shared,
) -> Result<(), kube::Error> {
    let before = mesh.status.as_ref();
    let now = status_of(before, mesh.metadata.generation, outcome, &Time(jiff::Timestamp::now()));
    let regarding = mesh.object_ref(&());
    if !outcome.seen.changes.is_empty() {
        let note = outcome.seen.changes.join(", ");
        shared.events.publish(&regarding, true, "Applied", "Apply", &note).await;
    }
    if before == Some(&now) {
        return Ok(());
    }
    write_status(&shared.client, mesh, &now, labels::managers::STATUS).await?;
    shared.metrics.wrote("FunctionMesh", "status");
    let (earlier, ready) = (before.and_then(ready), ready(&now));
    // That components start after something was applied goes without saying.
    let is_expected = earlier.is_none() || !outcome.seen.changes.is_empty();
    let turned = earlier.map(|c| (&c.status, &c.reason)) != ready.map(|c| (&c.status, &c.reason));
    if let Some(ready) = ready
        && turned
        && !(is_expected && ready.reason == "ComponentsNotReady")
    {
        let is_well = ready.status == "True" || ready.reason == "Deleting";
        shared.events.publish(&regarding, is_well, &ready.reason, "Report", &ready.message).await;
    }
    Ok(())
}

fn ready(status: &FunctionMeshStatus) -> Option<&Condition> {
    status.conditions.as_ref()?.iter().find(|condition| condition.type_ == "Ready")
}
