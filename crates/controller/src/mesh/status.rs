//! The status of a mesh, as a pure function of the observed components.

use std::collections::BTreeMap;

use function_mesh_api::conditions::{ConditionType, Reason};
use function_mesh_api::types::{FunctionMeshStatus, Phase, ResourceCondition};
use function_mesh_api::{Component, Role};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use ConditionType::{Accepted, Degraded, Paused, Progressing, Ready};

use crate::condition::{ConditionSpec, rewritten_message, with_history};
use crate::error::Error;
use crate::traffic::StallReport;
use function_mesh_kube::apply::ChildError;

/// The observed state of one component.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ComponentState {
    /// The phase for the current generation.
    pub phase: Phase,
    /// The message of the phase.
    pub message: Option<String>,
    /// Its condition Stalled.
    pub stall: Option<StallReport>,
}

impl ComponentState {
    /// The state of a component, from its own status.
    pub fn of<C: Component>(component: &C) -> Self {
        let status = component.status();
        let is_current =
            status.is_some_and(|status| status.observed_generation == component.meta().generation);
        let (phase, message) = match status {
            Some(status) if is_current || status.phase == Phase::Invalid => {
                (status.phase, status.message.clone())
            }
            // The status is of an earlier generation.
            Some(status) if matches!(status.phase, Phase::Degraded | Phase::RolledBack) => {
                (status.phase, status.message.clone())
            }
            Some(_) => (Phase::Progressing, None),
            None => (Phase::Pending, None),
        };
        let stall = status.and_then(|status| StallReport::of(&status.standard_conditions));
        Self { phase, message, stall }
    }

    /// The state of a component that could not be written.
    pub fn failed(error: &ChildError) -> Self {
        Self { phase: Phase::Degraded, message: Some(error.to_string()), stall: None }
    }

    fn is_ready(&self) -> bool {
        // With a paused rollout, the pods of the previous revision run.
        matches!(self.phase, Phase::Ready | Phase::Suspended | Phase::Asleep | Phase::Paused)
    }
}

/// The observed state of a mesh.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The components, by role and name.
    pub components: BTreeMap<(Role, String), ComponentState>,
    /// The changes that this reconcile wrote, for an Event.
    pub changes: Vec<String>,
    /// Components that had no owner and are controlled by the mesh again, for an Event.
    pub adopted: Vec<String>,
    /// Components with the fields that admission changes whenever they are applied.
    pub rewritten: Vec<String>,
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
    let specs = condition_specs(outcome);
    let is_ready = specs.iter().any(|spec| spec.type_ == ConditionType::Ready && spec.holds == Some(true));
    status.condition =
        Some(entry(ConditionType::MeshReady, is_ready, if is_ready { "NoAction" } else { "Wait" }));
    if matches!(outcome, Outcome::Applied(_)) {
        status.observed_generation = generation;
    }
    let before = status.conditions.take().unwrap_or_default();
    status.conditions = Some(with_history(specs, &before, generation, now));
    status
}

fn component_entry(role: Role, state: &ComponentState) -> ResourceCondition {
    let condition = match role {
        Role::Function => ConditionType::FunctionReady,
        Role::Source => ConditionType::SourceReady,
        Role::Sink => ConditionType::SinkReady,
    };
    let action = match state.phase {
        Phase::Ready | Phase::Suspended | Phase::Asleep => "NoAction",
        Phase::Paused => "Update",
        Phase::Pending => "Create",
        _ => "Wait",
    };
    entry(condition, state.is_ready(), action)
}

fn entry(condition: ConditionType, holds: bool, action: &str) -> ResourceCondition {
    ResourceCondition {
        condition: Some(condition.as_str().to_owned()),
        status: Some(if holds { "True" } else { "False" }.to_owned()),
        action: Some(action.to_owned()),
    }
}

fn condition_specs(outcome: &Outcome) -> Vec<ConditionSpec> {
    match outcome {
        Outcome::Deleting => deleting(),
        Outcome::Failed { error, .. } if error.is_final() => invalid(error),
        Outcome::Failed { seen, error } => observed(seen, Some(&error.to_string())),
        Outcome::Applied(seen) => observed(seen, None),
    }
}

fn invalid(error: &Error) -> Vec<ConditionSpec> {
    let (reason, message) = (error.final_reason(), &error.to_string());
    vec![
        ConditionSpec::new(Ready, false, reason, message),
        ConditionSpec::new(Progressing, false, reason, "reconcile blocked until the mesh is valid"),
        ConditionSpec::new(Degraded, true, reason, message),
        ConditionSpec::new(Accepted, false, reason, message),
    ]
}

fn deleting() -> Vec<ConditionSpec> {
    let message = "deleting the mesh and its components";
    vec![
        ConditionSpec::new(Ready, false, Reason::Deleting, message),
        ConditionSpec::new(Progressing, true, Reason::Deleting, message),
        ConditionSpec::new(Degraded, false, Reason::Deleting, message),
    ]
}

fn observed(seen: &Observation, failed: Option<&str>) -> Vec<ConditionSpec> {
    let waiting: Vec<_> = seen.components.iter().filter(|(_, state)| !state.is_ready()).collect();
    let bad =
        |state: &ComponentState| matches!(state.phase, Phase::Degraded | Phase::RolledBack | Phase::Invalid);
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
    let mut all = format!("all {} components are ready", seen.components.len());
    if !seen.rewritten.is_empty() {
        all = format!("{all}; {}", rewritten_message(&seen.rewritten));
    }
    let ready = match (failed, degraded.is_empty(), progress.is_empty()) {
        (Some(failed), _, _) => ConditionSpec::new(Ready, false, Reason::ApplyFailed, failed),
        (None, false, _) => ConditionSpec::new(Ready, false, Reason::ComponentsDegraded, &degraded),
        (None, true, false) => ConditionSpec::new(Ready, false, Reason::ComponentsNotReady, &progress),
        (None, true, true) => ConditionSpec::new(Ready, true, Reason::ComponentsReady, &all),
    };
    let progressing = if progress.is_empty() {
        ConditionSpec::new(Progressing, false, Reason::Stable, "no rollout in progress")
    } else {
        ConditionSpec::new(Progressing, true, Reason::RolloutInProgress, &progress)
    };
    let degraded = match (failed, degraded.is_empty()) {
        (Some(failed), _) => ConditionSpec::new(Degraded, true, Reason::ApplyFailed, failed),
        (None, false) => ConditionSpec::new(Degraded, true, Reason::ComponentsDegraded, &degraded),
        (None, true) => ConditionSpec::new(Degraded, false, Reason::AsExpected, "no component is degraded"),
    };
    let paused = if paused.is_empty() {
        ConditionSpec::new(Paused, false, Reason::NotPaused, "no rollout is paused")
    } else {
        let message = format!("rollouts are paused; pending changes: {paused}");
        ConditionSpec::new(Paused, true, Reason::RolloutPaused, &message)
    };
    let accepted = ConditionSpec::new(Accepted, true, Reason::ValidationSucceeded, "the mesh is valid");
    [ready, progressing, degraded, paused, accepted].into_iter().chain(stalled(seen)).collect()
}

/// The condition Stalled: that of the first component that is stalled, or of which it is unknown. None if no component has
/// one.
fn stalled(seen: &Observation) -> Option<ConditionSpec> {
    let all = || seen.components.iter().filter_map(|(of, state)| Some((of, state.stall.as_ref()?)));
    all().next()?;
    for wanted in [Some(true), None] {
        let found: Vec<_> = all().filter(|(_, stall)| stall.holds == wanted).collect();
        let Some((_, first)) = found.first() else { continue };
        let named = found.iter().map(|((role, name), stall)| format!("{role} {name}: {}", stall.message));
        let message = named.collect::<Vec<_>>().join("; ");
        return Some(ConditionSpec::stalled(&StallReport { message, ..(*first).clone() }));
    }
    let message = "messages are acknowledged, or none wait".to_owned();
    Some(ConditionSpec::stalled(&StallReport { holds: Some(false), reason: Reason::NotStalled, message }))
}

#[cfg(test)]
mod tests {
    use function_mesh_api::validate::{FieldPath, Violation, Violations};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

    use super::*;

    fn time(second: i64) -> Time {
        Time(jiff::Timestamp::from_second(second).expect("a time"))
    }

    fn outcome(states: &[(&str, Phase, Option<&str>)]) -> Outcome {
        let components = states.iter().map(|(name, phase, message)| {
            let state = ComponentState { phase: *phase, message: message.map(str::to_owned), stall: None };
            ((Role::Function, (*name).to_owned()), state)
        });
        Outcome::Applied(Observation { components: components.collect(), ..Observation::default() })
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
            &outcome(&[
                ("a", Phase::Ready, None),
                ("b", Phase::Suspended, None),
                ("c", Phase::Asleep, Some("asleep")),
            ]),
            &time(1),
        );
        assert_eq!(condition(&status, "Ready").status, "True");
        assert_eq!(status.components.as_deref(), Some("3/3"));
        let action = |name: &str| status.function_conditions.as_ref().and_then(|it| it[name].action.clone());
        assert_eq!(action("c").as_deref(), Some("NoAction"));
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
    fn rewritten_fields_are_named_in_ready() {
        let Outcome::Applied(mut seen) = outcome(&[("a", Phase::Ready, None)]) else { panic!("not applied") };
        seen.rewritten = vec!["Function a: spec.image".to_owned()];
        let status = status_of(None, Some(1), &Outcome::Applied(seen), &time(1));
        let ready = condition(&status, "Ready");
        let expected =
            "all 1 components are ready; a mutating webhook or policy rewrites Function a: spec.image";
        assert_eq!((ready.status.as_str(), ready.message.as_str()), ("True", expected));
    }

    #[test]
    fn a_stalled_component_stalls_the_mesh() {
        let Outcome::Applied(mut seen) = outcome(&[("a", Phase::Ready, None), ("b", Phase::Ready, None)])
        else {
            panic!("not applied")
        };
        let found = |seen: &Observation| {
            let status = status_of(None, Some(1), &Outcome::Applied(seen.clone()), &time(1));
            let all = status.conditions.unwrap_or_default();
            all.into_iter().find(|it| it.type_ == "Stalled").map(|it| (it.status, it.reason, it.message))
        };
        assert_eq!(found(&seen), None, "nothing is observed");
        let mut stall = |name: &str, holds, reason| {
            let report = StallReport { holds, reason, message: "m".to_owned() };
            let of = (Role::Function, name.to_owned());
            seen.components.get_mut(&of).expect("the component").stall = Some(report);
            found(&seen).expect("the condition")
        };
        assert_eq!(stall("a", Some(false), Reason::NotStalled).0, "False");
        let unknown = stall("b", None, Reason::PulsarUnavailable);
        assert_eq!((unknown.0.as_str(), unknown.1.as_str()), ("Unknown", "PulsarUnavailable"));
        let stalled = stall("a", Some(true), Reason::NotReceiving);
        assert_eq!((stalled.0.as_str(), stalled.1.as_str()), ("True", "NotReceiving"));
        assert_eq!(stalled.2, "function a: m");
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
        assert_eq!(condition(&ready, "Accepted").last_transition_time, time(1));
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
        assert_eq!(condition(&status, "Accepted").status, "False");
        assert_eq!(condition(&status, "Ready").message, "spec.functions[0].java: is missing");
        assert_eq!(status.components.as_deref(), Some("1/1"));
        assert_eq!(status.observed_generation, Some(1));
    }
}
