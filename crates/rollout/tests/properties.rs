//! Properties of decisions over any history: specs that change, pods that fail, clocks that jump, operators that restart.

#![allow(clippy::expect_used, reason = "tests")]
#![allow(clippy::struct_excessive_bools, reason = "the facts are independent")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use function_mesh_rollout::{Action, Memory, Moment, Observation, Pod, Policy, Record, State, decide};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Event {
    Spec(u8),
    Pods { is_ready: bool },
    Replaced,
    Wait(u16),
    Jump(i32),
    Restart,
    Pause(bool),
    Suspend(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0_u8..4).prop_map(Event::Spec),
        4 => any::<bool>().prop_map(|is_ready| Event::Pods { is_ready }),
        3 => Just(Event::Replaced),
        6 => (1_u16..200).prop_map(Event::Wait),
        1 => any::<i32>().prop_map(Event::Jump),
        1 => Just(Event::Restart),
        1 => any::<bool>().prop_map(Event::Pause),
        1 => any::<bool>().prop_map(Event::Suspend),
    ]
}

/// A component, its StatefulSet with one pod, and an operator.
struct World {
    policy: Policy,
    memory: Memory,
    record: Record,
    spec: u8,
    revision: String,
    pod_revision: String,
    is_ready: bool,
    is_paused: bool,
    is_suspended: bool,
    seconds: u64,
    ready_since: u64,
    jump: i64,
    has_jumped: bool,
    /// Revisions with the longest time for which they were ready.
    ready_for: BTreeMap<String, u64>,
    rolled_back: BTreeSet<u32>,
    changes: u32,
}

impl World {
    fn new() -> Self {
        let policy = Policy {
            progress_deadline: Duration::from_secs(100),
            min_ready: Duration::from_secs(30),
            rolls_back: true,
            deletes_stuck_pods: true,
            is_automatic: true,
        };
        Self {
            policy,
            memory: Memory::default(),
            record: Record::default(),
            spec: 0,
            revision: "r0".to_owned(),
            pod_revision: "r0".to_owned(),
            is_ready: false,
            is_paused: false,
            is_suspended: false,
            seconds: 0,
            ready_since: 0,
            jump: 0,
            has_jumped: false,
            ready_for: BTreeMap::new(),
            rolled_back: BTreeSet::new(),
            changes: 0,
        }
    }

    fn now(&self) -> Moment {
        let wall = Timestamp::from_second(1_000_000_000 + i64::try_from(self.seconds).expect("seconds"));
        let wall = wall.expect("a time") + SignedDuration::from_secs(self.jump);
        Moment { wall, monotonic: Duration::from_secs(self.seconds) }
    }

    fn is_wholly_ready(&self) -> bool {
        self.is_ready && self.pod_revision == self.revision && !self.is_suspended
    }

    fn note_ready(&mut self) {
        if self.is_wholly_ready() {
            let longest = self.ready_for.entry(self.revision.clone()).or_default();
            *longest = (*longest).max(self.seconds - self.ready_since);
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Spec(spec) if *spec != self.spec => {
                (self.spec, self.changes) = (*spec, self.changes + 1);
            }
            Event::Spec(_) => {}
            Event::Pods { is_ready } => {
                if *is_ready && !self.is_ready {
                    self.ready_since = self.seconds;
                }
                self.is_ready = *is_ready;
            }
            Event::Replaced => {
                if self.pod_revision != self.revision {
                    (self.pod_revision, self.is_ready) = (self.revision.clone(), false);
                }
            }
            Event::Wait(seconds) => self.seconds += u64::from(*seconds),
            Event::Jump(seconds) => (self.jump, self.has_jumped) = (i64::from(*seconds), true),
            Event::Restart => self.memory = Memory::default(),
            Event::Pause(is_paused) => self.is_paused = *is_paused,
            Event::Suspend(is_suspended) => self.is_suspended = *is_suspended,
        }
        self.note_ready();
    }

    fn observation(&self) -> Observation {
        let cluster =
            Timestamp::from_second(1_000_000_000 + i64::try_from(self.ready_since).expect("seconds"));
        let pod = Pod {
            name: "f-0".to_owned(),
            uid: format!("{} {}", self.pod_revision, self.changes),
            revision: Some(self.pod_revision.clone()),
            has_started: self.is_ready,
            is_ready: self.is_ready,
            ready_since: cluster.ok().filter(|_| self.is_ready),
            is_failing: !self.is_ready,
            ..Pod::default()
        };
        let tried = format!("t{} {}", self.spec, self.changes);
        Observation {
            revision: self.revision.clone(),
            is_current: self.record.tried == tried,
            tried,
            generation: i64::from(self.changes),
            wanted: u32::from(!self.is_suspended),
            is_ready: self.is_wholly_ready(),
            is_paused: self.is_paused,
            since: self.record.since,
            pods: if self.is_suspended { Vec::new() } else { vec![pod] },
            ..Observation::default()
        }
    }

    fn reconcile(&mut self) -> Result<(), TestCaseError> {
        let (seen, now) = (self.observation(), self.now());
        self.memory.observe(&seen, &self.policy, now);
        let decision = decide(&seen, &self.memory, &self.record, &self.policy, now);
        if self.is_paused || self.is_suspended {
            prop_assert_eq!(&decision.action, &Action::None);
        }
        if let Action::RollBack { to } = &decision.action {
            prop_assert_ne!(to, &seen.revision, "to the revision that failed");
            let longest = self.ready_for.get(to).copied();
            prop_assert!(longest.is_some(), "{} was never ready", to);
            // An operator that starts after a jump believes a wrong time.
            prop_assert!(longest >= Some(30) || self.has_jumped, "{} was ready for {:?}", to, longest);
            prop_assert!(self.rolled_back.insert(self.changes), "the same spec twice");
        }
        if let Action::DeletePod(pod) = &decision.action {
            prop_assert!(!self.is_ready && pod.revision != self.revision);
            (self.pod_revision, self.is_ready) = (self.revision.clone(), false);
            self.memory.count_deletion(now);
        }
        let next = self.record.next(&seen, &decision, now.wall);
        self.revision = match next.holds(&next.tried, &self.policy) {
            Some(failed) => failed.to.clone(),
            None => format!("r{}", self.spec),
        };
        if decision.state == State::RolledBack {
            prop_assert_eq!(&next, &self.record, "nothing is written while it is rolled back");
        }
        self.record = next;
        self.note_ready();
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_the_promises(events in proptest::collection::vec(event(), 1..80)) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
            // The second one finds nothing new to write.
            world.reconcile()?;
            let before = world.record.clone();
            world.reconcile()?;
            let settled = world.record.clone();
            world.reconcile()?;
            prop_assert_eq!(&world.record, &settled, "{:?}, before {:?}", event, before);
        }
    }
}
