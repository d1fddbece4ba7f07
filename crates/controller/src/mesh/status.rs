//! The status of a mesh, as a pure function of the observed components.

use std::collections::BTreeMap;

use function_mesh_api::types::{FunctionMeshStatus, Phase, ResourceCondition};
use function_mesh_api::{Component, Role};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::error::Error;
use function_mesh_kube::apply::ChildError;
use function_mesh_kube::events::printable_message;

/// Longest message of a condition, in bytes; the API accepts 32 KiB.
const MAX_MESSAGE_LEN: usize = 2048;

/// The observed state of one component.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ComponentState {
    /// The phase for the current generation.
    pub phase: Phase,
    /// The message of the phase.
    pub message: Option<String>,
}

impl ComponentState {
    /// The state of a component, from its own status.
    pub fn of<C: Component>(component: &C) -> Self {
        let status = component.status();
        let is_current =
            status.is_some_and(|status| status.observed_generation == component.meta().generation);
        match status {
            Some(status) if is_current || status.phase == Phase::Invalid => {
                Self { phase: status.phase, message: status.message.clone() }
            }
            // The status is of an earlier generation.
            Some(status) if status.phase == Phase::Degraded => {
                Self { phase: Phase::Degraded, message: status.message.clone() }
            }
            Some(_) => Self { phase: Phase::Progressing, message: None },
            None => Self { phase: Phase::Pending, message: None },
        }
    }

    /// The state of a component that could not be written.
    pub fn failed(error: &ChildError) -> Self {
        Self { phase: Phase::Degraded, message: Some(error.to_string()) }
    }

    fn is_ready(&self) -> bool {
        // With a paused rollout, the pods of the previous revision run.
        matches!(self.phase, Phase::Ready | Phase::Suspended | Phase::Paused)
    }
}

/// The observed state of a mesh.
#[derive(Debug, Default)]
pub struct Observation {
    /// The components, by role and name.
    pub components: BTreeMap<(Role, String), ComponentState>,
    /// The changes that this reconcile wrote, for an Event.
    pub changes: Vec<String>,
}

/// The outcome of a reconcile.
#[derive(Debug)]
pub enum Outcome {
    /// All components were applied.
    Applied(Observation),
    /// The mesh is being deleted, and its components with it.
    Deleting,
    /// The reconcile failed after some observations.
    Failed {
        /// The observed state.
        seen: Observation,
        /// The error.
        error: Error,
    },
}

impl Outcome {
    /// A failure before any observation.
    pub fn failed(error: Error) -> Self {
        Self::Failed { seen: Observation::default(), error }
    }

    /// The observed state, if there is any.
    pub fn seen(&self) -> Option<&Observation> {
        match self {
            Self::Applied(seen) => Some(seen),
            Self::Failed { seen, error } => (!error.is_final()).then_some(seen),
            Self::Deleting => None,
        }
    }
}

/// The status after a reconcile. `now` is the transition time of conditions whose status changes.
pub fn status_of(
    previous: Option<&FunctionMeshStatus>,
    generation: Option<i64>,
    outcome: &Outcome,
    now: &Time,
) -> FunctionMeshStatus {
    let mut status = previous.cloned().unwrap_or_default();
    if let Some(seen) = outcome.seen() {
        let entries = |role: Role| {
            let of_role = seen.components.iter().filter(move |((found, _), _)| *found == role);
            Some(of_role.map(|((role, name), state)| (name.clone(), component_entry(*role, state))).collect())
        };
        status.function_conditions = entries(Role::Function);
        status.source_conditions = entries(Role::Source);
        status.sink_conditions = entries(Role::Sink);
        let ready = seen.components.values().filter(|state| state.is_ready()).count();
        status.components = Some(format!("{ready}/{}", seen.components.len()));
    }
    let facts = facts(outcome);
    let is_ready = facts.iter().any(|fact| fact.type_ == "Ready" && fact.holds);
    status.condition = Some(entry("MeshReady", is_ready, if is_ready { "NoAction" } else { "Wait" }));
    if matches!(outcome, Outcome::Applied(_)) {
        status.observed_generation = generation;
    }
    let before = status.conditions.take().unwrap_or_default();
    let after = facts.into_iter().map(|fact| fact.into_condition(&before, generation, now)).collect();
    status.conditions = Some(after);
    status
}

fn component_entry(role: Role, state: &ComponentState) -> ResourceCondition {
    let condition = format!("{}Ready", role.kind());
    let action = match state.phase {
        Phase::Ready | Phase::Suspended => "NoAction",
        Phase::Paused => "Update",
        Phase::Pending => "Create",
        _ => "Wait",
    };
    entry(&condition, state.is_ready(), action)
}

fn entry(condition: &str, holds: bool, action: &str) -> ResourceCondition {
    ResourceCondition {
        condition: Some(condition.to_owned()),
        status: Some(if holds { "True" } else { "False" }.to_owned()),
        action: Some(action.to_owned()),
    }
}

/// A condition without its transition time.
struct Fact {
    type_: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Fact {
    fn into_condition(self, before: &[Condition], generation: Option<i64>, now: &Time) -> Condition {
        let status = if self.holds { "True" } else { "False" };
        let earlier = before.iter().find(|earlier| earlier.type_ == self.type_);
        let since = match earlier {
            Some(earlier) if earlier.status == status => &earlier.last_transition_time,
            // Transition times never go back, even if the clock does.
            Some(earlier) => now.max(&earlier.last_transition_time),
            None => now,
        };
        Condition {
            type_: self.type_.to_owned(),
            status: status.to_owned(),
            reason: self.reason.to_owned(),
            message: printable_message(&self.message, MAX_MESSAGE_LEN),
            observed_generation: generation,
            last_transition_time: since.clone(),
        }
    }
}

fn facts(outcome: &Outcome) -> Vec<Fact> {
    match outcome {
        Outcome::Deleting => deleting(),
        Outcome::Failed { error, .. } if error.is_final() => invalid(&error.to_string()),
        Outcome::Failed { seen, error } => observed(seen, Some(&error.to_string())),
        Outcome::Applied(seen) => observed(seen, None),
    }
}

fn fact(type_: &'static str, holds: bool, reason: &'static str, message: &str) -> Fact {
    Fact { type_, holds, reason, message: message.to_owned() }
}

fn invalid(message: &str) -> Vec<Fact> {
    vec![
        fact("Ready", false, "Invalid", message),
        fact("Progressing", false, "Invalid", "reconcile blocked until the mesh is valid"),
        fact("Degraded", true, "Invalid", message),
        fact("Valid", false, "RulesBroken", message),
    ]
}

fn deleting() -> Vec<Fact> {
    let message = "deleting the mesh and its components";
    vec![
        fact("Ready", false, "Deleting", message),
        fact("Progressing", true, "Deleting", message),
        fact("Degraded", false, "Deleting", message),
    ]
}

fn observed(seen: &Observation, failed: Option<&str>) -> Vec<Fact> {
    let waiting: Vec<_> = seen.components.iter().filter(|(_, state)| !state.is_ready()).collect();
    let bad = |state: &ComponentState| matches!(state.phase, Phase::Degraded | Phase::Invalid);
    let failures = waiting.iter().filter(|(_, state)| bad(state)).map(|((role, name), state)| {
        format!("{role} {name}: {}", state.message.as_deref().unwrap_or("no message"))
    });
    let degraded = failures.collect::<Vec<_>>().join("; ");
    // Progress is in the status of each component; here it would cause a write for each step.
    let named = |state: &dyn Fn(&ComponentState) -> bool| {
        let named = seen.components.iter().filter(|(_, it)| state(it));
        named.map(|((role, name), _)| format!("{role} {name}")).collect::<Vec<_>>().join(", ")
    };
    let progress = named(&|state| !state.is_ready() && !bad(state));
    let progress = if progress.is_empty() { progress } else { format!("waiting for {progress}") };
    let paused = named(&|state| state.phase == Phase::Paused);
    let all = format!("all {} components are ready", seen.components.len());
    let ready = match (failed, degraded.is_empty(), progress.is_empty()) {
        (Some(failed), _, _) => fact("Ready", false, "ApplyFailed", failed),
        (None, false, _) => fact("Ready", false, "ComponentsDegraded", &degraded),
        (None, true, false) => fact("Ready", false, "ComponentsNotReady", &progress),
        (None, true, true) => fact("Ready", true, "AllReady", &all),
    };
    let progressing = if progress.is_empty() {
        fact("Progressing", false, "Settled", "no rollout in progress")
    } else {
        fact("Progressing", true, "ComponentsChanging", &progress)
    };
    let degraded = match (failed, degraded.is_empty()) {
        (Some(failed), _) => fact("Degraded", true, "ApplyFailed", failed),
        (None, false) => fact("Degraded", true, "ComponentsDegraded", &degraded),
        (None, true) => fact("Degraded", false, "NoTrouble", "no component is degraded"),
    };
    let paused = if paused.is_empty() {
        fact("Paused", false, "NothingHeldBack", "no rollout is paused")
    } else {
        let message = format!("rollouts are paused; pending changes: {paused}");
        fact("Paused", true, "RolloutsPaused", &message)
    };
    vec![ready, progressing, degraded, paused, fact("Valid", true, "RulesKept", "the mesh is valid")]
}

#[cfg(test)]
mod tests {
    use function_mesh_api::validate::{FieldPath, Violation, Violations};

    use super::*;

    fn time(second: i64) -> Time {
        Time(jiff::Timestamp::from_second(second).expect("a time"))
    }

    fn outcome(states: &[(&str, Phase, Option<&str>)]) -> Outcome {
        let components = states.iter().map(|(name, phase, message)| {
            let state = ComponentState { phase: *phase, message: message.map(str::to_owned) };
            ((Role::Function, (*name).to_owned()), state)
        });
        Outcome::Applied(Observation { components: components.collect(), changes: Vec::new() })
    }

    fn condition<'a>(status: &'a FunctionMeshStatus, type_: &str) -> &'a Condition {
        let all = status.conditions.as_deref().unwrap_or_default();
        all.iter().find(|condition| condition.type_ == type_).expect("the condition")
    }

    #[test]
    fn mesh_is_ready_if_all_components_are() {
        let status = status_of(
            None,
            Some(1),
            &outcome(&[("a", Phase::Ready, None), ("b", Phase::Suspended, None)]),
            &time(1),
        );
        assert_eq!(condition(&status, "Ready").status, "True");
        assert_eq!(status.components.as_deref(), Some("2/2"));
        assert_eq!(status.condition.expect("a condition").status.as_deref(), Some("True"));
    }

    #[test]
    fn degraded_component_is_named_in_ready() {
        let seen =
            [("a", Phase::Ready, None), ("b", Phase::Degraded, Some("pod m-b-function-0: exit code 1"))];
        let status = status_of(None, Some(1), &outcome(&seen), &time(1));
        let ready = condition(&status, "Ready");
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "ComponentsDegraded"));
        assert_eq!(ready.message, "function b: pod m-b-function-0: exit code 1");
        assert_eq!(status.components.as_deref(), Some("1/2"));
        assert_eq!(status.function_conditions.expect("entries")["b"].status.as_deref(), Some("False"));
    }

    #[test]
    fn empty_mesh_is_ready() {
        let status = status_of(None, Some(1), &outcome(&[]), &time(1));
        assert_eq!(condition(&status, "Ready").status, "True");
        assert_eq!(status.components.as_deref(), Some("0/0"));
    }

    #[test]
    fn transition_time_changes_with_status_only() {
        let first =
            status_of(None, Some(1), &outcome(&[("a", Phase::Progressing, Some("0 of 1"))]), &time(1));
        let same = status_of(
            Some(&first),
            Some(1),
            &outcome(&[("a", Phase::Progressing, Some("0 of 1"))]),
            &time(2),
        );
        assert_eq!(first, same);
        let ready = status_of(Some(&same), Some(1), &outcome(&[("a", Phase::Ready, None)]), &time(3));
        assert_eq!(condition(&ready, "Ready").last_transition_time, time(3));
        assert_eq!(condition(&ready, "Valid").last_transition_time, time(1));
        let later = status_of(Some(&ready), Some(1), &outcome(&[("a", Phase::Pending, None)]), &time(2));
        assert_eq!(condition(&later, "Ready").last_transition_time, time(3), "the clock was set back");
    }

    #[test]
    fn invalid_mesh_keeps_observed_state_and_generation() {
        let before = status_of(None, Some(1), &outcome(&[("a", Phase::Ready, None)]), &time(1));
        let violation =
            Violation { field: FieldPath::root("spec.functions[0].java"), message: "is missing".into() };
        let error = Error::Invalid(Violations(vec![violation]));
        let status = status_of(Some(&before), Some(2), &Outcome::failed(error), &time(2));
        assert_eq!(condition(&status, "Valid").status, "False");
        assert_eq!(condition(&status, "Ready").message, "spec.functions[0].java: is missing");
        assert_eq!(status.components.as_deref(), Some("1/1"));
        assert_eq!(status.observed_generation, Some(1));
    }
}
