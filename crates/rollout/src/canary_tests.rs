//! Tests of the steps of a canary.

use serde_json::{Value, from_value, json};

use super::*;
use crate::{Initiator, Pod};

fn plan(steps: &Value, analysis: &Value) -> Plan {
    let rollout = json!({ "canary": { "steps": steps, "analysis": analysis } });
    Plan::of(Some(&from_value(rollout).expect("a rollout"))).expect("a plan")
}

fn two_steps() -> Plan {
    plan(&json!([{ "replicas": 1, "duration": "1m" }, { "replicas": "50%", "duration": "2m" }]), &json!({}))
}

const ROLLS_BACK: Policy = Policy {
    progress_deadline: Duration::from_mins(10),
    min_ready: Duration::from_secs(30),
    rolls_back: true,
    deletes_stuck_pods: true,
    is_automatic: true,
};
const PAUSES: Policy = Policy { rolls_back: false, ..ROLLS_BACK };
const RECOMMENDS: Policy = Policy { is_automatic: false, ..ROLLS_BACK };

fn wall(seconds: u64) -> Timestamp {
    Timestamp::from_second(1_000_000 + i64::try_from(seconds).expect("seconds")).expect("a time")
}

fn at(seconds: u64) -> Moment {
    Moment { wall: wall(seconds), monotonic: Duration::from_secs(seconds) }
}

fn good(received: u64) -> Figures {
    Figures { pods: 1, known: 1, received, processed: received, ..Figures::default() }
}

fn bad(received: u64) -> Figures {
    Figures { exceptions: received / 3, ..good(received) }
}

/// A component of four pods whose change began at second 0.
struct World {
    plan: Plan,
    policy: Policy,
    record: crate::Record,
    memory: Memory,
    replicas: u32,
    figures: Figures,
    is_paused: bool,
    /// Since when the updated pods are ready.
    ready_since: Option<u64>,
}

impl World {
    fn new(plan: Plan, policy: Policy) -> Self {
        let mut record =
            crate::Record { tried: "t1".into(), good: Some("f-1".into()), ..crate::Record::default() };
        record.begin_canary(false, Before::default(), "c".to_owned(), wall(0));
        record.try_template("t2", None, wall(0));
        let before = Before { has_pods: true, figures: Some(good(1000)), consumes: None };
        record.begin_canary(true, before, "c".to_owned(), wall(0));
        let (memory, figures) = (Memory::default(), Figures::default());
        Self { plan, policy, record, memory, replicas: 4, figures, is_paused: false, ready_since: Some(0) }
    }

    fn pods(&self) -> u32 {
        self.record.canary.as_ref().map_or(self.replicas, |canary| canary.pods(&self.plan, self.replicas))
    }

    fn seen(&self) -> Observation {
        let updated = self.pods();
        let pod = |index: u32| Pod {
            name: format!("f-{index}"),
            uid: format!("{index}"),
            revision: Some(if index < updated { "f-2" } else { "f-1" }.to_owned()),
            has_started: true,
            is_ready: index >= updated || self.ready_since.is_some(),
            ready_since: self.ready_since.map(wall),
            ..Pod::default()
        };
        let canary = self.record.canary.as_ref();
        let observed =
            canary.and_then(|it| it.observed(&self.plan, self.replicas, (self.figures, None), None));
        Observation {
            revision: "f-2".to_owned(),
            tried: "t2".to_owned(),
            generation: 2,
            wanted: self.replicas,
            is_current: true,
            is_ready: updated == self.replicas && self.ready_since.is_some(),
            is_paused: self.is_paused,
            since: canary.and_then(|it| it.since).or(self.record.since),
            pods: (0..self.replicas).map(pod).collect(),
            canary: observed,
            ..Observation::default()
        }
    }

    /// Decides, and records the decision.
    fn decide(&mut self, second: u64) -> Decision {
        self.decide_at(at(second))
    }

    fn decide_at(&mut self, now: Moment) -> Decision {
        let seen = self.seen();
        self.memory.observe(&seen, &self.policy, now);
        let decision = crate::decide(&seen, &self.memory, &self.record, &self.policy, now);
        self.record = self.record.next(&seen, &decision, now.wall);
        decision
    }

    /// Decides at this second, and returns the state of the canary with pods and step after it.
    fn state(&mut self, second: u64) -> (Option<CanaryState>, u32, usize) {
        let state = self.decide(second).canary.map(|canary| canary.state);
        (state, self.pods(), self.record.canary.as_ref().map_or(99, |canary| canary.step))
    }

    /// The operator restarts: what is recorded is left.
    fn restart(&mut self) {
        let text = serde_json::to_string(&self.record).expect("JSON");
        self.record = serde_json::from_str(&text).expect("a record");
        self.memory = Memory::default();
    }
}

use CanaryState::{Analyzing, Failed, Inconclusive, Progressing};

/// After a restart the StatefulSet may be known before its pods.
#[test]
fn last_step_is_judged_also_if_its_pods_are_seen_late() {
    let plan = plan(&json!([{ "replicas": 4, "duration": "1m" }]), &json!({}));
    let mut world = World::new(plan, ROLLS_BACK);
    for (second, pods) in [(100, false), (200, false), (201, true)] {
        let mut seen = world.seen();
        seen.pods.retain(|_| pods);
        world.memory.observe(&seen, &ROLLS_BACK, at(second));
        let found = crate::decide(&seen, &world.memory, &world.record, &ROLLS_BACK, at(second));
        let expected = if pods { Analyzing } else { Progressing };
        assert_eq!((found.action, found.canary.map(|it| it.state)), (Action::None, Some(expected)));
    }
}

#[test]
fn a_good_version_gets_more_pods_step_by_step_and_then_all() {
    let mut world = World::new(two_steps(), ROLLS_BACK);
    world.ready_since = None;
    assert_eq!(world.state(0), (Some(Progressing), 1, 0));
    world.ready_since = Some(10);
    world.figures = good(500);
    assert_eq!(world.state(10), (Some(Analyzing), 1, 0));
    assert_eq!(world.state(69), (Some(Analyzing), 1, 0));
    assert_eq!(world.state(70), (Some(Analyzing), 2, 1));
    assert_eq!(world.record.canary.as_ref().and_then(|it| it.since), Some(wall(70)));
    world.ready_since = Some(80);
    assert_eq!(world.state(80), (Some(Analyzing), 2, 1));
    assert_eq!(world.state(200), (Some(Analyzing), 4, 2));
    // All pods are new, and the analysis continues.
    world.ready_since = Some(210);
    assert_eq!(world.state(210), (Some(Analyzing), 4, 2));
    assert_eq!(world.state(329), (Some(Analyzing), 4, 2));
    assert_ne!(world.record.good.as_deref(), Some("f-2"));
    let last = world.decide(330);
    assert_eq!(last.action, Action::Promote);
    let canary = world.record.canary.clone().expect("a canary");
    assert_eq!(canary.end, Some(End::Promoted));
    assert!(canary.message.is_some_and(|it| it.contains("0 exceptions in 500 messages")));
    let after = world.decide(331);
    assert_eq!((after.state, after.action, after.canary), (State::Complete, Action::MarkGood, None));
    assert_eq!(world.record.good.as_deref(), Some("f-2"));
}

#[test]
fn a_bad_version_is_stopped_at_once_and_acted_on_by_policy() {
    for (policy, is_paused, action) in [
        (ROLLS_BACK, false, Action::RollBack { to: "f-1".to_owned() }),
        (PAUSES, false, Action::StopCanary),
        (RECOMMENDS, false, Action::StopCanary),
        (ROLLS_BACK, true, Action::None),
    ] {
        let mut world = World::new(two_steps(), policy);
        (world.figures, world.is_paused) = (bad(300), is_paused);
        let found = world.decide(5);
        assert_eq!((found.state, &found.action), (State::Failed, &action));
        assert!(found.why.to_string().starts_with("canary failed: 100 exceptions in 300 messages"));
        assert_eq!(found.canary.map(|it| it.state), Some(Failed));
        world.restart();
        // It is not tried again, even if it does well later.
        world.figures = good(9000);
        for second in [6, 100, 10_000] {
            let found = world.decide(second);
            let expected = match action {
                Action::RollBack { .. } => (State::RolledBack, Action::None),
                Action::None => break,
                _ => (State::Failed, Action::None),
            };
            assert_eq!((found.state, found.action), expected);
            assert!(!found.why.to_string().contains("failed: canary failed"), "{}", found.why);
        }
        if action == Action::StopCanary {
            assert_eq!(world.pods(), 1, "no other pod gets it");
        }
    }
}

#[test]
fn a_recorded_failure_is_rolled_back_once_the_policy_says_so() {
    let mut world = World::new(two_steps(), PAUSES);
    world.figures = bad(300);
    world.decide(5);
    world.policy = ROLLS_BACK;
    assert_eq!(world.decide(6).action, Action::RollBack { to: "f-1".to_owned() });
    let failed = world.record.failed.as_ref().expect("a failure");
    assert_eq!((failed.by, failed.to.as_str()), (Initiator::Deadline, "f-1"));
    assert!(failed.message.starts_with("canary failed: 100 exceptions"), "{}", failed.message);
}

#[test]
fn too_little_traffic_waits_promotes_or_rolls_back() {
    for (on, expected) in [
        ("Wait", Action::None),
        ("Promote", Action::Step(1)),
        ("RollBack", Action::RollBack { to: "f-1".to_owned() }),
    ] {
        let steps = json!([{ "replicas": 1, "duration": "1m" }, { "replicas": 2, "duration": "1m" }]);
        let mut world = World::new(plan(&steps, &json!({ "onInconclusive": on })), ROLLS_BACK);
        world.figures = good(9);
        assert_eq!(world.state(0), (Some(Analyzing), 1, 0));
        let found = world.decide(60);
        assert_eq!(found.action, expected, "{on}");
        if on == "Wait" {
            assert_eq!(found.canary.map(|it| it.state), Some(Inconclusive));
            assert!(found.why.to_string().contains("9 of at least 100 messages"), "{}", found.why);
            // Without a limit of time, and until enough is known.
            assert_eq!(world.state(100_000), (Some(Inconclusive), 1, 0));
            world.figures = good(200);
            assert_eq!(world.state(100_001), (Some(Analyzing), 2, 1));
        }
    }
}

#[test]
fn a_person_promotes_what_waits_or_has_failed() {
    let end = |world: &World| world.record.canary.as_ref().and_then(|it| it.end);
    for policy in [ROLLS_BACK, PAUSES] {
        let mut world = World::new(two_steps(), policy);
        world.figures = bad(300);
        world.decide(5);
        world.record.promote("f-9", Some("f-2"));
        assert_eq!(end(&world), Some(End::Failed));
        let applied = if policy == ROLLS_BACK { "f-1" } else { "f-2" };
        world.record.promote("f-2", Some(applied));
        assert_eq!((end(&world), world.pods(), &world.record.failed), (Some(End::ByHand), 4, &None));
        assert_eq!(world.decide(6).state, State::Progressing);
        // What a person promotes is promoted once.
        let failure = crate::Failure { revision: "f-2".into(), ..crate::Failure::default() };
        world.record.failed = Some(failure);
        world.record.promote("f-2", Some("f-1"));
        assert!(world.record.failed.is_some());
    }
}

#[test]
fn a_pod_that_does_not_get_ready_is_a_matter_of_the_deadline() {
    let mut world = World::new(two_steps(), ROLLS_BACK);
    world.ready_since = None;
    assert_eq!(world.state(0), (Some(Progressing), 1, 0));
    let found = world.decide(600);
    assert_eq!(found.action, Action::RollBack { to: "f-1".to_owned() });
    assert_eq!(world.record.canary.and_then(|it| it.end), Some(End::Failed));
    // Ready pods that wait for the end of their step exceed no deadline.
    let steps = json!([{ "replicas": 1, "duration": "2h" }]);
    let mut world = World::new(plan(&steps, &json!({})), ROLLS_BACK);
    world.figures = good(500);
    for minute in 0..120 {
        assert_eq!(world.state(60 * minute), (Some(Analyzing), 1, 0));
    }
    assert_eq!(world.state(7200), (Some(Analyzing), 4, 1));
    world.ready_since = None;
    assert_eq!(world.decide(7201).state, State::Progressing);
}

#[test]
fn replicas_may_change_meanwhile_and_a_single_pod_is_judged_too() {
    let mut world = World::new(two_steps(), ROLLS_BACK);
    world.figures = good(500);
    world.decide(0);
    assert_eq!(world.state(60), (Some(Analyzing), 2, 1));
    world.replicas = 10;
    assert_eq!(world.pods(), 5);
    world.replicas = 1;
    assert_eq!((world.pods(), world.state(61).2), (1, 1));
    // Of one replica all steps are the same: the first one, and then the analysis of all.
    let mut world = World::new(two_steps(), ROLLS_BACK);
    (world.replicas, world.figures) = (1, good(500));
    assert_eq!(world.state(0), (Some(Analyzing), 1, 0));
    assert_eq!(world.state(60), (Some(Analyzing), 1, 2));
    world.decide(61);
    assert_eq!(world.decide(181).action, Action::Promote);
    // What the version before did is what it is compared with.
    let mut world = World::new(two_steps(), ROLLS_BACK);
    (world.replicas, world.figures) = (1, bad(300));
    assert_eq!(world.decide(0).state, State::Failed);
    world.replicas = 0;
    assert_eq!((world.pods(), world.plan.pods(0, 0)), (0, 0));
}

#[test]
fn the_clock_may_jump_and_the_operator_may_restart() {
    let mut world = World::new(two_steps(), ROLLS_BACK);
    world.figures = good(500);
    world.decide(0);
    // A jump of the wall clock ends no step.
    let jump = |second: u64| Moment { wall: wall(1_000_000), monotonic: Duration::from_secs(second) };
    assert_eq!(world.decide_at(jump(30)).action, Action::None);
    assert_eq!(world.decide_at(jump(60)).action, Action::Step(1));
    // Another process sees the pods of the second step for at least 30 seconds, regardless of the clock.
    world.ready_since = Some(1);
    world.restart();
    assert_eq!(
        world.decide_at(Moment { wall: wall(9_000_000), monotonic: Duration::ZERO }).action,
        Action::None
    );
    let later = |seconds| Moment { wall: wall(9_000_000), monotonic: Duration::from_secs(seconds) };
    assert_eq!(world.decide_at(later(29)).action, Action::None);
    assert_eq!(world.decide_at(later(30)).action, Action::Step(2));
    // What began in the future has not begun.
    world.restart();
    world.decide(0);
    assert_eq!(world.decide(119).action, Action::None);
    assert_eq!(world.decide(120).action, Action::Promote);
}

#[test]
fn paused_rollouts_take_no_step() {
    let mut world = World::new(two_steps(), ROLLS_BACK);
    (world.figures, world.is_paused) = (good(500), true);
    world.decide(0);
    assert_eq!(world.state(1000), (Some(Analyzing), 1, 0));
    world.is_paused = false;
    assert_eq!(world.state(1001), (Some(Analyzing), 2, 1));
}

#[test]
fn what_is_no_canary_goes_to_all_pods() {
    let begin = |consumes, has_pods, now: &str| {
        let before = Before { consumes, has_pods, figures: None };
        Record::begin(before, now, wall(0))
    };
    for (consumes, has_pods, end) in [
        (Some("c"), true, None),
        (Some("d"), true, Some(End::Skipped)),
        (None, true, Some(End::Skipped)),
        (Some("c"), false, Some(End::Skipped)),
    ] {
        let found = begin(consumes, has_pods, "c");
        assert_eq!(found.end, end, "{consumes:?} {has_pods}");
        let pods = found.pods(&two_steps(), 4);
        assert_eq!((pods, found.message.is_some()), if end.is_some() { (4, true) } else { (1, false) });
    }
}

#[test]
fn a_change_back_to_the_good_revision_is_promoted_at_once() {
    let mut world = World::new(two_steps(), ROLLS_BACK);
    world.record.good = Some("f-2".to_owned());
    assert_eq!(world.decide(0).action, Action::Promote);
    assert_eq!((world.pods(), world.decide(1).state), (4, State::Complete));
}

#[test]
fn another_change_begins_another_canary() {
    let mut world = World::new(two_steps(), ROLLS_BACK);
    world.figures = good(500);
    world.decide(0);
    world.decide(60);
    assert_eq!(world.record.canary.as_ref().map(|it| it.step), Some(1));
    world.record.try_template("t3", None, wall(61));
    let before = Before { has_pods: true, ..Before::default() };
    world.record.begin_canary(true, before, "c".to_owned(), wall(61));
    let canary = world.record.canary.as_ref().expect("a canary");
    assert_eq!((canary.step, canary.is_active(), world.record.good.as_deref()), (0, true, Some("f-1")));
}

#[test]
fn steps_of_a_shorter_plan_and_odd_records_are_harmless() {
    let mut world = World::new(two_steps(), ROLLS_BACK);
    if let Some(canary) = &mut world.record.canary {
        canary.step = usize::MAX;
    }
    world.figures = good(500);
    assert_eq!((world.pods(), world.state(0).0), (4, Some(Analyzing)));
    assert_eq!(world.decide(120).action, Action::Promote);
    // The record of a component without a canary is as before.
    let record = crate::Record { tried: "t".into(), ..crate::Record::default() };
    assert_eq!(serde_json::to_string(&record).expect("JSON"), r#"{"tried":"t"}"#);
}
