//! What one answer of Pulsar or of a pod contains.

use std::collections::BTreeMap;

use crate::Reading;

/// Type of a subscription.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SubscriptionType {
    /// One consumer.
    Exclusive,
    /// One active consumer per partition, others wait.
    Failover,
    /// All consumers share.
    Shared,
    /// All consumers share, and a key stays with one.
    KeyShared,
}

impl SubscriptionType {
    /// The type with this name in Pulsar's answers.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "Exclusive" => Some(Self::Exclusive),
            "Failover" => Some(Self::Failover),
            "Shared" => Some(Self::Shared),
            "Key_Shared" => Some(Self::KeyShared),
            _ => None,
        }
    }

    /// Whether the broker counts unacknowledged messages for it.
    pub const fn has_unacked(self) -> bool {
        matches!(self, Self::Shared | Self::KeyShared)
    }
}

/// A consumer of a subscription.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConsumerStats {
    /// Number of the instance, which is the ordinal of the pod.
    pub instance: Reading<u64>,
    /// Messages delivered and not acknowledged.
    pub unacked: Reading<u64>,
    /// Messages that the consumer still takes; negative after batches.
    pub permits: Reading<f64>,
    /// Whether the limit of unacknowledged messages of a consumer stops delivery to it.
    pub is_blocked_on_unacked: Reading<bool>,
    /// Messages of an entry, on average: the size of a batch.
    pub messages_per_entry: Reading<u64>,
}

/// A subscription on one topic or partition. Timestamps are milliseconds of the broker's clock; zero means never since
/// the topic was loaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubscriptionStats {
    /// Entries that are not acknowledged, delivered ones and delayed ones included. An entry is a batch.
    pub backlog: Reading<u64>,
    /// The same without delayed messages.
    pub backlog_no_delayed: Reading<u64>,
    /// Messages whose time has not come.
    pub delayed: Reading<u64>,
    /// Messages delivered and not acknowledged; counted for Shared and Key_Shared only.
    pub unacked: Reading<u64>,
    /// Whether the limit of unacknowledged messages stops delivery.
    pub is_blocked_on_unacked: Reading<bool>,
    /// Messages delivered since the topic was loaded, redelivered ones included.
    pub out_counter: Reading<u64>,
    /// Messages acknowledged a second, renewed once a minute.
    pub ack_rate: Reading<f64>,
    /// Messages redelivered a second, renewed once a minute.
    pub redelivery_rate: Reading<f64>,
    /// Last acknowledgement of the consumers that are connected.
    pub last_acked: Reading<u64>,
    /// Last delivery to the consumers that are connected.
    pub last_consumed: Reading<u64>,
    /// When the oldest unacknowledged position last moved, by an acknowledgement, expiry or an administrator.
    pub last_mark_delete: Reading<u64>,
    /// Messages expired since the topic was loaded.
    pub expired_counter: Reading<u64>,
    /// Publish time of the oldest message of the backlog, on the producer's clock.
    pub earliest_publish: Reading<u64>,
    /// Number of keys whose messages wait for another consumer.
    pub draining_hashes: Reading<u64>,
    /// Deliveries that a rate limit delayed, since the topic was loaded.
    pub throttled_counter: Reading<u64>,
    /// Number of consumers.
    pub consumers: Reading<u64>,
    /// The consumers, if they were asked for.
    pub consumer_details: Vec<ConsumerStats>,
    /// Type.
    pub kind: Option<SubscriptionType>,
}

impl SubscriptionStats {
    /// Entries that a consumer could get now or has got: the backlog without delayed messages.
    pub fn ready_backlog(&self) -> Reading<u64> {
        let difference = self.backlog.zip(self.delayed).map(|(all, delayed)| all.saturating_sub(delayed));
        self.backlog_no_delayed.or(difference)
    }

    /// Messages delivered and not acknowledged, where the broker counts them.
    pub fn counted_unacked(&self) -> Reading<u64> {
        match self.kind {
            Some(kind) if !kind.has_unacked() => Reading::default(),
            _ => self.unacked,
        }
    }
}

/// A topic that is not partitioned, or a partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopicStats {
    /// Full name.
    pub topic: String,
    /// Messages published since the topic was loaded.
    pub in_counter: Reading<u64>,
    /// Estimated size of the backlog, in bytes.
    pub backlog_size: Reading<u64>,
    /// Quota of that size; unknown if there is none.
    pub quota_size: Reading<u64>,
    /// Age of the oldest message of any backlog, in seconds.
    pub backlog_age: Reading<u64>,
    /// Quota of that age, in seconds; unknown if there is none.
    pub quota_age: Reading<u64>,
    /// The subscriptions that were asked for, by name.
    /// Boxed, since a node of the map has room for eleven.
    pub subscriptions: BTreeMap<String, Box<SubscriptionStats>>,
}

impl TopicStats {
    /// A subscription by name.
    pub fn subscription(&self, name: &str) -> Option<&SubscriptionStats> {
        self.subscriptions.get(name).map(|stats| &**stats)
    }

    /// Whether the backlog exceeds a quota, so that its policy can stop producers.
    pub fn is_over_quota(&self) -> Reading<bool> {
        let exceeds = |value: Reading<u64>, limit: Reading<u64>| {
            value.zip(limit).map(|(value, limit)| limit > 0 && value >= limit)
        };
        let size = exceeds(self.backlog_size, self.quota_size);
        let age = exceeds(self.backlog_age, self.quota_age);
        match (size, age) {
            (Reading::Known(size), Reading::Known(age)) => Reading::Known(size || age),
            (one, other) => one.or(other),
        }
    }
}

/// The answer for a topic: its partitions, or itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopicAnswer {
    /// The partitions that reported, sorted by name; or the topic itself.
    pub parts: Vec<TopicStats>,
    /// Number of partitions that must report, if the answer states it.
    pub expected: Reading<usize>,
}

impl TopicAnswer {
    /// Whether every partition reported.
    pub fn is_complete(&self) -> bool {
        self.expected.is_known_and(|expected| expected == self.parts.len())
    }
}

/// Counters of one pod since it started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodStats {
    /// Messages received. Python counts a message when the client prefetches it.
    pub received: Reading<u64>,
    /// Messages processed, or written by a source or sink.
    pub processed: Reading<u64>,
    /// Exceptions of user code, of the runner, and of the connector.
    pub exceptions: Reading<u64>,
    /// Milliseconds spent in the function. Sources and sinks do not report it.
    pub latency_sum: Reading<f64>,
    /// Number of calls in that sum.
    pub latency_count: Reading<u64>,
    /// Milliseconds of the 99th percentile; only Java and Go report it.
    pub latency_p99: Reading<f64>,
    /// Last call, in milliseconds of the pod's clock.
    pub last_invocation: Reading<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_backlog_leaves_out_delayed_messages() {
        let mut stats = SubscriptionStats {
            backlog: Reading::Known(10),
            delayed: Reading::Known(4),
            ..Default::default()
        };
        assert_eq!(stats.ready_backlog(), Reading::Known(6));
        stats.backlog_no_delayed = Reading::Known(5);
        assert_eq!(stats.ready_backlog(), Reading::Known(5));
        let unknown = SubscriptionStats { backlog: Reading::Known(10), ..Default::default() };
        assert!(!unknown.ready_backlog().is_known());
    }

    #[test]
    fn unacked_of_failover_is_unknown() {
        let stats = |kind| SubscriptionStats { unacked: Reading::Known(0), kind, ..Default::default() };
        assert!(!stats(Some(SubscriptionType::Failover)).counted_unacked().is_known());
        assert_eq!(stats(Some(SubscriptionType::Shared)).counted_unacked(), Reading::Known(0));
    }

    #[test]
    fn quota_without_a_limit_is_unknown() {
        let size =
            |limit| TopicStats { backlog_size: Reading::Known(9), quota_size: limit, ..Default::default() };
        assert_eq!(size(Reading::Known(9)).is_over_quota(), Reading::Known(true));
        assert_eq!(size(Reading::Known(10)).is_over_quota(), Reading::Known(false));
        assert!(!size(Reading::default()).is_over_quota().is_known());
    }
}
