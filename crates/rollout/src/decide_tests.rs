//! Tests of the decision: each rule, alone.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{
    Action, Counters, Decision, MAX_DELETIONS_PER_HOUR, Memory, Moment, Observation, Pod, Policy, Record,
    Sample, State, canary, total,
};

const ROLLS_BACK: Policy = Policy {
    progress_deadline: Duration::from_mins(1),
    min_ready: Duration::from_secs(30),
    rolls_back: true,
    deletes_stuck_pods: true,
    is_automatic: true,
};

fn at(seconds: u64) -> Moment {
    Moment { wall: wall(seconds), monotonic: Duration::from_secs(seconds) }
}

fn wall(seconds: u64) -> Timestamp {
    Timestamp::from_second(1_000_000 + i64::try_from(seconds).expect("seconds")).expect("a time")
}

fn pod(revision: &str) -> Pod {
    Pod { name: "f-0".to_owned(), uid: "u".to_owned(), revision: Some(revision.to_owned()), ..Pod::default() }
}

/// A component whose only pod has the revision `f-2` and fails.
fn failing() -> Observation {
    Observation {
        revision: "f-2".to_owned(),
        tried: "t2".to_owned(),
        generation: 2,
        wanted: 1,
        is_current: true,
        pods: vec![Pod { is_failing: true, ..pod("f-2") }],
        problem: Some("pod f-0: failed to pull image".to_owned()),
        ..Observation::default()
    }
}

fn ready(since: u64) -> Observation {
    let pod = Pod { is_ready: true, has_started: true, ready_since: Some(wall(since)), ..pod("f-2") };
    Observation { is_ready: true, pods: vec![pod], problem: None, ..failing() }
}

fn record() -> Record {
    Record { tried: "t2".to_owned(), good: Some("f-1".to_owned()), ..Record::default() }
}

fn decide(
    seen: &Observation,
    memory: &mut Memory,
    record: &Record,
    policy: &Policy,
    now: Moment,
) -> Decision {
    memory.observe(seen, policy, now);
    crate::decide(seen, memory, record, policy, now)
}

#[test]
fn a_rollout_without_progress_is_rolled_back_after_the_deadline() {
    let mut memory = Memory::default();
    let first = decide(&failing(), &mut memory, &record(), &ROLLS_BACK, at(0));
    assert_eq!((first.state, first.recheck_after), (State::Progressing, Some(Duration::from_mins(1))));
    let found = decide(&failing(), &mut memory, &record(), &ROLLS_BACK, at(59));
    assert_eq!((found.state, found.action), (State::Progressing, Action::None));
    let found = decide(&failing(), &mut memory, &record(), &ROLLS_BACK, at(60));
    assert_eq!((found.state, &found.action), (State::Failed, &Action::RollBack { to: "f-1".to_owned() }));
    assert_eq!(found.why.to_string(), "no progress within 1m: pod f-0: failed to pull image");
    let written = record().next(&failing(), &found, wall(60));
    let failed = written.failed.clone().expect("a failure");
    assert_eq!((failed.revision.as_str(), failed.to.as_str(), failed.generation), ("f-2", "f-1", 2));
    // The pods have the good revision now, regardless of what happens to them and of the process that sees them.
    for mut memory in [memory, Memory::default()] {
        let mut seen = failing();
        seen.revision = "f-1".to_owned();
        seen.pods.clear();
        for second in [61, 200, 10_000] {
            let found = decide(&seen, &mut memory, &written, &ROLLS_BACK, at(second));
            assert_eq!((found.state, found.action, found.is_held), (State::RolledBack, Action::None, true));
        }
    }
}

#[test]
fn pods_that_fail_long_after_a_rollout_exceed_no_deadline() {
    let mut memory = Memory::default();
    let seen = Observation { was_settled: true, ..failing() };
    let no_record = Record::default();
    for second in [0, 60, 10_000] {
        let found = decide(&seen, &mut memory, &no_record, &Policy::of(None), at(second));
        assert_eq!((found.state, found.action), (State::Complete, Action::None));
    }
    // The next revision is a rollout, also after such a status.
    let next = Observation { revision: "f-3".to_owned(), pods: vec![pod("f-3")], ..seen };
    assert_eq!(
        decide(&next, &mut memory, &no_record, &Policy::of(None), at(10_001)).state,
        State::Progressing
    );
    assert_eq!(decide(&next, &mut memory, &no_record, &Policy::of(None), at(10_601)).state, State::Failed);
}

#[test]
fn another_spec_is_tried_and_the_failure_forgotten() {
    let mut memory = Memory::default();
    decide(&failing(), &mut memory, &record(), &ROLLS_BACK, at(0));
    let found = decide(&failing(), &mut memory, &record(), &ROLLS_BACK, at(60));
    let written = record().next(&failing(), &found, wall(60));
    let repaired = Observation { tried: "t3".to_owned(), is_current: false, ..failing() };
    let found = decide(&repaired, &mut memory, &written, &ROLLS_BACK, at(61));
    let next = written.next(&repaired, &found, wall(61));
    assert_eq!((next.tried.as_str(), &next.failed, next.good.as_deref()), ("t3", &None, Some("f-1")));
    assert_eq!(next.since, Some(wall(61)));
    assert!(next.holds("t3", &ROLLS_BACK).is_none());
}

#[test]
fn nothing_is_rolled_back_without_reason_or_right() {
    let (recommend, pause) = (
        Policy { is_automatic: false, ..ROLLS_BACK },
        Policy { rolls_back: false, deletes_stuck_pods: true, ..ROLLS_BACK },
    );
    let no_good = Record { good: None, ..record() };
    let other = Record { tried: "t1".to_owned(), ..record() };
    let paused = Observation { is_paused: true, ..failing() };
    for (policy, record, seen) in [
        (recommend, record(), failing()),
        (pause, record(), failing()),
        (ROLLS_BACK, no_good, failing()),
        (ROLLS_BACK, other, failing()),
        (ROLLS_BACK, record(), paused),
    ] {
        let mut memory = Memory::default();
        decide(&seen, &mut memory, &record, &policy, at(0));
        let found = decide(&seen, &mut memory, &record, &policy, at(1000));
        assert_eq!((found.state, found.action), (State::Failed, Action::None), "{policy:?} {record:?}");
    }
    let suspended = Observation { wanted: 0, ..failing() };
    let mut memory = Memory::default();
    decide(&suspended, &mut memory, &record(), &ROLLS_BACK, at(0));
    let found = decide(&suspended, &mut memory, &record(), &ROLLS_BACK, at(1000));
    assert_eq!((found.state, found.action), (State::Progressing, Action::None));
}

#[test]
fn a_revision_is_good_after_all_pods_were_ready_for_long_enough() {
    let mut memory = Memory::default();
    let found = decide(&ready(0), &mut memory, &record(), &ROLLS_BACK, at(0));
    assert_eq!((found.state, found.recheck_after), (State::Progressing, Some(Duration::from_secs(30))));
    // A crash starts the time again.
    decide(&failing(), &mut memory, &record(), &ROLLS_BACK, at(20));
    let found = decide(&ready(21), &mut memory, &record(), &ROLLS_BACK, at(31));
    assert_eq!(found.action, Action::None);
    let found = decide(&ready(21), &mut memory, &record(), &ROLLS_BACK, at(61));
    assert_eq!((found.state, &found.action), (State::Complete, &Action::MarkGood));
    let written = record().next(&ready(21), &found, wall(61));
    assert_eq!(written.good.as_deref(), Some("f-2"));
    // It is written once, and what breaks later is no rollout.
    for seen in [ready(21), failing()] {
        let found = decide(&seen, &mut memory, &written, &ROLLS_BACK, at(5000));
        assert_eq!((found.state, &found.action), (State::Complete, &Action::None));
        assert_eq!(written.next(&seen, &found, wall(5000)), written);
    }
    // Another process sees when the pods became ready.
    let found = decide(&ready(21), &mut Memory::default(), &record(), &ROLLS_BACK, at(52));
    assert_eq!(found.action, Action::MarkGood);
}

#[test]
fn only_the_first_time_of_a_pod_is_progress() {
    let mut memory = Memory::default();
    let started = Observation { pods: vec![Pod { has_started: true, ..pod("f-2") }], ..failing() };
    decide(&Observation { pods: vec![], ..failing() }, &mut memory, &record(), &ROLLS_BACK, at(0));
    decide(&failing(), &mut memory, &record(), &ROLLS_BACK, at(50));
    decide(&started, &mut memory, &record(), &ROLLS_BACK, at(100));
    let flash = Observation { is_ready: false, ..ready(150) };
    assert_eq!(decide(&flash, &mut memory, &record(), &ROLLS_BACK, at(150)).state, State::Progressing);
    // It crashes, starts and is ready for a moment, again and again.
    for second in (151..210).step_by(3) {
        for seen in [failing(), started.clone(), flash.clone()] {
            let found = decide(&seen, &mut memory, &record(), &ROLLS_BACK, at(second));
            assert_eq!(found.action, Action::None, "{second}");
        }
    }
    let found = decide(&failing(), &mut memory, &record(), &ROLLS_BACK, at(210));
    assert_eq!(found.action, Action::RollBack { to: "f-1".to_owned() });
}

#[test]
fn pods_that_end_have_their_time() {
    let mut memory = Memory::default();
    let mut seen = failing();
    seen.pods.push(Pod { ends_at: Some(wall(90)), ..pod("f-1") });
    decide(&seen, &mut memory, &record(), &ROLLS_BACK, at(0));
    let found = decide(&seen, &mut memory, &record(), &ROLLS_BACK, at(60));
    assert_eq!((found.state, found.recheck_after), (State::Progressing, Some(Duration::from_secs(30))));
    assert_eq!(decide(&seen, &mut memory, &record(), &ROLLS_BACK, at(90)).state, State::Failed);
}

#[test]
fn the_wall_clock_may_jump() {
    for jump in [-100_000, 100_000] {
        let mut memory = Memory::default();
        decide(&failing(), &mut memory, &record(), &ROLLS_BACK, at(0));
        let jumped =
            |second| Moment { wall: at(second).wall + SignedDuration::from_secs(jump), ..at(second) };
        let found = decide(&failing(), &mut memory, &record(), &ROLLS_BACK, jumped(59));
        assert_eq!(found.state, State::Progressing, "{jump}");
        assert_eq!(decide(&failing(), &mut memory, &record(), &ROLLS_BACK, jumped(60)).state, State::Failed);
    }
}

#[test]
fn another_process_goes_on_where_the_first_one_ended() {
    let since = Observation { since: Some(wall(0)), ..failing() };
    let mut memory = Memory::default();
    let found = decide(&since, &mut memory, &record(), &ROLLS_BACK, at(20));
    assert_eq!(found.recheck_after, Some(Duration::from_secs(40)));
    // However long it was away, it looks for a while; unless the status has it already.
    let found = decide(&since, &mut Memory::default(), &record(), &ROLLS_BACK, at(5000));
    assert_eq!((found.state, found.recheck_after), (State::Progressing, Some(Duration::from_secs(30))));
    let exceeded = Observation { was_failed: true, ..since };
    assert_eq!(decide(&exceeded, &mut Memory::default(), &record(), &ROLLS_BACK, at(5)).state, State::Failed);
}

#[test]
fn a_pod_that_blocks_its_own_repair_is_deleted() {
    let mut seen = failing();
    seen.pods[0].revision = Some("f-1".to_owned());
    let mut memory = Memory::default();
    let found = decide(&seen, &mut memory, &record(), &ROLLS_BACK, at(0));
    assert_eq!((found.action, found.recheck_after), (Action::None, Some(Duration::from_secs(10))));
    let found = decide(&seen, &mut memory, &record(), &ROLLS_BACK, at(10));
    let Action::DeletePod(pod) = found.action else { panic!("{found:?}") };
    assert_eq!((pod.uid.as_str(), pod.revision.as_str()), ("u", "f-1"));
    let changes: [fn(&mut Observation); 9] = [
        |seen| seen.is_current = false,
        |seen| seen.is_paused = true,
        |seen| seen.wanted = 0,
        |seen| seen.pods[0].is_ready = true,
        |seen| seen.pods[0].is_failing = false,
        |seen| seen.pods[0].ends_at = Some(wall(0)),
        |seen| seen.pods[0].revision = None,
        |seen| seen.pods[0].revision = Some("f-2".to_owned()),
        |seen| seen.pods[0].uid = "another".to_owned(),
    ];
    for change in changes {
        let mut seen = seen.clone();
        change(&mut seen);
        assert_eq!(decide(&seen, &mut memory, &record(), &ROLLS_BACK, at(20)).action, Action::None);
    }
    for policy in [Policy { is_automatic: false, ..ROLLS_BACK }, Policy::default()] {
        assert_eq!(crate::decide(&seen, &memory, &record(), &policy, at(30)).action, Action::None);
    }
}

#[test]
fn deletions_are_limited_an_hour() {
    let mut memory = Memory::default();
    let mut deleted = Vec::new();
    for second in (0..7200).step_by(10) {
        let mut seen = failing();
        seen.pods[0].revision = Some("f-1".to_owned());
        seen.pods[0].uid = format!("u{}", deleted.len());
        let found = decide(&seen, &mut memory, &Record::default(), &ROLLS_BACK, at(second));
        if let Action::DeletePod(_) = found.action {
            memory.count_deletion(at(second));
            deleted.push(second);
        }
    }
    assert_eq!(deleted.len(), 2 * MAX_DELETIONS_PER_HOUR);
    assert!(deleted[MAX_DELETIONS_PER_HOUR] - deleted[0] >= 3600, "{deleted:?}");
}

#[test]
fn another_process_keeps_the_limit_of_deletions() {
    let mut seen = failing();
    seen.pods[0].revision = Some("f-1".to_owned());
    let mut memory = Memory::default();
    for second in 0..10 {
        seen.deletions = memory.count_deletion(at(second));
    }
    assert_eq!(seen.deletions[0], wall(0));
    // The other process has another clock, and begins to wait for the pod.
    let moment = |second| Moment { monotonic: Duration::from_secs(second - 100), ..at(second) };
    let mut memory = Memory::default();
    decide(&seen, &mut memory, &Record::default(), &ROLLS_BACK, moment(100));
    let found = decide(&seen, &mut memory, &Record::default(), &ROLLS_BACK, moment(3_599));
    assert_eq!((found.action, found.recheck_after), (Action::None, Some(Duration::from_secs(1))));
    let found = decide(&seen, &mut memory, &Record::default(), &ROLLS_BACK, moment(3_600));
    assert!(matches!(found.action, Action::DeletePod(_)), "{found:?}");
    assert_eq!(memory.count_deletion(moment(3_600)).len(), MAX_DELETIONS_PER_HOUR);
}

/// Its only pod takes a message and processes none: no other pod is there to compare with.
#[test]
fn a_canary_of_one_pod_that_hangs_fails() {
    let rollout =
        serde_json::json!({ "canary": { "steps": [{ "replicas": 1, "duration": "1m" }], "analysis": {} } });
    let plan = canary::Plan::of(serde_json::from_value(rollout).ok().as_ref()).expect("a plan");
    let before = Counters {
        received: Some(1000),
        processed: Some(1000),
        exceptions: Some(0),
        latency_ms: Some(5000),
        calls: Some(1000),
    };
    let state = |processed| {
        let mut canary = canary::Record { before: total(&[before]), ..canary::Record::default() };
        canary.restart(wall(0));
        let mut memory = Memory::default();
        let mut at_second = |second| {
            let counters = Counters { received: Some(1), processed: Some(processed), ..before };
            let sample =
                Sample { uid: "u".to_owned(), is_canary: true, restarts: 0, counters: Some(counters) };
            let figures = memory.count(0, &[sample], at(second));
            let seen = Observation { canary: canary.observed(&plan, 1, figures, None), ..ready(0) };
            decide(&seen, &mut memory, &record(), &ROLLS_BACK, at(second))
        };
        at_second(0);
        at_second(60)
    };
    let failed = state(0);
    assert_eq!(failed.action, Action::RollBack { to: "f-1".to_owned() });
    let why =
        "canary failed: received 1 messages and processed none, while a call of the version before took 5ms";
    assert_eq!(failed.why.to_string(), why);
    assert_eq!(state(1).state, State::Progressing);
}

#[test]
fn a_person_undoes_a_rollout_whatever_the_policy() {
    let undo = |text: &str| text.parse::<crate::Undo>().ok();
    let policy = Policy::default();
    let mut record = Record { tried: "t2".to_owned(), ..Record::default() };
    record.undo(undo("f-2/f-1").as_ref(), Some("f-3"), 7, wall(0));
    assert_eq!(record.failed, None, "of another revision");
    record.undo(undo("f-2/f-1").as_ref(), Some("f-2"), 7, wall(0));
    let failed = record.holds("t2", &policy).cloned().expect("it holds");
    assert_eq!((failed.to.as_str(), failed.generation, failed.by), ("f-1", 7, crate::Initiator::Person));
    // The pods have the other revision now; the same wish changes nothing, another one does.
    let before = record.clone();
    record.undo(undo("f-2/f-1").as_ref(), Some("f-1"), 8, wall(9));
    assert_eq!(record, before);
    record.undo(undo("f-2/f-0").as_ref(), Some("f-1"), 8, wall(9));
    assert_eq!(record.holds("t2", &policy).map(|it| it.to.as_str()), Some("f-0"));
    record.try_template("t3", None, wall(10));
    assert_eq!(record.failed, None, "another spec");
    record = before;
    record.undo(None, Some("f-1"), 8, wall(11));
    assert_eq!(record.failed, None, "the wish is gone");
    for invalid in ["", "a", "a/", "/b", "a/b/c", "a/a"] {
        assert_eq!(undo(invalid), None, "{invalid}");
    }
}

/// Two components of a mesh with `rollout.atomic` that changed in its generation 4.
#[test]
fn a_component_follows_another_one_of_its_change() {
    let mut record = Record { tried: "t1".to_owned(), good: Some("f-1".to_owned()), ..Record::default() };
    record.try_template("t2", Some("4"), wall(0));
    record.good = Some("f-2".to_owned());
    record.follow(None, Some("4"), Some("f-2"), 7, wall(1));
    record.follow(Some("3"), Some("4"), Some("f-2"), 7, wall(1));
    assert_eq!(record.failed, None);
    record.follow(Some("4"), Some("4"), Some("f-2"), 7, wall(2));
    let failed = record.holds("t2", &ROLLS_BACK).cloned().expect("it holds");
    assert_eq!((failed.revision.as_str(), failed.to.as_str()), ("f-2", "f-1"));
    // It stays so in later generations, as long as the other one does.
    let before = record.clone();
    record.follow(Some("4"), Some("5"), Some("f-1"), 8, wall(3));
    assert_eq!(record, before);
    // The other one is tried again, and so is this one, with it.
    record.follow(None, Some("6"), Some("f-1"), 9, wall(4));
    assert_eq!((record.failed, record.group.as_deref()), (None, Some("6")));
}
