//! Differences of counters that can fall.
//!
//! A counter of the broker falls when its topic is moved, unloaded or recreated. What happened between the last sample
//! and that moment is lost, so that the difference is unknown, and the next one begins at the new value.

use std::time::Duration;

use crate::{Cause, Reading};

/// A rate needs samples this far apart.
const MIN_ELAPSED: Duration = Duration::from_millis(500);

/// How far a counter advanced; unknown if it fell.
pub(crate) fn delta(before: Reading<u64>, now: Reading<u64>) -> Reading<u64> {
    now.zip(before).and_then(|(now, before)| match now.checked_sub(before) {
        Some(delta) => Reading::Known(delta),
        None => Reading::Unknown(Cause::CounterReset),
    })
}

/// How far a counter of a process advanced. When it fell, the process restarted and counted from zero.
pub(crate) fn process_delta(before: Reading<u64>, now: Reading<u64>) -> Reading<u64> {
    now.zip(before).map(|(now, before)| now.checked_sub(before).unwrap_or(now))
}

/// A difference per second. Unknown across a gap, in which the rate can have been anything.
#[allow(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
pub(crate) fn rate(delta: Reading<u64>, elapsed: Duration, max_gap: Duration) -> Reading<f64> {
    if elapsed < MIN_ELAPSED {
        return Reading::Unknown(Cause::TooFewSamples);
    }
    if elapsed > max_gap {
        return Reading::Unknown(Cause::Stale);
    }
    delta.map(|delta| delta as f64 / elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reading::{Known, Unknown};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_counter_that_falls_is_unknown_once() {
        let values = [5, 8, 2, 4].map(Known);
        let deltas: Vec<_> = values.windows(2).map(|pair| delta(pair[0], pair[1])).collect();
        assert_eq!(deltas, [Known(3), Unknown(Cause::CounterReset), Known(2)]);
        assert_eq!(process_delta(Known(8), Known(2)), Known(2));
    }

    #[test]
    fn rates_need_two_samples_without_a_gap() {
        assert_eq!(rate(Known(30), 10 * SECOND, 60 * SECOND), Known(3.0));
        assert_eq!(rate(Known(30), Duration::ZERO, 60 * SECOND), Unknown(Cause::TooFewSamples));
        assert_eq!(rate(Known(30), 61 * SECOND, 60 * SECOND), Unknown(Cause::Stale));
        assert_eq!(rate(Unknown(Cause::Failed), SECOND, SECOND), Unknown(Cause::Failed));
    }
}
