//! Rules of `spec.rollout.canary`.

use crate::component::{Role, SpecView};
use crate::types::{
    CANARY_MAX_STEPS, CANARY_STEP_RANGE, Canary, CanaryAnalysis, OnInconclusive, Rollout, StepReplicas,
    parse_duration,
};

use super::collector::Collector;
use super::violation::FieldPath;

/// Checks the canary of a rollout, whose path this is.
pub(super) fn check(path: &FieldPath, view: &SpecView<'_>, rollout: &Rollout, findings: &mut Collector) {
    let Some(canary) = &rollout.canary else { return };
    let path = path.field("canary");
    if rollout.recreates() {
        findings.deny(
            path.clone(),
            "must not be set with strategy `Recreate`, which never runs two versions at the same time",
        );
    }
    check_steps(&path, canary, findings);
    let Some(analysis) = &canary.analysis else { return };
    let path = path.field("analysis");
    if analysis.on_inconclusive == Some(OnInconclusive::RollBack) && !rollout.rolls_back() {
        findings.deny(path.field("onInconclusive"), "`RollBack` needs `rollout.onFailure` `RollBack`");
    }
    check_analysis(&path, view, analysis, findings);
}

fn check_steps(path: &FieldPath, canary: &Canary, findings: &mut Collector) {
    let path = path.field("steps");
    if canary.steps.is_empty() {
        findings.deny(path.clone(), "must have at least one step");
    }
    if canary.steps.len() > CANARY_MAX_STEPS {
        findings.deny(path.clone(), "must have at most 10 steps");
        return;
    }
    let (least, most) = CANARY_STEP_RANGE;
    let mut before = None;
    for (index, step) in canary.steps.iter().enumerate() {
        let path = path.index(index);
        if parse_duration(&step.duration).is_none_or(|it| it < least || it > most) {
            let message = "must be a duration from 10 seconds to a day, such as `2m` or `1h`";
            findings.deny(path.field("duration"), message);
        }
        let replicas = step.replicas();
        match (before, replicas) {
            (_, None) => findings.deny(
                path.field("replicas"),
                "must be a number from 1, such as `1`, or a percentage from 1 to 100, such as `25%`",
            ),
            (Some(before), Some(replicas)) if is_less(replicas, before) => {
                findings.deny(path.field("replicas"), "must not be less than that of the step before");
            }
            _ => {}
        }
        before = replicas.or(before);
    }
}

/// Whether one number of pods is less than another, for any number of replicas.
fn is_less(one: StepReplicas, other: StepReplicas) -> bool {
    match (one, other) {
        (StepReplicas::Number(one), StepReplicas::Number(other))
        | (StepReplicas::Percent(one), StepReplicas::Percent(other)) => one < other,
        _ => false,
    }
}

fn check_analysis(
    path: &FieldPath,
    view: &SpecView<'_>,
    analysis: &CanaryAnalysis,
    findings: &mut Collector,
) {
    if analysis.max_exception_ratio.is_some_and(|it| !(0.0..=1.0).contains(&it)) {
        findings.deny(path.field("maxExceptionRatio"), "must be from 0 to 1");
    }
    if analysis.max_restarts.is_some_and(|it| it < 0) {
        findings.deny(path.field("maxRestarts"), "must be 0 or more");
    }
    if analysis.min_messages.is_some_and(|it| it < 1) {
        findings.deny(path.field("minMessages"), "must be 1 or more");
    }
    if analysis.max_latency_ms.is_some_and(|it| it < 1) {
        findings.deny(path.field("maxLatencyMs"), "must be 1 or more");
    } else if analysis.max_latency_ms.is_some() && view.role != Role::Function {
        let message =
            "a source or sink does not report it, so that the analysis is inconclusive; leave it out";
        findings.warn(path.field("maxLatencyMs"), message);
    }
}
