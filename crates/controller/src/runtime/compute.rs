//! Limits CPU-bound work: decoding, validation, rendering, comparison. At most one task per processor runs at a time, and
//! namespaces take turns (round-robin). Work on large objects runs off the I/O threads.

use std::collections::{HashMap, VecDeque};
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio::task::block_in_place;

/// Cost of an object, in bytes, up to which work takes about a millisecond. Moving the other tasks to another thread takes
/// longer than they wait, and dozens of threads take megabytes.
const SMALL: usize = 256 << 10;

/// Slots for CPU-bound work. Clones share them.
#[derive(Clone, Debug)]
pub struct Compute {
    scheduler: Arc<Mutex<Scheduler>>,
}

impl Default for Compute {
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, NonZero::get))
    }
}

impl Compute {
    fn new(slots: usize) -> Self {
        let scheduler = Scheduler { free: slots.max(1), lanes: HashMap::new(), order: VecDeque::new() };
        Self { scheduler: Arc::new(Mutex::new(scheduler)) }
    }

    /// Runs work for an object of this namespace once a slot is free. `cost` is the memory that its reconcile takes, in
    /// bytes.
    pub async fn run<T>(&self, namespace: &str, cost: usize, work: impl FnOnce() -> T) -> T {
        let _permit = self.acquire(namespace).await;
        match Handle::current().runtime_flavor() {
            // Tokio moves the other tasks of this thread to another one.
            RuntimeFlavor::MultiThread if cost > SMALL => block_in_place(work),
            _ => work(),
        }
    }

    async fn acquire(&self, namespace: &str) -> Option<Permit> {
        let receiver = {
            let mut scheduler = self.scheduler();
            if scheduler.free > 0 {
                scheduler.free -= 1;
                return Some(Permit { scheduler: Arc::clone(&self.scheduler) });
            }
            let (permit, receiver) = oneshot::channel();
            scheduler.queue(namespace, permit);
            receiver
        };
        receiver.await.ok()
    }

    fn scheduler(&self) -> MutexGuard<'_, Scheduler> {
        lock(&self.scheduler)
    }
}

/// Free slots, and waiters by namespace.
#[derive(Debug)]
struct Scheduler {
    free: usize,
    lanes: HashMap<Arc<str>, VecDeque<oneshot::Sender<Permit>>>,
    /// Namespaces with waiters, in round-robin order.
    order: VecDeque<Arc<str>>,
}

impl Scheduler {
    fn queue(&mut self, namespace: &str, permit: oneshot::Sender<Permit>) {
        if let Some(lane) = self.lanes.get_mut(namespace) {
            lane.push_back(permit);
            return;
        }
        let namespace: Arc<str> = namespace.into();
        self.order.push_back(Arc::clone(&namespace));
        self.lanes.insert(namespace, VecDeque::from([permit]));
    }

    /// The first waiter of the next namespace, which moves to the end.
    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        let namespace = self.order.pop_front()?;
        let lane = self.lanes.get_mut(&namespace)?;
        let next = lane.pop_front();
        if lane.is_empty() {
            self.lanes.remove(&namespace);
        } else {
            self.order.push_back(namespace);
        }
        next
    }
}

/// A slot, until it is dropped.
#[derive(Debug)]
struct Permit {
    scheduler: Arc<Mutex<Scheduler>>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let next = {
            let mut scheduler = lock(&self.scheduler);
            let next = std::iter::from_fn(|| scheduler.next()).find(|next| !next.is_closed());
            if next.is_none() {
                scheduler.free += 1;
            }
            next
        };
        if let Some(next) = next {
            // If the receiver is gone, the permit is dropped, which passes it on.
            _ = next.send(Self { scheduler: Arc::clone(&self.scheduler) });
        }
    }
}

fn lock(scheduler: &Mutex<Scheduler>) -> MutexGuard<'_, Scheduler> {
    scheduler.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use futures::FutureExt;
    use tokio::task::{JoinSet, yield_now};

    use super::*;

    #[tokio::test]
    async fn namespaces_take_turns() {
        let compute = Compute::new(1);
        let first = compute.acquire("big").await;
        let done = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for namespace in ["big", "big", "big", "big", "small", "other"] {
            let (compute, done) = (compute.clone(), Arc::clone(&done));
            tasks.spawn(
                async move { compute.run(namespace, 0, || done.lock().unwrap().push(namespace)).await },
            );
            yield_now().await;
        }
        drop(first);
        tasks.join_all().await;
        assert_eq!(*done.lock().unwrap(), ["big", "small", "other", "big", "big", "big"]);
        assert_eq!(compute.scheduler().free, 1);
        assert!(compute.scheduler().lanes.is_empty() && compute.scheduler().order.is_empty());
    }

    #[tokio::test]
    async fn cancelled_waiter_releases_its_slot() {
        let compute = Compute::new(1);
        let first = compute.acquire("a").await;
        let mut dropped = Box::pin(compute.acquire("b"));
        assert!((&mut dropped).now_or_never().is_none());
        // It receives the permit and is dropped without using it.
        drop(first);
        drop(dropped);
        let second = compute.acquire("c").now_or_never().expect("the turn came back");
        let mut waits = Box::pin(compute.acquire("b"));
        assert!((&mut waits).now_or_never().is_none());
        drop(waits);
        drop(second);
        assert_eq!(compute.scheduler().free, 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn work_on_large_objects_does_not_block_other_tasks() {
        let compute = Compute::new(2);
        let (end, ended) = mpsc::channel::<()>();
        let working = tokio::spawn(async move { compute.run("n", SMALL + 1, move || ended.recv()).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        // On the only worker.
        let other = tokio::spawn(async { 1 });
        assert_eq!(tokio::time::timeout(Duration::from_secs(10), other).await.unwrap().unwrap(), 1);
        drop(end);
        assert!(working.await.unwrap().is_err());
    }
}
