//! Publishes changes to all viewers: at most one update in each interval, made once for all of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::feed::{Event, Feed};
use crate::state::State;
use crate::store::{Change, MeshKey, Store};
use crate::view::{Layouts, mesh, overview};

/// Times of the hub.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Shortest time between two updates.
    pub interval: Duration,
    /// Time without an event after which a viewer gets a sign of life.
    pub heartbeat: Duration,
    /// How long a page without viewers is kept, for one that returns.
    pub idle: Duration,
    /// How long a request waits for the first list.
    pub first_list: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(500),
            heartbeat: Duration::from_secs(15),
            idle: Duration::from_mins(1),
            first_list: Duration::from_secs(10),
        }
    }
}

/// A page.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Subject {
    /// All meshes.
    Overview,
    /// One mesh.
    Mesh(MeshKey),
}

/// The objects, and the pages that viewers look at. Clones share them.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    namespace: Option<String>,
    times: Times,
    shared: Mutex<Shared>,
    changed: Notify,
    synced: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Shared {
    store: Store,
    layouts: Layouts,
    pages: HashMap<Subject, Page>,
    /// Distinguishes the events of a page from those of the same page earlier.
    epochs: u64,
    /// Namespaces with changes since the last update.
    dirty: BTreeSet<String>,
    problem: Option<String>,
}

#[derive(Debug)]
struct Page {
    slot: Arc<Slot>,
    /// Since when it has no viewer.
    unused: Option<Instant>,
}

#[derive(Debug)]
struct Slot {
    feed: Mutex<Feed>,
    number: watch::Sender<u64>,
}

impl Hub {
    /// A hub without objects, for a namespace or for all.
    pub fn new(namespace: Option<String>, times: Times) -> Self {
        let (synced, _) = watch::channel(false);
        Self(Arc::new(Inner { namespace, times, shared: Mutex::default(), changed: Notify::new(), synced }))
    }

    /// The namespace that is shown; None for all.
    pub fn namespace(&self) -> Option<&str> {
        self.0.namespace.as_deref()
    }

    /// The times of this hub.
    pub fn times(&self) -> Times {
        self.0.times
    }

    /// Applies an event of the watch.
    pub fn apply(&self, change: Change) {
        let mut shared = lock(&self.0.shared);
        match &change {
            Change::Apply(_, object) | Change::Delete(_, object) => {
                let namespace = object.pointer("/metadata/namespace").and_then(|it| it.as_str());
                shared.dirty.extend(namespace.map(str::to_owned));
            }
            Change::InitDone(_) => shared.mark_all(),
            Change::Init(_) | Change::Failed(..) | Change::Working(_) => {}
        }
        shared.store.apply(change);
        let problem = shared.store.problem();
        if shared.problem != problem {
            shared.problem = problem;
            shared.mark_all();
        }
        if shared.store.has_synced() {
            self.0.synced.send_replace(true);
        }
        self.0.changed.notify_one();
    }

    /// Publishes until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let interval = self.0.times.interval;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.0.changed.notified() => self.publish(),
                // Also without changes, to drop pages without viewers.
                () = tokio::time::sleep(self.0.times.idle) => self.publish(),
            }
            tokio::time::sleep(interval).await;
        }
    }

    /// Publishes what has changed.
    fn publish(&self) {
        let mut shared = lock(&self.0.shared);
        shared.drop_unused(self.0.times.idle);
        let dirty = std::mem::take(&mut shared.dirty);
        if dirty.is_empty() {
            return;
        }
        let pages: Vec<_> =
            shared.pages.iter().map(|(of, page)| (of.clone(), Arc::clone(&page.slot))).collect();
        for (subject, slot) in pages {
            let is_dirty = match &subject {
                Subject::Overview => true,
                Subject::Mesh(key) => dirty.contains(&key.namespace),
            };
            if is_dirty {
                let state = shared.state(&subject, self.namespace());
                let mut feed = lock(&slot.feed);
                if feed.publish(state) {
                    slot.number.send_replace(feed.number());
                }
            }
        }
    }

    /// Waits for the first list of every kind, but not forever: it may not be allowed.
    pub async fn wait_synced(&self) {
        let mut synced = self.0.synced.subscribe();
        _ = timeout(self.0.times.first_list, synced.wait_for(|synced| *synced)).await;
    }

    /// The state of a page now.
    pub fn state(&self, subject: &Subject) -> State {
        lock(&self.0.shared).state(subject, self.namespace())
    }

    /// Begins to look at a page. With the ID of the last event that the viewer got, it gets what it missed.
    pub fn view(&self, subject: &Subject, last_event: Option<&str>) -> Viewer {
        let mut shared = lock(&self.0.shared);
        let slot = match shared.pages.get_mut(subject) {
            Some(page) => {
                page.unused = None;
                Arc::clone(&page.slot)
            }
            None => shared.open(subject, self.namespace()),
        };
        let seen = last_event.and_then(|id| lock(&slot.feed).number_of(id));
        Viewer { news: slot.number.subscribe(), slot, seen }
    }

    /// Pages that are kept, for tests and logs.
    pub fn pages(&self) -> usize {
        lock(&self.0.shared).pages.len()
    }
}

impl Shared {
    fn state(&mut self, subject: &Subject, namespace: Option<&str>) -> State {
        match subject {
            Subject::Overview => overview(&self.store, namespace),
            Subject::Mesh(key) => mesh(&self.store, key, &mut self.layouts),
        }
    }

    /// Begins to keep a page.
    fn open(&mut self, subject: &Subject, namespace: Option<&str>) -> Arc<Slot> {
        self.epochs += 1;
        let epoch = format!("{}-{}", start_of_process(), self.epochs);
        let feed = Feed::new(epoch, self.state(subject, namespace));
        let (number, _) = watch::channel(feed.number());
        let slot = Arc::new(Slot { feed: Mutex::new(feed), number });
        self.pages.insert(subject.clone(), Page { slot: Arc::clone(&slot), unused: None });
        slot
    }

    /// Marks every page as changed.
    fn mark_all(&mut self) {
        let of_pages = self.pages.keys().map(|subject| match subject {
            Subject::Overview => String::new(),
            Subject::Mesh(key) => key.namespace.clone(),
        });
        self.dirty.extend(of_pages.collect::<Vec<_>>());
    }

    fn drop_unused(&mut self, idle: Duration) {
        let now = Instant::now();
        self.pages.retain(|_, page| {
            if page.slot.number.receiver_count() > 0 {
                page.unused = None;
                return true;
            }
            now.duration_since(*page.unused.get_or_insert(now)) < idle
        });
        let Self { pages, layouts, .. } = self;
        layouts.retain(|key| pages.contains_key(&Subject::Mesh(key.clone())));
    }
}

/// A viewer of a page.
#[derive(Debug)]
pub struct Viewer {
    slot: Arc<Slot>,
    news: watch::Receiver<u64>,
    /// The number of the last event.
    seen: Option<u64>,
}

impl Viewer {
    /// The next events, as soon as there are any. None at the end of the page.
    pub async fn next(&mut self) -> Option<Vec<Event>> {
        loop {
            self.news.borrow_and_update();
            {
                let mut feed = lock(&self.slot.feed);
                let events = feed.since(self.seen);
                if !events.is_empty() {
                    self.seen = Some(feed.number());
                    return Some(events);
                }
            }
            self.news.changed().await.ok()?;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Distinguishes the events of this process from those of one before it, on the same port.
fn start_of_process() -> u128 {
    use std::sync::LazyLock;
    use std::time::SystemTime;
    static START: LazyLock<u128> = LazyLock::new(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis())
    });
    *START
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(number: usize) -> Change {
        let metadata = json!({ "namespace": "shop", "name": "f", "generation": 1 });
        let status = json!({ "phase": "Ready", "observedGeneration": 1, "traffic": { "backlog": number } });
        Change::Apply("Function", Box::new(json!({ "metadata": metadata, "status": status })))
    }

    fn standalone() -> Subject {
        Subject::Mesh(MeshKey { namespace: "shop".to_owned(), name: "-".to_owned() })
    }

    #[tokio::test(start_paused = true)]
    async fn updates_are_at_most_two_a_second() {
        let hub = Hub::new(None, Times::default());
        let shutdown = CancellationToken::new();
        tokio::spawn(hub.clone().run(shutdown.clone()));
        let mut viewer = hub.view(&standalone(), None);
        let counting = tokio::spawn(async move {
            let mut events = Vec::new();
            while let Ok(Some(more)) = timeout(Duration::from_secs(5), viewer.next()).await {
                events.extend(more);
            }
            events
        });
        for number in 0..1000 {
            hub.apply(change(number));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let events = counting.await.unwrap();
        // A snapshot, and the changes of ten seconds.
        assert!((15..=22).contains(&events.len()), "{}", events.len());
        assert!(events.last().unwrap().contains("\"backlog\":999"), "the last change is not lost");
        shutdown.cancel();
    }

    #[tokio::test]
    async fn a_viewer_that_reads_late_gets_a_snapshot() {
        let hub = Hub::new(None, Times::default());
        hub.apply(change(0));
        let (mut fast, mut slow) = (hub.view(&standalone(), None), hub.view(&standalone(), None));
        slow.next().await.unwrap();
        fast.next().await.unwrap();
        for number in 1..=1000 {
            hub.apply(change(number));
            hub.publish();
            let events = fast.next().await.unwrap();
            assert!(events.len() == 1 && events[0].contains("event: delta\n"), "{events:?}");
        }
        let events = slow.next().await.unwrap();
        assert_eq!(events.len(), 1);
        assert!(
            events[0].contains("event: snapshot\n") && events[0].contains("\"backlog\":1000"),
            "{events:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn pages_without_viewers_are_dropped_after_a_while() {
        let hub = Hub::new(None, Times::default());
        let shutdown = CancellationToken::new();
        tokio::spawn(hub.clone().run(shutdown.clone()));
        let viewer = hub.view(&standalone(), None);
        tokio::time::sleep(Duration::from_mins(10)).await;
        assert_eq!(hub.pages(), 1);
        drop(viewer);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(hub.pages(), 1, "for one that returns");
        tokio::time::sleep(Duration::from_mins(5)).await;
        assert_eq!(hub.pages(), 0);
        shutdown.cancel();
    }
}
