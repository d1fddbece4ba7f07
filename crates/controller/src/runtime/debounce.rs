//! How long something has been going on, by the monotonic clock: a status that may wait for what follows, and a
//! deletion that may not wait for its clean-up for ever.
//!
//! A program that starts anew counts anew: late is better than early.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct Since(Mutex<HashMap<String, Instant>>);

impl Since {
    /// The time since the first call for this object.
    fn elapsed(&self, object: &str) -> Duration {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.entry(object.to_owned()).or_insert_with(Instant::now).elapsed()
    }

    fn forget(&self, object: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
    }
}

/// Holds back a status that will soon be followed by another one.
#[derive(Debug, Default)]
pub struct StatusDebounce(Since);

impl StatusDebounce {
    /// How much longer the status of an object may wait, if no longer than `most` in all. None when it is to be written
    /// now; the next one waits anew.
    pub fn remaining(&self, object: &str, most: Duration) -> Option<Duration> {
        let remaining = most.checked_sub(self.0.elapsed(object)).filter(|remaining| !remaining.is_zero());
        if remaining.is_none() {
            self.forget(object);
        }
        remaining
    }

    /// The object has nothing new to say, or is gone.
    pub fn forget(&self, object: &str) {
        self.0.forget(object);
    }
}

/// Measures how long a deleted component waits for its clean-up.
#[derive(Debug, Default)]
pub struct CleanupClock(Since);

impl CleanupClock {
    /// The time since the first call for this object.
    pub fn elapsed(&self, object: &str) -> Duration {
        self.0.elapsed(object)
    }

    /// The clean-up has ended, or the object is gone.
    pub fn forget(&self, object: &str) {
        self.0.forget(object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_waits_at_most_so_long_and_the_next_one_anew() {
        let debounce = StatusDebounce::default();
        let minute = Duration::from_mins(1);
        assert!(debounce.remaining("a", minute).is_some_and(|remaining| remaining <= minute));
        assert_eq!(debounce.remaining("a", Duration::ZERO), None);
        assert!(debounce.remaining("a", minute).is_some());
    }

    #[test]
    fn the_clock_of_a_clean_up_starts_with_the_first_question() {
        let clock = CleanupClock::default();
        let first = clock.elapsed("a");
        assert!(clock.elapsed("a") >= first);
        clock.forget("a");
        assert!(clock.elapsed("a") < Duration::from_mins(1));
    }
}
