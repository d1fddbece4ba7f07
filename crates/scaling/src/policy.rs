//! What a user wants: bounds, the objective, and when a component may sleep.

use std::fmt;
use std::time::Duration;

use function_mesh_api::types::{
    SCALING_DOWN_WINDOW, SCALING_IDLE_AFTER, SCALING_LAG, SCALING_MAX_REPLICAS, SCALING_UTILIZATION,
};
use function_mesh_observer::Cause;

/// Default of [`Policy::utilization`].
const DEFAULT_UTILIZATION: f64 = SCALING_UTILIZATION as f64 / 100.0;
/// Upper utilization by the wanted one.
pub(crate) const UPPER: f64 = 1.1;

/// The policy of a component.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Fewest replicas. Zero allows the component to sleep.
    pub min_replicas: u32,
    /// Most replicas.
    pub max_replicas: u32,
    /// Oldest age of a message that waits. No scale-down above it.
    pub lag: Duration,
    /// Time in which a backlog must be worked off.
    pub catch_up: Duration,
    /// Share of a replica's time that arrivals may take. An objective of a minute leaves room for queues, so that replicas can be
    /// busy most of the time.
    pub utilization: f64,
    /// Time without any work after which the component sleeps.
    pub idle_after: Duration,
    /// Time of which the largest wish counts before a scale-down.
    pub down_window: Duration,
    /// Smallest share of the replicas that one scale-down leaves.
    pub down_factor: f64,
    /// Age at which a number is too old.
    pub max_age: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min_replicas: 1,
            max_replicas: SCALING_MAX_REPLICAS.unsigned_abs(),
            lag: SCALING_LAG,
            catch_up: SCALING_LAG,
            utilization: DEFAULT_UTILIZATION,
            idle_after: SCALING_IDLE_AFTER,
            down_window: SCALING_DOWN_WINDOW,
            down_factor: 0.4,
            max_age: Duration::from_mins(1),
        }
    }
}

impl Policy {
    /// A policy for an objective of lag: a backlog must be worked off within it.
    #[must_use]
    pub fn with_lag(self, lag: Duration) -> Self {
        Self { lag, catch_up: lag, ..self }
    }

    /// The utilization within its limits, so that a division by it is one.
    pub(crate) fn utilization(&self) -> f64 {
        if self.utilization.is_finite() { self.utilization.clamp(0.1, 1.0) } else { DEFAULT_UTILIZATION }
    }

    /// Utilization above which more replicas are added: a tenth above the wanted one. The distance keeps noise from adding and
    /// removing a replica in turns.
    pub(crate) fn upper_utilization(&self) -> f64 {
        (self.utilization() * UPPER).min(1.0)
    }

    /// The most replicas; never below the fewest.
    pub(crate) fn max(&self) -> u32 {
        self.max_replicas.max(self.min_replicas)
    }
}

/// Why a component must not sleep.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SleepRefusal {
    /// The namespace deletes unused subscriptions.
    SubscriptionExpires,
    /// The namespace expires messages that are not acknowledged.
    MessagesExpire,
    /// A backlog quota stops the producers.
    QuotaStopsProducers,
    /// The operator cannot list the topics of a pattern.
    TopicsNotListed,
    /// The component reads no topic, so that nothing would wake it.
    NoInput,
    /// The component reads a topic that is not persistent, whose messages are lost without a consumer.
    NotPersistent,
}

impl SleepRefusal {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::SubscriptionExpires,
        Self::MessagesExpire,
        Self::QuotaStopsProducers,
        Self::TopicsNotListed,
        Self::NoInput,
        Self::NotPersistent,
    ];

    /// Why, for people.
    pub const fn description(self) -> &'static str {
        match self {
            Self::SubscriptionExpires => "the namespace deletes unused subscriptions with their backlog",
            Self::MessagesExpire => "the namespace expires messages",
            Self::QuotaStopsProducers => "a backlog quota of the namespace stops producers",
            Self::TopicsNotListed => "the operator cannot list the topics of the pattern",
            Self::NoInput => "it reads no topic that could wake it",
            Self::NotPersistent => "messages of a topic that is not persistent would be lost",
        }
    }
}

impl fmt::Display for SleepRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

/// Whether the policies of the Pulsar namespace allow a subscription without consumers for a while.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SleepPolicy {
    /// Nothing is lost.
    Allowed,
    /// Something could be lost or stopped.
    Refused(SleepRefusal),
    /// The policies could not be read.
    Unknown(Cause),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_a_policy_hold() {
        for (utilization, expected) in [(0.0, 0.1), (0.7, 0.7), (7.0, 1.0), (f64::NAN, 0.9)] {
            let policy = Policy { utilization, ..Policy::default() };
            assert!((policy.utilization() - expected).abs() < 1e-9);
            assert!(policy.upper_utilization() >= policy.utilization());
        }
        assert_eq!(Policy { min_replicas: 5, max_replicas: 2, ..Policy::default() }.max(), 5);
    }

    #[test]
    fn refusals_have_descriptions() {
        for refusal in SleepRefusal::ALL {
            assert!(refusal.to_string().len() > 8, "{refusal:?}");
        }
    }
}
