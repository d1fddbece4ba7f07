//! What survives the operator: it is written together with the template of the pods, so that no crash separates the two.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decide::{Action, Decision};
use crate::{Observation, Policy, Undo, canary};

/// Why a person's rollout is undone.
const UNDONE: &str = "undone by the annotation `compute.functionmesh.io/undo-rollout`";

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
    /// Generation of the mesh with `rollout.atomic` that the template came with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The good revision before the template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The template that failed, as long as it is the one that was tried last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failure>,
    /// Identity of what the pods consume, and how, if the policy has a canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumes: Option<String>,
    /// The canary of the template that was tried last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<canary::Record>,
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
    /// Who or what rolled it back.
    pub by: Initiator,
}

/// Who or what rolls a component back.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Initiator {
    /// The deadline or the canary of its own rollout.
    #[default]
    Deadline,
    /// A person, regardless of the policy.
    Person,
    /// Its mesh, of which another component was rolled back.
    Mesh,
}

impl Record {
    /// Longest message that is kept, in bytes.
    const MAX_MESSAGE_LEN: usize = 512;

    /// The part of a message that is kept.
    pub(crate) fn kept(message: &str) -> String {
        let end = message.floor_char_boundary(Self::MAX_MESSAGE_LEN.min(message.len()));
        message.get(..end).unwrap_or_default().to_owned()
    }

    /// The failure that keeps this template from the pods, if the policy or a person rolls back.
    pub fn holds(&self, tried: &str, policy: &Policy) -> Option<&Failure> {
        self.failed.as_ref().filter(|it| (policy.acts() || it.by == Initiator::Person) && self.tried == tried)
    }

    /// Records what a person wants. `applied` is the revision of the pods, if it is that of the spec.
    pub fn undo(&mut self, undo: Option<&Undo>, applied: Option<&str>, generation: i64, now: Timestamp) {
        if let Some(failed) = &mut self.failed {
            match undo.filter(|undo| undo.from == failed.revision) {
                Some(undo) if failed.to != undo.to || failed.by != Initiator::Person => {
                    (failed.by, failed.at) = (Initiator::Person, Some(whole_second(now)));
                    failed.to.clone_from(&undo.to);
                    UNDONE.clone_into(&mut failed.message);
                }
                None if failed.by == Initiator::Person => self.failed = None,
                Some(_) | None => {}
            }
        } else if let Some(undo) = undo.filter(|undo| Some(&*undo.from) == applied) {
            self.failed = Some(Failure {
                revision: undo.from.clone(),
                to: undo.to.clone(),
                generation,
                message: UNDONE.to_owned(),
                at: Some(whole_second(now)),
                by: Initiator::Person,
            });
        }
    }

    /// Records what the mesh wants: `rolled_back` is the generation of the mesh of which another component was rolled back.
    /// `group` is its generation now.
    pub fn follow(
        &mut self,
        rolled_back: Option<&str>,
        group: Option<&str>,
        applied: Option<&str>,
        generation: i64,
        now: Timestamp,
    ) {
        let is_wanted = rolled_back.is_some() && rolled_back == self.group.as_deref();
        match (&self.failed, &self.before, applied) {
            (Some(failed), _, _) if failed.by == Initiator::Mesh && !is_wanted => {
                self.failed = None;
                self.group = group.map(str::to_owned);
            }
            (None, Some(before), Some(applied)) if is_wanted && before != applied => {
                self.failed = Some(Failure {
                    revision: applied.to_owned(),
                    to: before.clone(),
                    generation,
                    message: "another component that the same change of the mesh changed was rolled back"
                        .to_owned(),
                    at: Some(whole_second(now)),
                    by: Initiator::Mesh,
                });
            }
            _ => {}
        }
    }

    /// Begins the canary of a template that was not tried before. A component with a canary always records what its pods
    /// consume.
    pub fn begin_canary(
        &mut self,
        is_change: bool,
        before: canary::Before<'_>,
        consumes: String,
        now: Timestamp,
    ) {
        let before = canary::Before { consumes: self.consumes.as_deref(), ..before };
        if is_change {
            self.canary = Some(canary::Record::begin(before, &consumes, whole_second(now)));
        }
        self.consumes = Some(consumes);
    }

    /// Records that a person wants all pods to have this revision, if it is the one of the canary. `applied` is the revision
    /// of the pods, if it is that of the spec.
    pub fn promote(&mut self, revision: &str, applied: Option<&str>) {
        let Some(canary) = &mut self.canary else { return };
        match &self.failed {
            Some(failed) if failed.by == Initiator::Deadline && failed.revision == revision => {
                if canary.promote(revision) {
                    self.failed = None;
                }
            }
            None if applied == Some(revision) => _ = canary.promote(revision),
            Some(_) | None => {}
        }
    }

    /// Records that this template is tried. Of another one nothing is known but what was good before.
    pub fn try_template(&mut self, tried: &str, group: Option<&str>, now: Timestamp) {
        if self.tried != tried {
            self.group = group.map(str::to_owned);
            self.before.clone_from(&self.good);
            tried.clone_into(&mut self.tried);
            self.since = Some(whole_second(now));
            self.failed = None;
            self.canary = None;
        }
    }

    /// The record after a decision about this observation. It equals this one unless there is something to write.
    #[must_use]
    pub fn next(&self, seen: &Observation, decision: &Decision, now: Timestamp) -> Self {
        let mut next = self.clone();
        if next.tried != seen.tried {
            next.try_template(&seen.tried, None, now);
            return next;
        }
        match &decision.action {
            Action::MarkGood => next.good = Some(seen.revision.clone()),
            Action::RollBack { to } => {
                next.failed = Some(Failure {
                    revision: seen.revision.clone(),
                    to: to.clone(),
                    generation: seen.generation,
                    message: Self::kept(&decision.why.to_string()),
                    at: Some(whole_second(now)),
                    by: Initiator::Deadline,
                });
            }
            Action::None | Action::DeletePod(_) | Action::Step(_) | Action::Promote | Action::StopCanary => {}
        }
        if let Some(canary) = &mut next.canary {
            canary.take(&decision.action, seen, &decision.why, whole_second(now));
        }
        if !decision.is_held && !matches!(decision.action, Action::RollBack { .. }) {
            // The policy changed: the template is tried again.
            next.failed = None;
        }
        next
    }
}

/// A time as Kubernetes writes it.
pub(crate) fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
