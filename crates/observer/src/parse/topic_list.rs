//! Small answers of Pulsar's admin REST API: topics of a namespace, partitions of a topic, and backlog quotas.

use std::borrow::Cow;

use serde::Deserialize;

use super::lenient::Entries;
use super::{ParseError, ParseLimits, partition, text};
use crate::Reading;

/// The topics of a namespace.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TopicList {
    /// Full names without partitions, sorted. Only those that match.
    pub topics: Vec<String>,
    /// Whether more match than the limit allows.
    pub is_truncated: bool,
}

/// Parses the list of the topics of a namespace. A partitioned topic is listed by its partitions, and kept once.
pub fn parse_topic_list(
    answer: &[u8],
    limits: &ParseLimits,
    max: usize,
    matches: impl Fn(&str) -> bool,
) -> Result<TopicList, ParseError> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

    let raw: Vec<Name<'_>> = serde_json::from_str(text(answer, limits)?)?;
    let mut topics: Vec<String> = Vec::new();
    for Name(name) in raw.iter().filter(|name| name.0.len() <= limits.max_name) {
        let base = match partition(name) {
            Some(_) => name.rsplit_once("-partition-").map_or(name.as_ref(), |(base, _)| base),
            None => name.as_ref(),
        };
        if matches(base) {
            topics.push(base.to_owned());
        }
    }
    topics.sort_unstable();
    topics.dedup();
    let is_truncated = topics.len() > max;
    topics.truncate(max);
    Ok(TopicList { topics, is_truncated })
}

/// Parses the answer of `/partitions`: the number of partitions, zero for a topic that is not partitioned.
pub fn parse_partitions(answer: &[u8], limits: &ParseLimits) -> Result<Reading<usize>, ParseError> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Metadata {
        partitions: Reading<u64>,
    }

    let metadata: Metadata = serde_json::from_str(text(answer, limits)?)?;
    Ok(metadata.partitions.and_then(|count| usize::try_from(count).ok().into()))
}

/// Parses the list of the active brokers: each `host:port` of a web service. Others are left out.
pub fn parse_brokers(answer: &[u8], limits: &ParseLimits, max: usize) -> Result<Vec<String>, ParseError> {
    let raw: Vec<Cow<'_, str>> = serde_json::from_str(text(answer, limits)?)?;
    let is_server = |name: &str| {
        let has_port = name
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        has_port && name.len() <= 300 && name.bytes().all(is_name)
    };
    let mut brokers: Vec<String> =
        raw.into_iter().filter(|name| is_server(name)).map(Cow::into_owned).collect();
    brokers.sort_unstable();
    brokers.dedup();
    brokers.truncate(max);
    Ok(brokers)
}

/// Parses the backlog quotas of a namespace or topic. Returns whether one makes the broker stop producers, instead of
/// deleting the oldest messages; unknown if none is set, so that the broker's default applies.
pub fn parse_backlog_policies(answer: &[u8], limits: &ParseLimits) -> Result<Reading<bool>, ParseError> {
    let quotas: Entries<'_> = serde_json::from_str(text(answer, limits)?)?;
    Ok(stops_producers(&quotas))
}

/// Whether one of these quotas stops producers.
pub(super) fn stops_producers(quotas: &Entries<'_>) -> Reading<bool> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Quota<'a> {
        #[serde(borrow)]
        policy: Option<Cow<'a, str>>,
    }

    let stops_producers = |quota: Quota<'_>| {
        quota.policy.map(|policy| matches!(policy.as_ref(), "producer_request_hold" | "producer_exception"))
    };
    let policies = quotas.0.iter().filter_map(|(_, quota)| serde_json::from_str(quota.get()).ok());
    policies.filter_map(stops_producers).reduce(|one, other| one || other).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_kept_once() {
        let answer =
            br#"["persistent://t/n/a-partition-1","persistent://t/n/a-partition-0","persistent://t/n/b",
            "persistent://t/n/c"]"#;
        let limits = ParseLimits::default();
        let list = parse_topic_list(answer, &limits, 10, |topic| !topic.ends_with('c')).unwrap();
        assert_eq!(list.topics, ["persistent://t/n/a", "persistent://t/n/b"]);
        assert!(!list.is_truncated);
        let list = parse_topic_list(answer, &limits, 2, |_| true).unwrap();
        assert_eq!((list.topics.len(), list.is_truncated), (2, true));
    }

    #[test]
    fn partitions_of_a_plain_topic_are_zero() {
        let limits = ParseLimits::default();
        let count = |json: &str| parse_partitions(json.as_bytes(), &limits).unwrap();
        assert_eq!(count(r#"{"partitions":4,"deleted":false}"#), Reading::Known(4));
        assert_eq!(count(r#"{"partitions":0}"#), Reading::Known(0));
        assert!(!count("{}").is_known());
        assert!(parse_partitions(b"[", &limits).is_err());
    }

    #[test]
    fn quotas_that_stop_producers_are_found() {
        let limits = ParseLimits::default();
        let stops = |json: &str| parse_backlog_policies(json.as_bytes(), &limits).unwrap();
        let hold = r#"{"destination_storage":{"limitSize":1,"policy":"producer_request_hold"}}"#;
        assert_eq!(stops(hold), Reading::Known(true));
        let evict = r#"{"destination_storage":{"policy":"consumer_backlog_eviction"}}"#;
        assert_eq!(stops(evict), Reading::Known(false));
        assert!(!stops("{}").is_known());
        assert!(!stops(r#"{"x": 3}"#).is_known());
    }
}
