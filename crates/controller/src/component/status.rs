//! The status of a component, as a pure function of what was observed.

use std::collections::BTreeMap;
use std::sync::Arc;

use function_mesh_api::conditions::{ConditionType, Reason};
use function_mesh_api::types::{ComponentStatus, Phase, ResourceCondition, Subscription};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};

use super::pod_counts::Pods;
use super::recreate::Recreate;
use super::rollout::{AppliedRollout, RolloutReport};
use super::{outdated_traffic, standard_conditions};
use crate::condition::{rewritten_message, with_history};
use crate::context::Revisions;
use crate::error::Error;
use crate::traffic::TrafficState;
use function_mesh_kube::apply::Change;
use function_mesh_kube::events::printable_message;

/// Longest message in a status, in bytes.
const MAX_MESSAGE_LEN: usize = 1024;
/// The message of a component that sleeps.
const ASLEEP: &str = "scaled to zero, since there is nothing to do; a message wakes it";
/// The same while the operator would not notice the message.
const NEVER_WAKES: &str = "scaled to zero, and no message wakes it, since the operator does not observe Pulsar; start the \
    operator with --observe, or scale the component";

/// The children after the plan was executed. The status accepts nothing else.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "the facts are independent")]
pub struct Applied {
    /// The StatefulSet.
    pub stateful_set: Arc<StatefulSet>,
    /// The changes of this reconcile, by kind.
    pub changes: BTreeMap<String, Change>,
    /// Whether there is a horizontal autoscaler.
    pub has_autoscaler: bool,
    /// Whether there is a vertical autoscaler.
    pub has_vertical_autoscaler: bool,
    /// Whether no wanted pods mean that the component sleeps until a message wakes it: the operator scales it, and no
    /// annotation suspends it.
    pub sleeps_at_zero: bool,
    /// Immutable fields of the StatefulSet that differ from the wanted ones.
    pub immutable_diffs: Vec<&'static str>,
    /// Subscriptions that earlier pods created and the spec no longer names. None while a rollout is deferred, since
    /// the pods still consume from them.
    pub retired_subscriptions: Option<Vec<Subscription>>,
    /// Children that had no owner and are controlled by the component again, for an Event.
    pub adopted: Vec<String>,
    /// Children with the fields that admission changes whenever they are applied.
    pub rewritten: Vec<String>,
    /// The change of a deferred rollout.
    pub pending: Option<String>,
    /// Whether the rollout is deferred because rollouts are paused.
    pub is_paused: bool,
    /// Where a component with `strategy: Recreate` is.
    pub recreate: Option<Recreate>,
    /// The rollout.
    pub rollout: AppliedRollout,
}

/// The observed state of a component after its plan was executed.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The children.
    pub applied: Applied,
    /// A problem of a pod that does not resolve with time.
    pub problem: Option<String>,
    /// Pods that have the newest revision by their labels: the StatefulSet counts them later. 0 if it does not say which
    /// revision is the newest.
    pub updated: i32,
    /// Resource versions of the BackendConfigs from which the StatefulSet was rendered.
    pub revisions: Revisions,
    /// Message traffic.
    pub traffic: TrafficState,
    /// The rollout. None for a component without `spec.rollout` whose pods are ready.
    pub rollout: Option<RolloutReport>,
}

impl Observation {
    /// What was applied, before pods and messages are looked at.
    pub fn of(applied: Applied, revisions: Revisions) -> Self {
        let traffic = TrafficState::Off;
        Self { applied, problem: None, updated: 0, revisions, traffic, rollout: None }
    }
}

/// The outcome of a reconcile.
#[derive(Debug)]
pub enum Outcome {
    /// The children were applied.
    Applied(Box<Observation>),
    /// The children cannot be created before this has happened.
    Waiting(String),
    /// The component is being deleted and waits for this.
    Deleting(String),
    /// The reconcile failed.
    Failed(Error),
}

impl Outcome {
    /// The reason of a failure that only a change of the object can fix.
    pub(super) fn final_reason(&self) -> Option<Reason> {
        match self {
            Self::Failed(error) if error.is_final() => Some(error.final_reason()),
            _ => None,
        }
    }
}

/// The message of a status, or else its numbers.
pub(super) fn summary(status: &ComponentStatus) -> String {
    let numbers = || format!("{} of {} pods are ready", status.ready_replicas, status.replicas);
    status.message.clone().unwrap_or_else(numbers)
}

impl Applied {
    /// A StatefulSet without changes, deferred rollout or retired subscriptions.
    pub fn of(stateful_set: Arc<StatefulSet>, immutable_diffs: Vec<&'static str>) -> Self {
        Self {
            stateful_set,
            immutable_diffs,
            changes: BTreeMap::new(),
            has_autoscaler: false,
            has_vertical_autoscaler: false,
            sleeps_at_zero: false,
            retired_subscriptions: None,
            adopted: Vec::new(),
            rewritten: Vec::new(),
            pending: None,
            is_paused: false,
            recreate: None,
            rollout: AppliedRollout::default(),
        }
    }

    /// Where its pods are, if they are stopped until they are recreated.
    pub(super) fn stopped(&self) -> Option<&Recreate> {
        self.recreate.as_ref().filter(|recreate| recreate.is_stopped())
    }

    /// Wanted pods. Those that are stopped until they are recreated are wanted: that is no suspension, and no sleep.
    pub(super) fn wanted_in_the_end(&self) -> i32 {
        self.stopped().map_or_else(|| self.wanted(), Recreate::wanted)
    }

    /// Whether all pods exist, are ready and have the newest revision.
    pub fn are_ready(&self) -> bool {
        Pods::of(&self.stateful_set).are_ready()
    }

    /// Whether the StatefulSet controller has yet to create pods.
    pub fn has_missing_pods(&self) -> bool {
        Pods::of(&self.stateful_set).are_missing()
    }

    /// The wanted number of pods.
    pub fn wanted(&self) -> i32 {
        Pods::of(&self.stateful_set).wanted
    }
}

/// The status after a reconcile. It depends on its arguments only, so without a change the status is unchanged.
pub fn status_of(
    previous: Option<&ComponentStatus>,
    generation: Option<i64>,
    outcome: &Outcome,
    now: &Time,
) -> ComponentStatus {
    let mut status = previous.cloned().unwrap_or_default();
    match outcome {
        Outcome::Applied(seen) => {
            let pods = Pods::of(&seen.applied.stateful_set);
            status.replicas = pods.wanted;
            status.ready_replicas = pods.ready;
            status.updated_replicas = pods.updated.max(seen.updated);
            let spec = seen.applied.stateful_set.spec.as_ref();
            status.selector = spec.map(|spec| selector_text(&spec.selector)).unwrap_or_default();
            status.observed_generation = generation;
            (status.global_backend_config_revision, status.namespaced_backend_config_revision) =
                seen.revisions.clone();
            status.pending_change.clone_from(&seen.applied.pending);
            if let Some(retired) = &seen.applied.retired_subscriptions {
                status.retired_subscriptions.clone_from(retired);
            }
            status.conditions = conditions(&seen.applied, pods);
            seen.traffic.write(&mut status);
            let report = seen.rollout.as_ref();
            status.rollout = report.and_then(|report| report.status(status.rollout.as_ref(), now));
            if let Some(rollout) = &mut status.rollout {
                rollout.recreate = seen.applied.recreate.as_ref().and_then(Recreate::status);
            }
            (status.phase, status.message) = phase(seen, pods);
        }
        Outcome::Waiting(waiting_for) => {
            status.phase = Phase::Progressing;
            status.message = Some(waiting_for.clone());
        }
        Outcome::Deleting(waiting_for) => {
            status.phase = Phase::Deleting;
            status.message = Some(waiting_for.clone());
        }
        Outcome::Failed(error) => {
            // The pods continue to run: counts and conditions remain as last observed.
            status.phase = if error.is_final() { Phase::Invalid } else { Phase::Degraded };
            status.message = Some(error.to_string());
        }
    }
    outdated_traffic::mark(status.traffic.as_mut(), outcome);
    status.message = status.message.map(|message| printable_message(&message, MAX_MESSAGE_LEN));
    let before = std::mem::take(&mut status.standard_conditions);
    status.standard_conditions =
        with_history(standard_conditions::of(&status, outcome), &before, generation, now);
    if keeps_stall(outcome) {
        status
            .standard_conditions
            .extend(before.into_iter().filter(|it| it.type_ == ConditionType::Stalled.as_str()));
    }
    status
}

/// Whether the condition Stalled stays as it is: nothing new was observed.
fn keeps_stall(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Applied(seen) => seen.traffic == TrafficState::Pending,
        Outcome::Waiting(_) | Outcome::Deleting(_) | Outcome::Failed(_) => true,
    }
}

fn phase(seen: &Observation, pods: Pods) -> (Phase, Option<String>) {
    let immutable = (!seen.applied.immutable_diffs.is_empty()).then(|| {
        let fields = seen.applied.immutable_diffs.join(", ");
        let verb = if seen.applied.immutable_diffs.len() == 1 { "is" } else { "are" };
        format!("{fields} {verb} immutable; delete the StatefulSet to apply the change")
    });
    let rewritten = Some(&seen.applied.rewritten).filter(|fields| !fields.is_empty());
    let notes = [immutable, rewritten.map(|fields| rewritten_message(fields))];
    let notes = notes.into_iter().flatten();
    if let Some(waiting_for) = seen.applied.recreate.as_ref().and_then(Recreate::waiting_for) {
        return (Phase::Progressing, Some(waiting_for));
    }
    let rest = || (!pods.are_ready()).then(|| pods.progress());
    if let Some(rolled_back) =
        seen.rollout.as_ref().and_then(|it| it.phase(seen.problem.clone().or_else(rest)))
        && pods.wanted > 0
    {
        return rolled_back;
    }
    if let Some(canary) = seen.rollout.as_ref().and_then(RolloutReport::canary_phase)
        && pods.wanted > 0
        && seen.problem.is_none()
    {
        return canary;
    }
    if pods.are_ready() && seen.problem.is_none() {
        if seen.applied.pending.is_some() && seen.applied.is_paused {
            let message = "rollouts are paused; see status.pendingChange";
            return (Phase::Paused, Some(message.to_owned()));
        }
        let (phase, message) = if pods.wanted == 0 { without_pods(seen) } else { (Phase::Ready, None) };
        let message = message.map(str::to_owned).into_iter().chain(notes).collect::<Vec<_>>().join("; ");
        return (phase, none_if_empty(message));
    }
    if let Some(problem) = &seen.problem {
        return (Phase::Degraded, Some(problem.clone()));
    }
    (Phase::Progressing, Some(pods.progress()))
}

/// Phase and message of a component for which no pods are wanted.
fn without_pods(seen: &Observation) -> (Phase, Option<&'static str>) {
    match (seen.applied.sleeps_at_zero, &seen.traffic) {
        (false, _) => (Phase::Suspended, None),
        (true, TrafficState::Off | TrafficState::Needed(_)) => (Phase::Suspended, Some(NEVER_WAKES)),
        (true, _) => (Phase::Asleep, Some(ASLEEP)),
    }
}

fn none_if_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn conditions(applied: &Applied, pods: Pods) -> BTreeMap<String, ResourceCondition> {
    let entry_of = |kind: &str, condition: ConditionType| {
        // The API server accepted the child, so it exists.
        let entry = ResourceCondition {
            condition: Some(condition.as_str().to_owned()),
            status: Some("True".to_owned()),
            action: Some("NoAction".to_owned()),
        };
        (kind.to_owned(), entry)
    };
    let (kind, mut stateful_set) = entry_of("StatefulSet", ConditionType::StatefulSetReady);
    if applied.pending.is_some() || !pods.are_ready() {
        let action = if applied.pending.is_some() { "Update" } else { "Wait" };
        stateful_set.status = Some("False".to_owned());
        stateful_set.action = Some(action.to_owned());
    }
    let mut conditions =
        BTreeMap::from([(kind, stateful_set), entry_of("Service", ConditionType::ServiceReady)]);
    if applied.has_autoscaler {
        conditions.extend([entry_of("HorizontalPodAutoscaler", ConditionType::HPAReady)]);
    }
    if applied.has_vertical_autoscaler {
        conditions.extend([entry_of("VerticalPodAutoscaler", ConditionType::VPAReady)]);
    }
    conditions
}

/// A selector in the form that `kubectl get --selector` takes.
pub(super) fn selector_text(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten();
    labels.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
