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
