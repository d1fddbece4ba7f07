//! Exponential backoff per object, reset by a success.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const INITIAL_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_mins(2);

/// Time until a retry after a conflict.
pub const CONFLICT_RETRY: Duration = Duration::from_millis(200);
/// Consecutive conflicts that are retried quickly; further ones back off like failures.
const MAX_QUICK_CONFLICTS: u32 = 3;

/// Consecutive failures by object. It contains failing objects only.
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
    /// Records a failure. Returns the backoff: half a second, doubled each time, two minutes at most.
    pub fn failed(&self, object: &str) -> Duration {
        self.lock().entry(object.to_owned()).or_default().failed()
    }

    /// Records a conflict. Returns a short wait, or the backoff of a failure if conflicts repeat.
    pub fn conflicted(&self, object: &str) -> Duration {
        let mut failures = self.lock();
        let entry = failures.entry(object.to_owned()).or_default();
        entry.conflicts = entry.conflicts.saturating_add(1);
        if entry.conflicts <= MAX_QUICK_CONFLICTS { CONFLICT_RETRY } else { entry.failed() }
    }

    /// Objects in backoff whose keys have this prefix.
    pub fn count(&self, prefix: &str) -> usize {
        let failures = self.lock();
        failures.iter().filter(|(object, of)| of.count > 0 && object.starts_with(prefix)).count()
    }

    /// Resets an object that succeeded or was deleted.
    pub fn forget(&self, object: &str) {
        self.lock().remove(object);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failures {
    fn failed(&mut self) -> Duration {
        let wait = INITIAL_BACKOFF.saturating_mul(1 << self.count.min(16)).min(MAX_BACKOFF);
        self.count = self.count.saturating_add(1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_a_maximum_and_resets() {
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
    fn repeated_conflicts_back_off() {
        let backoff = Backoff::default();
        let waits: Vec<_> = (0..6).map(|_| backoff.conflicted("a").as_millis()).collect();
        assert_eq!(waits, [200, 200, 200, 500, 1000, 2000]);
        assert_eq!(backoff.conflicted("b"), CONFLICT_RETRY);
        assert_eq!(backoff.count(""), 1, "a conflict is not a failure");
        backoff.forget("a");
        assert_eq!(backoff.conflicted("a"), CONFLICT_RETRY);
    }
}
