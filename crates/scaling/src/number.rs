//! Conversions between counts and rates, in one place.

use std::time::Duration;

/// A count as a float.
#[allow(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}

/// The next whole number of replicas. Zero for what is no number, the maximum for what is too large.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` ends at the limits of the type"
)]
pub(crate) fn ceil(replicas: f64) -> u32 {
    // A sum of floats is not exact: 3.0000000001 replicas are three.
    (replicas - 1e-6).ceil() as u32
}

/// A duration as seconds, and never zero: it is a divisor.
pub(crate) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64().max(0.001)
}

/// A number in a sentence: two decimals below ten, one below a hundred, none above.
pub(crate) fn show(number: f64) -> String {
    let text = match number.abs() {
        below if below < 9.995 => format!("{number:.2}"),
        below if below < 99.95 => format!("{number:.1}"),
        _ => return format!("{number:.0}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceil_ignores_rounding_errors_and_keeps_limits() {
        for (number, expected) in
            [(3.0, 3), (3.000_000_000_1, 3), (3.01, 4), (0.0, 0), (-4.0, 0), (f64::NAN, 0), (1e300, u32::MAX)]
        {
            assert_eq!(ceil(number), expected, "{number}");
        }
    }

    #[test]
    fn numbers_are_short() {
        for (number, text) in [(0.0, "0"), (0.126, "0.13"), (9.5, "9.5"), (42.25, "42.2"), (1234.5, "1234")] {
            assert_eq!(show(number), text);
        }
    }
}
