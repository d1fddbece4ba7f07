//! `rollout.canary`: some pods get a new version first, on the same subscription, and all of them once it is known to be good.
//!
//! ```text
//! step 1 ──> … ──> step n ──> all pods ──> promoted
//!    └───────────────┴───────────┴──> failed
//! ```
//!
//! The pods with the highest ordinals have the new version: a StatefulSet gives the newest revision to ordinals from its
//! `partition` on. The [`Record`] of a canary is part of that of the rollout, written together with template and partition.

use std::time::Duration;

use function_mesh_api::types::{
    CANARY_MAX_STEPS, CanaryState, CanaryStep, OnInconclusive, Rollout, StepReplicas,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::analysis::{Figures, Limits, Verdict, hangs, holds_too_long, judge};
use crate::decide::{Action, Decision, State, Why, text};
use crate::{Memory, Moment, Observation, Policy};

/// The steps of a spec, and what the new version may do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    steps: Vec<(StepReplicas, Duration)>,
    /// What the new version may do.
    pub limits: Limits,
    /// What happens at the end of a step whose analysis is inconclusive.
    pub on_inconclusive: OnInconclusive,
}

/// The canary of the template that was tried last.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Record {
    /// The step, from 0; the number of steps once all pods have the new version.
    pub step: usize,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What the pods of the version before did, as far as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Figures>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// Why it ended, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How a canary ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum End {
    /// The new version is good.
    Promoted,
    /// A person promoted it.
    ByHand,
    /// The new version did what it may not do.
    Failed,
    /// The change never was a canary.
    Skipped,
}

/// A canary that has not ended, as it is observed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Observed {
    /// The step, from 0.
    pub step: usize,
    /// The step after it that has more pods, or else the one with all of them.
    pub next: usize,
    /// The step with all pods.
    pub last: usize,
    /// Pods of the step.
    pub pods: u32,
    /// Duration of the step.
    pub duration: Duration,
    /// What its pods did.
    pub figures: Figures,
    /// What the version before did, meanwhile or until the canary began.
    pub before: Option<Figures>,
    /// What its pods do meanwhile.
    pub others: Option<Figures>,
    /// What nothing is known by, if that has a cause that lasts.
    pub unknown: Option<&'static str>,
    /// What the new version may do.
    pub limits: Limits,
    /// What happens if too little is known.
    pub on_inconclusive: OnInconclusive,
    /// Why it failed before, if nothing was rolled back.
    pub failed: Option<String>,
}

/// Where a canary is, for a status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// State.
    pub state: CanaryState,
    /// The step, from 0; None for a change that never was a canary.
    pub step: Option<usize>,
    /// The step with all pods.
    pub last: usize,
    /// Pods of the step.
    pub pods: u32,
    /// Why.
    pub message: String,
}

/// What was known before a template was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Before<'a> {
    /// What the pods consumed, and with which guarantee; None if that was not recorded.
    pub consumes: Option<&'a str>,
    /// Whether pods run.
    pub has_pods: bool,
    /// What they did.
    pub figures: Option<Figures>,
}

impl Plan {
    /// The plan of a rollout that has a canary.
    pub fn of(rollout: Option<&Rollout>) -> Option<Self> {
        let rollout = rollout.filter(|rollout| !rollout.recreates())?;
        let canary = rollout.canary.as_ref()?;
        let step = |step: &CanaryStep| Some((step.replicas()?, step.duration()));
        let steps: Vec<_> = canary.steps.iter().take(CANARY_MAX_STEPS).filter_map(step).collect();
        let analysis = canary.analysis.as_ref();
        (!steps.is_empty()).then(|| Self {
            steps,
            limits: Limits::of(analysis),
            on_inconclusive: analysis.and_then(|it| it.on_inconclusive).unwrap_or_default(),
        })
    }

    /// The step with all pods.
    pub fn last(&self) -> usize {
        self.steps.len()
    }

    /// Pods of a step, for this many replicas.
    pub fn pods(&self, step: usize, replicas: u32) -> u32 {
        self.steps.get(step).map_or(replicas, |(pods, _)| pods.of(replicas))
    }

    /// Duration of a step; the one with all pods takes as long as the last one.
    fn duration(&self, step: usize) -> Duration {
        let found = self.steps.get(step).or_else(|| self.steps.last());
        found.map(|(_, duration)| *duration).unwrap_or_default()
    }

    /// The next step that has more pods, or else the one with all of them.
    fn next(&self, step: usize, replicas: u32) -> usize {
        let pods = self.pods(step, replicas);
        let mut later = (step + 1)..self.last();
        later.find(|later| self.pods(*later, replicas) > pods).unwrap_or(self.last())
    }
}

impl Record {
    /// The record of a template that is tried now, after a change from what was before.
    pub fn begin(before: Before<'_>, consumes: &str, now: Timestamp) -> Self {
        let skipped = |message: &str| Self {
            end: Some(End::Skipped),
            message: Some(message.to_owned()),
            ..Self::default()
        };
        match before.consumes {
            _ if !before.has_pods => skipped("no pod ran the version before"),
            None => skipped("what the pods consumed before is not recorded; the next change is a canary"),
            Some(other) if other != consumes => skipped(
                "a change of the subscription, the inputs, the order or the processing guarantee is none, since two versions \
                 cannot share the messages",
            ),
            Some(_) => Self { since: Some(now), before: before.figures, ..Self::default() },
        }
    }

    /// Whether it continues.
    pub fn is_active(&self) -> bool {
        self.end.is_none()
    }

    /// Whether only the pods of its step have the new version.
    pub fn is_partial(&self) -> bool {
        matches!(self.end, None | Some(End::Failed))
    }

    /// Begins it again, with the first step.
    pub fn restart(&mut self, now: Timestamp) {
        (self.step, self.since, self.end, self.message) = (0, Some(now), None, None);
    }

    /// Records that a person promotes it. Returns whether that changes something.
    pub fn promote(&mut self, revision: &str) -> bool {
        let is_open = self.is_partial();
        if is_open {
            self.end = Some(End::ByHand);
            self.message = Some(format!("revision {revision} was promoted by a person"));
        }
        is_open
    }

    /// Pods that have the new version, of this many replicas.
    pub fn pods(&self, plan: &Plan, replicas: u32) -> u32 {
        if self.is_partial() { plan.pods(self.step, replicas) } else { replicas }
    }

    /// What is observed of it, if its pods are still partly old or judged.
    pub fn observed(
        &self,
        plan: &Plan,
        replicas: u32,
        (figures, others): (Figures, Option<Figures>),
        unknown: Option<&'static str>,
    ) -> Option<Observed> {
        let step = self.step.min(plan.last());
        self.is_partial().then(|| Observed {
            step,
            next: plan.next(step, replicas),
            last: plan.last(),
            pods: plan.pods(step, replicas),
            duration: plan.duration(step),
            figures,
            before: better(others, self.before, &plan.limits),
            others,
            unknown,
            limits: plan.limits,
            on_inconclusive: plan.on_inconclusive,
            failed: self.end.map(|_| self.message.clone().unwrap_or_default()),
        })
    }

    /// Takes the step that was decided.
    pub(crate) fn take(&mut self, action: &Action, seen: &Observation, why: &Why, now: Timestamp) {
        let Some(observed) = seen.canary.as_ref().filter(|_| self.is_active()) else { return };
        match action {
            Action::Step(step) => {
                (self.step, self.since, self.before) = (*step, Some(now), observed.before);
            }
            Action::Promote => self.close(End::Promoted, &why.to_string()),
            Action::StopCanary | Action::RollBack { .. } => match why {
                Why::CanaryFailed(message) => self.close(End::Failed, message),
                why => self.close(End::Failed, &why.to_string()),
            },
            Action::None | Action::MarkGood | Action::DeletePod(_) => {}
        }
    }

    fn close(&mut self, end: End, message: &str) {
        (self.message, self.end) = (Some(crate::Record::kept(message)), Some(end));
    }
}

/// The figures to compare with: of the pods that run meanwhile, unless more is known of what ran before.
fn better(others: Option<Figures>, before: Option<Figures>, limits: &Limits) -> Option<Figures> {
    match (others.filter(|it| it.received > 0), before) {
        (Some(others), Some(before)) if others.received < limits.min_messages.min(before.received) => {
            Some(before)
        }
        (Some(others), _) => Some(others),
        (None, before) => before,
    }
}

/// Decides about a canary. None if the pods of its step are not ready, so that the deadline decides.
pub(crate) fn decide(
    seen: &Observation,
    canary: &Observed,
    memory: &Memory,
    (policy, good): (&Policy, Option<&str>),
    now: Moment,
) -> Option<Decision> {
    let of = |state, why, action, canary_state| {
        let report = canary.report(canary_state, &why);
        Decision { state, action, why, is_held: false, recheck_after: None, canary: Some(report) }
    };
    if good == Some(&*seen.revision) {
        let why = Why::Canary("the revision was good before".to_owned());
        let action = if seen.is_paused || canary.failed.is_some() { Action::None } else { Action::Promote };
        return Some(of(State::Progressing, why, action, CanaryState::Analyzing));
    }
    let fail = |message: String| {
        let roll_back = good.filter(|_| policy.acts() && !seen.is_paused).map(str::to_owned);
        let action = match roll_back {
            Some(to) => Action::RollBack { to },
            None if canary.failed.is_some() || seen.is_paused => Action::None,
            None => Action::StopCanary,
        };
        of(State::Failed, Why::CanaryFailed(message), action, CanaryState::Failed)
    };
    if let Some(message) = &canary.failed {
        return Some(fail(message.clone()));
    }
    let ready = memory.step_ready_for(now);
    let remaining = ready.map(|ready| canary.duration.saturating_sub(ready));
    let is_end = remaining.is_some_and(|it| it.is_zero());
    let missing = match judge(&canary.figures, canary.before.as_ref(), &canary.limits, is_end) {
        Verdict::Failure(message) => return Some(fail(message)),
        Verdict::Inconclusive(missing) => Some(canary.missing(&missing)),
        Verdict::Success => None,
    };
    if is_end && let Some(message) = canary.hangs(memory.holding_for(now)) {
        return Some(fail(message));
    }
    let remaining = remaining?;
    if !is_end {
        let why =
            Why::Canary(format!("observed for {}: {}", text(canary.duration), canary.figures.coarse_text()));
        let decision = of(State::Progressing, why, Action::None, CanaryState::Analyzing);
        return Some(Decision { recheck_after: Some(remaining), ..decision });
    }
    if let Some(missing) = &missing
        && canary.on_inconclusive == OnInconclusive::RollBack
    {
        return Some(fail(format!("inconclusive: {missing}")));
    }
    if seen.is_paused {
        let why = Why::Canary("rollouts are paused".to_owned());
        return Some(of(State::Progressing, why, Action::None, CanaryState::Analyzing));
    }
    if let Some(missing) = &missing
        && canary.on_inconclusive == OnInconclusive::Wait
    {
        let why = Why::Canary(format!(
            "inconclusive: {missing}; the operator waits, or promote it with `kubectl mesh rollout promote`"
        ));
        return Some(of(State::Progressing, why, Action::None, CanaryState::Inconclusive));
    }
    let (why, action) = if canary.step < canary.last {
        (canary.figures.to_string(), Action::Step(canary.next))
    } else {
        (format!("all pods have the new version: {}", canary.figures), Action::Promote)
    };
    Some(of(State::Progressing, Why::Canary(why), action, CanaryState::Analyzing))
}

impl Observed {
    /// Why its pods hang, which have held messages for this time.
    fn hangs(&self, held: Duration) -> Option<String> {
        let Self { figures, others, before, limits, duration, .. } = self;
        hangs(figures, others.as_ref(), limits)
            .or_else(|| holds_too_long(figures, before.as_ref(), limits, (held, *duration)))
    }

    /// What is missing: a cause that lasts says more than the numbers.
    fn missing(&self, missing: &str) -> String {
        self.unknown.map_or_else(|| missing.to_owned(), |cause| format!("{missing}; {cause}"))
    }

    pub(crate) fn report(&self, state: CanaryState, why: &Why) -> Report {
        Report { state, step: Some(self.step), last: self.last, pods: self.pods, message: why.to_string() }
    }
}

#[cfg(test)]
#[path = "canary_tests.rs"]
mod tests;
