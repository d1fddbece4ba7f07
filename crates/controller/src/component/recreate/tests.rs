use function_mesh_api::Function;
use function_mesh_api::validate::valid_component;
use function_mesh_testkit::fixtures;
use function_mesh_workloads::{Backends, Settings, render};

use super::*;

fn rendered(image: &str, replicas: i32) -> StatefulSet {
    let mut spec = fixtures::java_function("f");
    (spec.image, spec.replicas) = (Some(image.to_owned()), Some(replicas));
    let valid = valid_component(Function::with_spec("f", spec)).expect("a valid function");
    render(&valid, Backends::default(), &Settings::default()).stateful_set
}

fn facts(pods: Pods, record: Record) -> Facts {
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    Facts { pods, subscription: Subscription::NotObserved, record, now }
}

/// A StatefulSet that was stopped ten seconds before the facts.
fn stopped() -> (StatefulSet, Record) {
    let stopped_at = Timestamp::from_second(1_799_999_990).ok();
    (rendered("a", 0), Record { stopped_at, ..Record::default() })
}

#[test]
fn a_stop_changes_the_replicas_and_nothing_else() {
    let Next::Hold(Some(part), recreate) = next(
        &facts(Pods::Unknown, Record::default()),
        &rendered("b", 3),
        &rendered("a", 3),
        Template::Rendered,
    ) else {
        panic!("no stop")
    };
    assert_eq!(part["spec"], json!({ "replicas": 0 }));
    let record: Record = read(&serde_json::from_value(part).expect("a StatefulSet"));
    assert!(record.is_stopped());
    assert!(recreate.is_stopped() && !recreate.is_draining() && recreate.wanted() == 3);
    let (reason, note) = recreate.event.clone().expect("an Event");
    assert_eq!(reason, Reason::RecreateStopping);
    let expected = "scaled to zero, from 3, to recreate the pods: \
        spec.template.spec.containers[pulsar-function].image: \"a\" becomes \"b\"";
    assert_eq!(note, expected);
    let status = recreate.status().expect("a status");
    assert_eq!((status.step, status.gap_seconds), (RecreateStep::Stopping, None));
}

#[test]
fn a_stop_keeps_the_volumes() {
    let mut live = rendered("a", 3);
    let policy = json!({ "whenDeleted": "Delete", "whenScaled": "Delete" });
    let spec = live.spec.as_mut().expect("a spec");
    spec.persistent_volume_claim_retention_policy = serde_json::from_value(policy).ok();
    let part = stopped_part(&live, None, &Record::default());
    assert_eq!(part["spec"]["persistentVolumeClaimRetentionPolicy"], json!({ "whenScaled": "Retain" }));
}

/// The hash of a template that was rolled back is still that of the spec.
#[test]
fn a_rollback_stops_the_pods_and_records_what_failed() {
    let mut wanted = rendered("b", 3);
    let good = rendered("a", 3).spec.expect("a spec").template;
    wanted.spec.as_mut().expect("a spec").template = good;
    wanted
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(labels::ROLLOUT.to_owned(), "failed".to_owned());
    let next = |live: &StatefulSet, template| {
        next(&facts(Pods::Unknown, Record::default()), &wanted, live, template)
    };
    let Next::Hold(Some(part), _) = next(&rendered("b", 3), Template::RolledBack) else { panic!("no stop") };
    assert_eq!(part["metadata"]["annotations"][labels::ROLLOUT], "failed");
    assert!(matches!(next(&wanted, Template::RolledBack), Next::Apply(None, _)));
    // A change of the spec is tried again, so that the record of its start is not that of the stop.
    let Next::Hold(Some(part), _) = next(&rendered("c", 3), Template::Rendered) else { panic!("no stop") };
    assert_eq!(part["metadata"]["annotations"].get(labels::ROLLOUT), None);
}

#[test]
fn a_deferred_change_stops_nothing() {
    let next = next(
        &facts(Pods::Unknown, Record::default()),
        &rendered("b", 3),
        &rendered("a", 3),
        Template::Deferred,
    );
    assert!(matches!(next, Next::Apply(None, _)), "{next:?}");
}

#[test]
fn a_change_without_another_template_stops_nothing() {
    let mut wanted = rendered("a", 3);
    wanted.spec.as_mut().expect("a spec").min_ready_seconds = Some(10);
    let next = next(&facts(Pods::Unknown, Record::default()), &wanted, &rendered("a", 2), Template::Rendered);
    assert!(matches!(next, Next::Apply(None, _)), "{next:?}");
}

#[test]
fn what_admission_made_of_the_template_stops_nothing() {
    let mut live = rendered("a", 3);
    let template = live.spec.as_mut().and_then(|spec| spec.template.spec.as_mut()).expect("a template");
    template.containers[0].image = Some("mirror/a".to_owned());
    let next = next(&facts(Pods::Unknown, Record::default()), &rendered("a", 3), &live, Template::Rendered);
    assert!(matches!(next, Next::Apply(None, _)), "{next:?}");
}

#[test]
fn a_start_is_recorded_with_the_new_template() {
    let (live, record) = stopped();
    let Next::Apply(Some(text), recreate) =
        next(&facts(Pods::None, record), &rendered("b", 3), &live, Template::Rendered)
    else {
        panic!("no start")
    };
    let record: Record = serde_json::from_str(&text).expect("a record");
    assert!(record.is_starting());
    let note = "no pod is left; starting 3 pods".to_owned();
    assert_eq!(recreate.event, Some((Reason::RecreateStarting, note)));
    assert_eq!(recreate.status().map(|status| status.step), Some(RecreateStep::Starting));
}

#[test]
fn the_first_ready_pod_ends_it_once() {
    let (_, record) = stopped();
    let at = |second: i64| Timestamp::from_second(1_799_999_990 + second).ok();
    let record = Record { gone_at: at(3), started_at: at(4), ..record };
    let mut live = rendered("b", 3);
    live.status = serde_json::from_value(json!({ "replicas": 3, "readyReplicas": 1 })).ok();
    let Next::Apply(Some(text), recreate) =
        next(&facts(Pods::Unknown, record), &rendered("b", 3), &live, Template::Rendered)
    else {
        panic!("no apply")
    };
    let note = "the first pod is ready: 7s without a pod, 10s since the stop".to_owned();
    assert_eq!(recreate.event, Some((Reason::Recreated, note)));
    let status = recreate.status().expect("a status");
    assert_eq!((status.step, status.gap_seconds), (RecreateStep::Complete, Some(7.0)));
    let record: Record = serde_json::from_str(&text).expect("a record");
    let Next::Apply(Some(again), recreate) =
        next(&facts(Pods::Unknown, record), &rendered("b", 3), &live, Template::Rendered)
    else {
        panic!("no apply")
    };
    assert_eq!((again, recreate.event), (text, None));
}

#[test]
fn an_unknown_subscription_is_said_before_and_after_the_start() {
    let (live, record) = stopped();
    let unknown = Subscription::Unknown("Pulsar does not answer");
    let facts = Facts { subscription: unknown, ..facts(Pods::None, record) };
    let Next::Hold(Some(part), recreate) = next(&facts, &rendered("b", 3), &live, Template::Rendered) else {
        panic!("no wait")
    };
    assert!(recreate.is_draining());
    let (reason, note) = recreate.event.clone().expect("an Event");
    assert_eq!(reason, Reason::RecreateDraining);
    assert!(note.contains("unknown: Pulsar does not answer; starting at 2027-01-15T08:01:00Z"), "{note}");
    assert_eq!(part["spec"], json!({ "replicas": 0 }));
    let record = read(&serde_json::from_value(part).expect("a StatefulSet"));
    let later = Facts { record, now: facts.now + SignedDuration::from_secs(60), ..facts };
    let Next::Apply(_, recreate) = next(&later, &rendered("b", 3), &live, Template::Rendered) else {
        panic!("no start")
    };
    let (_, note) = recreate.event.expect("an Event");
    assert!(note.contains("whether something consumes the subscription is unknown"), "{note}");
}

#[test]
fn a_record_that_cannot_be_read_counts_as_none() {
    for text in ["", "[]", "{\"stoppedAt\": 7}", "{"] {
        let mut live = rendered("a", 0);
        let annotations = live.metadata.annotations.get_or_insert_default();
        annotations.insert(labels::RECREATE.to_owned(), text.to_owned());
        assert_eq!(read(&live), Record::default(), "{text}");
    }
}

#[test]
fn pods_are_those_with_an_ordinal() {
    for (name, expected) in [
        ("f-function-0", true),
        ("f-function-12", true),
        ("f-function-", false),
        ("f-function-cleanup-0a1b2c3d-x7f9k", false),
        ("f-function-cleanup-0", false),
        ("g-function-0", false),
    ] {
        assert_eq!(is_pod_of(name, "f-function"), expected, "{name}");
    }
}
