//! What takes processor time: decoding, validating, rendering, comparing. It runs as many at a time as there are
//! processors, not on the threads that serve I/O, and shared fairly by namespaces, one after the other.

use std::collections::{HashMap, VecDeque};
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio::task::block_in_place;

/// Processors for the work of reconciles. Clones share them.
#[derive(Clone, Debug)]
pub struct Compute {
    turns: Arc<Mutex<Turns>>,
}

impl Default for Compute {
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, NonZero::get))
    }
}

impl Compute {
    fn new(at_a_time: usize) -> Self {
        let turns = Turns { free: at_a_time.max(1), lanes: HashMap::new(), order: VecDeque::new() };
        Self { turns: Arc::new(Mutex::new(turns)) }
    }

    /// Does work for an object of this namespace, when it is its turn.
    pub async fn run<T>(&self, namespace: &str, work: impl FnOnce() -> T) -> T {
        let _permit = self.acquire(namespace).await;
        match Handle::current().runtime_flavor() {
            // The other tasks of this thread go on in another one.
            RuntimeFlavor::MultiThread => block_in_place(work),
            _ => work(),
        }
    }

    async fn acquire(&self, namespace: &str) -> Option<Permit> {
        let turn = {
            let mut turns = self.turns();
            if turns.free > 0 {
                turns.free -= 1;
                return Some(Permit { turns: Arc::clone(&self.turns) });
            }
            let (permit, turn) = oneshot::channel();
            turns.queue(namespace, permit);
            turn
        };
        turn.await.ok()
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        locked(&self.turns)
    }
}

/// Who comes next.
#[derive(Debug)]
struct Turns {
    free: usize,
    lanes: HashMap<Arc<str>, VecDeque<oneshot::Sender<Permit>>>,
    /// Namespaces that wait.
    order: VecDeque<Arc<str>>,
}

impl Turns {
    fn queue(&mut self, namespace: &str, permit: oneshot::Sender<Permit>) {
        if let Some(lane) = self.lanes.get_mut(namespace) {
            lane.push_back(permit);
            return;
        }
        let namespace: Arc<str> = namespace.into();
        self.order.push_back(Arc::clone(&namespace));
        self.lanes.insert(namespace, VecDeque::from([permit]));
    }

    /// The next one of the next namespace, which goes to the end.
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

/// The right to work, until it is dropped.
#[derive(Debug)]
struct Permit {
    turns: Arc<Mutex<Turns>>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let next = {
            let mut turns = locked(&self.turns);
            let next = std::iter::from_fn(|| turns.next()).find(|next| !next.is_closed());
            if next.is_none() {
                turns.free += 1;
            }
            next
        };
        if let Some(next) = next {
            // One that nobody waits for any more is dropped, and so comes here.
            _ = next.send(Self { turns: Arc::clone(&self.turns) });
        }
    }
}

fn locked(turns: &Mutex<Turns>) -> MutexGuard<'_, Turns> {
    turns.lock().unwrap_or_else(PoisonError::into_inner)
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
            tasks.spawn(async move { compute.run(namespace, || done.lock().unwrap().push(namespace)).await });
            yield_now().await;
        }
        drop(first);
        tasks.join_all().await;
        assert_eq!(*done.lock().unwrap(), ["big", "small", "other", "big", "big", "big"]);
        assert_eq!(compute.turns().free, 1);
        assert!(compute.turns().lanes.is_empty() && compute.turns().order.is_empty());
    }

    #[tokio::test]
    async fn who_waits_no_more_takes_no_turn() {
        let compute = Compute::new(1);
        let first = compute.acquire("a").await;
        let mut dropped = Box::pin(compute.acquire("b"));
        assert!((&mut dropped).now_or_never().is_none());
        // It gets the turn and never takes it.
        drop(first);
        drop(dropped);
        let second = compute.acquire("c").now_or_never().expect("the turn came back");
        let mut waits = Box::pin(compute.acquire("b"));
        assert!((&mut waits).now_or_never().is_none());
        drop(waits);
        drop(second);
        assert_eq!(compute.turns().free, 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn work_leaves_the_threads_of_others_free() {
        let compute = Compute::new(2);
        let (end, ended) = mpsc::channel::<()>();
        let working = tokio::spawn(async move { compute.run("n", move || ended.recv()).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        // On the only worker.
        let other = tokio::spawn(async { 1 });
        assert_eq!(tokio::time::timeout(Duration::from_secs(10), other).await.unwrap().unwrap(), 1);
        drop(end);
        assert!(working.await.unwrap().is_err());
    }
}
