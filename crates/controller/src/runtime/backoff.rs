//! How long an object waits after a failure: longer each time, and not at all after a success.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_mins(2);

/// How long until something is tried again that was decided on a stale cache.
pub const CONFLICT_RETRY: Duration = Duration::from_millis(200);
/// Conflicts in a row that count as that; one more counts as a failure.
const CONFLICTS: u32 = 3;

/// Failures in a row, by object. It holds only objects that fail, and none that is gone.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<HashMap<String, Failures>>,
}

#[derive(Debug, Default)]
struct Failures {
    count: u32,
    conflicts: u32,
}

impl Backoff {
    /// Notes a failure and says how long to wait: half a second, doubled each time, two minutes at most.
    pub fn failed(&self, object: &str) -> Duration {
        self.lock().entry(object.to_owned()).or_default().failed()
    }

    /// Notes a conflict and says how long to wait: a moment, and as after a failure where conflicts repeat.
    pub fn conflicted(&self, object: &str) -> Duration {
        let mut failures = self.lock();
        let of_object = failures.entry(object.to_owned()).or_default();
        of_object.conflicts = of_object.conflicts.saturating_add(1);
        if of_object.conflicts <= CONFLICTS { CONFLICT_RETRY } else { of_object.failed() }
    }

    /// How many objects failed the last time, of those whose names begin like this.
    pub fn count(&self, prefix: &str) -> usize {
        let failures = self.lock();
        failures.iter().filter(|(object, of)| of.count > 0 && object.starts_with(prefix)).count()
    }

    /// Forgets the failures of an object: it succeeded, or is gone.
    pub fn forget(&self, object: &str) {
        self.lock().remove(object);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failures {
    fn failed(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(1 << self.count.min(16)).min(LONGEST);
        self.count = self.count.saturating_add(1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_start_anew_after_success() {
        let backoff = Backoff::default();
        let waits: Vec<_> = (0..10).map(|_| backoff.failed("a").as_millis()).collect();
        assert_eq!(waits[..4], [500, 1000, 2000, 4000]);
        assert_eq!(waits[9], 120_000);
        assert_eq!(backoff.failed("b").as_millis(), 500);
        assert_eq!((backoff.count("a"), backoff.count("")), (1, 2));
        backoff.forget("a");
        assert_eq!(backoff.failed("a").as_millis(), 500);
    }

    #[test]
    fn conflicts_that_repeat_back_off() {
        let backoff = Backoff::default();
        let waits: Vec<_> = (0..6).map(|_| backoff.conflicted("a").as_millis()).collect();
        assert_eq!(waits, [200, 200, 200, 500, 1000, 2000]);
        assert_eq!(backoff.conflicted("b"), CONFLICT_RETRY);
        assert_eq!(backoff.count(""), 1, "a conflict alone is no failure");
        backoff.forget("a");
        assert_eq!(backoff.conflicted("a"), CONFLICT_RETRY);
    }
}
