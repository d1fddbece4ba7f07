//! Answers of `/stats` and `/partitioned-stats` of Pulsar's admin REST API.
//!
//! A partitioned answer leaves out partitions that failed, and contains the topic's own name with zeros if all failed.
//! So the entries of partitions are counted against `metadata.partitions`, and sums of the broker are not used.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::lenient::Entries;
use super::{ParseError, ParseLimits, partition, text};
use crate::stats::{ConsumerStats, SubscriptionStats, SubscriptionType, TopicAnswer, TopicStats};
use crate::{Cause, Reading};

/// The flags of the request, which say what an empty list or a zero means.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct StatsFlags {
    /// Whether consumers are listed. Otherwise the list is empty, and says nothing about their number.
    pub consumers: bool,
    /// Whether the broker reads the publish time of the oldest message.
    pub earliest_time: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawTopic<'a> {
    msg_in_counter: Reading<u64>,
    backlog_size: Reading<u64>,
    backlog_quota_limit_size: Reading<u64>,
    backlog_quota_limit_time: Reading<u64>,
    oldest_backlog_message_age_seconds: Reading<u64>,
    #[serde(borrow)]
    subscriptions: Entries<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawPartitioned<'a> {
    metadata: Option<Metadata>,
    #[serde(borrow)]
    partitions: Entries<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata {
    partitions: Reading<u64>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawSubscription<'a> {
    msg_backlog: Reading<u64>,
    msg_backlog_no_delayed: Reading<u64>,
    msg_delayed: Reading<u64>,
    unacked_messages: Reading<u64>,
    blocked_subscription_on_unacked_msgs: Reading<bool>,
    msg_out_counter: Reading<u64>,
    message_ack_rate: Reading<f64>,
    msg_rate_redeliver: Reading<f64>,
    last_acked_timestamp: Reading<u64>,
    last_consumed_timestamp: Reading<u64>,
    last_mark_delete_advanced_timestamp: Reading<u64>,
    total_msg_expired: Reading<u64>,
    earliest_msg_publish_time_in_backlog: Reading<u64>,
    draining_hashes_count: Reading<u64>,
    dispatch_throttled_msg_events_by_subscription_limit: Reading<u64>,
    dispatch_throttled_msg_events_by_topic_limit: Reading<u64>,
    dispatch_throttled_msg_events_by_broker_limit: Reading<u64>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    consumers: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawConsumer {
    unacked_messages: Reading<u64>,
    available_permits: Reading<f64>,
    blocked_consumer_on_unacked_msgs: Reading<bool>,
    avg_messages_per_entry: Reading<u64>,
    metadata: Option<ConsumerMetadata>,
}

/// Properties that the runners of Java and Python give their consumers.
#[derive(Deserialize, Default)]
#[serde(default)]
struct ConsumerMetadata {
    instance_id: Reading<u64>,
}

/// Parses the answer of `/stats` for one topic or partition. Only subscriptions that `is_wanted` accepts are decoded.
pub fn parse_topic_stats(
    topic: &str,
    answer: &[u8],
    flags: StatsFlags,
    limits: &ParseLimits,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<TopicAnswer, ParseError> {
    let part = decode_topic(topic, text(answer, limits)?, flags, limits, &is_wanted)?;
    Ok(TopicAnswer { parts: vec![part], expected: Reading::Known(1) })
}

/// Parses the answer of `/partitioned-stats`. A partition that is missing, or cannot be decoded, makes the answer
/// incomplete.
pub fn parse_partitioned_stats(
    answer: &[u8],
    flags: StatsFlags,
    limits: &ParseLimits,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<TopicAnswer, ParseError> {
    let raw: RawPartitioned<'_> = serde_json::from_str(text(answer, limits)?)?;
    let count = raw.metadata.map(|metadata| metadata.partitions).unwrap_or_default();
    let expected = count.and_then(|count| match usize::try_from(count) {
        // Zero partitions: the topic is not partitioned, or its metadata was not read.
        Ok(0) | Err(_) => Reading::Unknown(Cause::NotReported),
        Ok(count) => Reading::Known(count),
    });
    if raw.partitions.0.len() > limits.max_topics {
        return Err(ParseError::TooMany { what: "partitions", limit: limits.max_topics });
    }
    let mut parts: Vec<TopicStats> = Vec::new();
    for (name, value) in &raw.partitions.0 {
        let is_partition = partition(name)
            .is_some_and(|number| !matches!(expected, Reading::Known(count) if number >= count));
        if !is_partition || name.len() > limits.max_name {
            continue;
        }
        // The sum of an answer without this partition is unknown, so that an error needs no separate report.
        if let Ok(part) = decode_topic(name, value.get(), flags, limits, &is_wanted) {
            parts.push(part);
        }
    }
    parts.sort_by(|one, other| one.topic.cmp(&other.topic));
    parts.dedup_by(|one, other| one.topic == other.topic);
    Ok(TopicAnswer { parts, expected })
}

fn decode_topic(
    topic: &str,
    json: &str,
    flags: StatsFlags,
    limits: &ParseLimits,
    is_wanted: &impl Fn(&str) -> bool,
) -> Result<TopicStats, ParseError> {
    let raw: RawTopic<'_> = serde_json::from_str(json)?;
    if raw.subscriptions.0.len() > limits.max_subscriptions {
        return Err(ParseError::TooMany { what: "subscriptions", limit: limits.max_subscriptions });
    }
    let mut subscriptions = BTreeMap::new();
    for (name, value) in &raw.subscriptions.0 {
        if name.len() <= limits.max_name && is_wanted(name) {
            let stats = decode_subscription(value.get(), flags, limits)?;
            subscriptions.insert(name.to_string(), Box::new(stats));
        }
    }
    Ok(TopicStats {
        topic: topic.to_owned(),
        in_counter: raw.msg_in_counter,
        backlog_size: raw.backlog_size,
        quota_size: positive(raw.backlog_quota_limit_size),
        backlog_age: raw.oldest_backlog_message_age_seconds,
        quota_age: positive(raw.backlog_quota_limit_time),
        subscriptions,
    })
}

/// A limit; zero means none.
fn positive(limit: Reading<u64>) -> Reading<u64> {
    limit.and_then(|limit| if limit > 0 { Reading::Known(limit) } else { Reading::default() })
}

fn decode_subscription(
    json: &str,
    flags: StatsFlags,
    limits: &ParseLimits,
) -> Result<SubscriptionStats, ParseError> {
    let raw: RawSubscription<'_> = serde_json::from_str(json)?;
    let kind = raw.kind.and_then(|kind| serde_json::from_str::<&str>(kind.get()).ok());
    let (consumers, consumer_details) = match raw.consumers.filter(|_| flags.consumers) {
        Some(list) => decode_consumers(list.get(), limits)?,
        // Without a dispatcher there has been no consumer since the topic was loaded.
        None if kind == Some("None") => (Reading::Known(0), Vec::new()),
        None => (Reading::Unknown(Cause::NotAsked), Vec::new()),
    };
    let throttled = [
        raw.dispatch_throttled_msg_events_by_subscription_limit,
        raw.dispatch_throttled_msg_events_by_topic_limit,
        raw.dispatch_throttled_msg_events_by_broker_limit,
    ];
    // Without the flag, and without a backlog, the broker writes zero.
    let earliest_publish = if flags.earliest_time {
        positive(raw.earliest_msg_publish_time_in_backlog)
    } else {
        Reading::Unknown(Cause::NotAsked)
    };
    Ok(SubscriptionStats {
        backlog: raw.msg_backlog,
        backlog_no_delayed: raw.msg_backlog_no_delayed,
        delayed: raw.msg_delayed,
        unacked: raw.unacked_messages,
        is_blocked_on_unacked: raw.blocked_subscription_on_unacked_msgs,
        out_counter: raw.msg_out_counter,
        ack_rate: raw.message_ack_rate,
        redelivery_rate: raw.msg_rate_redeliver,
        last_acked: raw.last_acked_timestamp,
        last_consumed: raw.last_consumed_timestamp,
        last_mark_delete: raw.last_mark_delete_advanced_timestamp,
        expired_counter: raw.total_msg_expired,
        earliest_publish,
        draining_hashes: raw.draining_hashes_count,
        throttled_counter: Reading::<u64>::sum(throttled),
        consumers,
        consumer_details,
        kind: kind.and_then(SubscriptionType::from_name),
    })
}

fn decode_consumers(
    json: &str,
    limits: &ParseLimits,
) -> Result<(Reading<u64>, Vec<ConsumerStats>), ParseError> {
    let raw: Option<Vec<&RawValue>> = serde_json::from_str(json)?;
    let Some(raw) = raw else { return Ok((Reading::default(), Vec::new())) };
    let count = u64::try_from(raw.len()).unwrap_or(u64::MAX);
    let details = raw.iter().take(limits.max_consumers).map(|consumer| {
        let raw: RawConsumer = serde_json::from_str(consumer.get())?;
        Ok(ConsumerStats {
            instance: raw.metadata.map(|metadata| metadata.instance_id).unwrap_or_default(),
            unacked: raw.unacked_messages,
            permits: raw.available_permits,
            is_blocked_on_unacked: raw.blocked_consumer_on_unacked_msgs,
            messages_per_entry: positive(raw.avg_messages_per_entry),
        })
    });
    Ok((Reading::Known(count), details.collect::<Result<_, ParseError>>()?))
}

#[cfg(test)]
#[path = "topic_stats_tests.rs"]
mod tests;
