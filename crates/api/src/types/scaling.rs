//! Scaling of a component on its work: what a user wants, and what the operator decided.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use validator::Validate;

/// Scaling on messages: the operator sets the replicas by what arrives and what waits. It needs the operator to observe
/// Pulsar.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize, Validate)]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// Whether the operator sets the replicas or only recommends them in the status. Defaults to `Auto`.
    pub mode: Option<ScalingMode>,
    /// Fewest replicas. Defaults to 1. With 0 the component sleeps while it has nothing to do, and wakes for a message.
    #[validate(range(min = 0))]
    pub min_replicas: Option<i32>,
    /// Most replicas. Defaults to 10, or to `minReplicas` if that is more.
    #[validate(range(min = 1))]
    pub max_replicas: Option<i32>,
    /// The objective: the oldest age that a waiting message should reach, a duration such as `30s` or `5m`, from 5 seconds to
    /// a day. Defaults to `60s`.
    pub lag: Option<String>,
    /// Time in which a backlog is worked off. Defaults to `lag`.
    pub catch_up: Option<String>,
    /// Share of a replica's time that arriving messages may take, in percent. Defaults to 90.
    #[validate(range(min = 10, max = 100))]
    pub utilization: Option<i32>,
    /// Time without any work after which the component sleeps, if `minReplicas` is 0. Defaults to `5m`.
    pub idle_after: Option<String>,
    /// Time of which the largest need counts before replicas are removed: a shorter one costs fewer replica-hours, and
    /// changes them more often. Defaults to `5m`.
    pub scale_down_window: Option<String>,
    /// Number of distinct keys of the messages, for a component with `retainKeyOrdering`: more replicas get no messages.
    #[validate(range(min = 1))]
    pub keys: Option<i32>,
    /// Other bounds at certain times. The first active schedule counts.
    #[validate(length(max = 20), nested)]
    pub schedules: Option<Vec<ScalingSchedule>>,
}

/// Who sets the replicas.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ScalingMode {
    /// The operator.
    #[default]
    Auto,
    /// The operator only writes what it would do to the status.
    Recommend,
}

/// Bounds of the replicas for some time from each start.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize, Validate)]
#[serde(rename_all = "camelCase")]
pub struct ScalingSchedule {
    /// When it starts: a cron pattern with five fields, for example `0 8 * * MON-FRI`.
    #[validate(length(max = 128))]
    pub start: String,
    /// How long it lasts, a duration such as `10h`, at most a week.
    pub duration: String,
    /// Time zone of the pattern, by its name in the IANA database, for example `Europe/Berlin`. Defaults to `UTC`.
    pub time_zone: Option<String>,
    /// Fewest replicas meanwhile. Defaults to `minReplicas` of the scaling.
    #[validate(range(min = 0))]
    pub min_replicas: Option<i32>,
    /// Most replicas meanwhile. Defaults to `maxReplicas` of the scaling.
    #[validate(range(min = 1))]
    pub max_replicas: Option<i32>,
}

/// Scaling of a mesh as a whole.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshScaling {
    /// Most replicas of all components with `scaling` together. If they want more, those with the longest lag get them
    /// first; each keeps its `minReplicas`.
    #[schemars(range(min = 1))]
    pub max_total_replicas: Option<i32>,
}

/// What the operator decided about the replicas. It is written when the decision changes, and otherwise together with the
/// numbers of `traffic`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingStatus {
    /// Replicas that the operator sets, or recommends.
    #[schemars(with = "Option<i32>", range(min = 0))]
    pub desired_replicas: Option<u32>,
    /// Why, in one word.
    pub reason: Option<String>,
    /// Why, in one sentence.
    pub message: Option<String>,
    /// What limits the replicas, if more were wanted.
    pub limited_by: Option<String>,
    /// Every term of the decision, and what would change it, a sentence each. `kubectl mesh explain scaling` prints it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub explanation: Vec<String>,
    /// Time of the decision that was written last.
    pub decided_at: Option<Time>,
    /// When the operator last changed the replicas.
    pub last_scale_time: Option<Time>,
    /// What the operator has learned about the component, kept across its restarts.
    pub learned: Option<LearnedScaling>,
}

/// What the operator has learned about a component.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LearnedScaling {
    /// Messages per second that one replica can finish.
    pub rate_per_replica: Option<f64>,
    /// How the rate was learned: `Busy`, by the share of time that pods were busy; `Saturated`, by what they finished while
    /// others waited.
    pub source: Option<String>,
    /// From how many messages, up to a limit.
    pub messages: Option<f64>,
    /// Seconds from a change of the replicas until the new pods are ready.
    pub start_seconds: Option<f64>,
    /// The rate of a replica beside others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub points: Vec<LearnedRate>,
    /// Replicas from which more bring nothing, by what was observed.
    #[schemars(with = "Option<i32>", range(min = 0))]
    pub plateau: Option<u32>,
}

/// The rate of a replica at a number of replicas.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LearnedRate {
    /// Replicas.
    #[schemars(with = "i32", range(min = 0))]
    pub replicas: u32,
    /// Messages per second of each.
    pub rate: f64,
    /// From how many messages, up to a limit.
    pub messages: f64,
}

/// Default of `scaling.lag`.
pub const SCALING_LAG: Duration = Duration::from_mins(1);
/// Default of `scaling.utilization`, in percent.
pub const SCALING_UTILIZATION: i32 = 90;
/// Default of `scaling.idleAfter`.
pub const SCALING_IDLE_AFTER: Duration = Duration::from_mins(5);
/// Default of `scaling.scaleDownWindow`.
pub const SCALING_DOWN_WINDOW: Duration = Duration::from_mins(5);
/// Least and most `lag`, `catchUp`, `idleAfter` and `scaleDownWindow`. A pod takes seconds to start, and Pulsar is asked every ten
/// seconds.
pub const SCALING_RANGE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_hours(24));
/// Longest `duration` of a schedule.
pub const SCHEDULE_MAX_DURATION: Duration = Duration::from_hours(7 * 24);
/// Default of `scaling.maxReplicas`.
pub const SCALING_MAX_REPLICAS: i32 = 10;

impl Scaling {
    /// Whether the operator sets the replicas.
    pub fn is_automatic(&self) -> bool {
        self.mode.unwrap_or_default() == ScalingMode::Auto
    }

    /// Fewest replicas.
    pub fn least(&self) -> i32 {
        self.min_replicas.unwrap_or(1)
    }

    /// Most replicas.
    pub fn most(&self) -> i32 {
        self.max_replicas.unwrap_or(SCALING_MAX_REPLICAS.max(self.least()))
    }

    /// Whether the fewest replicas are zero, always or in a schedule.
    pub fn may_reach_zero(&self) -> bool {
        let of_schedules = self.schedules.iter().flatten().filter_map(|it| it.min_replicas);
        self.least() == 0 || of_schedules.into_iter().any(|it| it == 0)
    }

    /// Replicas of a component that has not been scaled yet: one at least, since the first start creates the subscriptions
    /// for which it would wake.
    pub fn first_replicas(&self) -> i32 {
        self.least().max(1)
    }
}
