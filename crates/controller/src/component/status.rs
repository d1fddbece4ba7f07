//! The status of a component, as a pure function of what was observed.

use std::collections::BTreeMap;
use std::sync::Arc;

use function_mesh_api::conditions::{ConditionType, Reason};
use function_mesh_api::types::{ComponentStatus, Phase, ResourceCondition, Subscription};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};

use super::pod_counts::Pods;
use super::{outdated_traffic, standard_conditions};
use crate::condition::{rewritten_message, with_history};
use crate::context::Revisions;
use crate::error::Error;
use crate::traffic::TrafficState;
use function_mesh_kube::apply::Change;
use function_mesh_kube::events::printable_message;

/// Longest message in a status, in bytes.
const MAX_MESSAGE_LEN: usize = 1024;

/// The children after the plan was executed. The status accepts nothing else.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The StatefulSet.
    pub stateful_set: Arc<StatefulSet>,
    /// The changes of this reconcile, by kind.
    pub changes: BTreeMap<String, Change>,
    /// Whether there is a horizontal autoscaler.
    pub has_autoscaler: bool,
    /// Whether there is a vertical autoscaler.
    pub has_vertical_autoscaler: bool,
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
}

/// The observed state of a component after its plan was executed.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The children.
    pub applied: Applied,
    /// A problem of a pod that does not resolve with time.
    pub problem: Option<String>,
    /// Resource versions of the BackendConfigs from which the StatefulSet was rendered.
    pub revisions: Revisions,
    /// Message traffic.
    pub traffic: TrafficState,
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
            retired_subscriptions: None,
            adopted: Vec::new(),
            rewritten: Vec::new(),
            pending: None,
            is_paused: false,
        }
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
            status.updated_replicas = pods.updated;
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
            match &seen.traffic {
                TrafficState::Off => status.traffic = None,
                TrafficState::Pending => {}
                TrafficState::Reported(report) => status.traffic = Some(report.traffic.clone()),
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
    let notes = notes.into_iter().flatten().collect::<Vec<_>>().join("; ");
    if pods.are_ready() && seen.problem.is_none() {
        if seen.applied.pending.is_some() && seen.applied.is_paused {
            let message = "rollouts are paused; see status.pendingChange";
            return (Phase::Paused, Some(message.to_owned()));
        }
        return (if pods.wanted == 0 { Phase::Suspended } else { Phase::Ready }, none_if_empty(notes));
    }
    if let Some(problem) = &seen.problem {
        return (Phase::Degraded, Some(problem.clone()));
    }
    (Phase::Progressing, Some(pods.progress()))
}

fn none_if_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn conditions(applied: &Applied, pods: Pods) -> BTreeMap<String, ResourceCondition> {
    let entry_of = |kind: &str, condition: &str| {
        // The API server accepted the child, so it exists.
        let entry = ResourceCondition {
            condition: Some(condition.to_owned()),
            status: Some("True".to_owned()),
            action: Some("NoAction".to_owned()),
        };
        (kind.to_owned(), entry)
    };
    let (kind, mut stateful_set) = entry_of("StatefulSet", "StatefulSetReady");
    if applied.pending.is_some() || !pods.are_ready() {
        let action = if applied.pending.is_some() { "Update" } else { "Wait" };
        stateful_set.status = Some("False".to_owned());
        stateful_set.action = Some(action.to_owned());
    }
    let mut conditions = BTreeMap::from([(kind, stateful_set), entry_of("Service", "ServiceReady")]);
    if applied.has_autoscaler {
        conditions.extend([entry_of("HorizontalPodAutoscaler", "HPAReady")]);
    }
    if applied.has_vertical_autoscaler {
        conditions.extend([entry_of("VerticalPodAutoscaler", "VPAReady")]);
    }
    conditions
}

/// A selector in the form that `kubectl get --selector` takes.
fn selector_text(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten();
    labels.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps, reason = "fixtures read better so")]
mod tests {
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
        let traffic = TrafficState::Off;
        Outcome::Applied(Box::new(Observation { applied, problem, revisions: (None, None), traffic }))
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
    fn zero_replicas_are_suspended() {
        assert_eq!(look(None, None, &seen(0, ready(0), None)).phase, Phase::Suspended);
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
        let found =
            look(Some(&before), Some(2), &Outcome::Failed(Error::Invalid(Violations(vec![violation]))));
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
}
