//! Answers of Pulsar and of pods, from text to statistics.
//!
//! Pure, and bounded by [`ParseLimits`]. Unknown fields are ignored, a missing or malformed field is unknown, and no
//! input causes a panic.

mod broker_metrics;
mod lenient;
mod namespace_policies;
mod pod_metrics;
mod prometheus;
mod topic_list;
mod topic_stats;

pub use broker_metrics::{BrokerMetrics, is_broker_metric, parse_broker_metrics};
pub use namespace_policies::{NamespacePolicies, parse_namespace_policies};
pub use pod_metrics::parse_pod_metrics;
pub use topic_list::{TopicList, parse_backlog_policies, parse_brokers, parse_partitions, parse_topic_list};
pub use topic_stats::{StatsFlags, parse_partitioned_stats, parse_topic_stats};

use crate::Cause;

/// Limits on an answer.
#[derive(Clone, Copy, Debug)]
pub struct ParseLimits {
    /// Bytes of an answer. The caller stops reading there.
    pub max_bytes: usize,
    /// Topics and partitions that are kept.
    pub max_topics: usize,
    /// Subscriptions of a topic, wanted or not.
    pub max_subscriptions: usize,
    /// Consumers of a subscription that are kept.
    pub max_consumers: usize,
    /// Bytes of the name of a topic or subscription. Longer ones are ignored.
    pub max_name: usize,
    /// Bytes of a line of metrics. Longer ones are ignored.
    pub max_line: usize,
}

impl Default for ParseLimits {
    fn default() -> Self {
        Self {
            max_bytes: 8 << 20,
            max_topics: 20_000,
            max_subscriptions: 10_000,
            max_consumers: 1_000,
            max_name: 1_024,
            max_line: 8_192,
        }
    }
}

/// Why an answer is unusable as a whole.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// It has more bytes than allowed.
    #[error("the answer has {bytes} bytes; the limit is {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// It has more entries than allowed.
    #[error("the answer has more than {limit} {what}")]
    TooMany {
        /// What it has too many of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// It is not the expected JSON.
    #[error("invalid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is not text.
    #[error("the answer is not UTF-8")]
    Utf8(#[from] std::str::Utf8Error),
}

impl From<&ParseError> for Cause {
    fn from(error: &ParseError) -> Self {
        match error {
            ParseError::TooLarge { .. } | ParseError::TooMany { .. } => Self::TooLarge,
            ParseError::Json(_) | ParseError::Utf8(_) => Self::Invalid,
        }
    }
}

/// The answer as text, unless it is too large.
fn text<'a>(answer: &'a [u8], limits: &ParseLimits) -> Result<&'a str, ParseError> {
    if answer.len() > limits.max_bytes {
        return Err(ParseError::TooLarge { bytes: answer.len(), limit: limits.max_bytes });
    }
    Ok(std::str::from_utf8(answer)?)
}

/// The number in the name of a partition.
fn partition(topic: &str) -> Option<usize> {
    let (base, number) = topic.rsplit_once("-partition-")?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    // The broker writes no leading zeros: `-partition-01` is a name.
    let is_canonical = number == "0" || !number.starts_with('0');
    (!base.is_empty() && is_number && is_canonical).then(|| number.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_numbers_are_canonical() {
        for (topic, expected) in [
            ("t-partition-0", Some(0)),
            ("t-partition-12", Some(12)),
            ("t-partition-01", None),
            ("t-partition-", None),
            ("t-partition-x", None),
            ("-partition-1", None),
            ("t", None),
            ("t-partition-99999999999999999999", None),
        ] {
            assert_eq!(partition(topic), expected, "{topic}");
        }
    }

    #[test]
    fn large_answers_are_not_parsed() {
        let limits = ParseLimits { max_bytes: 3, ..ParseLimits::default() };
        let error = text(b"four", &limits).unwrap_err();
        assert_eq!(Cause::from(&error), Cause::TooLarge);
        assert_eq!(Cause::from(&text(b"\xff", &limits).unwrap_err()), Cause::Invalid);
        assert_eq!(text(b"abc", &limits).unwrap(), "abc");
    }
}
