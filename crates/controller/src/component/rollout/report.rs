//! What the status of a component says about its rollout.

use function_mesh_api::conditions::{ConditionType, Reason};
use function_mesh_api::types::{Phase, RolloutState, RolloutStatus};
use function_mesh_rollout::canary::Report;
use function_mesh_rollout::{Action, Decision, Initiator, Observation, Policy, Record, Why};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::canary;
use crate::condition::ConditionSpec;

/// The rollout of a component, for its status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RolloutReport {
    state: RolloutState,
    reason: Reason,
    /// Why, without what follows.
    why: String,
    message: String,
    generation: i64,
    failed_revision: Option<String>,
    good_revision: Option<String>,
    mesh_generation: Option<String>,
    /// Whether the component has `spec.rollout`.
    has_policy: bool,
    /// The canary.
    pub(super) canary: Option<Report>,
    /// The revision that it tries, once it is known.
    canary_revision: Option<String>,
}

impl RolloutReport {
    pub(super) fn new(
        decision: &Decision,
        record: &Record,
        seen: &Observation,
        policy: &Policy,
        has_policy: bool,
    ) -> Self {
        let state = decision.state;
        let failed = record.holds(&seen.tried, policy);
        let good = match state {
            RolloutState::Complete => Some(seen.revision.clone()),
            _ => record.good.clone(),
        };
        let why = match &decision.why {
            // It would change each second.
            Why::ReadyFor(_) => "all pods are ready, and not yet for `minReady`".to_owned(),
            why => why.to_string(),
        };
        let consequence = match state {
            RolloutState::RolledBack => failed.map(|failed| format!("the pods have revision {}", failed.to)),
            RolloutState::Failed => Some(consequence(decision, record, seen, policy)),
            RolloutState::Progressing | RolloutState::Complete => None,
        };
        let message = consequence.map_or_else(|| why.clone(), |consequence| format!("{why}; {consequence}"));
        Self {
            state,
            reason: match state {
                RolloutState::Progressing => Reason::RolloutInProgress,
                RolloutState::Complete => Reason::Stable,
                RolloutState::Failed if matches!(decision.why, Why::CanaryFailed(_)) => Reason::CanaryFailed,
                RolloutState::Failed => Reason::ProgressDeadlineExceeded,
                RolloutState::RolledBack => match failed.map(|failed| failed.by) {
                    None | Some(Initiator::Deadline) => Reason::RolledBack,
                    Some(Initiator::Mesh) => Reason::RolledBackWithMesh,
                    Some(Initiator::Person) => Reason::RolloutUndone,
                },
            },
            why,
            message,
            generation: failed.map_or(seen.generation, |failed| failed.generation),
            failed_revision: match state {
                RolloutState::Failed => Some(seen.revision.clone()),
                _ => failed.map(|failed| failed.revision.clone()),
            },
            good_revision: good,
            mesh_generation: record.group.clone(),
            has_policy,
            canary: decision.canary.clone(),
            canary_revision: match failed {
                Some(failed) => Some(failed.revision.clone()),
                None => seen.is_current.then(|| seen.revision.clone()),
            },
        }
    }

    /// Whether the replicas stay as they are: the rollout has failed, or a canary is judged.
    pub(in crate::component) fn freezes_replicas(&self) -> bool {
        self.state == RolloutState::Failed || self.is_canary()
    }

    /// Whether a canary continues.
    pub(in crate::component) fn is_canary(&self) -> bool {
        self.canary.as_ref().is_some_and(|report| canary::is_open(report.state))
    }

    /// `status.rollout`, if the component has a policy.
    pub(in crate::component) fn status(
        &self,
        before: Option<&RolloutStatus>,
        now: &Time,
    ) -> Option<RolloutStatus> {
        let status = RolloutStatus {
            state: self.state,
            generation: Some(self.generation),
            failed_revision: self.failed_revision.clone(),
            good_revision: self.good_revision.clone(),
            mesh_generation: self.mesh_generation.clone(),
            reason: Some(self.reason.to_string()),
            message: Some(self.message.clone()),
            since: None,
            recreate: None,
            canary: self
                .canary
                .as_ref()
                .map(|report| canary::status(report, self.canary_revision.as_deref(), before, now)),
        };
        let is_same = |before: &&RolloutStatus| {
            before.state == status.state && before.failed_revision == status.failed_revision
        };
        let since = before.filter(is_same).and_then(|before| before.since.clone());
        self.has_policy.then(|| RolloutStatus { since: since.or_else(|| Some(now.clone())), ..status })
    }

    /// Phase and message of a component whose canary continues or has failed, unless a pod has a problem.
    pub(in crate::component) fn canary_phase(&self) -> Option<(Phase, Option<String>)> {
        let Report { step, last, message, .. } = self.canary.as_ref()?;
        if self.reason == Reason::CanaryFailed {
            return Some((Phase::Degraded, Some(self.message.clone())));
        }
        let message = format!("canary step {} of {}: {message}", (*step)? + 1, last + 1);
        self.is_canary().then_some((Phase::Progressing, Some(message)))
    }

    /// Phase and message of a component that was rolled back; `rest` is what its pods lack.
    pub(in crate::component) fn phase(&self, rest: Option<String>) -> Option<(Phase, Option<String>)> {
        (self.state == RolloutState::RolledBack).then(|| {
            let rest = rest.map(|rest| format!("; {rest}")).unwrap_or_default();
            let message = format!("generation {} was rolled back: {}{rest}", self.generation, self.message);
            (Phase::RolledBack, Some(message))
        })
    }

    /// The condition Progressing, if it does not follow from the phase: of a rollout without progress, or of one that
    /// continues while a pod fails.
    pub(in crate::component) fn condition(&self, is_degraded: bool) -> Option<ConditionSpec> {
        let is_progressing = match self.state {
            RolloutState::Failed => false,
            RolloutState::Progressing if is_degraded => true,
            _ => return None,
        };
        let message = if self.has_policy { &self.message } else { &self.why };
        Some(ConditionSpec::new(ConditionType::Progressing, is_progressing, self.reason, message))
    }
}

/// What follows from a failure.
fn consequence(decision: &Decision, record: &Record, seen: &Observation, policy: &Policy) -> String {
    match (&decision.action, &record.good) {
        (Action::RollBack { to }, _) => format!("rolling back to revision {to}"),
        _ if !policy.rolls_back => "the pods stay as they are, since `onFailure` is `Pause`".to_owned(),
        (_, None) => "no earlier revision is known to be good".to_owned(),
        (_, Some(good)) if !policy.is_automatic => format!("recommended: roll back to revision {good}"),
        _ if seen.is_paused => "not rolled back, since rollouts are paused".to_owned(),
        (_, Some(good)) => format!("rolling back to revision {good}"),
    }
}
