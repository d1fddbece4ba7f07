//! What a user wants: the deadline, what counts as good, and what to do about a bad rollout.

use std::time::Duration;

use function_mesh_api::types::{MIN_READY, PROGRESS_DEADLINE, Rollout};

/// The policy of a component.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Time without progress after which a rollout has failed.
    pub progress_deadline: Duration,
    /// Time for which all pods must be ready until their revision is good.
    pub min_ready: Duration,
    /// Whether a failed rollout is rolled back.
    pub rolls_back: bool,
    /// Whether pods that block their own repair are deleted.
    pub deletes_stuck_pods: bool,
    /// Whether it acts, or only recommends.
    pub is_automatic: bool,
}

impl Default for Policy {
    /// The policy of a component without `spec.rollout`: a deadline that is reported.
    fn default() -> Self {
        Self {
            progress_deadline: PROGRESS_DEADLINE,
            min_ready: MIN_READY,
            rolls_back: false,
            deletes_stuck_pods: false,
            is_automatic: true,
        }
    }
}

impl Policy {
    /// The policy of a component.
    pub fn of(rollout: Option<&Rollout>) -> Self {
        rollout.map_or_else(Self::default, |rollout| Self {
            progress_deadline: rollout.progress_deadline(),
            min_ready: rollout.min_ready(),
            rolls_back: rollout.rolls_back(),
            deletes_stuck_pods: true,
            is_automatic: rollout.is_automatic(),
        })
    }

    /// Whether a failed rollout is rolled back without a person.
    pub fn acts(&self) -> bool {
        self.rolls_back && self.is_automatic
    }
}
