//! What the caller knows about a component beside its traffic.

use std::time::Duration;

use function_mesh_observer::{Cause, Reading, SubscriptionType};

use crate::policy::SleepPolicy;

/// Why the replicas of a component must not be changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Hold {
    /// A new revision is being rolled out.
    RollingOut,
    /// `pause-rollout` is set.
    Paused,
    /// The user suspended it.
    Suspended,
    /// Another field manager writes the replicas: its name.
    OtherWriter(String),
}

/// A component at the time of a decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// Replicas that are set.
    pub replicas: u32,
    /// Pods that are ready.
    pub ready: u32,
    /// Type of the subscription; None for a source.
    pub subscription: Option<SubscriptionType>,
    /// Partitions of all inputs. A topic that is not partitioned counts as one.
    pub partitions: Reading<u32>,
    /// Number of distinct keys, if the user names it.
    pub keys: Option<u32>,
    /// Messages of an entry, on average: a backlog counts entries.
    pub messages_per_entry: Reading<f64>,
    /// Whether a pod works on one message at a time, so that its busy share says how much more it can do. Not so for
    /// asynchronous functions and sinks.
    pub is_synchronous: bool,
    /// Whether the subscription exists on every input topic.
    pub has_subscriptions: Reading<bool>,
    /// Whether the namespace's policies allow it to sleep.
    pub sleep: SleepPolicy,
    /// Whether a topic that matches its pattern is new, and has no subscription yet.
    pub has_new_topic: bool,
    /// Messages a second that upstream components are about to produce to it.
    pub upstream: Reading<f64>,
    /// Why its replicas must not be changed.
    pub hold: Option<Hold>,
    /// Measured time from a new pod to its first message, if one started since the last round.
    pub measured_start: Option<Duration>,
}

impl Default for Component {
    fn default() -> Self {
        Self {
            replicas: 1,
            ready: 1,
            subscription: Some(SubscriptionType::Shared),
            partitions: Reading::Unknown(Cause::NotAsked),
            keys: None,
            messages_per_entry: Reading::Unknown(Cause::NotAsked),
            is_synchronous: true,
            has_subscriptions: Reading::Unknown(Cause::NotAsked),
            sleep: SleepPolicy::Unknown(Cause::NotAsked),
            has_new_topic: false,
            upstream: Reading::Unknown(Cause::NotAsked),
            hold: None,
            measured_start: None,
        }
    }
}

impl Component {
    /// The most replicas that get messages; None without a limit, or if it is unknown.
    pub fn useful_replicas(&self) -> Option<u32> {
        match self.subscription? {
            SubscriptionType::Exclusive => Some(1),
            SubscriptionType::Failover => self.partitions.known().map(|count| count.max(1)),
            SubscriptionType::KeyShared => self.keys.map(|count| count.max(1)),
            SubscriptionType::Shared => None,
        }
    }

    /// Whether the broker counts unacknowledged messages. Without, the backlog contains them.
    pub(crate) fn has_unacked(&self) -> bool {
        self.subscription.is_none_or(SubscriptionType::has_unacked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn useful_replicas_follow_the_subscription() {
        let useful = |subscription, partitions, keys| {
            Component { subscription, partitions, keys, ..Component::default() }.useful_replicas()
        };
        let three = Reading::Known(3);
        let unknown = Reading::Unknown(Cause::Failed);
        assert_eq!(useful(Some(SubscriptionType::Failover), three, None), Some(3));
        assert_eq!(useful(Some(SubscriptionType::Failover), unknown, None), None);
        assert_eq!(useful(Some(SubscriptionType::Exclusive), three, None), Some(1));
        assert_eq!(useful(Some(SubscriptionType::KeyShared), three, Some(7)), Some(7));
        assert_eq!(useful(Some(SubscriptionType::Shared), three, Some(7)), None);
        assert_eq!(useful(None, three, None), None);
    }
}
