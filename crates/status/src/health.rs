//! Judges phases and conditions.

use function_mesh_api::conditions::{ConditionType, Reason};
use function_mesh_api::types::Phase;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{ComponentView, Health, StallView};

/// The state of a mesh with this condition Stalled, which is no phase.
const STALLED: &str = "Stalled";

impl Health {
    /// The health as words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::NotReady => "not ready",
            Self::Stalled => "stalled",
            Self::Degraded => "degraded",
        }
    }

    /// The health of a phase.
    pub(super) const fn of(phase: Phase) -> Self {
        match phase {
            Phase::Ready | Phase::Paused | Phase::Suspended | Phase::Asleep => Self::Healthy,
            Phase::Pending | Phase::Progressing | Phase::Deleting => Self::NotReady,
            Phase::Degraded | Phase::RolledBack | Phase::Invalid => Self::Degraded,
        }
    }
}

/// The condition of a type.
pub(super) fn condition(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

impl StallView {
    pub(super) fn of(conditions: &[Condition]) -> Option<Self> {
        let found = condition(conditions, ConditionType::Stalled)?;
        let Condition { status, reason, message, .. } = found.clone();
        Some(Self { status, reason, message })
    }

    /// Whether the component is stalled.
    pub fn is_stalled(&self) -> bool {
        self.status == "True"
    }

    /// Whether this message of a phase or of a condition is about the stall, and nothing else is wrong. The operator reports
    /// a stall as Degraded too.
    pub(super) fn is_reported_by(&self, message: &str) -> bool {
        self.is_stalled() && self.message == message
    }

    /// Why it is stalled, or why that is unknown; None if it is not stalled.
    pub(super) fn cause(&self) -> Option<String> {
        let Self { status, reason, message } = self;
        let what = match status.as_str() {
            "True" => "stalled",
            "False" => return None,
            _ => "unknown whether stalled",
        };
        let message = if message.is_empty() { String::new() } else { format!(": {message}") };
        Some(format!("{what}, {reason}{message}"))
    }
}

/// Health and state of a mesh by its conditions. `is_current` says whether they are about the current spec.
pub(super) fn of_mesh(conditions: &[Condition], is_current: bool) -> (Health, String) {
    let phase = match condition(conditions, ConditionType::Ready) {
        None => Phase::Pending,
        Some(ready) => match Reason::ALL.iter().find(|reason| reason.as_str() == ready.reason) {
            Some(Reason::ValidationFailed | Reason::InvalidObject) => Phase::Invalid,
            Some(Reason::ApplyFailed | Reason::ComponentsDegraded) => Phase::Degraded,
            _ if ready.status == "True" && is_current => Phase::Ready,
            _ => Phase::Progressing,
        },
    };
    let is_all = |stalled: &StallView| {
        let ready = condition(conditions, ConditionType::Ready);
        let degraded = ready.filter(|ready| ready.reason == Reason::ComponentsDegraded.as_str());
        degraded.is_some_and(|degraded| stalled.is_reported_by(&degraded.message))
    };
    let stalled = StallView::of(conditions).filter(StallView::is_stalled);
    if stalled.is_some_and(|stalled| Health::of(phase) < Health::Stalled || is_all(&stalled)) {
        return (Health::Stalled, STALLED.to_owned());
    }
    (Health::of(phase), phase.to_string())
}

/// Since when a mesh has a state, as far as its conditions say so.
pub(super) fn since(conditions: &[Condition], state: &str) -> Option<Time> {
    let holds = |kind, status| condition(conditions, kind).filter(|it| it.status == status);
    let found = match state {
        STALLED => holds(ConditionType::Stalled, "True"),
        "Degraded" | "RolledBack" | "Invalid" => holds(ConditionType::Degraded, "True"),
        "Ready" => holds(ConditionType::Ready, "True"),
        _ => holds(ConditionType::Ready, "False"),
    };
    found.map(|found| found.last_transition_time.clone())
}

impl ComponentView {
    /// Whether it has all pods that it should have.
    pub fn is_ready(&self) -> bool {
        [Phase::Ready, Phase::Paused, Phase::Suspended, Phase::Asleep]
            .iter()
            .any(|phase| phase.as_str() == self.phase)
    }

    /// The state in a few words: the phase, or why it is stalled.
    pub fn state(&self) -> String {
        match &self.stalled {
            Some(stalled) if self.health == Health::Stalled => format!("{STALLED}: {}", stalled.reason),
            _ => self.phase.clone(),
        }
    }
}
