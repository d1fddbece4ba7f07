//! Runs the reconciles of one kind: triggers fill the [`Queue`], and each dequeued object is reconciled in its own task.
//!
//! Not kube-runtime's `Controller`: its queue is an unordered set, in which a tenant with thousands of changes can occupy
//! all workers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use function_mesh_serving::shutdown::CancellationToken;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use kube::runtime::reflector::{Lookup, ObjectRef, Store};
use prometheus::Histogram;
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

use super::queue::{Key, Queue};
use function_mesh_kube::cache::Watched;
use function_mesh_kube::leader_election::Leadership;

/// Time until a retry after a panic. Release builds abort on panic.
const PANIC_RETRY: Duration = Duration::from_mins(1);

/// When to reconcile an object again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Action(Option<Duration>);

impl Action {
    /// Requeue after this time, or earlier on a change.
    pub const fn requeue(after: Duration) -> Self {
        Self(Some(after))
    }

    /// Wait for the next change.
    pub const fn await_change() -> Self {
        Self(None)
    }

    /// The same, but requeue after this time at the latest.
    #[must_use]
    pub fn or_within(self, after: Duration) -> Self {
        Self(Some(self.0.map_or(after, |own| own.min(after))))
    }

    /// The time after which to requeue, if there is one.
    pub const fn requeue_after(self) -> Option<Duration> {
        self.0
    }
}

/// Drops the state of a deleted object.
type OnDeleted = Arc<dyn Fn(&Key) + Send + Sync>;

/// A controller of one kind.
pub struct Controller<K: Watched> {
    triggers: Triggers<K>,
    streams: Vec<BoxFuture<'static, ()>>,
    queue_duration: Histogram,
    leadership: Leadership,
}

/// Triggers reconciles of a kind. Clones share the queue.
pub struct Triggers<K: Watched> {
    queue: Arc<Mutex<Queue>>,
    wake: Arc<Notify>,
    store: Store<K>,
    on_deleted: OnDeleted,
    elected: CancellationToken,
}

impl<K: Watched> Clone for Triggers<K> {
    fn clone(&self) -> Self {
        Self {
            queue: Arc::clone(&self.queue),
            wake: Arc::clone(&self.wake),
            store: self.store.clone(),
            on_deleted: Arc::clone(&self.on_deleted),
            elected: self.elected.clone(),
        }
    }
}

impl<K: Watched> Triggers<K> {
    /// Enqueues an object that has changed, or whose dependencies have. Drops the state of a deleted object at once, in
    /// leaders and followers, so that memory does not grow with deleted objects.
    pub fn change(&self, namespace: &str, name: &str) {
        let key = Key::new(namespace, name);
        let exists = self.store.get(&object_ref(&key)).is_some();
        let is_deleted = {
            let mut queue = self.queue();
            if exists {
                queue.change(&key, Instant::now());
            }
            !exists && queue.forget(&key)
        };
        if is_deleted {
            (self.on_deleted)(&key);
        } else {
            self.wake.notify_one();
        }
    }

    /// Objects with a change that no reconcile has picked up; 0 while another replica leads.
    pub fn pending_changes(&self) -> usize {
        if self.elected.is_cancelled() { self.queue().changed() } else { 0 }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Watched> Controller<K> {
    /// A controller of the objects in a store, with this number of concurrent reconciles.
    pub fn new(
        store: Store<K>,
        workers: u16,
        queue_duration: Histogram,
        leadership: Leadership,
        on_deleted: impl Fn(&Key) + Send + Sync + 'static,
    ) -> Self {
        let triggers = Triggers {
            queue: Arc::new(Mutex::new(Queue::new(usize::from(workers)))),
            wake: Arc::default(),
            store,
            on_deleted: Arc::new(on_deleted),
            elected: leadership.elected.clone(),
        };
        Self { triggers, streams: Vec::new(), queue_duration, leadership }
    }

    /// The store of the objects.
    pub fn store(&self) -> Store<K> {
        self.triggers.store.clone()
    }

    /// Triggers for other streams.
    pub fn triggers(&self) -> Triggers<K> {
        self.triggers.clone()
    }

    /// Reconciles each object of this stream. The stream is polled while the controller runs.
    #[must_use]
    pub fn on<E: Send + 'static>(self, changes: impl Stream<Item = Result<K, E>> + Send + 'static) -> Self {
        self.on_each(changes, |object, triggers| {
            if let Ok(object) = object {
                let meta = object.meta();
                let name = meta.name.as_deref().unwrap_or_default();
                triggers.change(meta.namespace.as_deref().unwrap_or_default(), name);
            }
        })
    }

    /// Reconciles the owners of each object of this stream.
    #[must_use]
    pub fn owns<C: Watched, E: Send + 'static>(
        self,
        children: impl Stream<Item = Result<C, E>> + Send + 'static,
    ) -> Self {
        self.on_each(children, |child, triggers| {
            let Ok(child) = child else { return };
            let namespace = child.meta().namespace.as_deref();
            for owner in child.meta().owner_references.iter().flatten() {
                if ObjectRef::<K>::from_owner_ref(namespace, owner, ()).is_some() {
                    triggers.change(namespace.unwrap_or_default(), &owner.name);
                }
            }
        })
    }

    /// Reconciles the objects that this stream references.
    #[must_use]
    pub fn on_refs(self, objects: impl Stream<Item = ObjectRef<K>> + Send + 'static) -> Self {
        self.on_each(objects, |object, triggers| {
            triggers.change(object.namespace.as_deref().unwrap_or_default(), &object.name);
        })
    }

    fn on_each<T: 'static>(
        mut self,
        stream: impl Stream<Item = T> + Send + 'static,
        trigger: impl Fn(T, &Triggers<K>) + Send + 'static,
    ) -> Self {
        let triggers = self.triggers.clone();
        let each = stream.for_each(move |item| {
            trigger(item, &triggers);
            std::future::ready(())
        });
        self.streams.push(each.boxed());
        self
    }

    /// Fills the queue, reconciles once this replica leads, and returns after shutdown and the last reconcile. If the
    /// future is dropped, running reconciles are cancelled.
    pub async fn run<F>(self, reconcile: impl Fn(Arc<K>) -> F + Send)
    where
        F: Future<Output = Action> + Send + 'static,
    {
        let Self { triggers, streams, queue_duration, leadership } = self;
        let mut streams_running: JoinSet<()> = streams.into_iter().collect();
        if !leadership.wait_until_leader().await {
            return;
        }
        triggers.queue().restart_wait_times(Instant::now());
        let (mut tasks, mut keys) = (JoinSet::<Action>::new(), HashMap::<Id, Key>::new());
        loop {
            let next = triggers.queue().next(Instant::now());
            if let Some((key, waited)) = next {
                if let Some(waited) = waited {
                    queue_duration.observe(waited.as_secs_f64());
                }
                let Some(object) = triggers.store.get(&object_ref(&key)) else {
                    triggers.queue().finish(&key, None);
                    (triggers.on_deleted)(&key);
                    continue;
                };
                let span = tracing::info_span!("reconcile", kind = %K::kind(&()), namespace = %key.namespace, name = %key.name);
                let task = tasks.spawn(reconcile(object).instrument(span));
                keys.insert(task.id(), key);
                continue;
            }
            let due = triggers.queue().next_due();
            tokio::select! {
                () = leadership.shutdown.cancelled() => break,
                Some(result) = tasks.join_next_with_id() => {
                    let (id, action) = match result {
                        Ok(result) => result,
                        Err(error) => {
                            tracing::error!(%error, kind = %K::kind(&()), "reconcile panicked");
                            (error.id(), Action::requeue(PANIC_RETRY))
                        }
                    };
                    if let Some(key) = keys.remove(&id) {
                        let requeue_at = action.0.and_then(|after| Instant::now().checked_add(after));
                        triggers.queue().finish(&key, requeue_at);
                    }
                }
                () = triggers.wake.notified() => {}
                () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {}
                Some(result) = streams_running.join_next() => {
                    if let Err(error) = result {
                        tracing::error!(%error, kind = %K::kind(&()), "watch panicked");
                    }
                }
            }
        }
        while tasks.join_next().await.is_some() {}
    }
}

fn object_ref<K: Lookup<DynamicType = ()>>(key: &Key) -> ObjectRef<K> {
    ObjectRef::new(&key.name).within(&key.namespace)
}
