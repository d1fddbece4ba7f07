//! The rollout of a component: observes its pods, and asks `function_mesh_rollout` for a decision.
//!
//! A decision that changes what is recorded, or stops an autoscaler, is written by another plan of the same reconcile, together with the template.

mod canary;
mod record;
mod report;
mod stuck;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use function_mesh_api::conditions::{ConditionType, Reason};
use function_mesh_api::types::{ComponentStatus, RolloutState};
use function_mesh_api::{Component, Spec as _};
use function_mesh_rollout::canary::Plan;
use function_mesh_rollout::{Action, Memory, Moment, Observation as Seen, Pod, Policy, Record, decide};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;

use super::pod_counts::Pods;
use super::pods::{self, pods_of};
use super::status::{Applied, Observation};
use super::summary::PodSummary;
use super::{Context, key};

pub(super) use canary::event as canary_event;
pub use record::AppliedRollout;
pub(super) use record::{Decided, ObservedRollout, observe};
pub use report::RolloutReport;
pub(super) use stuck::delete_stuck_pod;

/// What this process remembers of rollouts, by key of the component.
#[derive(Debug)]
pub struct Rollouts {
    started: Instant,
    components: Mutex<HashMap<String, Memory>>,
}

impl Default for Rollouts {
    fn default() -> Self {
        Self { started: Instant::now(), components: Mutex::default() }
    }
}

impl Rollouts {
    /// Drops a component that is deleted, or whose pods are all ready.
    pub fn forget(&self, key: &str) {
        self.components.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    fn with<T>(&self, key: &str, run: impl FnOnce(&mut Memory, Moment) -> T) -> T {
        let now = Moment { wall: Timestamp::now(), monotonic: self.started.elapsed() };
        let mut components = self.components.lock().unwrap_or_else(PoisonError::into_inner);
        run(components.entry(key.to_owned()).or_default(), now)
    }
}

/// The judgement of a rollout.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    /// What the status says. None for a component without `spec.rollout` whose pods are ready.
    pub(super) report: Option<RolloutReport>,
    /// What the plan must have, if that changes.
    pub(super) decided: Option<Decided>,
    /// A pod that blocks its own repair and must be deleted.
    pub(super) stuck: Option<stuck::Deletion>,
    /// When to judge again, even without a watch event.
    pub(super) recheck_after: Option<Duration>,
}

/// Judges the rollout of a component whose plan was executed.
pub(super) fn judge<C: Component>(observation: &Observation, component: &C, context: &Context) -> Judgement {
    let (applied, key) = (&observation.applied, key(component));
    let rollout = component.spec().view().common.rollout;
    let is_ready = applied.are_ready() && observation.problem.is_none();
    if rollout.is_none() && (is_ready || applied.wanted() == 0) && !applied.rollout.is_held {
        context.shared.rollouts.forget(&key);
        return Judgement::default();
    }
    let policy = Policy::of(rollout);
    let record = record_of(applied, component.status(), &policy);
    let plan = Plan::of(rollout).filter(|_| applied.rollout.record.is_some());
    let (decision, deletions, next, seen) = context.shared.rollouts.with(&key, |memory, now| {
        let mut seen = seen(observation, component, &record, is_ready, context, now.wall);
        if let (Some(plan), Some(record)) = (&plan, &record.canary) {
            let revision = seen.is_current.then_some(&*seen.revision);
            seen.canary =
                canary::observe(component, (record, plan), (revision, seen.wanted), (memory, now), context);
        }
        memory.observe(&seen, &policy, now);
        let decision = decide(&seen, memory, &record, &policy, now);
        let deletions = match decision.action {
            Action::DeletePod(_) => memory.count_deletion(now),
            _ => Vec::new(),
        };
        let next = record.next(&seen, &decision, now.wall);
        (decision, deletions, next, seen)
    });
    let is_written = applied.rollout.record.is_some() && next != record && seen.is_current;
    let has_policy = rollout.is_some() || applied.rollout.is_held;
    let mut report = RolloutReport::new(&decision, &record, &seen, &policy, has_policy);
    if let (Some(plan), Some(ended)) = (&plan, &record.canary)
        && decision.canary.is_none()
    {
        report.canary = Some(canary::ended(ended, plan.last(), seen.wanted));
    }
    let judged = report.canary.as_ref().filter(|_| context.shared.traffic.is_some());
    let recheck = judged.and_then(|canary| canary::recheck(canary.state));
    let recheck_after = decision.recheck_after.into_iter().chain(recheck).min();
    let has_failed = decision.state == RolloutState::Failed && record::stops_autoscaler(component);
    let decided = (is_written || has_failed != applied.rollout.has_failed)
        .then(|| Decided { record: is_written.then_some(next), has_failed });
    let stuck = match decision.action {
        Action::DeletePod(pod) => Some(stuck::Deletion::new(pod, &applied.stateful_set, &deletions)),
        _ => None,
    };
    Judgement { report: Some(report), decided, stuck, recheck_after }
}

/// What is recorded of a rollout. Without a policy that rolls back, the status has what is good: it is only reported.
fn record_of(applied: &Applied, status: Option<&ComponentStatus>, policy: &Policy) -> Record {
    let AppliedRollout { tried, record, .. } = &applied.rollout;
    if policy.rolls_back || record.is_some() {
        return record.clone().unwrap_or_default();
    }
    let good = status.and_then(|status| status.rollout.as_ref()?.good_revision.clone());
    Record { tried: tried.clone(), good, ..Record::default() }
}

fn seen<C: Component>(
    observation: &Observation,
    component: &C,
    record: &Record,
    is_ready: bool,
    context: &Context,
    now: Timestamp,
) -> Seen {
    let applied = &observation.applied;
    let (namespace, name) = (component.namespace().unwrap_or_default(), component.name_any());
    let revision = applied.stateful_set.status.as_ref().and_then(|status| status.update_revision.clone());
    // The StatefulSet of stopped pods has yet to get their template.
    let is_stopped = applied.stopped().is_some();
    let wanted = u32::try_from(applied.wanted_in_the_end()).unwrap_or_default();
    let conditions = component.status().map(|status| status.standard_conditions.as_slice());
    let condition = |type_: ConditionType| {
        conditions.unwrap_or_default().iter().find(|condition| condition.type_ == type_.as_str())
    };
    let not_ready = condition(ConditionType::Ready).filter(|ready| ready.status == "False");
    let was_failed = condition(ConditionType::Progressing)
        .is_some_and(|it| it.reason == Reason::ProgressDeadlineExceeded.as_str());
    let is_stable = condition(ConditionType::Progressing)
        .is_some_and(|it| it.status == "False" && it.reason == Reason::Stable.as_str());
    let was_settled = component.spec().view().common.rollout.is_none()
        && is_stable
        && component.status().is_some_and(|it| it.observed_generation == component.meta().generation)
        && is_rolled_out(&applied.stateful_set);
    let pods = pods_of::<C>(&context.pods, &namespace, &name, wanted);
    Seen {
        is_current: revision.is_some()
            && Pods::of(&applied.stateful_set).is_current
            && applied.pending.is_none()
            && !is_stopped,
        revision: revision.unwrap_or_default(),
        tried: applied.rollout.tried.clone(),
        generation: component.meta().generation.unwrap_or_default(),
        wanted,
        is_ready: is_ready && wanted > 0 && !is_stopped,
        is_paused: context.shared.is_paused(component.meta()),
        since: began(record).or(not_ready.map(|ready| ready.last_transition_time.0)),
        was_failed,
        was_settled,
        pods: pods.map(|(_, found)| pod(&found, now)).collect(),
        deletions: stuck::recorded(&applied.stateful_set),
        problem: observation.problem.clone(),
        canary: None,
    }
}

/// Whether all pods had the newest revision and were ready. A StatefulSet only then takes it as the current one, but a new
/// StatefulSet has it as both.
fn is_rolled_out(stateful_set: &StatefulSet) -> bool {
    let status = stateful_set.status.as_ref();
    status.is_some_and(|it| it.update_revision.is_some() && it.update_revision == it.current_revision)
}

/// Since when the template is tried, or the step of its canary.
fn began(record: &Record) -> Option<Timestamp> {
    let canary = record.canary.as_ref().filter(|canary| canary.is_active());
    canary.and_then(|canary| canary.since).or(record.since)
}

fn pod(found: &PodSummary, now: Timestamp) -> Pod {
    Pod {
        name: found.name_any(),
        uid: found.uid().unwrap_or_default(),
        resource_version: found.resource_version().unwrap_or_default(),
        revision: found.revision().map(str::to_owned),
        has_started: found.has_started(),
        is_ready: found.is_ready(),
        ready_since: found.ready_since(),
        is_failing: pods::has_problem(found, now),
        ends_at: found.metadata.deletion_timestamp.as_ref().map(|at| at.0),
    }
}
