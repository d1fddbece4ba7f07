//! How much memory caches, lists and watches may take, whatever objects there are.
//!
//! Small objects are always held: there are as many as anybody pays for in etcd. Larger ones are held while the budget
//! lasts, and very large ones never; of those only metadata are held, and a reconcile reads the object.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use function_mesh_api::complexity;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// An object up to this size is always held.
const SMALL: usize = 8 << 10;
/// An object above this size is never held.
const LARGE: usize = 64 << 10;
/// What objects between the two may take together.
const BUDGET: usize = 32 << 20;

/// An item of a list or an event of a watch that is above this size is read into memory only with a permit.
pub(crate) const HEAVY: usize = 256 << 10;
/// Such items that are read at a time.
const HEAVY_AT_A_TIME: usize = 2;

/// How often the text of an object is in memory while it is worked on: as it was read, decoded, completed, rendered,
/// compared and sent.
const COPIES: usize = 8;
/// An object up to this cost is worked on beside any others.
const LIGHT: usize = 256 << 10;
/// Cost of larger objects that are worked on at a time; one that costs more still is worked on alone.
const UNDER_WORK: usize = 24 << 20;

/// What a map of one entry takes when the keys of free-form configuration are sorted for the command.
const MAP: usize = 700;

/// What work on an object costs, in bytes: its text, and what becomes of its values.
pub(crate) fn cost(json: &str) -> usize {
    // One that is too complex is refused before anything is made of it.
    let tree = complexity::weigh(json.as_bytes()).map_or(0, |steps| steps * complexity::STEP);
    let maps = json.bytes().filter(|byte| *byte == b'{').count();
    COPIES * json.len() + tree + MAP * maps
}

/// The memory of one program.
#[derive(Clone, Debug)]
pub struct Memory {
    pub(crate) caches: CacheBudget,
    heavy: Arc<Semaphore>,
    under_work: Arc<Semaphore>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            caches: CacheBudget::default(),
            heavy: Arc::new(Semaphore::new(HEAVY_AT_A_TIME)),
            under_work: Arc::new(Semaphore::new(UNDER_WORK)),
        }
    }
}

/// Room for an object that is worked on, until this is dropped.
#[derive(Debug)]
pub struct Room {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Memory {
    /// Waits until another heavy item may be read.
    pub(crate) async fn heavy(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.heavy).acquire_owned().await.ok()
    }

    /// Room to work on an object of this cost, if there is any at the moment. Nobody waits for it: that would keep a
    /// place of work from others.
    pub fn room(&self, cost: usize) -> Option<Room> {
        if cost <= LIGHT {
            return Some(Room { _permit: None });
        }
        let cost = u32::try_from(cost.min(UNDER_WORK)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.under_work).try_acquire_many_owned(cost).ok()?;
        Some(Room { _permit: Some(permit) })
    }
}

/// Bytes that all caches may hold together of objects that are not small.
#[derive(Clone, Debug, Default)]
pub struct CacheBudget {
    taken: Arc<AtomicUsize>,
}

/// What an object takes of the budget, until it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: CacheBudget,
    bytes: usize,
}

impl CacheBudget {
    /// The share of an object of this size; None if it is not to be held. A small one takes nothing of the budget.
    pub(crate) fn admit(&self, bytes: usize) -> Option<Share> {
        let share = |bytes| Share { budget: self.clone(), bytes };
        if bytes <= SMALL {
            return Some(share(0));
        }
        if bytes > LARGE {
            return None;
        }
        let more = |taken: usize| Some(taken + bytes).filter(|taken| *taken <= BUDGET);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(share(bytes))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_objects_are_held_and_larger_ones_while_the_budget_lasts() {
        let budget = CacheBudget::default();
        assert!(budget.admit(LARGE + 1).is_none());
        let shares: Vec<_> = (0..BUDGET / LARGE).map(|_| budget.admit(LARGE)).collect();
        assert!(shares.iter().all(Option::is_some));
        assert!(budget.admit(SMALL + 1).is_none(), "the budget is spent");
        assert!(budget.admit(SMALL).is_some(), "a small one takes none of it");
        drop(shares);
        assert!(budget.admit(LARGE).is_some());
    }

    #[test]
    fn large_objects_are_worked_on_a_few_at_a_time_and_light_ones_beside_them() {
        let memory = Memory::default();
        let whole = memory.room(3 * UNDER_WORK);
        assert!(whole.is_some());
        assert!(memory.room(LIGHT + 1).is_none());
        assert!(memory.room(LIGHT).is_some());
        drop(whole);
        let plain = cost(&format!("{{\"a\":\"{}\"}}", "x".repeat(1_400_000)));
        let some: Vec<_> = (0..4).filter_map(|_| memory.room(plain)).collect();
        assert_eq!(some.len(), 2);
        drop(some);
        let pairs = cost(&format!("[{}]", vec!["{\"\":0}"; 30_000].join(",")));
        assert!(memory.room(pairs).is_some() && pairs > 20 << 20, "{pairs}");
    }
}
