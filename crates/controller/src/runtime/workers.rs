//! Runs the reconciles of one kind: triggers fill the [`Queue`], and what it hands out is reconciled, each object in
//! a task of its own.
//!
//! In place of kube-runtime's `Controller`, whose queue is a set without an order: there a tenant with thousands of
//! changes takes every place.

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

/// After a reconcile that panicked. Programs that are released end then.
const AFTER_PANIC: Duration = Duration::from_mins(1);

/// What comes after a reconcile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Action(Option<Duration>);

impl Action {
    /// To be reconciled again after this time, if nothing changes before.
    pub const fn requeue(after: Duration) -> Self {
        Self(Some(after))
    }

    /// To be reconciled when something changes.
    pub const fn await_change() -> Self {
        Self(None)
    }

    /// When to reconcile again, if nothing changes before.
    pub const fn requeue_after(self) -> Option<Duration> {
        self.0
    }
}

/// What is to be done about an object that is gone: forget what was kept about it.
type Gone = Arc<dyn Fn(&Key) + Send + Sync>;

/// A controller of one kind, before it runs.
pub struct Controller<K: Watched> {
    triggers: Triggers<K>,
    streams: Vec<BoxFuture<'static, ()>>,
    waits: Histogram,
    leadership: Leadership,
}

/// By this others trigger reconciles of a kind. Clones share the queue.
pub struct Triggers<K: Watched> {
    queue: Arc<Mutex<Queue>>,
    wake: Arc<Notify>,
    store: Store<K>,
    gone: Gone,
    elected: CancellationToken,
}

impl<K: Watched> Clone for Triggers<K> {
    fn clone(&self) -> Self {
        Self {
            queue: Arc::clone(&self.queue),
            wake: Arc::clone(&self.wake),
            store: self.store.clone(),
            gone: Arc::clone(&self.gone),
            elected: self.elected.clone(),
        }
    }
}

impl<K: Watched> Triggers<K> {
    /// An object, or something that it depends on, has changed. One that is gone is forgotten at once: nothing grows
    /// with objects that were, neither in a program that leads nor in one that waits.
    pub fn change(&self, namespace: &str, name: &str) {
        let key = Key::new(namespace, name);
        let is_there = self.store.get(&reference(&key)).is_some();
        let is_gone = {
            let mut queue = self.queue();
            if is_there {
                queue.change(&key, Instant::now());
            }
            !is_there && queue.forget(&key)
        };
        if is_gone {
            (self.gone)(&key);
        } else {
            self.wake.notify_one();
        }
    }

    /// Objects with a change that no reconcile has taken up; none while another program leads.
    pub fn waiting(&self) -> usize {
        if self.elected.is_cancelled() { self.queue().changed() } else { 0 }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Watched> Controller<K> {
    /// A controller of the objects in a store, which reconciles so many at a time.
    pub fn new(
        store: Store<K>,
        places: u16,
        waits: Histogram,
        leadership: Leadership,
        gone: impl Fn(&Key) + Send + Sync + 'static,
    ) -> Self {
        let triggers = Triggers {
            queue: Arc::new(Mutex::new(Queue::new(usize::from(places)))),
            wake: Arc::default(),
            store,
            gone: Arc::new(gone),
            elected: leadership.elected.clone(),
        };
        Self { triggers, streams: Vec::new(), waits, leadership }
    }

    /// By this others trigger reconciles.
    pub fn triggers(&self) -> Triggers<K> {
        self.triggers.clone()
    }

    /// Reconciles each object of this stream. The stream is read as long as the controller runs.
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

    /// Reconciles what this stream names.
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

    /// Fills the queue, reconciles once this program leads, and ends when it is to end and the last reconcile is
    /// done. Dropped, it drops what is under way.
    pub async fn run<F>(self, reconcile: impl Fn(Arc<K>) -> F + Send)
    where
        F: Future<Output = Action> + Send + 'static,
    {
        let Self { triggers, streams, waits, leadership } = self;
        let mut reading: JoinSet<()> = streams.into_iter().collect();
        if !leadership.wait_until_leader().await {
            return;
        }
        triggers.queue().restart_waits(Instant::now());
        let (mut tasks, mut keys) = (JoinSet::<Action>::new(), HashMap::<Id, Key>::new());
        loop {
            let next = triggers.queue().next(Instant::now());
            if let Some((key, waited)) = next {
                if let Some(waited) = waited {
                    waits.observe(waited.as_secs_f64());
                }
                let Some(object) = triggers.store.get(&reference(&key)) else {
                    triggers.queue().finish(&key, None);
                    (triggers.gone)(&key);
                    continue;
                };
                let span = tracing::info_span!("reconcile", kind = %K::kind(&()), namespace = %key.namespace, name = %key.name);
                let task = tasks.spawn(reconcile(object).instrument(span));
                keys.insert(task.id(), key);
                continue;
            }
            let due = triggers.queue().next_due();
            tokio::select! {
                () = leadership.end.cancelled() => break,
                Some(ended) = tasks.join_next_with_id() => {
                    let (id, action) = match ended {
                        Ok(ended) => ended,
                        Err(error) => {
                            tracing::error!(%error, kind = %K::kind(&()), "reconcile panicked");
                            (error.id(), Action::requeue(AFTER_PANIC))
                        }
                    };
                    if let Some(key) = keys.remove(&id) {
                        let again = action.0.and_then(|after| Instant::now().checked_add(after));
                        triggers.queue().finish(&key, again);
                    }
                }
                () = triggers.wake.notified() => {}
                () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {}
                Some(ended) = reading.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, kind = %K::kind(&()), "watch panicked");
                    }
                }
            }
        }
        while tasks.join_next().await.is_some() {}
    }
}

fn reference<K: Lookup<DynamicType = ()>>(key: &Key) -> ObjectRef<K> {
    ObjectRef::new(&key.name).within(&key.namespace)
}
