//! Timers per object on the monotonic clock: debounce of status writes, and the deadline of clean-ups.
//!
//! A restart resets all timers: a late deadline is safer than an early one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::RECHECK;

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

/// Defers the search for the reason of missing pods: they are usually created within a second. For a search the API server
/// may read all Events of a namespace, so the objects of a namespace search one after the other.
#[derive(Debug, Default)]
pub struct MissingPods(Mutex<Searches>);

#[derive(Debug, Default)]
struct Searches {
    objects: HashMap<String, Search>,
    /// The last turn that is taken in each namespace.
    turns: HashMap<String, Instant>,
}

#[derive(Debug)]
struct Search {
    due: Instant,
    /// The reason that the last search found.
    found: Option<String>,
}

/// How long pods may be missing without a reason.
const SEARCH_DELAY: Duration = Duration::from_secs(2);
/// Time between the first searches of two objects of a namespace. Later ones follow at the same distance.
const SEARCH_INTERVAL: Duration = Duration::from_millis(200);

impl Searches {
    /// The next free turn in a namespace.
    fn turn(&mut self, namespace: &str, now: Instant) -> Instant {
        self.turns.retain(|_, last| *last + SEARCH_INTERVAL > now);
        let free = self.turns.get(namespace).map(|last| *last + SEARCH_INTERVAL);
        let turn = free.map_or(now + SEARCH_DELAY, |free| free.max(now + SEARCH_DELAY));
        self.turns.insert(namespace.to_owned(), turn);
        turn
    }
}

impl MissingPods {
    /// How long until the object searches again, and what it found the last time. None if it is due.
    pub fn remaining(
        &self,
        object: &str,
        namespace: &str,
        now: Instant,
    ) -> Option<(Duration, Option<String>)> {
        let mut searches = self.lock();
        if !searches.objects.contains_key(object) {
            let due = searches.turn(namespace, now);
            searches.objects.insert(object.to_owned(), Search { due, found: None });
        }
        let search = searches.objects.get(object)?;
        let remaining = search.due.checked_duration_since(now).filter(|remaining| !remaining.is_zero())?;
        Some((remaining, search.found.clone()))
    }

    /// Records what a search found. Returns how long until the next one.
    pub fn searched(&self, object: &str, found: Option<String>, now: Instant) -> Duration {
        self.lock().objects.insert(object.to_owned(), Search { due: now + RECHECK, found });
        RECHECK
    }

    /// Resets the timer of an object whose pods exist, or of a deleted one.
    pub fn forget(&self, object: &str) {
        self.lock().objects.remove(object);
    }

    fn lock(&self) -> MutexGuard<'_, Searches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn objects_of_a_namespace_search_in_turn() {
        let (missing, start) = (MissingPods::default(), Instant::now());
        let remaining = |object, namespace, at| {
            missing.remaining(object, namespace, start + at).map(|(remaining, _)| remaining)
        };
        assert_eq!(remaining("a", "n", Duration::ZERO), Some(SEARCH_DELAY));
        assert_eq!(remaining("b", "n", Duration::ZERO), Some(SEARCH_DELAY + SEARCH_INTERVAL));
        assert_eq!(remaining("c", "other", Duration::ZERO), Some(SEARCH_DELAY));
        assert_eq!(remaining("a", "n", SEARCH_DELAY), None);
        assert_eq!(remaining("b", "n", SEARCH_DELAY), Some(SEARCH_INTERVAL));
        assert_eq!(remaining("d", "third", SEARCH_DELAY * 10), Some(SEARCH_DELAY));
        assert_eq!(missing.lock().turns.len(), 1, "past turns are dropped");
    }

    #[test]
    fn reason_is_kept_until_the_next_search() {
        let (missing, start) = (MissingPods::default(), Instant::now());
        assert_eq!(missing.searched("a", Some("quota".to_owned()), start), RECHECK);
        let kept = missing.remaining("a", "n", start);
        assert_eq!(kept, Some((RECHECK, Some("quota".to_owned()))));
        assert_eq!(missing.remaining("a", "n", start + RECHECK), None);
        missing.forget("a");
        assert_eq!(missing.remaining("a", "n", start).and_then(|(_, found)| found), None);
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
