//! The decision: the state of a rollout, and what to do.

use std::fmt;
use std::time::Duration;

use crate::{Memory, Moment, Observation, Policy, Record, canary};

use function_mesh_api::types::CanaryState;
/// State of a rollout.
pub use function_mesh_api::types::RolloutState as State;

/// A decision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision {
    /// State of the rollout.
    pub state: State,
    /// What to do.
    pub action: Action,
    /// Why.
    pub why: Why,
    /// Whether the pods have the last good revision instead of the wanted one.
    pub is_held: bool,
    /// When to decide again, even if nothing is observed to change.
    pub recheck_after: Option<Duration>,
    /// Where a canary that has not ended is.
    pub canary: Option<canary::Report>,
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Nothing.
    None,
    /// Record that the newest revision is good.
    MarkGood,
    /// Give the pods this revision, and record that the newest one failed.
    RollBack {
        /// The revision of the StatefulSet.
        to: String,
    },
    /// Delete a pod that blocks its own repair.
    DeletePod(StuckPod),
    /// Give the pods of this step of the canary the newest revision.
    Step(usize),
    /// Record that the canary is good.
    Promote,
    /// Record that the canary has failed, so that no other pod gets its revision.
    StopCanary,
}

/// A pod that blocks its own repair, as observed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StuckPod {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Resource version.
    pub resource_version: String,
    /// Its revision.
    pub revision: String,
}

/// Why, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Why {
    /// No pods are wanted.
    NoPods,
    /// The StatefulSet does not have the wanted template yet.
    NotApplied,
    /// There was progress within the deadline.
    Progressing,
    /// All pods are ready, and not yet for long enough.
    ReadyFor(Duration),
    /// All pods were ready for long enough.
    Good,
    /// There was no progress.
    NoProgress {
        /// For this long.
        within: Duration,
        /// The reason of a pod.
        problem: Option<String>,
    },
    /// It failed before, and was rolled back.
    RolledBack(String),
    /// What a canary does, or waits for.
    Canary(String),
    /// What the pods of a canary did.
    CanaryFailed(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPods => f.write_str("no pods are wanted"),
            Self::NotApplied => f.write_str("the change is being applied"),
            Self::Progressing => f.write_str("pods are being replaced"),
            Self::ReadyFor(time) => write!(f, "all pods have been ready for {}s", time.as_secs()),
            Self::Good => f.write_str("all pods were ready for `minReady`"),
            Self::NoProgress { within, problem } => {
                write!(f, "no progress within {}", text(*within))?;
                problem.as_ref().map_or(Ok(()), |problem| write!(f, ": {problem}"))
            }
            Self::RolledBack(message) | Self::Canary(message) => f.write_str(message),
            Self::CanaryFailed(message) => write!(f, "canary failed: {message}"),
        }
    }
}

/// A duration as `progressDeadline` is written.
pub(crate) fn text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [(seconds / 3600, "h"), (seconds % 3600 / 60, "m"), (seconds % 60, "s")];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    parts.map(|(count, unit)| format!("{count}{unit}")).collect::<Vec<_>>().concat()
}

/// Decides about a component that [`Memory::observe`] has seen now.
pub fn decide(
    seen: &Observation,
    memory: &Memory,
    record: &Record,
    policy: &Policy,
    now: Moment,
) -> Decision {
    let mut decision = judge(seen, memory, record, policy, now);
    if let Some(canary) = seen.canary.as_ref().filter(|_| decision.canary.is_none()) {
        // The pods of its step are not ready.
        let state = match decision.state {
            State::Failed | State::RolledBack => CanaryState::Failed,
            State::Progressing | State::Complete => CanaryState::Progressing,
        };
        decision.canary = Some(canary.report(state, &decision.why));
    }
    let acts = policy.deletes_stuck_pods && policy.is_automatic && !seen.is_paused && seen.wanted > 0;
    if decision.action == Action::None && acts {
        delete_stuck_pod(&mut decision, seen, memory, now);
    }
    decision
}

fn judge(seen: &Observation, memory: &Memory, record: &Record, policy: &Policy, now: Moment) -> Decision {
    let of = |state, why| Decision {
        state,
        action: Action::None,
        why,
        is_held: false,
        recheck_after: None,
        canary: None,
    };
    if let Some(failed) = record.holds(&seen.tried, policy) {
        let rolled_back = of(State::RolledBack, Why::RolledBack(failed.message.clone()));
        return Decision { is_held: true, ..rolled_back };
    }
    let is_good = record.good.as_deref() == Some(&*seen.revision);
    if seen.wanted == 0 {
        return of(if is_good { State::Complete } else { State::Progressing }, Why::NoPods);
    }
    if !seen.is_current {
        return of(State::Progressing, Why::NotApplied);
    }
    if let Some(canary) = &seen.canary {
        // Ready pods say nothing about their messages: without the pods of its step, only the deadline decides.
        let good = record.good.as_deref();
        if let Some(decision) = canary::decide(seen, canary, memory, (policy, good), now) {
            return decision;
        }
    } else if let Some(ready) = memory.ready_for(now) {
        if is_good || ready >= policy.min_ready {
            let is_new = (policy.rolls_back || record.consumes.is_some()) && !is_good && !seen.is_paused;
            let action = if is_new { Action::MarkGood } else { Action::None };
            return Decision { action, ..of(State::Complete, Why::Good) };
        }
        let recheck_after = Some(policy.min_ready.saturating_sub(ready));
        return Decision { recheck_after, ..of(State::Progressing, Why::ReadyFor(ready)) };
    }
    if is_good || memory.is_settled() {
        // It was good: what happens to its pods now, no other revision repairs.
        return of(State::Complete, Why::Good);
    }
    let remaining = policy.progress_deadline.saturating_sub(memory.without_progress(now));
    // A pod that is replaced may take its time to end.
    let ends = seen.pods.iter().filter(|pod| !seen.is_updated(pod)).filter_map(|pod| pod.ends_at);
    let ends = ends.filter_map(|end| Duration::try_from(end.duration_since(now.wall)).ok()).max();
    let remaining = remaining.max(ends.unwrap_or_default().min(policy.progress_deadline));
    if !remaining.is_zero() {
        return Decision { recheck_after: Some(remaining), ..of(State::Progressing, Why::Progressing) };
    }
    let why = Why::NoProgress { within: policy.progress_deadline, problem: seen.problem.clone() };
    let to = record.good.clone().filter(|_| policy.acts() && !seen.is_paused && record.tried == seen.tried);
    let action = to.map_or(Action::None, |to| Action::RollBack { to });
    Decision { action, ..of(State::Failed, why) }
}

fn delete_stuck_pod(decision: &mut Decision, seen: &Observation, memory: &Memory, now: Moment) {
    let wait = |pod: &crate::Pod| memory.until_stuck(&pod.uid, now).max(memory.until_deletion(now));
    let Some(pod) = seen.stuck().min_by_key(|pod| wait(pod)) else { return };
    let wait = wait(pod);
    if wait.is_zero() {
        decision.action = Action::DeletePod(StuckPod {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            resource_version: pod.resource_version.clone(),
            revision: pod.revision.clone().unwrap_or_default(),
        });
    } else {
        decision.recheck_after = Some(decision.recheck_after.map_or(wait, |after| after.min(wait)));
    }
}
