//! The summary of a component's traffic for its status, and when it is worth a write.
//!
//! Numbers are rounded to two significant digits. A status is written at most every 30 seconds and only for a change that
//! a reader would act on, so that a quiet cluster stays quiet: the write of a status wakes every watch.

use std::time::Duration;

use crate::{Cause, Monotonic, Point, Reading, UnixMillis, Window};

/// Traffic of a component. A number that is not known has its cause.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Entries not acknowledged, without delayed ones.
    pub backlog: Reading<u64>,
    /// Age of the oldest message of the backlog.
    pub lag_seconds: Reading<u64>,
    /// Messages published to the inputs, a second.
    pub in_rate: Reading<f64>,
    /// Messages that the pods processed, a second; delivered to them where the pods do not report it.
    pub out_rate: Reading<f64>,
    /// Exceptions within the window.
    pub exceptions: Reading<u64>,
    /// Last acknowledgement.
    pub last_acked: Reading<UnixMillis>,
    /// Time of the newest sample.
    pub observed_at: Reading<UnixMillis>,
}

/// Times of a summary.
#[derive(Clone, Copy, Debug)]
pub struct TrafficSettings {
    /// Age at which a number is too old.
    pub max_age: Duration,
    /// Time over which rates are averaged.
    pub rate_window: Duration,
    /// Time between two readings of the lag.
    pub lag_interval: Duration,
    /// Time in which exceptions are counted.
    pub exception_window: Duration,
}

impl Default for TrafficSettings {
    fn default() -> Self {
        let minutes = Duration::from_mins;
        Self {
            max_age: minutes(1),
            rate_window: minutes(1),
            lag_interval: minutes(1),
            exception_window: minutes(10),
        }
    }
}

/// Limits of writes.
#[derive(Clone, Copy, Debug)]
pub struct WriteLimits {
    /// Shortest time between two writes.
    pub min_interval: Duration,
    /// Shortest time between two writes for a small change.
    pub small_change_interval: Duration,
}

impl Default for WriteLimits {
    fn default() -> Self {
        Self { min_interval: Duration::from_secs(30), small_change_interval: Duration::from_mins(5) }
    }
}

impl Traffic {
    /// Summarises a window.
    pub fn summarize(window: &Window, now: Monotonic, settings: &TrafficSettings) -> Self {
        let newest = |get: fn(&Point) -> Reading<u64>| window.newest(now, settings.max_age, get);
        let rate =
            |get: fn(&Point) -> Reading<f64>| window.mean(now, settings.rate_window, get).map(round_rate);
        let backlog = newest(|point| point.ready_backlog);
        // The lag of the round before is still good after one in which it was not asked.
        let lag = match backlog {
            Reading::Known(0) => Reading::Known(0),
            Reading::Known(_) => {
                window.newest(now, settings.max_age.saturating_add(settings.lag_interval), |point| point.lag)
            }
            Reading::Unknown(cause) => Reading::Unknown(cause),
        };
        let last = window.last().filter(|last| now.since(last.at) <= settings.max_age);
        Self {
            backlog: backlog.map(round),
            lag_seconds: lag.map(round),
            in_rate: rate(|point| point.in_rate),
            out_rate: rate(|point| point.processed_rate).or(rate(|point| point.out_rate)),
            exceptions: window.total(now, settings.exception_window, |point| point.exceptions).map(round),
            // An acknowledgement remains one, however long ago.
            last_acked: window.last().map_or(Reading::Unknown(Cause::NotAsked), |last| last.last_acked),
            observed_at: last.map_or(Reading::Unknown(Cause::Stale), |last| Reading::Known(last.wall)),
        }
    }

    /// Whether to write this summary over the previous one, which was written this long ago.
    pub fn is_meaningful_change(&self, previous: &Self, since_write: Duration, limits: &WriteLimits) -> bool {
        match self.change(previous) {
            Change::None => false,
            Change::Small => since_write >= limits.small_change_interval,
            Change::Large => since_write >= limits.min_interval,
        }
    }

    fn change(&self, previous: &Self) -> Change {
        let acked = |one: &Self| one.last_acked.map(|time| time.0 / 1000);
        let mut change = count_change(previous.backlog, self.backlog, 10.0)
            .max(count_change(previous.lag_seconds, self.lag_seconds, 10.0))
            .max(number_change(previous.in_rate, self.in_rate, 1.0))
            .max(number_change(previous.out_rate, self.out_rate, 1.0))
            .max(count_change(previous.exceptions, self.exceptions, 1.0));
        // While messages flow the last acknowledgement moves all the time, and says nothing new.
        let is_flowing = self.out_rate.is_known_and(|rate| rate > 0.0);
        if !is_flowing && acked(self) != acked(previous) {
            change = change.max(Change::Small);
        }
        change
    }
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Change {
    None,
    Small,
    Large,
}

#[allow(clippy::cast_precision_loss, reason = "the numbers are rounded to two digits")]
fn count_change(before: Reading<u64>, now: Reading<u64>, least: f64) -> Change {
    number_change(before.map(|it| it as f64), now.map(|it| it as f64), least)
}

/// How much a number changed. A difference below `least` is small, however large its share.
fn number_change(before: Reading<f64>, now: Reading<f64>, least: f64) -> Change {
    let (before, now) = match (before, now) {
        (Reading::Known(before), Reading::Known(now)) => (before, now),
        (Reading::Unknown(_), Reading::Unknown(_)) => return Change::None,
        _ => return Change::Large,
    };
    let difference = (now - before).abs();
    let larger = before.abs().max(now.abs());
    let is_zero_flip = (before == 0.0) != (now == 0.0);
    if difference >= least && (is_zero_flip || difference >= 0.25 * larger) {
        Change::Large
    } else if is_zero_flip || difference > 0.1 * larger {
        Change::Small
    } else {
        Change::None
    }
}

/// Two significant digits, half up.
fn round(number: u64) -> u64 {
    let mut factor = 1_u64;
    while number / factor >= 100 {
        factor = factor.saturating_mul(10);
    }
    number.saturating_add(factor / 2) / factor * factor
}

/// Two significant digits, and zero below one in a hundred seconds.
fn round_rate(rate: f64) -> f64 {
    if !rate.is_finite() || rate < 0.01 {
        return 0.0;
    }
    format!("{rate:.1e}").parse().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reading::{Known, Unknown};

    const SECOND: Duration = Duration::from_secs(1);

    fn traffic(backlog: u64, rate: f64) -> Traffic {
        Traffic {
            backlog: Known(backlog),
            lag_seconds: Known(0),
            in_rate: Known(rate),
            out_rate: Known(rate),
            exceptions: Known(0),
            last_acked: Known(UnixMillis(1_000)),
            observed_at: Known(UnixMillis(1_000)),
        }
    }

    #[test]
    fn numbers_have_two_digits() {
        for (number, expected) in [
            (0, 0),
            (7, 7),
            (99, 99),
            (104, 100),
            (105, 110),
            (1249, 1200),
            (1250, 1300),
            (999, 1000),
            (9_999, 10_000),
        ] {
            assert_eq!(round(number), expected, "{number}");
        }
        assert_eq!(round(u64::MAX), 18 * 10_u64.pow(18));
        for (rate, expected) in [
            (0.0, 0.0),
            (0.004, 0.0),
            (0.0234, 0.023),
            (1.26, 1.3),
            (123.4, 120.0),
            (f64::NAN, 0.0),
            (-1.0, 0.0),
        ] {
            assert!((round_rate(rate) - expected).abs() < 1e-9, "{rate} {}", round_rate(rate));
        }
    }

    #[test]
    fn small_changes_wait_and_noise_is_not_written() {
        let limits = WriteLimits::default();
        for (now, small, large) in [
            (traffic(100, 10.0), false, false),
            (traffic(105, 10.5), false, false),
            (traffic(115, 10.0), true, false),
            (traffic(200, 10.0), true, true),
            (traffic(0, 10.0), true, true),
            (traffic(100, 0.0), true, true),
            (Traffic { exceptions: Known(3), ..traffic(100, 10.0) }, true, true),
            (Traffic { backlog: Unknown(Cause::Failed), ..traffic(100, 10.0) }, true, true),
            (Traffic { last_acked: Known(UnixMillis(99_000)), ..traffic(100, 10.0) }, false, false),
            (Traffic { observed_at: Known(UnixMillis(99_000)), ..traffic(100, 10.0) }, false, false),
        ] {
            let is = |since| now.is_meaningful_change(&traffic(100, 10.0), since, &limits);
            assert_eq!(
                (is(300 * SECOND), is(30 * SECOND), is(29 * SECOND)),
                (small, large, false),
                "{now:?}"
            );
        }
        let idle = traffic(0, 0.0);
        let acked = Traffic { last_acked: Known(UnixMillis(99_000)), ..idle };
        assert!(acked.is_meaningful_change(&idle, 300 * SECOND, &limits));
    }

    #[test]
    fn an_empty_window_is_unknown() {
        let traffic = Traffic::summarize(&Window::new(4), Monotonic::default(), &TrafficSettings::default());
        assert!(
            !traffic.in_rate.is_known() && !traffic.last_acked.is_known() && !traffic.observed_at.is_known()
        );
        assert_eq!(traffic.backlog, Unknown(Cause::NotAsked));
    }
}
