//! Numbers, durations and long texts for people.

use std::time::Duration;

use function_mesh_api::printable;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What is unknown.
pub(super) const UNKNOWN: &str = "-";
/// What a component cannot have, such as the backlog of a source.
pub(super) const NONE: &str = "n/a";
/// Longest message on a line, in characters; data has all of it.
const MESSAGE: usize = 400;

/// The time since then, by the clock of this machine; zero for a time in the future.
pub(super) fn age(at: &Time, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(at.0)).unwrap_or_default()
}

/// A duration in its two largest units: `3m20s`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => two(minutes, "m", seconds % 60, "s"),
        (0, hours, minutes) => two(hours, "h", minutes % 60, "m"),
        (days, hours, _) => two(days, "d", hours % 24, "h"),
    }
}

fn two(large: u64, unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{small_unit}") }
}

/// A rate with at most two decimals: `45`, `1.5`, `0.02`. A rate that would be rounded to zero is `<0.01`.
pub(super) fn rate(rate: f64) -> String {
    if rate.abs() >= 1e15 {
        return format!("{rate:.1e}");
    }
    if rate > 0.0 && rate < 0.005 {
        return "<0.01".to_owned();
    }
    let places = if rate.abs() < 9.995 { 2 } else { usize::from(rate.abs() < 99.95) };
    let text = format!("{rate:.places$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// A message on one line, sanitized and cut.
pub(super) fn message(text: &str) -> String {
    let shown = printable(text.trim());
    match shown.char_indices().nth(MESSAGE) {
        Some((end, _)) => format!("{}… (cut)", shown.get(..end).unwrap_or_default()),
        None => shown.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (200, "3m20s"),
            (3600, "1h"),
            (7384, "2h3m"),
            (86400, "1d"),
            (273_600, "3d4h"),
            (u64::MAX, "213503982334601d7h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn rates_have_two_decimals_at_most() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (0.001, "<0.01"),
            (0.02, "0.02"),
            (1.5, "1.5"),
            (9.999, "10"),
            (45.0, "45"),
            (45.26, "45.3"),
            (99.97, "100"),
            (1200.0, "1200"),
            (1e300, "1.0e300"),
            (-2.0, "-2"),
        ] {
            assert_eq!(rate(number), text, "{number}");
        }
    }

    #[test]
    fn ages_are_not_negative() {
        let at = |second| Time(Timestamp::from_second(second).unwrap());
        let now = Timestamp::from_second(100).unwrap();
        assert_eq!(age(&at(40), now), Duration::from_mins(1));
        assert_eq!(age(&at(160), now), Duration::ZERO);
    }

    #[test]
    fn messages_are_one_line_and_cut() {
        assert_eq!(message(" a\nb\u{1b}[2J\u{202e} "), "a\u{fffd}b\u{fffd}[2J\u{fffd}");
        assert_eq!(message(&"ä".repeat(400)), "ä".repeat(400));
        assert_eq!(message(&"ä".repeat(401)), format!("{}… (cut)", "ä".repeat(400)));
    }
}
