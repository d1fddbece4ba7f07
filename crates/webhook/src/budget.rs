//! A budget of bytes that requests share.
//!
//! Who waits is served in order of what its client holds already, then of size: a client that asks for much waits
//! for itself, not others for it. While somebody waits, holders that receive nothing are cut off.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// A body that is read while others wait must grow this often.
const STILL: Duration = Duration::from_millis(200);

/// Bytes to share.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Shared>);

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
    leases: BTreeMap<u64, Holder>,
    waiting: BTreeMap<u64, Waiter>,
}

#[derive(Debug)]
struct Holder {
    client: IpAddr,
    bytes: usize,
    /// None once the body is there: then nobody is to be hurried.
    progress: Option<Arc<Progress>>,
}

#[derive(Debug)]
struct Waiter {
    client: IpAddr,
    lease: u64,
    bytes: usize,
    granted: oneshot::Sender<()>,
}

/// How a body grows.
#[derive(Debug)]
pub(crate) struct Progress {
    begun: Instant,
    /// Milliseconds after `begun`.
    last: AtomicUsize,
    cut: CancellationToken,
}

impl Progress {
    fn new() -> Self {
        Self { begun: Instant::now(), last: AtomicUsize::new(0), cut: CancellationToken::new() }
    }

    /// Bytes arrived.
    pub(crate) fn note(&self) {
        self.last.store(usize::try_from(self.begun.elapsed().as_millis()).unwrap_or(usize::MAX), Relaxed);
    }

    /// Waits until this body is to make room for others.
    pub(crate) async fn cut_off(&self) {
        self.cut.cancelled().await;
    }

    fn still(&self) -> Duration {
        let last = Duration::from_millis(u64::try_from(self.last.load(Relaxed)).unwrap_or(u64::MAX));
        self.begun.elapsed().saturating_sub(last)
    }
}

/// Bytes of the budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    id: u64,
    client: IpAddr,
    budget: Budget,
    progress: Arc<Progress>,
}

impl Budget {
    pub(crate) fn new(total: usize, used: IntGauge) -> Self {
        Self(Arc::new(Shared { total, used, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lease of nothing yet.
    pub(crate) fn lease(&self, client: IpAddr) -> Lease {
        let progress = Arc::new(Progress::new());
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.leases.insert(id, Holder { client, bytes: 0, progress: Some(Arc::clone(&progress)) });
        Lease { id, client, budget: self.clone(), progress }
    }

    /// Gives to those who wait, as far as there is room. Nobody overtakes the first: a large body would wait for ever.
    fn grant(&self, state: &mut State) {
        while let Some((id, bytes)) = state.first() {
            if state.used + bytes > self.0.total {
                break;
            }
            let Some(waiter) = state.waiting.remove(&id) else { break };
            // Who has given up meanwhile takes nothing.
            if waiter.granted.send(()).is_ok() {
                state.take(waiter.lease, bytes);
            }
        }
        self.0.used.set(i64::try_from(state.used).unwrap_or(i64::MAX));
    }
}

impl State {
    fn held_by(&self, client: IpAddr) -> usize {
        self.leases.values().filter(|holder| holder.client == client).map(|holder| holder.bytes).sum()
    }

    fn first(&self) -> Option<(u64, usize)> {
        let order = |(id, waiter): &(&u64, &Waiter)| (self.held_by(waiter.client), waiter.bytes, **id);
        self.waiting.iter().min_by_key(order).map(|(id, waiter)| (*id, waiter.bytes))
    }

    fn take(&mut self, lease: u64, bytes: usize) {
        if let Some(holder) = self.leases.get_mut(&lease) {
            holder.bytes += bytes;
            self.used += bytes;
        }
    }

    /// Cuts off the holders that receive nothing.
    fn cut_off_the_still(&self) {
        let holders = self.leases.values().filter(|holder| holder.bytes > 0);
        for progress in holders.filter_map(|holder| holder.progress.as_ref()) {
            if progress.still() >= STILL {
                progress.cut.cancel();
            }
        }
    }
}

impl Lease {
    /// Takes `bytes` more, once there is room for them.
    pub(crate) async fn grow(&self, bytes: usize) {
        let (granted, mut grant) = oneshot::channel();
        let waiter = Waiter { client: self.client, lease: self.id, bytes, granted };
        let id = {
            let mut state = self.budget.state();
            let id = state.next;
            state.next += 1;
            state.waiting.insert(id, waiter);
            self.budget.grant(&mut state);
            id
        };
        let _given_up = GivenUp { id, budget: &self.budget };
        loop {
            tokio::select! {
                biased;
                _ = &mut grant => return self.progress.note(),
                () = sleep(STILL) => self.budget.state().cut_off_the_still(),
            }
        }
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The body is there: the lease holds as many bytes, and is hurried no more.
    pub(crate) fn settle(&self, bytes: usize) {
        let mut state = self.budget.state();
        if let Some(holder) = state.leases.get_mut(&self.id) {
            let before = std::mem::replace(&mut holder.bytes, bytes);
            holder.progress = None;
            state.used = state.used - before + bytes;
        }
        self.budget.grant(&mut state);
    }
}

struct GivenUp<'a> {
    id: u64,
    budget: &'a Budget,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        if state.waiting.remove(&self.id).is_some() {
            self.budget.grant(&mut state);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        if let Some(holder) = state.leases.remove(&self.id) {
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

    fn budget(total: usize) -> Budget {
        Budget::new(total, IntGauge::new("used", "used").unwrap())
    }

    #[tokio::test]
    async fn never_more_is_given_than_there_is() {
        let budget = budget(100);
        let (one, two) = (budget.lease(A), budget.lease(B));
        one.grow(60).await;
        let mut waits = Box::pin(two.grow(60));
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!(budget.0.used.get(), 60);
        drop(one);
        waits.await;
        assert_eq!(budget.0.used.get(), 60);
        drop(two);
        assert_eq!((budget.0.used.get(), budget.state().leases.len()), (0, 0));
    }

    #[tokio::test]
    async fn a_client_that_holds_little_comes_first_and_so_does_a_small_body() {
        let budget = budget(100);
        let (first, much, more, little, other) =
            (budget.lease(A), budget.lease(A), budget.lease(A), budget.lease(A), budget.lease(B));
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
        assert!(budget.state().waiting.is_empty(), "who gives up waits no longer");
    }

    #[tokio::test]
    async fn who_receives_nothing_makes_room_for_those_who_wait() {
        let budget = budget(100);
        let (still, read, new) = (budget.lease(A), budget.lease(B), budget.lease(B));
        still.grow(50).await;
        read.grow(50).await;
        read.settle(50);
        sleep(STILL).await;
        assert!(still.progress().cut_off().now_or_never().is_none(), "nobody waits yet");
        let mut waits = Box::pin(new.grow(10));
        tokio::select! {
            () = &mut waits => panic!("there is no room"),
            () = still.progress().cut_off() => {}
            () = sleep(4 * STILL) => panic!("nobody was cut off"),
        }
        assert!(read.progress().cut_off().now_or_never().is_none(), "it is there whole");
        drop(still);
        waits.await;
    }
}
