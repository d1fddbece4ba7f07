//! Message traffic of a component, and what to do about a stall.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// Message traffic of a component, as Pulsar and the pods report it. The operator rounds numbers to two digits and writes
/// them at most every 30 seconds. A number that is absent is unknown; `message` says why.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficStatus {
    /// Entries that wait in the subscription, of all input topics. A batch of messages counts as one entry; delayed
    /// messages do not count.
    #[schemars(with = "Option<i64>", range(min = 0))]
    pub backlog: Option<u64>,
    /// Age of the oldest entry that waits, in seconds.
    #[schemars(with = "Option<i64>", range(min = 0))]
    pub lag_seconds: Option<u64>,
    /// Messages published to the input topics, per second.
    pub in_rate: Option<f64>,
    /// Messages processed by the pods, per second; messages delivered to them if the pods do not report it.
    pub out_rate: Option<f64>,
    /// Exceptions in the pods within ten minutes.
    #[schemars(with = "Option<i64>", range(min = 0))]
    pub exceptions: Option<u64>,
    /// Time of the last acknowledgement.
    pub last_acked: Option<Time>,
    /// Time of the observation that was written last. The operator observes more often, and writes when a number has changed
    /// noticeably.
    pub observed_at: Option<Time>,
    /// Pods that the operator restarted in a row, since the component is stalled and `onStall` is `Restart`.
    #[schemars(with = "Option<i32>", range(min = 0))]
    pub restarts: Option<u32>,
    /// Time of the last of these restarts.
    pub last_restart: Option<Time>,
    /// How the operator authenticates to Pulsar.
    pub access: Option<TrafficAccess>,
    /// Why a number is unknown, or why the numbers are not updated.
    pub message: Option<String>,
}

/// How the operator authenticates to Pulsar to read traffic.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum TrafficAccess {
    /// Without credentials.
    Anonymous,
    /// With a token from a file.
    Token,
    /// With a client certificate.
    ClientCertificate,
}

/// What the operator does about a component that is stalled.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum OnStall {
    /// Reports it: the condition Stalled, an Event, an alert.
    #[default]
    Report,
    /// Also deletes a pod that holds unacknowledged messages, so that its StatefulSet creates it again: one pod at a time,
    /// and at most three in a row.
    Restart,
}

/// Default of `stallAfter`.
pub const STALL_AFTER: Duration = Duration::from_mins(5);
/// Least and most `stallAfter`. Pulsar renews some of its numbers once a minute.
pub const STALL_AFTER_RANGE: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(24));

/// Parses a duration as Kubernetes writes it: hours, minutes and seconds such as `1h`, `5m` or `1m30s`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let is_plain = text.len() <= 32
        && !text.contains("ms")
        && text.bytes().all(|byte| byte.is_ascii_digit() || b"hms".contains(&byte));
    let duration = is_plain.then(|| humantime::parse_duration(text).ok()).flatten()?;
    Some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_hours_minutes_and_seconds() {
        let seconds = |text: &str| parse_duration(text).map(|duration| duration.as_secs());
        assert_eq!((seconds("5m"), seconds("1m30s"), seconds("1h")), (Some(300), Some(90), Some(3600)));
        for text in ["", "5", "5 m", "5ms", "-5m", "1d", "5m5m5", "99999999999999999999h", "minute"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
