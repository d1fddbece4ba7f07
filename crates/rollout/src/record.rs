//! What survives the operator: it is written together with the template of the pods, so that no crash separates the two.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decide::{Action, Decision};
use crate::{Observation, Policy};

/// The record of a component whose policy rolls back.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Record {
    /// Identity of the template that was tried last.
    pub tried: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The last good revision of the StatefulSet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub good: Option<String>,
    /// The template that failed, as long as it is the one that was tried last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failure>,
}

/// A rollout that failed and was rolled back.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Failure {
    /// Its revision of the StatefulSet.
    pub revision: String,
    /// The revision that its pods got instead.
    pub to: String,
    /// Generation of the component.
    pub generation: i64,
    /// Why it failed, for people.
    pub message: String,
    /// When it was rolled back.
    pub at: Option<Timestamp>,
}

impl Record {
    /// Longest message that is kept, in bytes.
    const MAX_MESSAGE_LEN: usize = 512;

    /// The failure that keeps this template from the pods, if the policy rolls back.
    pub fn holds(&self, tried: &str, policy: &Policy) -> Option<&Failure> {
        self.failed.as_ref().filter(|_| policy.acts() && self.tried == tried)
    }

    /// Records that this template is tried. Of another one nothing is known but what was good before.
    pub fn try_template(&mut self, tried: &str, now: Timestamp) {
        if self.tried != tried {
            tried.clone_into(&mut self.tried);
            self.since = Some(whole_second(now));
            self.failed = None;
        }
    }

    /// The record after a decision about this observation. It equals this one unless there is something to write.
    #[must_use]
    pub fn next(&self, seen: &Observation, decision: &Decision, now: Timestamp) -> Self {
        let mut next = self.clone();
        if next.tried != seen.tried {
            next.try_template(&seen.tried, now);
            return next;
        }
        match &decision.action {
            Action::MarkGood => next.good = Some(seen.revision.clone()),
            Action::RollBack { to } => {
                let message = decision.why.to_string();
                let end = message.floor_char_boundary(Self::MAX_MESSAGE_LEN.min(message.len()));
                next.failed = Some(Failure {
                    revision: seen.revision.clone(),
                    to: to.clone(),
                    generation: seen.generation,
                    message: message.get(..end).unwrap_or_default().to_owned(),
                    at: Some(whole_second(now)),
                });
            }
            Action::None | Action::DeletePod(_) => {}
        }
        if !decision.is_held && !matches!(decision.action, Action::RollBack { .. }) {
            // The policy changed: the template is tried again.
            next.failed = None;
        }
        next
    }
}

/// A time as Kubernetes writes it.
fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
