//! How long something was waited for, by a clock that nobody sets.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Since when each of several things is waited for. A program that starts anew begins to wait anew: being late
/// is better than giving up early, as it would happen by a wall clock that jumps.
#[derive(Debug, Default)]
pub struct Patience {
    since: Mutex<HashMap<String, Instant>>,
}

impl Patience {
    /// How much longer this is to be waited for, when no longer than that in all; None when it was long enough,
    /// and with that the wait is over.
    pub fn rest(&self, what: &str, longest: Duration) -> Option<Duration> {
        let rest = longest.checked_sub(self.waited_for(what)).filter(|rest| !rest.is_zero());
        if rest.is_none() {
            self.forget(what);
        }
        rest
    }

    /// How long this is waited for; the first question begins the wait.
    pub fn waited_for(&self, what: &str) -> Duration {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.entry(what.to_owned()).or_insert_with(Instant::now).elapsed()
    }

    /// Forgets what needs no more waiting.
    pub fn forget(&self, what: &str) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).remove(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_has_an_end_and_begins_anew() {
        let patience = Patience::default();
        assert!(
            patience.rest("a", Duration::from_mins(1)).is_some_and(|rest| rest <= Duration::from_mins(1))
        );
        assert_eq!(patience.rest("a", Duration::ZERO), None);
        assert!(patience.waited_for("a") < Duration::from_mins(1));
    }
}
