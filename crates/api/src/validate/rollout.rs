//! Rules of `spec.rollout`.

use crate::FunctionMesh;
use crate::component::SpecView;
use crate::types::{MAX_MIN_READY, PROGRESS_DEADLINE_RANGE, parse_duration};

use super::canary;
use super::collector::Collector;
use super::violation::FieldPath;

pub(super) fn check(path: &FieldPath, view: &SpecView<'_>, findings: &mut Collector) {
    let spec = &view.common;
    let Some(rollout) = spec.rollout else { return };
    let path = path.field("rollout");
    let (least, most) = PROGRESS_DEADLINE_RANGE;
    if let Some(text) = &rollout.progress_deadline
        && parse_duration(text).is_none_or(|it| it < least || it > most)
    {
        let message = "must be a duration from 10 seconds to a day, such as `10m` or `1m30s`";
        findings.deny(path.field("progressDeadline"), message);
    }
    if let Some(text) = &rollout.min_ready
        && parse_duration(text).is_none_or(|it| it > MAX_MIN_READY)
    {
        findings.deny(path.field("minReady"), "must be a duration of at most a day, such as `30s` or `2m`");
    }
    canary::check(&path, view, rollout, findings);
}

/// Rules of a mesh's own `spec.rollout`.
pub(super) fn check_mesh(path: &FieldPath, mesh: &FunctionMesh, findings: &mut Collector) {
    let is_atomic = mesh.spec.rollout.as_ref().is_some_and(|it| it.atomic == Some(true));
    if !is_atomic || !findings.wants_warnings() {
        return;
    }
    let acts = mesh
        .spec
        .components()
        .filter_map(|(_, _, view)| view.common.rollout)
        .any(|it| it.rolls_back() && it.is_automatic());
    if !acts {
        let message = "no effect: no component of the mesh has `rollout.onFailure` `RollBack`";
        findings.warn(path.field("rollout.atomic"), message);
    }
}
