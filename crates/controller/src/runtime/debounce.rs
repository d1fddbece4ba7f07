//! Timers per object on the monotonic clock: debounce of status writes, and the deadline of clean-ups.
//!
//! A restart resets all timers: a late deadline is safer than an early one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct Timers(Mutex<HashMap<String, Instant>>);

impl Timers {
    /// The time since the first call for this object.
    fn elapsed(&self, object: &str) -> Duration {
        let mut timers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        timers.entry(object.to_owned()).or_insert_with(Instant::now).elapsed()
    }

    fn forget(&self, object: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
    }
}

/// Defers status writes that another one will soon follow.
#[derive(Debug, Default)]
pub struct StatusDebounce(Timers);

impl StatusDebounce {
    /// How much longer the status of an object may be deferred, up to `max_delay` in total. None if it must be written
    /// now, which resets the timer.
    pub fn remaining(&self, object: &str, max_delay: Duration) -> Option<Duration> {
        let remaining =
            max_delay.checked_sub(self.0.elapsed(object)).filter(|remaining| !remaining.is_zero());
        if remaining.is_none() {
            self.forget(object);
        }
        remaining
    }

    /// Resets the timer of an object without a pending write, or of a deleted one.
    pub fn forget(&self, object: &str) {
        self.0.forget(object);
    }
}

/// Defers the search for the reason of missing pods: they are usually created within a second.
#[derive(Debug, Default)]
pub struct MissingPods(Timers);

/// How long pods may be missing without a reason.
const CREATION_GRACE: Duration = Duration::from_secs(2);

impl MissingPods {
    /// How much longer the pods of an object may be missing. None once the reason must be looked up.
    pub fn remaining(&self, object: &str) -> Option<Duration> {
        let remaining = CREATION_GRACE.checked_sub(self.0.elapsed(object));
        remaining.filter(|remaining| !remaining.is_zero())
    }

    /// Resets the timer of an object whose pods exist, or of a deleted one.
    pub fn forget(&self, object: &str) {
        self.0.forget(object);
    }
}

/// Measures how long a deleted component has waited for its clean-up.
#[derive(Debug, Default)]
pub struct CleanupClock(Timers);

impl CleanupClock {
    /// The time since the first call for this object.
    pub fn elapsed(&self, object: &str) -> Duration {
        self.0.elapsed(object)
    }

    /// Resets the timer after the clean-up.
    pub fn forget(&self, object: &str) {
        self.0.forget(object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_deferred_up_to_the_maximum() {
        let debounce = StatusDebounce::default();
        let minute = Duration::from_mins(1);
        assert!(debounce.remaining("a", minute).is_some_and(|remaining| remaining <= minute));
        assert_eq!(debounce.remaining("a", Duration::ZERO), None);
        assert!(debounce.remaining("a", minute).is_some());
    }

    #[test]
    fn cleanup_clock_starts_with_the_first_call() {
        let clock = CleanupClock::default();
        let first = clock.elapsed("a");
        assert!(clock.elapsed("a") >= first);
        clock.forget("a");
        assert!(clock.elapsed("a") < Duration::from_mins(1));
    }
}
