//! Publishes changes to all viewers: at most one update in each interval, made once for all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use crate::feed::{Event, Feed};
use crate::history::{History, Series};
use crate::state::State;
use crate::store::{Change, KINDS, MeshKey, Store};
use crate::view::{Layouts, Rows, mesh, overview};
use crate::visible::{Kinds, Visible};

/// Pages that are kept at most. Viewers who may see the same share one.
const MOST_PAGES: usize = 512;

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
    /// Time between two samples of the history.
    pub samples: Duration,
    /// How long a permission that was checked counts, and after which time a stream of events ends, so that its viewer asks
    /// again. None where the API server checks permissions.
    pub permissions: Option<Duration>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(500),
            heartbeat: Duration::from_secs(15),
            idle: Duration::from_mins(1),
            first_list: Duration::from_secs(10),
            samples: Duration::from_secs(30),
            permissions: None,
        }
    }
}

impl Times {
    /// The times of the console in the cluster, which checks the permissions of viewers itself.
    pub fn in_cluster() -> Self {
        Self { permissions: Some(Duration::from_secs(30)), ..Self::default() }
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

/// A page as those see it who may see the same.
type PageKey = (Subject, Visible);

/// The objects, and the pages that viewers look at. Clones share them.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    namespaces: Vec<String>,
    times: Times,
    shared: Mutex<Shared>,
    changed: Notify,
    synced: watch::Sender<bool>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    layouts: Layouts,
    history: History,
    pages: HashMap<PageKey, Page>,
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
    /// A hub without objects, for some namespaces, or for all if none is named.
    pub fn new(namespaces: Vec<String>, times: Times) -> Self {
        let (synced, _) = watch::channel(false);
        let shared = Shared {
            store: Store::new(namespaces.len().max(1)),
            layouts: Layouts::default(),
            history: History::default(),
            pages: HashMap::new(),
            epochs: 0,
            dirty: BTreeSet::new(),
            problem: None,
        };
        let shared = Mutex::new(shared);
        Self(Arc::new(Inner { namespaces, times, shared, changed: Notify::new(), synced }))
    }

    /// The namespaces that are watched; empty for all.
    pub fn namespaces(&self) -> &[String] {
        &self.0.namespaces
    }

    /// The kinds of the objects in each namespace.
    pub fn kinds(&self) -> BTreeMap<String, Kinds> {
        lock(&self.0.shared).store.kinds()
    }

    /// Whether a mesh has an annotation.
    pub fn has_annotation(&self, mesh: &MeshKey, annotation: &str) -> bool {
        let shared = lock(&self.0.shared);
        let mesh = shared.store.object(&mesh.namespace, KINDS[0], &mesh.name);
        let annotations = mesh.and_then(|mesh| mesh.pointer("/metadata/annotations"));
        annotations.is_some_and(|annotations| annotations.get(annotation).is_some())
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
        let mut samples = tokio::time::interval(self.0.times.samples);
        samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                // Also without changes, to drop pages without viewers.
                _ = samples.tick() => { self.sample(); self.publish() }
                () = self.0.changed.notified() => self.publish(),
            }
            tokio::time::sleep(interval).await;
        }
    }

    /// Takes samples of all components now.
    pub fn sample(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut shared = lock(&self.0.shared);
        let Shared { store, history, .. } = &mut *shared;
        history.record(store, u32::try_from(now.as_secs()).unwrap_or(u32::MAX));
    }

    /// The samples of a component.
    pub fn series(&self, namespace: &str, kind: &'static str, name: &str) -> Series {
        lock(&self.0.shared).history.series(namespace, kind, name)
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
        let mut rows = Rows::default();
        for (key, slot) in pages {
            let is_dirty = match &key.0 {
                Subject::Overview => true,
                Subject::Mesh(key) => dirty.contains(&key.namespace),
            };
            if is_dirty {
                let state = shared.state(&key, self.namespaces(), &mut rows);
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

    /// Whether every kind was listed once.
    pub fn has_synced(&self) -> bool {
        *self.0.synced.borrow()
    }

    /// The state of a page now.
    pub fn state(&self, subject: &Subject, visible: &Visible) -> State {
        let key = page_key(subject, visible);
        lock(&self.0.shared).state(&key, self.namespaces(), &mut Rows::default())
    }

    /// Begins to look at a page. With the ID of the last event that the viewer got, it gets what it missed. None if there
    /// are too many pages.
    pub fn view(&self, subject: &Subject, visible: &Visible, last_event: Option<&str>) -> Option<Viewer> {
        let key = page_key(subject, visible);
        let mut shared = lock(&self.0.shared);
        let slot = match shared.pages.get_mut(&key) {
            Some(page) => {
                page.unused = None;
                Arc::clone(&page.slot)
            }
            None => shared.open(key, self.namespaces())?,
        };
        let seen = last_event.and_then(|id| lock(&slot.feed).number_of(id));
        Some(Viewer { news: slot.number.subscribe(), slot, seen })
    }

    /// Pages that are kept, for tests and logs.
    pub fn pages(&self) -> usize {
        lock(&self.0.shared).pages.len()
    }
}

fn page_key(subject: &Subject, visible: &Visible) -> PageKey {
    let visible = match subject {
        Subject::Overview => visible.clone(),
        Subject::Mesh(key) => visible.only(&key.namespace),
    };
    (subject.clone(), visible)
}

impl Shared {
    fn state(&mut self, (subject, visible): &PageKey, namespaces: &[String], rows: &mut Rows) -> State {
        let seen = self.store.seen_by(visible);
        match subject {
            Subject::Overview => overview(seen, namespaces, rows),
            Subject::Mesh(key) => mesh(seen, key, &mut self.layouts),
        }
    }

    /// Begins to keep a page.
    fn open(&mut self, key: PageKey, namespaces: &[String]) -> Option<Arc<Slot>> {
        if self.pages.len() >= MOST_PAGES {
            self.drop_unused(Duration::ZERO);
        }
        if self.pages.len() >= MOST_PAGES {
            return None;
        }
        self.epochs += 1;
        let epoch = format!("{}-{}", start_of_process(), self.epochs);
        let feed = Feed::new(epoch, self.state(&key, namespaces, &mut Rows::default()));
        let (number, _) = watch::channel(feed.number());
        let slot = Arc::new(Slot { feed: Mutex::new(feed), number });
        self.pages.insert(key, Page { slot: Arc::clone(&slot), unused: None });
        Some(slot)
    }

    /// Marks every page as changed.
    fn mark_all(&mut self) {
        let of_pages = self.pages.keys().map(|(subject, _)| match subject {
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
        let kept: BTreeSet<(MeshKey, Kinds)> = pages.keys().filter_map(of_mesh).collect();
        layouts.retain(|mesh, kinds| kept.contains(&(mesh.clone(), kinds)));
    }
}

fn of_mesh((subject, visible): &PageKey) -> Option<(MeshKey, Kinds)> {
    match subject {
        Subject::Overview => None,
        Subject::Mesh(key) => Some((key.clone(), visible.kinds(&key.namespace))),
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
    static START: LazyLock<u128> = LazyLock::new(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis())
    });
    *START
}

#[cfg(test)]
mod tests;
