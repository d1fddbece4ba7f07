//! Echoes: watch events that show what this process itself has just written.
//!
//! A reconcile knows the result of its writes, so their echoes need no further reconcile. An echo counts as one only until
//! the next reconcile of the object begins: that one may have read a cache without the write, and the echo is what
//! corrects it. Objects of a list are no echoes, see [`store`](crate::cache).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Objects whose writes are remembered. Beyond that all are forgotten, which costs one reconcile each.
const MAX_OBJECTS: usize = 16_384;
/// Writes that are remembered of one object.
const MAX_WRITES: usize = 256;

/// The resource versions that reconciles have written and no watch has shown yet, by UID of the reconciled object.
#[derive(Debug, Default)]
pub struct Echoes(Mutex<HashMap<String, Vec<String>>>);

impl Echoes {
    /// Records that a reconcile of this object, whose UID is `owner`, wrote an object, which now has this version.
    pub fn wrote(&self, owner: &str, version: Option<&str>) {
        let Some(version) = version.filter(|version| !version.is_empty()) else { return };
        let mut writes = self.writes();
        if writes.len() >= MAX_OBJECTS && !writes.contains_key(owner) {
            writes.clear();
        }
        let versions = writes.entry(owner.to_owned()).or_default();
        if versions.len() < MAX_WRITES {
            versions.push(version.to_owned());
        }
    }

    /// Whether a watch event with this version is the echo of a write for this object.
    pub fn is_echo(&self, owner: &str, version: &str) -> bool {
        let mut writes = self.writes();
        let Some(versions) = writes.get_mut(owner) else { return false };
        let Some(position) = versions.iter().position(|written| written == version) else { return false };
        versions.swap_remove(position);
        if versions.is_empty() {
            writes.remove(owner);
        }
        true
    }

    /// Forgets the writes for this object: its next reconcile begins.
    pub fn forget(&self, owner: &str) {
        self.writes().remove(owner);
    }

    fn writes(&self) -> MutexGuard<'_, HashMap<String, Vec<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_is_echoed_once() {
        let echoes = Echoes::default();
        echoes.wrote("uid", Some("7"));
        echoes.wrote("uid", None);
        assert!(!echoes.is_echo("other", "7") && !echoes.is_echo("uid", "8") && !echoes.is_echo("uid", ""));
        assert!(echoes.is_echo("uid", "7"));
        assert!(!echoes.is_echo("uid", "7"));
        assert!(echoes.writes().is_empty());
    }

    #[test]
    fn next_reconcile_makes_echoes_count_again() {
        let echoes = Echoes::default();
        echoes.wrote("uid", Some("7"));
        echoes.forget("uid");
        assert!(!echoes.is_echo("uid", "7"));
    }

    #[test]
    fn memory_is_bounded() {
        let echoes = Echoes::default();
        for version in 0..2 * MAX_WRITES {
            echoes.wrote("uid", Some(&version.to_string()));
        }
        assert_eq!(echoes.writes()["uid"].len(), MAX_WRITES);
        for object in 0..=MAX_OBJECTS {
            echoes.wrote(&object.to_string(), Some("1"));
        }
        assert!(echoes.writes().len() <= MAX_OBJECTS);
    }
}
