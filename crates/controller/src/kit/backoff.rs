//! How long an object waits after a failure: longer each time, and not at all after a success.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_mins(2);

/// Failures in a row, by object. It holds only objects that fail.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<HashMap<String, u32>>,
}

impl Backoff {
    /// Notes a failure and says how long to wait: half a second, doubled each time, two minutes at most.
    pub fn failed(&self, object: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(object.to_owned()).or_default();
        let wait = FIRST.saturating_mul(1 << (*count).min(16)).min(LONGEST);
        *count = count.saturating_add(1);
        wait
    }

    /// How many objects failed the last time, of those whose names begin like this.
    pub fn count(&self, prefix: &str) -> usize {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.keys().filter(|object| object.starts_with(prefix)).count()
    }

    /// Forgets the failures of an object: it succeeded, or is gone.
    pub fn forget(&self, object: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
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
}
