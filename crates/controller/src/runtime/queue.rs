//! The work queue of one kind: which object is reconciled next, and when. Pure: the time is an argument.
//!
//! Namespaces share the workers. The namespace with the fewest busy workers is next, round-robin among equals. While
//! other namespaces wait, a namespace gets at most a third of the workers, and never more than two thirds: however many
//! changes one tenant makes, another namespace finds a free worker at once. It waits only if several namespaces occupy
//! all workers, until the first reconcile finishes.
//!
//! Successive changes of one object are one entry. Deleted objects have no entry, see [`Queue::forget`].

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// How long a reconcile is deferred for further changes of its object: long enough that a StatefulSet and its Service,
/// created together, trigger one reconcile; short enough to be unnoticeable.
pub const DEBOUNCE: Duration = Duration::from_millis(50);
/// Maximum delay of an object that changes continuously.
pub const MAX_DEBOUNCE: Duration = Duration::from_millis(500);

/// Namespace and name of an object.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl Key {
    /// The key of an object.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// An object that is queued or reconciled.
#[derive(Debug, Default)]
struct Entry {
    /// When it is due, after a change or for a retry.
    due: Option<Instant>,
    /// Whether it is due and waits for a worker, or for the end of its current reconcile.
    is_ready: bool,
    is_running: bool,
    /// Since when it has a change that no reconcile has picked up.
    changed: Option<Instant>,
}

/// The objects of one namespace.
#[derive(Debug, Default)]
struct Lane {
    ready: VecDeque<Key>,
    running: usize,
    /// Its round-robin position among namespaces with as many busy workers.
    sequence: u64,
}

/// The work queue of one kind.
#[derive(Debug)]
pub struct Queue {
    workers: usize,
    running: usize,
    entries: HashMap<Key, Entry>,
    due: BTreeSet<(Instant, Key)>,
    lanes: HashMap<Arc<str>, Lane>,
    /// Namespaces with ready objects, in scheduling order.
    ready_lanes: BTreeSet<(usize, u64, Arc<str>)>,
    next_sequence: u64,
}

impl Queue {
    /// An empty queue for this number of concurrent reconciles.
    pub fn new(workers: usize) -> Self {
        Self {
            workers: workers.max(1),
            running: 0,
            entries: HashMap::new(),
            due: BTreeSet::new(),
            lanes: HashMap::new(),
            ready_lanes: BTreeSet::new(),
            next_sequence: 0,
        }
    }

    /// Adds an object that has changed, or whose dependencies have.
    pub fn change(&mut self, key: &Key, now: Instant) {
        let entry = self.entries.entry(key.clone()).or_default();
        let debounced = now + DEBOUNCE;
        let due = match (entry.changed, entry.due) {
            (Some(first), _) => debounced.min(first + MAX_DEBOUNCE),
            (None, Some(due)) => debounced.min(due),
            (None, None) => debounced,
        };
        entry.changed.get_or_insert(now);
        if !entry.is_ready {
            self.schedule(key, due);
        }
    }

    /// The next object to reconcile, if there is one and a free worker, and how long its change waited.
    pub fn next(&mut self, now: Instant) -> Option<(Key, Option<Duration>)> {
        self.make_ready(now);
        let (busy, sequence, namespace) = self.ready_lanes.first()?.clone();
        let third = (self.workers / 3).max(1);
        let limit = if self.ready_lanes.len() > 1 { third } else { (self.workers - third).max(1) };
        if self.running >= self.workers || busy >= limit {
            return None;
        }
        self.ready_lanes.remove(&(busy, sequence, Arc::clone(&namespace)));
        let lane = self.lanes.get_mut(&namespace)?;
        let key = lane.ready.pop_front()?;
        (self.running, lane.running) = (self.running + 1, lane.running + 1);
        self.enqueue_lane(&namespace);
        let entry = self.entries.entry(key.clone()).or_default();
        (entry.is_ready, entry.is_running) = (false, true);
        let waited = entry.changed.take().map(|since| now.duration_since(since));
        Some((key, waited))
    }

    /// Ends a reconcile. The object is requeued for this time, or earlier if it changes.
    pub fn finish(&mut self, key: &Key, requeue_at: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if !std::mem::take(&mut entry.is_running) {
            return;
        }
        let is_ready = std::mem::take(&mut entry.is_ready);
        let due = entry.due;
        self.running = self.running.saturating_sub(1);
        self.update_lane(&key.namespace, |lane| lane.running = lane.running.saturating_sub(1));
        if is_ready {
            self.ready(key);
        } else if let Some(requeue_at) = requeue_at {
            self.schedule(key, due.map_or(requeue_at, |due| due.min(requeue_at)));
        } else if due.is_none() {
            self.entries.remove(key);
        }
    }

    /// Removes a deleted object. False if it is being reconciled: then it is requeued once more.
    pub fn forget(&mut self, key: &Key) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return true };
        if let Some(due) = entry.due.take() {
            self.due.remove(&(due, key.clone()));
        }
        if entry.is_running {
            entry.is_ready = true;
            return false;
        }
        if entry.is_ready {
            self.update_lane(&key.namespace, |lane| lane.ready.retain(|ready| ready != key));
        }
        self.entries.remove(key);
        true
    }

    /// When the next object is due, apart from ready ones.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Objects with a change that no reconcile has picked up.
    pub fn changed(&self) -> usize {
        self.entries.values().filter(|entry| entry.changed.is_some()).count()
    }

    /// Restarts all wait times: until now another replica led.
    pub fn restart_wait_times(&mut self, now: Instant) {
        for since in self.entries.values_mut().filter_map(|entry| entry.changed.as_mut()) {
            *since = now;
        }
    }

    fn schedule(&mut self, key: &Key, due: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let Some(before) = entry.due.replace(due) {
            self.due.remove(&(before, key.clone()));
        }
        self.due.insert((due, key.clone()));
    }

    fn make_ready(&mut self, now: Instant) {
        while self.next_due().is_some_and(|due| due <= now) {
            let Some((_, key)) = self.due.pop_first() else { return };
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            entry.due = None;
            if entry.is_running {
                // An object is never reconciled concurrently.
                entry.is_ready = true;
            } else if !entry.is_ready {
                self.ready(&key);
            }
        }
    }

    fn ready(&mut self, key: &Key) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.is_ready = true;
            if let Some(due) = entry.due.take() {
                self.due.remove(&(due, key.clone()));
            }
        }
        let lane = self.lanes.entry(Arc::clone(&key.namespace)).or_default();
        lane.ready.push_back(key.clone());
        if lane.ready.len() == 1 {
            self.enqueue_lane(&key.namespace);
        }
    }

    /// Moves a namespace behind those with as many busy workers, or removes it if it is idle.
    fn enqueue_lane(&mut self, namespace: &Arc<str>) {
        let Some(lane) = self.lanes.get_mut(namespace) else { return };
        if lane.ready.is_empty() {
            if lane.running == 0 {
                self.lanes.remove(namespace);
            }
            return;
        }
        self.next_sequence += 1;
        lane.sequence = self.next_sequence;
        self.ready_lanes.insert((lane.running, lane.sequence, Arc::clone(namespace)));
    }

    /// Removes an entry from a lane and updates the scheduling order.
    fn update_lane(&mut self, namespace: &Arc<str>, take: impl FnOnce(&mut Lane)) {
        let Some(lane) = self.lanes.get_mut(namespace) else { return };
        let sequence = lane.sequence;
        self.ready_lanes.remove(&(lane.running, sequence, Arc::clone(namespace)));
        take(lane);
        if lane.ready.is_empty() {
            if lane.running == 0 {
                self.lanes.remove(namespace);
            }
        } else {
            self.ready_lanes.insert((lane.running, sequence, Arc::clone(namespace)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKERS: usize = 9;

    fn changed(queue: &mut Queue, namespace: &str, count: usize, now: Instant) {
        for index in 0..count {
            queue.change(&Key::new(namespace, &format!("{index:04}")), now);
        }
    }

    fn dequeued(queue: &mut Queue, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| queue.next(now)).map(|(key, _)| key.namespace.to_string()).collect()
    }

    #[test]
    fn single_namespace_leaves_a_third_of_the_workers_free() {
        let (mut queue, now) = (Queue::new(WORKERS), Instant::now());
        changed(&mut queue, "big", 100, now);
        assert_eq!(dequeued(&mut queue, now).len(), 0, "changes are debounced");
        let now = now + DEBOUNCE;
        assert_eq!(dequeued(&mut queue, now), vec!["big"; 6]);
        // Another namespace gets a worker at once.
        changed(&mut queue, "small", 1, now);
        assert_eq!(dequeued(&mut queue, now + DEBOUNCE), ["small"]);
        for workers in 1..100 {
            let mut queue = Queue::new(workers);
            changed(&mut queue, "big", 200, now);
            let dequeued = dequeued(&mut queue, now + DEBOUNCE).len();
            assert!(
                dequeued >= 1 && (workers < 3 || (dequeued < workers && dequeued * 2 > workers)),
                "{workers}: {dequeued}"
            );
        }
    }

    #[test]
    fn competing_namespaces_get_a_third_of_the_workers_each() {
        let (mut queue, start) = (Queue::new(WORKERS), Instant::now());
        for namespace in ["a", "b", "c", "d"] {
            changed(&mut queue, namespace, 100, start);
        }
        let now = start + DEBOUNCE;
        let mut running = Vec::new();
        let mut shares = HashMap::<String, usize>::new();
        for _ in 0..200 {
            while let Some((key, _)) = queue.next(now) {
                *shares.entry(key.namespace.to_string()).or_default() += 1;
                running.push(key);
            }
            assert_eq!(running.len(), WORKERS, "no worker is idle");
            for namespace in ["a", "b", "c", "d"] {
                let busy = running.iter().filter(|key| &*key.namespace == namespace).count();
                assert!(busy <= WORKERS / 3, "{namespace} has {busy} workers");
            }
            queue.finish(&running.remove(0), None);
        }
        assert!(shares.values().all(|share| share.abs_diff(52) <= 3), "{shares:?}");
    }

    #[test]
    fn new_namespace_gets_the_next_free_worker() {
        let (mut queue, start) = (Queue::new(WORKERS), Instant::now());
        for namespace in ["a", "b", "c"] {
            changed(&mut queue, namespace, 100, start);
        }
        let now = start + DEBOUNCE;
        let running: Vec<_> = std::iter::from_fn(|| queue.next(now)).collect();
        assert_eq!(running.len(), WORKERS);
        changed(&mut queue, "small", 1, now);
        let now = now + DEBOUNCE;
        assert_eq!(queue.next(now), None);
        queue.finish(&running[0].0, None);
        assert_eq!(dequeued(&mut queue, now), ["small"]);
    }

    #[test]
    fn successive_changes_are_debounced_up_to_a_maximum() {
        let (mut queue, start) = (Queue::new(WORKERS), Instant::now());
        let key = Key::new("n", "f");
        let mut dequeued = Vec::new();
        // A tenant that changes an object every ten milliseconds.
        for step in 0..120u32 {
            let now = start + Duration::from_millis(10) * step;
            queue.change(&key, now);
            if let Some((key, waited)) = queue.next(now) {
                dequeued.push(waited.unwrap());
                queue.finish(&key, None);
            }
        }
        assert_eq!(dequeued, [MAX_DEBOUNCE; 2]);
        assert_eq!(queue.changed(), 1);
    }

    #[test]
    fn change_during_a_reconcile_requeues_once() {
        let (mut queue, start) = (Queue::new(WORKERS), Instant::now());
        let key = Key::new("n", "f");
        queue.change(&key, start);
        let now = start + DEBOUNCE;
        assert_eq!(queue.next(now), Some((key.clone(), Some(DEBOUNCE))));
        queue.change(&key, now);
        let now = now + DEBOUNCE;
        assert_eq!((queue.next(now), queue.changed()), (None, 1));
        queue.finish(&key, Some(now + Duration::from_mins(1)));
        assert_eq!(queue.next(now), Some((key.clone(), Some(DEBOUNCE))));
        queue.finish(&key, None);
        assert!(queue.entries.is_empty() && queue.lanes.is_empty() && queue.ready_lanes.is_empty());
    }

    #[test]
    fn retry_waits_unless_the_object_changes() {
        let (mut queue, start) = (Queue::new(WORKERS), Instant::now());
        let key = Key::new("n", "f");
        queue.change(&key, start);
        let now = start + DEBOUNCE;
        queue.next(now);
        queue.finish(&key, Some(now + Duration::from_secs(10)));
        assert_eq!(queue.next_due(), Some(now + Duration::from_secs(10)));
        assert_eq!((queue.next(now + Duration::from_secs(9)), queue.changed()), (None, 0));
        assert_eq!(queue.next(now + Duration::from_secs(10)), Some((key.clone(), None)));
        queue.finish(&key, Some(now + Duration::from_mins(1)));
        let now = now + Duration::from_secs(20);
        queue.change(&key, now);
        assert!(queue.next(now + DEBOUNCE).is_some());
    }

    #[test]
    fn deleted_objects_leave_no_entries() {
        let (mut queue, now) = (Queue::new(WORKERS), Instant::now());
        changed(&mut queue, "waits", 50, now);
        changed(&mut queue, "ready", 50, now - DEBOUNCE);
        let (running, _) = queue.next(now).unwrap();
        assert!(!queue.forget(&running), "it is requeued once more");
        for namespace in ["waits", "ready"] {
            for index in 0..50 {
                let key = Key::new(namespace, &format!("{index:04}"));
                assert!(key == running || queue.forget(&key));
            }
        }
        queue.finish(&running, None);
        assert_eq!(queue.next(now), Some((running.clone(), None)));
        queue.finish(&running, None);
        assert!(queue.entries.is_empty() && queue.due.is_empty());
        assert!(queue.lanes.is_empty() && queue.ready_lanes.is_empty());
    }

    #[test]
    fn wait_times_restart_with_leadership() {
        let (mut queue, start) = (Queue::new(WORKERS), Instant::now());
        changed(&mut queue, "n", 1, start);
        let elected = start + Duration::from_hours(1);
        queue.restart_wait_times(elected);
        let (_, waited) = queue.next(elected + Duration::from_secs(1)).unwrap();
        assert_eq!(waited, Some(Duration::from_secs(1)));
    }
}
