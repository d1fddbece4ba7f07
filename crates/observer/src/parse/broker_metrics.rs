//! `/metrics` of a broker: the subscriptions of all topics that it serves, in one answer.
//!
//! Replaces one request per topic where there are many. A broker reports only topics that it has loaded, so that a topic
//! which no broker reports is unknown, and the caller counts partitions itself.

use std::collections::HashMap;

use super::lenient::count;
use super::prometheus::{Line, lines};
use super::{ParseError, ParseLimits, text};
use crate::stats::{SubscriptionStats, TopicAnswer, TopicStats};
use crate::{Cause, Reading};

/// Topics and partitions by full name, from the metrics of one or more brokers.
#[derive(Clone, Debug, Default)]
pub struct BrokerMetrics {
    topics: HashMap<String, Reading<TopicStats>>,
    is_truncated: bool,
}

impl BrokerMetrics {
    /// Adds the topics of another broker. A topic that both report has moved between them, and is ambiguous this time.
    pub fn merge(&mut self, other: Self) {
        self.is_truncated |= other.is_truncated;
        for (name, stats) in other.topics {
            self.topics
                .entry(name)
                .and_modify(|own| *own = Reading::Unknown(Cause::Ambiguous))
                .or_insert(stats);
        }
    }

    /// The part about one topic with this number of partitions.
    #[must_use]
    pub fn only(&self, topic: &str, partitions: usize) -> Self {
        let names = (0..partitions).map(|number| format!("{topic}-partition-{number}"));
        let names = names.chain((partitions == 0).then(|| topic.to_owned()));
        let topics = names.filter_map(|name| Some((name.clone(), self.topics.get(&name)?.clone()))).collect();
        Self { topics, is_truncated: self.is_truncated }
    }

    /// Whether topics were left out because of a limit.
    pub const fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// Number of topics and partitions.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// The answer for a topic with this number of partitions, zero for one that is not partitioned.
    pub fn answer(&self, topic: &str, partitions: usize) -> Result<TopicAnswer, Cause> {
        let find = |name: &str| match self.topics.get(name) {
            Some(Reading::Known(stats)) => Ok(stats.clone()),
            Some(Reading::Unknown(cause)) => Err(*cause),
            None if self.is_truncated => Err(Cause::TooLarge),
            None => Err(Cause::NotReported),
        };
        if partitions == 0 {
            return Ok(TopicAnswer { parts: vec![find(topic)?], expected: Reading::Known(1) });
        }
        let names = (0..partitions).map(|number| format!("{topic}-partition-{number}"));
        let mut parts: Vec<_> = names.filter_map(|name| find(&name).ok()).collect();
        parts.sort_by(|one, other| one.topic.cmp(&other.topic));
        Ok(TopicAnswer { parts, expected: Reading::Known(partitions) })
    }
}

/// Whether a line is a sample that [`parse_broker_metrics`] reads. A broker writes some three hundred lines for each topic, and
/// fewer than twenty matter, so that the others need not be kept.
pub fn is_broker_metric(line: &[u8]) -> bool {
    let end = line.iter().position(|byte| matches!(byte, b'{' | b' ')).unwrap_or(line.len());
    line.get(..end)
        .and_then(|name| std::str::from_utf8(name).ok())
        .is_some_and(|name| Field::from_name(name).is_some())
}

/// Parses the metrics of a broker. Only topics and subscriptions that `is_wanted` accepts are kept; the subscription is
/// empty for a metric of the topic itself.
pub fn parse_broker_metrics(
    answer: &[u8],
    limits: &ParseLimits,
    is_wanted: impl Fn(&str, &str) -> bool,
) -> Result<BrokerMetrics, ParseError> {
    let text = text(answer, limits)?;
    let mut metrics = BrokerMetrics::default();
    for line in lines(text, limits.max_line) {
        let Some(field) = Field::from_name(line.name) else { continue };
        let Some(topic) = topic(&line) else { continue };
        let subscription = line.label("subscription").unwrap_or_default();
        if topic.len() > limits.max_name || subscription.len() > limits.max_name {
            continue;
        }
        if field.is_of_topic() != subscription.is_empty() || !is_wanted(&topic, &subscription) {
            continue;
        }
        if metrics.topics.len() >= limits.max_topics && !metrics.topics.contains_key(topic.as_str()) {
            metrics.is_truncated = true;
            continue;
        }
        let entry = metrics.topics.entry(topic);
        let entry = entry.or_insert_with_key(|name| {
            Reading::Known(TopicStats { topic: name.clone(), ..TopicStats::default() })
        });
        if let Reading::Known(stats) = entry {
            field.set(stats, &subscription, line.value, limits);
        }
    }
    Ok(metrics)
}

/// The topic's full name. With `splitTopicAndPartitionIndexLabelInPrometheus` the partition is a separate label.
fn topic(line: &Line<'_>) -> Option<String> {
    let topic = line.label("topic")?;
    match line.label("partition") {
        Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) && !number.is_empty() => {
            Some(format!("{topic}-partition-{number}"))
        }
        _ => Some(topic.into_owned()),
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Field {
    InCounter,
    BacklogSize,
    QuotaSize,
    BacklogAge,
    QuotaAge,
    Backlog,
    BacklogNoDelayed,
    Delayed,
    Unacked,
    Blocked,
    OutCounter,
    AckRate,
    RedeliveryRate,
    LastAcked,
    LastConsumed,
    LastMarkDelete,
    Expired,
    Consumers,
}

impl Field {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "pulsar_in_messages_total" => Self::InCounter,
            "pulsar_storage_backlog_size" => Self::BacklogSize,
            "pulsar_storage_backlog_quota_limit" => Self::QuotaSize,
            "pulsar_storage_backlog_age_seconds" => Self::BacklogAge,
            "pulsar_storage_backlog_quota_limit_time" => Self::QuotaAge,
            // The counter's name has no prefix of subscriptions; older brokers wrote one.
            "pulsar_out_messages_total" | "pulsar_subscription_msg_out_counter" => Self::OutCounter,
            _ => match name.strip_prefix("pulsar_subscription_")? {
                "back_log" => Self::Backlog,
                "back_log_no_delayed" => Self::BacklogNoDelayed,
                "delayed" => Self::Delayed,
                "unacked_messages" => Self::Unacked,
                "blocked_on_unacked_messages" => Self::Blocked,
                "msg_ack_rate" => Self::AckRate,
                "msg_rate_redeliver" => Self::RedeliveryRate,
                "last_acked_timestamp" => Self::LastAcked,
                "last_consumed_timestamp" => Self::LastConsumed,
                "last_mark_delete_advanced_timestamp" => Self::LastMarkDelete,
                "total_msg_expired" => Self::Expired,
                "consumers_count" => Self::Consumers,
                _ => return None,
            },
        })
    }

    const fn is_of_topic(self) -> bool {
        matches!(
            self,
            Self::InCounter | Self::BacklogSize | Self::QuotaSize | Self::BacklogAge | Self::QuotaAge
        )
    }

    fn set(self, topic: &mut TopicStats, subscription: &str, value: f64, limits: &ParseLimits) {
        let number: Reading<u64> = count(value).into();
        let limit = number.and_then(|it| if it > 0 { Reading::Known(it) } else { Reading::default() });
        match self {
            Self::InCounter => topic.in_counter = number,
            Self::BacklogSize => topic.backlog_size = number,
            Self::QuotaSize => topic.quota_size = limit,
            Self::BacklogAge => topic.backlog_age = number,
            Self::QuotaAge => topic.quota_age = limit,
            _ => {
                if let Some(stats) = find_or_add(topic, subscription, limits) {
                    self.set_of_subscription(stats, number, value);
                }
            }
        }
    }

    fn set_of_subscription(self, stats: &mut SubscriptionStats, number: Reading<u64>, value: f64) {
        let rate = Reading::from(value.is_finite().then_some(value));
        match self {
            Self::Backlog => stats.backlog = number,
            Self::BacklogNoDelayed => stats.backlog_no_delayed = number,
            Self::Delayed => stats.delayed = number,
            Self::Unacked => stats.unacked = number,
            Self::Blocked => stats.is_blocked_on_unacked = number.map(|it| it > 0),
            Self::OutCounter => stats.out_counter = number,
            Self::AckRate => stats.ack_rate = rate,
            Self::RedeliveryRate => stats.redelivery_rate = rate,
            Self::LastAcked => stats.last_acked = number,
            Self::LastConsumed => stats.last_consumed = number,
            Self::LastMarkDelete => stats.last_mark_delete = number,
            Self::Expired => stats.expired_counter = number,
            Self::Consumers => stats.consumers = number,
            Self::InCounter | Self::BacklogSize | Self::QuotaSize | Self::BacklogAge | Self::QuotaAge => {}
        }
    }
}

/// The subscription of a topic. None for a new one beyond the limit.
fn find_or_add<'a>(
    topic: &'a mut TopicStats,
    subscription: &str,
    limits: &ParseLimits,
) -> Option<&'a mut SubscriptionStats> {
    if topic.subscriptions.contains_key(subscription) {
        return topic.subscriptions.get_mut(subscription).map(|stats| &mut **stats);
    }
    let is_free = topic.subscriptions.len() < limits.max_subscriptions;
    is_free.then(|| &mut **topic.subscriptions.entry(subscription.to_owned()).or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reading::Known;

    fn sample(name: &str, topic: &str, subscription: &str, value: &str) -> String {
        let subscription =
            if subscription.is_empty() { String::new() } else { format!(",subscription=\"{subscription}\"") };
        format!("{name}{{cluster=\"c\",namespace=\"t/n\",topic=\"{topic}\"{subscription}}} {value}\n")
    }

    fn metrics(text: &str) -> BrokerMetrics {
        parse_broker_metrics(text.as_bytes(), &ParseLimits::default(), |_, name| {
            name.is_empty() || name == "s"
        })
        .unwrap()
    }

    #[test]
    fn subscriptions_are_collected_by_topic() {
        let text = [
            "# TYPE pulsar_subscription_back_log gauge\n".into(),
            sample("pulsar_in_messages_total", "persistent://t/n/a", "", "7"),
            sample("pulsar_subscription_back_log", "persistent://t/n/a", "s", "12"),
            sample("pulsar_subscription_back_log", "persistent://t/n/a", "other", "99"),
            sample("pulsar_subscription_back_log_no_delayed", "persistent://t/n/a", "s", "10.0"),
            sample("pulsar_subscription_blocked_on_unacked_messages", "persistent://t/n/a", "s", "1"),
            sample("pulsar_subscription_consumers_count", "persistent://t/n/a", "s", "0"),
            sample("pulsar_out_messages_total", "persistent://t/n/a", "s", "1.2E3"),
            sample("pulsar_subscription_msg_ack_rate", "persistent://t/n/a", "s", "NaN"),
        ]
        .concat();
        let answer = metrics(&text).answer("persistent://t/n/a", 0).unwrap();
        let topic = &answer.parts[0];
        assert_eq!((topic.in_counter, topic.subscriptions.len()), (Known(7), 1));
        let stats = topic.subscription("s").unwrap();
        assert_eq!((stats.backlog, stats.ready_backlog()), (Known(12), Known(10)));
        assert_eq!((stats.out_counter, stats.consumers), (Known(1200), Known(0)));
        assert_eq!(stats.is_blocked_on_unacked, Known(true));
        assert!(!stats.ack_rate.is_known() && !stats.unacked.is_known());
    }

    #[test]
    fn partitions_are_counted() {
        let part =
            |label: &str| format!("pulsar_subscription_back_log{{topic=\"a{label},subscription=\"s\"}} 1\n");
        let text = [part("-partition-0\""), part("\",partition=\"1\"")].concat();
        let metrics = metrics(&text);
        assert!(metrics.answer("a", 2).unwrap().is_complete());
        let short = metrics.answer("a", 3).unwrap();
        assert_eq!((short.parts.len(), short.is_complete()), (2, false));
        assert_eq!(metrics.answer("b", 0).unwrap_err(), Cause::NotReported);
    }

    #[test]
    fn a_topic_of_two_brokers_is_ambiguous() {
        let text = sample("pulsar_subscription_back_log", "a", "s", "1");
        let mut all = metrics(&text);
        all.merge(metrics(&[text, sample("pulsar_subscription_back_log", "b", "s", "1")].concat()));
        assert_eq!(all.answer("a", 0).unwrap_err(), Cause::Ambiguous);
        assert!(all.answer("b", 0).unwrap().is_complete());
    }

    #[test]
    fn ten_thousand_subscriptions_of_one_topic_are_parsed() {
        let mut text = String::new();
        for name in ["pulsar_subscription_back_log", "pulsar_out_messages_total"] {
            (0..10_001).for_each(|n| text.push_str(&sample(name, "a", &format!("s{n}"), "3")));
        }
        let metrics = parse_broker_metrics(text.as_bytes(), &ParseLimits::default(), |_, _| true).unwrap();
        let subscriptions = &metrics.answer("a", 0).unwrap().parts[0].subscriptions;
        assert_eq!(subscriptions.len(), 10_000);
        assert_eq!(subscriptions["s9999"].out_counter, Known(3));
    }

    #[test]
    fn topics_beyond_the_limit_are_unknown() {
        let text: String =
            (0..5).map(|n| sample("pulsar_subscription_back_log", &format!("t{n}"), "s", "1")).collect();
        let limits = ParseLimits { max_topics: 3, ..ParseLimits::default() };
        let metrics = parse_broker_metrics(text.as_bytes(), &limits, |_, _| true).unwrap();
        assert_eq!((metrics.len(), metrics.is_truncated(), metrics.is_empty()), (3, true, false));
        assert_eq!(metrics.answer("t4", 0).unwrap_err(), Cause::TooLarge);
    }
}
