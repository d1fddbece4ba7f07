//! Tests of the status.
#![allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps, reason = "fixtures read better so")]

use function_mesh_api::validate::{FieldPath, Violation, Violations};
use serde_json::json;

use super::*;

fn seen(wanted: i32, status: serde_json::Value, problem: Option<&str>) -> Outcome {
    let stateful_set = serde_json::from_value(json!({
        "metadata": { "name": "f-function", "generation": 2 },
        "spec": { "replicas": wanted, "selector": { "matchLabels": { "b": "2", "a": "1" } }, "template": {} },
        "status": status,
    }));
    let applied = Applied::of(Arc::new(stateful_set.expect("a StatefulSet")), Vec::new());
    let problem = problem.map(str::to_owned);
    Outcome::Applied(Box::new(Observation { problem, ..Observation::of(applied, (None, None)) }))
}

fn look(before: Option<&ComponentStatus>, generation: Option<i64>, outcome: &Outcome) -> ComponentStatus {
    // Each look is later than the one before.
    let second = before
        .and_then(|before| before.standard_conditions.first())
        .map_or(1, |condition| condition.last_transition_time.0.as_second() + 1);
    status_of(before, generation, outcome, &Time(jiff::Timestamp::from_second(second).expect("a time")))
}

/// Type, status and reason of each standard condition.
fn standard(status: &ComponentStatus) -> Vec<String> {
    let all = status.standard_conditions.iter();
    all.map(|it| format!("{} {} {}", it.type_, it.status, it.reason)).collect()
}

#[test]
fn standard_conditions_follow_from_the_phase() {
    let found = look(None, Some(1), &seen(2, ready(2), None));
    let expected = [
        "Ready True PodsReady",
        "Progressing False Stable",
        "Degraded False AsExpected",
        "Paused False NotPaused",
        "Accepted True ValidationSucceeded",
    ];
    assert_eq!(standard(&found), expected);
    let crashes = look(Some(&found), Some(1), &seen(2, ready(1), Some("pod f-function-0 crashes")));
    let expected = ["Ready False Degraded", "Progressing False Stable", "Degraded True Degraded"];
    assert_eq!(standard(&crashes)[..3], expected);
    assert_eq!(crashes.standard_conditions[0].message, "pod f-function-0 crashes");
    let violation = Violation { field: FieldPath::root("spec.java"), message: "is missing".into() };
    let error = Error::Invalid(Violations(vec![violation]));
    let invalid = look(Some(&found), Some(2), &Outcome::Failed(error));
    let expected = [
        "Ready False ValidationFailed",
        "Progressing False ValidationFailed",
        "Degraded True ValidationFailed",
    ];
    assert_eq!(standard(&invalid)[..3], expected);
    assert_eq!(standard(&invalid)[4], "Accepted False ValidationFailed");
    let starts = look(None, Some(1), &seen(2, ready(0), None));
    assert_eq!(
        standard(&starts)[..2],
        ["Ready False RolloutInProgress", "Progressing True RolloutInProgress"]
    );
}

fn ready(count: i32) -> serde_json::Value {
    json!({ "observedGeneration": 2, "replicas": count, "readyReplicas": count, "updatedReplicas": count })
}

#[test]
fn ready_requires_all_pods_ready_and_current() {
    for (status, phase) in [
        (ready(2), Phase::Ready),
        (json!({}), Phase::Progressing),
        (ready(1), Phase::Progressing),
        (
            json!({ "observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 2 }),
            Phase::Progressing,
        ),
        (
            json!({ "observedGeneration": 2, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 1 }),
            Phase::Progressing,
        ),
    ] {
        let found = look(None, Some(7), &seen(2, status.clone(), None));
        assert_eq!(found.phase, phase, "{status}");
        let is_ready = if phase == Phase::Ready { "True" } else { "False" };
        assert_eq!(found.conditions["StatefulSet"].status.as_deref(), Some(is_ready));
        assert_eq!(found.observed_generation, Some(7));
        assert_eq!(found.selector, "a=1,b=2");
    }
}

#[test]
fn updated_pods_count_before_the_stateful_set_counts_them() {
    for (counted, labelled, expected) in [(0, 1, 1), (1, 0, 1), (1, 2, 2)] {
        let status = json!({ "observedGeneration": 2, "replicas": 2, "updatedReplicas": counted });
        let Outcome::Applied(mut seen) = seen(2, status, None) else { panic!("it is applied") };
        seen.updated = labelled;
        let found = look(None, Some(1), &Outcome::Applied(seen));
        assert_eq!((found.updated_replicas, found.phase), (expected, Phase::Progressing));
    }
}

#[test]
fn zero_replicas_are_suspended() {
    assert_eq!(look(None, None, &seen(0, ready(0), None)).phase, Phase::Suspended);
}

#[test]
fn scaled_to_zero_by_the_operator_is_asleep() {
    let look_at = |traffic: TrafficState, problem: Option<&str>, wanted: i32| {
        let Outcome::Applied(mut seen) = seen(wanted, ready(wanted), problem) else {
            panic!("it is applied")
        };
        seen.applied.sleeps_at_zero = true;
        seen.traffic = traffic;
        look(None, Some(1), &Outcome::Applied(seen))
    };
    let asleep = look_at(TrafficState::Pending, None, 0);
    assert_eq!((asleep.phase, asleep.message.as_deref()), (Phase::Asleep, Some(ASLEEP)));
    let expected = ["Ready True Asleep", "Progressing False Stable", "Degraded False AsExpected"];
    assert_eq!(standard(&asleep)[..3], expected);
    assert_eq!(asleep.standard_conditions[0].message, ASLEEP);
    assert_eq!(look_at(TrafficState::Reported(Box::default()), None, 0).phase, Phase::Asleep);
    assert_eq!(look_at(TrafficState::Pending, None, 1).phase, Phase::Ready);
    assert_eq!(look_at(TrafficState::Pending, Some("it stalls"), 0).phase, Phase::Degraded);
    // The operator would not see the message.
    let unobserved = look_at(TrafficState::Off, None, 0);
    assert_eq!((unobserved.phase, unobserved.message.as_deref()), (Phase::Suspended, Some(NEVER_WAKES)));
}

#[test]
fn surplus_pods_are_in_the_message() {
    let found = look(None, None, &seen(1, ready(3), None));
    let message = Some("waiting for 2 surplus pods to terminate");
    assert_eq!((found.phase, found.message.as_deref()), (Phase::Progressing, message));
}

#[test]
fn paused_rollout_does_not_hide_problems() {
    let paused = |status: serde_json::Value, problem: Option<&str>| {
        let Outcome::Applied(mut seen) = seen(1, status, problem) else { panic!("it is applied") };
        seen.applied.pending = Some("image".to_owned());
        seen.applied.is_paused = true;
        look(None, None, &Outcome::Applied(seen))
    };
    let found = paused(ready(1), None);
    assert_eq!((found.phase, found.pending_change.as_deref()), (Phase::Paused, Some("image")));
    assert_eq!(found.conditions["StatefulSet"].action.as_deref(), Some("Update"));
    assert_eq!(paused(ready(0), Some("it crashes")).phase, Phase::Degraded);
}

#[test]
fn pod_problem_is_the_message() {
    // A pod that runs between two crashes counts too.
    for count in [0, 1] {
        let found = look(None, None, &seen(1, ready(count), Some("pod f-function-0 crashes")));
        let message = Some("pod f-function-0 crashes");
        assert_eq!((found.phase, found.message.as_deref()), (Phase::Degraded, message));
    }
}

#[test]
fn invalid_spec_keeps_observed_counts() {
    let before = look(None, Some(1), &seen(2, ready(2), None));
    let violation = Violation { field: FieldPath::root("spec.java"), message: "is missing".into() };
    let found = look(Some(&before), Some(2), &Outcome::Failed(Error::Invalid(Violations(vec![violation]))));
    assert_eq!(found.phase, Phase::Invalid);
    assert_eq!(found.message.as_deref(), Some("spec.java: is missing"));
    assert_eq!(found.ready_replicas, 2);
    assert_eq!(found.observed_generation, Some(1), "generation 2 was not acted on");
}

#[test]
fn status_is_unchanged_without_changes() {
    let first = look(None, Some(1), &seen(2, ready(2), None));
    assert_eq!(look(Some(&first), Some(1), &seen(2, ready(2), None)), first);
}
