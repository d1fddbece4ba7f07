//! A memory budget that concurrent requests share.
//!
//! Waiting requests are served in order of what their client holds already, then of size, so that a client with large
//! requests delays itself and not others. While a request waits, stalled holders are evicted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// A body without received bytes for this long is stalled.
const STALL_TIMEOUT: Duration = Duration::from_millis(200);

/// A budget in bytes.
#[derive(Clone, Debug)]
pub(crate) struct MemoryBudget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    total: usize,
    used: IntGauge,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    next: u64,
    reservations: BTreeMap<u64, Holder>,
    waiting: BTreeMap<u64, Waiter>,
}

#[derive(Debug)]
struct Holder {
    client: IpAddr,
    bytes: usize,
    /// None once the body is complete: then the holder is not evicted.
    progress: Option<Arc<Progress>>,
}

#[derive(Debug)]
struct Waiter {
    client: IpAddr,
    reservation: u64,
    bytes: usize,
    granted: oneshot::Sender<()>,
}

/// Progress of a body that is being read.
#[derive(Debug)]
pub(crate) struct Progress {
    started: Instant,
    /// Time of the last received bytes, in milliseconds after `started`.
    last: AtomicUsize,
    evicted: CancellationToken,
}

impl Progress {
    fn new() -> Self {
        Self { started: Instant::now(), last: AtomicUsize::new(0), evicted: CancellationToken::new() }
    }

    /// Records received bytes.
    pub(crate) fn record(&self) {
        self.last.store(usize::try_from(self.started.elapsed().as_millis()).unwrap_or(usize::MAX), Relaxed);
    }

    /// Waits until the body is evicted.
    pub(crate) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    fn idle_time(&self) -> Duration {
        let last = Duration::from_millis(u64::try_from(self.last.load(Relaxed)).unwrap_or(u64::MAX));
        self.started.elapsed().saturating_sub(last)
    }
}

/// Reserved bytes of the budget, released on drop.
#[derive(Debug)]
pub(crate) struct Reservation {
    id: u64,
    client: IpAddr,
    budget: MemoryBudget,
    progress: Arc<Progress>,
}

impl MemoryBudget {
    pub(crate) fn new(total: usize, used: IntGauge) -> Self {
        Self(Arc::new(Shared { total, used, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty reservation for a client.
    pub(crate) fn reservation(&self, client: IpAddr) -> Reservation {
        let progress = Arc::new(Progress::new());
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.reservations.insert(id, Holder { client, bytes: 0, progress: Some(Arc::clone(&progress)) });
        Reservation { id, client, budget: self.clone(), progress }
    }

    /// Grants waiting requests in order, as far as the budget allows. No request overtakes the first, or large bodies
    /// would starve.
    fn grant(&self, state: &mut State) {
        while let Some((id, bytes)) = state.first() {
            if state.used + bytes > self.0.total {
                break;
            }
            let Some(waiter) = state.waiting.remove(&id) else { break };
            // A cancelled request gets nothing.
            if waiter.granted.send(()).is_ok() {
                state.take(waiter.reservation, bytes);
            }
        }
        self.0.used.set(i64::try_from(state.used).unwrap_or(i64::MAX));
    }
}

impl State {
    fn bytes_of(&self, client: IpAddr) -> usize {
        self.reservations.values().filter(|holder| holder.client == client).map(|holder| holder.bytes).sum()
    }

    fn first(&self) -> Option<(u64, usize)> {
        let order = |(id, waiter): &(&u64, &Waiter)| (self.bytes_of(waiter.client), waiter.bytes, **id);
        self.waiting.iter().min_by_key(order).map(|(id, waiter)| (*id, waiter.bytes))
    }

    fn take(&mut self, reservation: u64, bytes: usize) {
        if let Some(holder) = self.reservations.get_mut(&reservation) {
            holder.bytes += bytes;
            self.used += bytes;
        }
    }

    fn evict_stalled(&self) {
        let holders = self.reservations.values().filter(|holder| holder.bytes > 0);
        for progress in holders.filter_map(|holder| holder.progress.as_ref()) {
            if progress.idle_time() >= STALL_TIMEOUT {
                progress.evicted.cancel();
            }
        }
    }
}

impl Reservation {
    /// Reserves `bytes` more, and waits until the budget allows it.
    pub(crate) async fn grow(&self, bytes: usize) {
        let (granted, mut grant) = oneshot::channel();
        let waiter = Waiter { client: self.client, reservation: self.id, bytes, granted };
        let id = {
            let mut state = self.budget.state();
            let id = state.next;
            state.next += 1;
            state.waiting.insert(id, waiter);
            self.budget.grant(&mut state);
            id
        };
        let _cancel_on_drop = CancelWait { id, budget: &self.budget };
        loop {
            tokio::select! {
                biased;
                _ = &mut grant => return self.progress.record(),
                () = sleep(STALL_TIMEOUT) => self.budget.state().evict_stalled(),
            }
        }
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The body is complete: adjusts the reservation to its size, and protects it from eviction.
    pub(crate) fn complete(&self, bytes: usize) {
        let mut state = self.budget.state();
        if let Some(holder) = state.reservations.get_mut(&self.id) {
            let before = std::mem::replace(&mut holder.bytes, bytes);
            holder.progress = None;
            state.used = state.used - before + bytes;
        }
        self.budget.grant(&mut state);
    }
}

/// Removes a waiting request when its future is dropped.
struct CancelWait<'a> {
    id: u64,
    budget: &'a MemoryBudget,
}

impl Drop for CancelWait<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        if state.waiting.remove(&self.id).is_some() {
            self.budget.grant(&mut state);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        if let Some(holder) = state.reservations.remove(&self.id) {
            state.used -= holder.bytes;
        }
        self.budget.grant(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures::FutureExt;

    use super::*;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    fn budget(total: usize) -> MemoryBudget {
        MemoryBudget::new(total, IntGauge::new("used", "used").unwrap())
    }

    #[tokio::test]
    async fn reservations_never_exceed_the_budget() {
        let budget = budget(100);
        let (one, two) = (budget.reservation(A), budget.reservation(B));
        one.grow(60).await;
        let mut waits = Box::pin(two.grow(60));
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!(budget.0.used.get(), 60);
        drop(one);
        waits.await;
        assert_eq!(budget.0.used.get(), 60);
        drop(two);
        assert_eq!((budget.0.used.get(), budget.state().reservations.len()), (0, 0));
    }

    #[tokio::test]
    async fn clients_with_less_and_smaller_bodies_come_first() {
        let budget = budget(100);
        let (first, much, more, little, other) = (
            budget.reservation(A),
            budget.reservation(A),
            budget.reservation(A),
            budget.reservation(A),
            budget.reservation(B),
        );
        first.grow(90).await;
        much.grow(10).await;
        let (mut large, mut small, mut others) =
            (Box::pin(more.grow(50)), Box::pin(little.grow(10)), Box::pin(other.grow(80)));
        assert!(large.as_mut().now_or_never().is_none());
        assert!(small.as_mut().now_or_never().is_none());
        assert!(others.as_mut().now_or_never().is_none());
        drop(first);
        assert!(others.as_mut().now_or_never().is_some(), "B holds nothing");
        assert!(small.as_mut().now_or_never().is_some(), "small before large");
        assert!(large.as_mut().now_or_never().is_none());
        drop(large);
        assert!(budget.state().waiting.is_empty(), "a dropped request does not wait");
    }

    #[tokio::test]
    async fn stalled_bodies_are_evicted_while_others_wait() {
        let budget = budget(100);
        let (stalled, complete, new) = (budget.reservation(A), budget.reservation(B), budget.reservation(B));
        stalled.grow(50).await;
        complete.grow(50).await;
        complete.complete(50);
        sleep(STALL_TIMEOUT).await;
        assert!(stalled.progress().evicted().now_or_never().is_none(), "no request waits yet");
        let mut waits = Box::pin(new.grow(10));
        tokio::select! {
            () = &mut waits => panic!("the budget is exhausted"),
            () = stalled.progress().evicted() => {}
            () = sleep(4 * STALL_TIMEOUT) => panic!("no eviction"),
        }
        assert!(complete.progress().evicted().now_or_never().is_none(), "it is complete");
        drop(stalled);
        waits.await;
    }
}
