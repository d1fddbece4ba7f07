//! Rollouts of a component: how long one may take, what counts as good, and what the operator does about a bad one.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{Canary, CanaryStatus, RecreateStatus, RolloutStrategy, parse_duration};

/// Rollouts of changed pods: how long one may take, and what the operator does about a bad one.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// How pods are replaced when they change. Defaults to `RollingUpdate`.
    pub strategy: Option<RolloutStrategy>,
    /// Time without progress after which a rollout has failed: a duration such as `10m`, from 10 seconds to a day. Progress
    /// is a pod of the new revision that is created, starts or becomes ready for the first time. Defaults to `10m`.
    pub progress_deadline: Option<String>,
    /// Time for which all pods must be ready until their revision counts as good: a duration such as `30s`, at most a day.
    /// Defaults to `30s`.
    pub min_ready: Option<String>,
    /// What the operator does when a rollout has failed. Defaults to `Pause`.
    pub on_failure: Option<OnRolloutFailure>,
    /// Whether the operator acts or only recommends it in the status. Defaults to `Auto`.
    pub mode: Option<RolloutMode>,
    /// A canary: a change of the pods goes to some of them first. Without it all pods get the change, one after the other.
    pub canary: Option<Box<Canary>>,
}

/// What the operator does when a rollout has failed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum OnRolloutFailure {
    /// Leaves the pods as they are: those of the revision before continue, and the component is not ready.
    #[default]
    Pause,
    /// Gives the pods the last good revision. The spec stays as written, and is tried again when it changes.
    RollBack,
}

/// Who acts when a rollout has failed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RolloutMode {
    /// The operator.
    #[default]
    Auto,
    /// The operator only writes what it would do to the status.
    Recommend,
}

/// Rollouts of a mesh as a whole.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshRollout {
    /// Whether components that changed together are rolled back together: when the operator rolls one of them back, it rolls
    /// back each component with `onFailure: RollBack` that the same change of the mesh changed. Defaults to false.
    pub atomic: Option<bool>,
}

/// The rollout of a component with `spec.rollout`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// State of the rollout.
    pub state: RolloutState,
    /// Generation of the component whose pods are rolled out, or were rolled back.
    pub generation: Option<i64>,
    /// Revision of the StatefulSet that failed.
    pub failed_revision: Option<String>,
    /// Last good revision of the StatefulSet: all its pods were ready for `minReady`.
    pub good_revision: Option<String>,
    /// Generation of the mesh with `rollout.atomic` that the pods' template came with.
    pub mesh_generation: Option<String>,
    /// Why, in one word.
    pub reason: Option<String>,
    /// Why, and what the operator did or would do, in one sentence.
    pub message: Option<String>,
    /// Since when it is in this state.
    pub since: Option<Time>,
    /// The last change with `strategy: Recreate`.
    pub recreate: Option<RecreateStatus>,
    /// The canary of the last change.
    pub canary: Option<CanaryStatus>,
}

/// State of a rollout.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum RolloutState {
    /// Pods are replaced, or not all have been ready for `minReady`.
    #[default]
    Progressing,
    /// The revision is good.
    Complete,
    /// There was no progress within `progressDeadline`.
    Failed,
    /// The pods have the last good revision instead of the one of the spec.
    RolledBack,
}

/// Default of `rollout.progressDeadline`.
pub const PROGRESS_DEADLINE: Duration = Duration::from_mins(10);
/// Least and most `progressDeadline`.
pub const PROGRESS_DEADLINE_RANGE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_hours(24));
/// Default of `rollout.minReady`. A runner with a start-up failure runs for a while before it exits.
pub const MIN_READY: Duration = Duration::from_secs(30);
/// Most `minReady`.
pub const MAX_MIN_READY: Duration = Duration::from_hours(24);

impl Rollout {
    /// Whether all old pods are stopped before the first new one starts.
    pub fn recreates(&self) -> bool {
        self.strategy == Some(RolloutStrategy::Recreate)
    }

    /// Whether the operator acts.
    pub fn is_automatic(&self) -> bool {
        self.mode.unwrap_or_default() == RolloutMode::Auto
    }

    /// Whether a failed rollout is rolled back, or that is recommended.
    pub fn rolls_back(&self) -> bool {
        self.on_failure.unwrap_or_default() == OnRolloutFailure::RollBack
    }

    /// Time without progress after which a rollout has failed.
    pub fn progress_deadline(&self) -> Duration {
        let (least, most) = PROGRESS_DEADLINE_RANGE;
        duration(self.progress_deadline.as_deref(), PROGRESS_DEADLINE).clamp(least, most)
    }

    /// Time for which all pods must be ready.
    pub fn min_ready(&self) -> Duration {
        duration(self.min_ready.as_deref(), MIN_READY).min(MAX_MIN_READY)
    }
}

/// The duration, or this default.
fn duration(text: Option<&str>, default: Duration) -> Duration {
    text.and_then(parse_duration).unwrap_or(default)
}
