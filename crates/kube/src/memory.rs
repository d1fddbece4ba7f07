//! Memory limits for caches, lists, watches and reconciles, independent of the objects in the cluster.
//!
//! Small objects are always cached: the size of etcd bounds their number. Larger objects are cached while the budget
//! lasts, and very large ones never. Of an object that is not cached only the metadata are kept; its reconcile reads it
//! from the API server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use function_mesh_api::complexity;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::pack::Dictionaries;

/// Bytes up to which an object is always cached.
const ALWAYS_CACHED: usize = 8 << 10;
/// Bytes above which an object is never cached.
const NEVER_CACHED: usize = 64 << 10;
/// Bytes that objects between these two sizes may take in all caches together.
const CACHE_BUDGET: usize = 32 << 20;

/// Bytes above which an item of a list, or an event of a watch, needs a permit to be read into memory.
pub(crate) const LARGE_ITEM: usize = 256 << 10;
/// Large items that may be read concurrently.
const MAX_LARGE_ITEMS: usize = 2;

/// Copies of an object's text that exist during a reconcile: as received, decoded, defaulted, rendered, compared and
/// sent.
const COPIES: usize = 8;
/// Cost up to which a reconcile needs no permit, in bytes.
const UNMETERED_COST: usize = 256 << 10;
/// Total cost of concurrent metered reconciles, in bytes. An object that costs more is reconciled alone.
const RECONCILE_BUDGET: usize = 24 << 20;

/// Bytes of a map of one entry, where the keys of free-form configuration are sorted for the command.
const MAP_COST: usize = 700;

/// The memory that a reconcile of an object takes, in bytes: its text and its decoded values.
pub(crate) fn cost(json: &str) -> usize {
    // An object that is too complex is rejected before it is decoded.
    let tree = complexity::weigh(json.as_bytes()).map_or(0, |steps| steps * complexity::STEP);
    let maps = json.bytes().filter(|byte| *byte == b'{').count();
    COPIES * json.len() + tree + MAP_COST * maps
}

/// The memory limits of one process. Clones share them.
#[derive(Clone, Debug)]
pub struct Memory {
    pub(crate) caches: CacheBudget,
    large_items: Arc<Semaphore>,
    reconciles: Arc<Semaphore>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            caches: CacheBudget::default(),
            large_items: Arc::new(Semaphore::new(MAX_LARGE_ITEMS)),
            reconciles: Arc::new(Semaphore::new(RECONCILE_BUDGET)),
        }
    }
}

/// Memory reserved for one reconcile, until it is dropped.
#[derive(Debug)]
pub struct MemoryPermit {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Memory {
    /// Waits until another large item may be read.
    pub(crate) async fn acquire_large_item(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.large_items).acquire_owned().await.ok()
    }

    /// Reserves memory for a reconcile of this cost, in bytes. None if there is not enough: the caller requeues, since
    /// waiting would block a worker.
    pub fn try_reserve(&self, cost: usize) -> Option<MemoryPermit> {
        if cost <= UNMETERED_COST {
            return Some(MemoryPermit { _permit: None });
        }
        let cost = u32::try_from(cost.min(RECONCILE_BUDGET)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.reconciles).try_acquire_many_owned(cost).ok()?;
        Some(MemoryPermit { _permit: Some(permit) })
    }
}

/// What all caches share: the budget for objects above the size that is always cached, and the dictionaries of all texts.
#[derive(Clone, Debug, Default)]
pub struct CacheBudget {
    reserved: Arc<AtomicUsize>,
    pub(crate) dictionaries: Arc<Dictionaries>,
}

/// Bytes that a cached object reserves, until it is dropped.
#[derive(Debug)]
pub struct CacheReservation {
    reserved: Arc<AtomicUsize>,
    bytes: usize,
}

impl CacheBudget {
    /// Reserves memory for an object of this size, in bytes. None if it must not be cached.
    pub(crate) fn reserve(&self, bytes: usize) -> Option<CacheReservation> {
        let reservation = |bytes| CacheReservation { reserved: Arc::clone(&self.reserved), bytes };
        if bytes <= ALWAYS_CACHED {
            return Some(reservation(0));
        }
        if bytes > NEVER_CACHED {
            return None;
        }
        let add = |reserved: usize| Some(reserved + bytes).filter(|reserved| *reserved <= CACHE_BUDGET);
        self.reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some(reservation(bytes))
    }
}

impl Drop for CacheReservation {
    fn drop(&mut self) {
        self.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_limits_cached_objects_above_the_small_size() {
        let budget = CacheBudget::default();
        assert!(budget.reserve(NEVER_CACHED + 1).is_none());
        let reservations: Vec<_> =
            (0..CACHE_BUDGET / NEVER_CACHED).map(|_| budget.reserve(NEVER_CACHED)).collect();
        assert!(reservations.iter().all(Option::is_some));
        assert!(budget.reserve(ALWAYS_CACHED + 1).is_none(), "the budget is spent");
        assert!(budget.reserve(ALWAYS_CACHED).is_some(), "a small object needs no budget");
        drop(reservations);
        assert!(budget.reserve(NEVER_CACHED).is_some());
    }

    #[test]
    fn budget_limits_concurrent_reconciles_of_large_objects() {
        let memory = Memory::default();
        let all = memory.try_reserve(3 * RECONCILE_BUDGET);
        assert!(all.is_some());
        assert!(memory.try_reserve(UNMETERED_COST + 1).is_none());
        assert!(memory.try_reserve(UNMETERED_COST).is_some());
        drop(all);
        let text = cost(&format!("{{\"a\":\"{}\"}}", "x".repeat(1_400_000)));
        let permits: Vec<_> = (0..4).filter_map(|_| memory.try_reserve(text)).collect();
        assert_eq!(permits.len(), 2);
        drop(permits);
        let pairs = cost(&format!("[{}]", vec!["{\"\":0}"; 30_000].join(",")));
        assert!(memory.try_reserve(pairs).is_some() && pairs > 20 << 20, "{pairs}");
    }
}
