//! The work queue of one kind: which object is reconciled next, and when. Pure: the time is an argument.
//!
//! Places of work are shared by namespaces. The namespace that holds the fewest goes first, one after the other
//! where they are even. While others wait, a namespace holds at most a third of the places, and never more than two
//! thirds: a namespace that comes along finds a place at once, however much a single tenant changes. Only where
//! several namespaces hold all places it waits, for the first reconcile that ends.
//!
//! Changes of one object that follow one another are one entry. Nothing stands here of objects that are gone, see
//! [`Queue::forget`].

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// How long further changes of an object are waited for before its reconcile: long enough for a StatefulSet and its
/// Service, made together, to cause one and not two; short enough that nobody notices.
pub const DEBOUNCE: Duration = Duration::from_millis(50);
/// How long an object that changes all the time waits at most.
pub const LONGEST_DEBOUNCE: Duration = Duration::from_millis(500);

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

/// An object that waits or is reconciled.
#[derive(Debug, Default)]
struct Entry {
    /// When it is due: after changes, or to be tried again.
    due: Option<Instant>,
    /// It is due and waits for a place; of one that is reconciled: for the end of that.
    is_ready: bool,
    is_running: bool,
    /// Since when it has a change that no reconcile has taken up.
    changed: Option<Instant>,
}

/// The objects of one namespace.
#[derive(Debug, Default)]
struct Lane {
    ready: VecDeque<Key>,
    running: usize,
    /// Its place among namespaces that hold as many places.
    turn: u64,
}

/// The work queue of one kind.
#[derive(Debug)]
pub struct Queue {
    places: usize,
    running: usize,
    entries: HashMap<Key, Entry>,
    due: BTreeSet<(Instant, Key)>,
    lanes: HashMap<Arc<str>, Lane>,
    /// Namespaces with objects that are ready, as they come to their turn.
    waiting: BTreeSet<(usize, u64, Arc<str>)>,
    turns: u64,
}

impl Queue {
    /// An empty queue for so many reconciles at a time.
    pub fn new(places: usize) -> Self {
        Self {
            places: places.max(1),
            running: 0,
            entries: HashMap::new(),
            due: BTreeSet::new(),
            lanes: HashMap::new(),
            waiting: BTreeSet::new(),
            turns: 0,
        }
    }

    /// An object has changed, or something that it depends on.
    pub fn change(&mut self, key: &Key, now: Instant) {
        let entry = self.entries.entry(key.clone()).or_default();
        let debounced = now + DEBOUNCE;
        let due = match (entry.changed, entry.due) {
            (Some(first), _) => debounced.min(first + LONGEST_DEBOUNCE),
            (None, Some(due)) => debounced.min(due),
            (None, None) => debounced,
        };
        entry.changed.get_or_insert(now);
        if !entry.is_ready {
            self.schedule(key, due);
        }
    }

    /// The object that is to be reconciled now, if there is one and a place for it, and how long its change waited.
    pub fn next(&mut self, now: Instant) -> Option<(Key, Option<Duration>)> {
        self.make_ready(now);
        let (held, turn, namespace) = self.waiting.first()?.clone();
        let third = (self.places / 3).max(1);
        let most = if self.waiting.len() > 1 { third } else { (self.places - third).max(1) };
        if self.running >= self.places || held >= most {
            return None;
        }
        self.waiting.remove(&(held, turn, Arc::clone(&namespace)));
        let lane = self.lanes.get_mut(&namespace)?;
        let key = lane.ready.pop_front()?;
        (self.running, lane.running) = (self.running + 1, lane.running + 1);
        self.queue_up(&namespace);
        let entry = self.entries.entry(key.clone()).or_default();
        (entry.is_ready, entry.is_running) = (false, true);
        let waited = entry.changed.take().map(|since| now.duration_since(since));
        Some((key, waited))
    }

    /// A reconcile has ended; the object is to be looked at again at this time, if not before.
    pub fn finish(&mut self, key: &Key, again: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if !std::mem::take(&mut entry.is_running) {
            return;
        }
        let is_ready = std::mem::take(&mut entry.is_ready);
        let due = entry.due;
        self.running = self.running.saturating_sub(1);
        self.leave_lane(&key.namespace, |lane| lane.running = lane.running.saturating_sub(1));
        if is_ready {
            self.ready(key);
        } else if let Some(again) = again {
            self.schedule(key, due.map_or(again, |due| due.min(again)));
        } else if due.is_none() {
            self.entries.remove(key);
        }
    }

    /// Forgets an object that is gone. False while it is reconciled: then it is looked at once more.
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
            self.leave_lane(&key.namespace, |lane| lane.ready.retain(|ready| ready != key));
        }
        self.entries.remove(key);
        true
    }

    /// When the next object is due that waits for its time and not for a place.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Objects with a change that no reconcile has taken up.
    pub fn changed(&self) -> usize {
        self.entries.values().filter(|entry| entry.changed.is_some()).count()
    }

    /// What waits counts from now on: until now somebody else looked after it.
    pub fn restart_waits(&mut self, now: Instant) {
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
                // Never two reconciles of one object at a time.
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
            self.queue_up(&key.namespace);
        }
    }

    /// Puts a namespace behind those that hold as many places, or forgets it if it has nothing to do.
    fn queue_up(&mut self, namespace: &Arc<str>) {
        let Some(lane) = self.lanes.get_mut(namespace) else { return };
        if lane.ready.is_empty() {
            if lane.running == 0 {
                self.lanes.remove(namespace);
            }
            return;
        }
        self.turns += 1;
        lane.turn = self.turns;
        self.waiting.insert((lane.running, lane.turn, Arc::clone(namespace)));
    }

    /// Takes something out of a lane, which changes its place among the others.
    fn leave_lane(&mut self, namespace: &Arc<str>, take: impl FnOnce(&mut Lane)) {
        let Some(lane) = self.lanes.get_mut(namespace) else { return };
        let turn = lane.turn;
        self.waiting.remove(&(lane.running, turn, Arc::clone(namespace)));
        take(lane);
        if lane.ready.is_empty() {
            if lane.running == 0 {
                self.lanes.remove(namespace);
            }
        } else {
            self.waiting.insert((lane.running, turn, Arc::clone(namespace)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: usize = 9;

    fn changed(queue: &mut Queue, namespace: &str, count: usize, now: Instant) {
        for index in 0..count {
            queue.change(&Key::new(namespace, &format!("{index:04}")), now);
        }
    }

    fn taken(queue: &mut Queue, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| queue.next(now)).map(|(key, _)| key.namespace.to_string()).collect()
    }

    #[test]
    fn a_namespace_alone_leaves_a_third_of_the_places_free() {
        let (mut queue, now) = (Queue::new(PLACES), Instant::now());
        changed(&mut queue, "big", 100, now);
        assert_eq!(taken(&mut queue, now).len(), 0, "changes are gathered for a moment");
        let now = now + DEBOUNCE;
        assert_eq!(taken(&mut queue, now), vec!["big"; 6]);
        // Who comes along then has a place at once.
        changed(&mut queue, "small", 1, now);
        assert_eq!(taken(&mut queue, now + DEBOUNCE), ["small"]);
        for places in 1..100 {
            let mut queue = Queue::new(places);
            changed(&mut queue, "big", 200, now);
            let taken = taken(&mut queue, now + DEBOUNCE).len();
            assert!(
                taken >= 1 && (places < 3 || (taken < places && taken * 2 > places)),
                "{places}: {taken}"
            );
        }
    }

    #[test]
    fn while_others_wait_a_namespace_holds_a_third_of_the_places() {
        let (mut queue, start) = (Queue::new(PLACES), Instant::now());
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
            assert_eq!(running.len(), PLACES, "no place is wasted");
            for namespace in ["a", "b", "c", "d"] {
                let held = running.iter().filter(|key| &*key.namespace == namespace).count();
                assert!(held <= PLACES / 3, "{namespace} holds {held}");
            }
            queue.finish(&running.remove(0), None);
        }
        assert!(shares.values().all(|share| share.abs_diff(52) <= 3), "{shares:?}");
    }

    #[test]
    fn a_newcomer_among_many_gets_the_next_place() {
        let (mut queue, start) = (Queue::new(PLACES), Instant::now());
        for namespace in ["a", "b", "c"] {
            changed(&mut queue, namespace, 100, start);
        }
        let now = start + DEBOUNCE;
        let running: Vec<_> = std::iter::from_fn(|| queue.next(now)).collect();
        assert_eq!(running.len(), PLACES);
        changed(&mut queue, "small", 1, now);
        let now = now + DEBOUNCE;
        assert_eq!(queue.next(now), None);
        queue.finish(&running[0].0, None);
        assert_eq!(taken(&mut queue, now), ["small"]);
    }

    #[test]
    fn changes_in_a_row_are_one_entry_that_is_not_put_off_for_ever() {
        let (mut queue, start) = (Queue::new(PLACES), Instant::now());
        let key = Key::new("n", "f");
        let mut taken = Vec::new();
        // A tenant that changes an object every ten milliseconds.
        for step in 0..120u32 {
            let now = start + Duration::from_millis(10) * step;
            queue.change(&key, now);
            if let Some((key, waited)) = queue.next(now) {
                taken.push(waited.unwrap());
                queue.finish(&key, None);
            }
        }
        assert_eq!(taken, [LONGEST_DEBOUNCE; 2]);
        assert_eq!(queue.changed(), 1);
    }

    #[test]
    fn an_object_is_reconciled_once_at_a_time_and_again_if_it_changed_meanwhile() {
        let (mut queue, start) = (Queue::new(PLACES), Instant::now());
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
        assert!(queue.entries.is_empty() && queue.lanes.is_empty() && queue.waiting.is_empty());
    }

    #[test]
    fn a_retry_waits_for_its_time_unless_there_is_a_change() {
        let (mut queue, start) = (Queue::new(PLACES), Instant::now());
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
    fn nothing_is_left_of_objects_that_are_gone() {
        let (mut queue, now) = (Queue::new(PLACES), Instant::now());
        changed(&mut queue, "waits", 50, now);
        changed(&mut queue, "ready", 50, now - DEBOUNCE);
        let (running, _) = queue.next(now).unwrap();
        assert!(!queue.forget(&running), "it is looked at once more");
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
        assert!(queue.lanes.is_empty() && queue.waiting.is_empty());
    }

    #[test]
    fn waits_are_counted_anew_once_this_program_leads() {
        let (mut queue, start) = (Queue::new(PLACES), Instant::now());
        changed(&mut queue, "n", 1, start);
        let elected = start + Duration::from_hours(1);
        queue.restart_waits(elected);
        let (_, waited) = queue.next(elected + Duration::from_secs(1)).unwrap();
        assert_eq!(waited, Some(Duration::from_secs(1)));
    }
}
