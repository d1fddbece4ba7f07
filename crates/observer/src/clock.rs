//! Clocks that must not be mixed: the operator's monotonic clock, and wall clocks of the operator and of servers.
//!
//! Durations come from [`Monotonic`] alone. A server's timestamp is compared with another one of the same server, or
//! translated by a [`ServerClock`] first.

use std::time::{Duration, SystemTime};

use jiff::fmt::rfc2822::DateTimeParser;

/// Time since the operator started, on its monotonic clock.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Monotonic(pub Duration);

impl Monotonic {
    /// The time since an earlier one; zero if it is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// A later time.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// Milliseconds since 1970 on some wall clock.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixMillis(pub u64);

impl From<SystemTime> for UnixMillis {
    /// Zero for a time before 1970.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl UnixMillis {
    /// The whole seconds since an earlier time of the same clock; zero if it is later.
    pub const fn seconds_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1000
    }

    /// The time of an HTTP `Date` header.
    pub fn from_http_date(text: &str) -> Option<Self> {
        if text.len() > 64 {
            return None;
        }
        let zoned = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()?;
        u64::try_from(zoned.as_millisecond()).ok().map(Self)
    }

    /// The time as RFC 3339 in UTC, in seconds, as Kubernetes writes it.
    pub fn to_rfc3339(self) -> Option<String> {
        let seconds = i64::try_from(self.0 / 1000).ok()?;
        jiff::Timestamp::from_second(seconds).ok().map(|time| time.to_string())
    }
}

/// The difference between a server's wall clock and the operator's.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ServerClock {
    /// How far the server's clock is ahead, in milliseconds.
    ahead: i64,
}

impl ServerClock {
    /// Measures by the `Date` header of an answer. A header has whole seconds, so that a difference within a second and
    /// half of the round trip counts as none.
    pub fn measure(date: UnixMillis, sent: UnixMillis, received: UnixMillis) -> Self {
        let signed = |time: UnixMillis| i64::try_from(time.0).unwrap_or(i64::MAX);
        let half = signed(received).saturating_sub(signed(sent)).max(0) / 2;
        let middle = signed(sent).saturating_add(half);
        // On average the header is half a second in the past.
        let ahead = signed(date).saturating_add(500).saturating_sub(middle);
        if ahead.unsigned_abs() <= 1000 + half.unsigned_abs() { Self::default() } else { Self { ahead } }
    }

    /// The server's time for a time of the operator.
    #[must_use]
    pub fn to_server(self, local: UnixMillis) -> UnixMillis {
        UnixMillis(local.0.saturating_add_signed(self.ahead))
    }

    /// The operator's time for a time of the server.
    #[must_use]
    pub fn to_local(self, server: UnixMillis) -> UnixMillis {
        UnixMillis(server.0.saturating_add_signed(self.ahead.saturating_neg()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates_are_parsed() {
        let expected = Some(UnixMillis(784_111_777_000));
        assert_eq!(UnixMillis::from_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), expected);
        for text in ["", "yesterday", "Sun, 06 Nov 1994", &"x".repeat(100)] {
            assert_eq!(UnixMillis::from_http_date(text), None, "{text}");
        }
    }

    #[test]
    fn a_small_difference_is_none() {
        let clock = ServerClock::measure(UnixMillis(10_000), UnixMillis(10_700), UnixMillis(10_900));
        assert_eq!(clock, ServerClock::default());
    }

    #[test]
    fn a_server_that_is_ahead_is_translated() {
        let clock = ServerClock::measure(UnixMillis(70_000), UnixMillis(10_500), UnixMillis(10_500));
        assert_eq!(clock.to_server(UnixMillis(20_000)), UnixMillis(80_000));
        assert_eq!(clock.to_local(UnixMillis(80_000)), UnixMillis(20_000));
        assert_eq!(clock.to_local(UnixMillis(5)), UnixMillis(0));
    }

    #[test]
    fn times_are_written_as_kubernetes_does() {
        assert_eq!(UnixMillis(784_111_777_123).to_rfc3339().as_deref(), Some("1994-11-06T08:49:37Z"));
        assert_eq!(UnixMillis(u64::MAX).to_rfc3339(), None);
    }
}
