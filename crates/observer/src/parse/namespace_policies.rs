//! The policies of a namespace, as far as they concern a subscription without consumers.

use serde::Deserialize;

use super::lenient::Entries;
use super::topic_list::stops_producers;
use super::{ParseError, ParseLimits, text};
use crate::Reading;

/// What a namespace does to subscriptions without consumers, and to what waits for them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct NamespacePolicies {
    /// Minutes after which an unused subscription is deleted with its backlog; None for never.
    pub subscription_expiration_minutes: Option<u64>,
    /// Seconds after which a message that is not acknowledged expires; None for never.
    pub message_ttl_seconds: Option<u64>,
    /// Whether a backlog quota stops producers.
    pub stops_producers: bool,
}

impl NamespacePolicies {
    /// Of each policy, the one of both that is stricter.
    #[must_use]
    pub fn strictest(self, other: Self) -> Self {
        let least = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
        Self {
            subscription_expiration_minutes: least(
                self.subscription_expiration_minutes,
                other.subscription_expiration_minutes,
            ),
            message_ttl_seconds: least(self.message_ttl_seconds, other.message_ttl_seconds),
            stops_producers: self.stops_producers || other.stops_producers,
        }
    }
}

/// Parses the policies of a namespace. What is absent, or zero, is off.
pub fn parse_namespace_policies(
    answer: &[u8],
    limits: &ParseLimits,
) -> Result<NamespacePolicies, ParseError> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Raw<'a> {
        subscription_expiration_time_minutes: Reading<u64>,
        message_ttl_in_seconds: Reading<u64>,
        #[serde(borrow)]
        backlog_quota_map: Option<Entries<'a>>,
    }

    let raw: Raw<'_> = serde_json::from_str(text(answer, limits)?)?;
    let on = |number: Reading<u64>| number.known().filter(|number| *number > 0);
    let quotas = raw.backlog_quota_map.unwrap_or_default();
    Ok(NamespacePolicies {
        subscription_expiration_minutes: on(raw.subscription_expiration_time_minutes),
        message_ttl_seconds: on(raw.message_ttl_in_seconds),
        stops_producers: stops_producers(&quotas).known().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_that_are_absent_or_zero_are_off() {
        let parse = |json: &str| parse_namespace_policies(json.as_bytes(), &ParseLimits::default());
        for json in [
            "{}",
            r#"{"message_ttl_in_seconds":0,"subscription_expiration_time_minutes":null,"backlog_quota_map":{}}"#,
            r#"{"message_ttl_in_seconds":"never","backlog_quota_map":null,"auth_policies":{"x":[1]}}"#,
            r#"{"backlog_quota_map":{"destination_storage":{"policy":"consumer_backlog_eviction"}}}"#,
        ] {
            assert_eq!(parse(json).unwrap(), NamespacePolicies::default(), "{json}");
        }
        let strict = r#"{"message_ttl_in_seconds":3600,"subscription_expiration_time_minutes":10,
            "backlog_quota_map":{"message_age":{"limitTime":9,"policy":"producer_request_hold"}}}"#;
        let expected = NamespacePolicies {
            subscription_expiration_minutes: Some(10),
            message_ttl_seconds: Some(3600),
            stops_producers: true,
        };
        assert_eq!(parse(strict).unwrap(), expected);
        assert_eq!(NamespacePolicies::default().strictest(expected), expected);
        assert!(parse("[").is_err());
    }
}
