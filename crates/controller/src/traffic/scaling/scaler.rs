//! What is kept of one component between decisions, and when its decision is reported.

use std::collections::BTreeSet;
use std::time::Duration;

use function_mesh_api::types::ScalingStatus;
use function_mesh_observer::{Monotonic, UnixMillis, Window, Workload};
use function_mesh_scaling::{Component, Decision, Memory, Policy, Reason};

use super::super::kinds::Pod;
use super::super::report::millis;
use super::demand::Work;
use super::inputs::{Facts, component};
use super::report::{is_other, is_urgent, learned, scaling_status};
use super::writers::{Known, OtherWriter};

/// Pods whose start was measured that are remembered.
const MAX_PODS: usize = 100;

/// The scaling of a component.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a separate fact about the last decision")]
pub(in super::super) struct Scaler {
    pub(super) memory: Memory,
    pub(in super::super) facts: Facts,
    /// Whether a round came since the last decision, and whether the memory has seen it.
    pub(super) has_round: bool,
    is_observed: bool,
    pub(super) decision: Option<(Decision, UnixMillis)>,
    /// Whether the decision was acted on.
    is_done: bool,
    /// Since when too little has been known.
    missing_since: Option<Monotonic>,
    pub(super) writer: Writer,
    /// The last one that was found, also after its time: it gets no second one for the same number.
    last_hold: Option<OtherWriter>,
    /// A number that appeared and that this process did not write.
    foreign: Option<u32>,
    /// The number that this process wrote last.
    written: Option<u32>,
    last_scale: Option<UnixMillis>,
    /// Whether a request is under way.
    pub(super) is_acting: bool,
    /// No request before this time, after one that failed.
    retry_at: Option<Monotonic>,
    ready_pods: Option<BTreeSet<String>>,
    measured_start: Option<Duration>,
}

/// Who sets the replicas.
#[derive(Debug, Default)]
pub(super) enum Writer {
    /// The operator, as far as is known: each change is preceded by a look.
    #[default]
    Operator,
    /// It has to be found out.
    Unknown,
    /// Another one, as of this time.
    Other(OtherWriter, Monotonic),
}

impl Scaler {
    /// The scaling of a component of which this was reported before.
    pub(in super::super) fn new(before: Option<&ScalingStatus>) -> Self {
        let held = before.filter(|before| before.reason.as_deref() == Some("OtherWriter"));
        Self {
            memory: Memory::new(learned(before)),
            last_scale: before.and_then(|before| before.last_scale_time.as_ref()).and_then(millis),
            writer: if held.is_some() { Writer::Unknown } else { Writer::Operator },
            foreign: held.and_then(|held| held.desired_replicas),
            ..Self::default()
        }
    }

    /// Begins again, for other topics or another cluster. What was learned stays.
    pub(in super::super) fn begin_again(&mut self) {
        self.memory = Memory::new(self.memory.learned().clone());
        (self.facts, self.decision, self.has_round) = (Facts::default(), None, false);
    }

    /// Takes the facts of a round.
    pub(in super::super) fn note_round(&mut self, facts: Facts) {
        self.facts = facts;
        (self.has_round, self.is_observed) = (true, false);
    }

    /// Takes another spec: replicas that the operator did not write have another writer.
    pub(in super::super) fn note_spec(&mut self, before: &Work, now: &Work) {
        if now.wanted.is_none() {
            self.decision = None;
        }
        if before.replicas != now.replicas && self.written != Some(now.replicas) {
            (self.writer, self.last_hold, self.foreign) = (Writer::Unknown, None, Some(now.replicas));
        }
    }

    /// Measures how long new pods took to become ready. Those of the first look are not new.
    pub(super) fn note_pods(&mut self, pods: &[Pod]) {
        let ready: Vec<_> = pods.iter().filter(|pod| pod.is_ready).take(MAX_PODS).collect();
        if let Some(known) = &self.ready_pods {
            let new = ready.iter().filter(|pod| !known.contains(&pod.uid));
            self.measured_start = new.filter_map(|pod| pod.start).max().or(self.measured_start);
        }
        self.ready_pods = Some(ready.into_iter().map(|pod| pod.uid.clone()).collect());
    }

    /// Whether the number of ready pods differs from that of the last look.
    pub(super) fn has_other_pods(&self, ready: u32) -> bool {
        let known = self.ready_pods.as_ref().map(BTreeSet::len);
        known != Some(usize::try_from(ready).unwrap_or_default().min(MAX_PODS))
    }

    /// The component as a decision sees it.
    pub(super) fn component(&self, work: &Work, workload: &Workload, is_rolling_out: bool) -> Component {
        let other = match &self.writer {
            Writer::Other(other, _) if work.is_automatic() => Some(other.manager.as_str()),
            _ => None,
        };
        component(work, &self.facts, workload, is_rolling_out, other, self.measured_start)
    }

    /// Lets the memory see a round, once.
    pub(super) fn observe(
        &mut self,
        window: &Window,
        component: &Component,
        policy: &Policy,
        now: Monotonic,
    ) {
        if !self.has_round || std::mem::replace(&mut self.is_observed, true) {
            return;
        }
        self.memory.observe(window, component, policy, now);
        self.measured_start = None;
    }

    /// Takes a decision. Wishes are of rounds, so that one without a round is not recorded.
    pub(super) fn take(&mut self, decision: Decision, policy: &Policy, now: Monotonic, wall: UnixMillis) {
        if std::mem::take(&mut self.has_round) {
            self.memory.record(&decision, policy, now);
        }
        self.missing_since = match decision.reason {
            Reason::MissingData(_) => self.missing_since.or(Some(now)),
            _ => None,
        };
        (self.decision, self.is_done) = (Some((decision, wall)), false);
    }

    /// Drops a decision about a component that has changed.
    pub(super) fn drop_change(&mut self) {
        self.decision = None;
    }

    /// Whether the other writer has to be looked up now, apart from a change: again and again while there is one.
    pub(super) fn needs_check(&self, interval: Duration, now: Monotonic, wall: UnixMillis) -> bool {
        let is_due = match &self.writer {
            Writer::Operator => false,
            Writer::Unknown => true,
            Writer::Other(other, at) => {
                now.since(*at) >= interval || other.until.is_some_and(|until| wall >= until)
            }
        };
        is_due && self.may_act(now)
    }

    /// The change to be made, if there is one.
    pub(super) fn change(&self, now: Monotonic) -> Option<&Decision> {
        let is_free = matches!(self.writer, Writer::Operator);
        let (decision, _) =
            self.decision.as_ref().filter(|_| is_free && !self.is_done && self.may_act(now))?;
        decision.is_change().then_some(decision)
    }

    /// Whether a change is under way, or it has to be found out who makes it.
    pub(super) fn is_pending(&self, now: Monotonic) -> bool {
        self.is_acting || matches!(self.writer, Writer::Unknown) || self.change(now).is_some()
    }

    fn may_act(&self, now: Monotonic) -> bool {
        !self.is_acting && self.retry_at.is_none_or(|at| now >= at)
    }

    /// Takes the end of a change.
    pub(super) fn scaled(&mut self, replicas: u32, wall: UnixMillis) {
        (self.written, self.last_scale) = (Some(replicas), Some(wall));
        (self.writer, self.last_hold, self.foreign, self.is_done) = (Writer::Operator, None, None, true);
    }

    /// What is known of the replicas, for a look at who sets them.
    pub(super) fn known(&self) -> Known {
        Known { has_scaled: self.last_scale.is_some(), writer: self.last_hold.clone(), foreign: self.foreign }
    }

    /// Another one sets the replicas.
    pub(super) fn hold(&mut self, other: OtherWriter, now: Monotonic) {
        self.last_hold = Some(other.clone());
        self.writer = Writer::Other(other, now);
        self.drop_change();
    }

    /// No request before this time.
    pub(super) fn retry_after(&mut self, at: Monotonic) {
        self.retry_at = Some(at);
    }

    /// Replicas that are wanted, and whether something holds them.
    pub(in super::super) fn sample(&self) -> Option<(u32, bool)> {
        let (decision, _) = self.decision.as_ref()?;
        Some((decision.replicas, matches!(decision.reason, Reason::Held(_))))
    }

    /// The decision, unless too little is known and has been for less than `grace`: after a restart, and for some time after
    /// Pulsar went away.
    fn reportable(&self, grace: Duration, now: Monotonic) -> Option<&(Decision, UnixMillis)> {
        let is_brief = self.missing_since.is_some_and(|since| now.since(since) < grace);
        self.decision.as_ref().filter(|_| !is_brief)
    }

    /// What the status says now; None if what was said `before` stays.
    pub(in super::super) fn status(
        &self,
        before: Option<&ScalingStatus>,
        grace: Duration,
        now: Monotonic,
    ) -> Option<ScalingStatus> {
        let (decision, at) = self.reportable(grace, now)?;
        let mut status = scaling_status(decision, self.memory.learned(), *at, self.last_scale);
        if status.learned.is_none() {
            status.learned = before.and_then(|before| before.learned.clone());
        }
        Some(status)
    }

    /// Whether the decision has to be reported, `since` after the last report.
    pub(super) fn is_worth_report(
        &self,
        before: Option<&ScalingStatus>,
        since: Duration,
        (grace, min_interval): (Duration, Duration),
        now: Monotonic,
    ) -> bool {
        let Some((decision, _)) = self.reportable(grace, now) else { return false };
        let Some(before) = before else { return true };
        let is_scaled = before.last_scale_time.as_ref().and_then(millis).map(|last| last.0 / 1000)
            != self.last_scale.map(|last| last.0 / 1000);
        is_scaled
            || is_urgent(before, decision)
            || since >= min_interval && is_other(before, decision, self.memory.learned())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use function_mesh_scaling::{History, Hold, decide};
    use serde_json::json;

    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    fn decision(current: u32, replicas: u32, reason: Reason) -> Decision {
        let (memory, window) = (Memory::default(), Window::new(4));
        let history = History { window: &window, memory: &memory };
        let decided = decide(history, &Policy::default(), &Component::default(), at(60));
        Decision { current, replicas, reason, ..decided }
    }

    fn scaler(current: u32, replicas: u32, reason: Reason) -> Scaler {
        let mut scaler = Scaler::default();
        scaler.take(decision(current, replicas, reason), &Policy::default(), at(60), UnixMillis(60_000));
        scaler
    }

    #[test]
    fn a_change_is_made_once_and_not_while_another_is_under_way() {
        let mut scaler = scaler(1, 3, Reason::ScaleUp);
        assert!(scaler.change(at(60)).is_some());
        scaler.is_acting = true;
        assert!(scaler.change(at(60)).is_none() && scaler.is_pending(at(60)));
        scaler.is_acting = false;
        scaler.scaled(3, UnixMillis(61_000));
        assert!(scaler.change(at(61)).is_none() && !scaler.is_pending(at(61)));
        scaler.take(decision(3, 4, Reason::ScaleUp), &Policy::default(), at(70), UnixMillis(70_000));
        scaler.retry_after(at(100));
        assert!(scaler.change(at(99)).is_none() && scaler.change(at(100)).is_some());
        assert!(self::scaler(3, 3, Reason::Steady).change(at(60)).is_none());
    }

    #[test]
    fn replicas_that_the_operator_did_not_write_have_another_writer() {
        let work = |replicas| {
            let spec = json!({ "replicas": replicas, "scaling": {}, "pulsar": { "pulsarConfig": "p" } });
            let spec = serde_json::from_value(spec).expect("a spec");
            let function = function_mesh_api::Component::with_spec("f", spec);
            super::super::super::demand::Demand::of::<function_mesh_api::Function>(&function, Duration::ZERO)
                .work
        };
        let mut scaler = scaler(1, 3, Reason::ScaleUp);
        scaler.scaled(3, UnixMillis(61_000));
        scaler.note_spec(&work(1), &work(3));
        assert!(matches!(scaler.writer, Writer::Operator));
        assert_eq!(scaler.known().foreign, None);
        scaler.note_spec(&work(3), &work(5));
        assert!(matches!(scaler.writer, Writer::Unknown));
        assert_eq!(scaler.known().foreign, Some(5));
        assert!(scaler.needs_check(Duration::from_secs(30), at(70), UnixMillis(0)));
        let until = Some(UnixMillis(600_000));
        scaler.writer = Writer::Other(OtherWriter { manager: "kubectl".to_owned(), until }, at(70));
        let needs =
            |seconds, wall| scaler.needs_check(Duration::from_secs(30), at(seconds), UnixMillis(wall));
        assert_eq!((needs(99, 0), needs(100, 0), needs(71, 600_000)), (false, true, true));
        assert!(scaler.change(at(70)).is_none());
        let held = scaler.component(&work(5), &Workload::default(), false).hold;
        assert_eq!(held, Some(Hold::OtherWriter("kubectl".to_owned())));
    }

    #[test]
    fn what_is_briefly_unknown_is_not_reported() {
        let cause = function_mesh_observer::Cause::Failed;
        let mut scaler = scaler(3, 3, Reason::Steady);
        let grace = Duration::from_secs(30);
        let before = scaler.status(None, grace, at(60)).expect("a status");
        scaler.take(
            decision(3, 3, Reason::MissingData(cause)),
            &Policy::default(),
            at(100),
            UnixMillis(100_000),
        );
        let is_worth = |now| {
            scaler.is_worth_report(Some(&before), Duration::from_mins(5), (grace, Duration::ZERO), at(now))
        };
        assert_eq!((is_worth(129), is_worth(130)), (false, true));
        assert!(scaler.status(Some(&before), grace, at(129)).is_none());
    }

    #[test]
    fn only_pods_that_became_ready_later_have_a_start_time() {
        let pod = |uid: &str, start| Pod {
            ordinal: 0,
            name: uid.to_owned(),
            uid: uid.to_owned(),
            address: None,
            is_ready: true,
            start: Some(Duration::from_secs(start)),
        };
        let mut scaler = Scaler::default();
        scaler.note_pods(&[pod("a", 900)]);
        assert_eq!(scaler.measured_start, None);
        assert!(!scaler.has_other_pods(1) && scaler.has_other_pods(3));
        scaler.note_pods(&[pod("a", 900), pod("b", 7), pod("c", 9)]);
        assert_eq!(scaler.measured_start, Some(Duration::from_secs(9)));
    }

    #[test]
    fn a_status_of_a_former_process_is_continued() {
        let status = json!({ "reason": "OtherWriter", "desiredReplicas": 2, "lastScaleTime": "2026-01-05T12:00:00Z",
            "learned": { "ratePerReplica": 20.0, "messages": 500.0 } });
        let status: ScalingStatus = serde_json::from_value(status).expect("a status");
        let scaler = Scaler::new(Some(&status));
        assert_eq!(scaler.last_scale, Some(UnixMillis(1_767_614_400_000)));
        assert_eq!(scaler.memory.learned().rate(), Some(20.0));
        assert!(matches!(scaler.writer, Writer::Unknown));
        assert_eq!(scaler.known().foreign, Some(2));
    }
}
