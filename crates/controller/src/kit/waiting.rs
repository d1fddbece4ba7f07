//! Objects whose changes no reconcile has taken up yet.
//!
//! kube keeps the queue of a controller to itself. What goes into it passes here first, and what comes out is a
//! reconcile, so the difference is known: as in the queue itself, several changes of one object are one entry.
//! What a reconcile asks for by itself, to try again or to look again, is no change and is not counted here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use function_mesh_serving::shutdown::CancellationToken;
use futures::{Stream, StreamExt};
use kube::Resource;
use kube::runtime::reflector::{Lookup, ObjectRef};
use prometheus::Histogram;
use tokio::time::Instant;

/// Namespace and name.
type Name = (Option<String>, String);

/// Objects of one kind that wait, and since when.
#[derive(Clone, Debug)]
pub struct Waiting {
    since: Arc<Mutex<HashMap<Name, Instant>>>,
    /// Until a program has its turn, others look after what it only knows of.
    elected: CancellationToken,
    seconds: Histogram,
}

impl Waiting {
    /// Nothing waits. What waits when the turn comes waits from then on.
    pub fn new(seconds: Histogram, elected: CancellationToken) -> Self {
        let waiting = Self { since: Arc::default(), elected, seconds };
        let begin = waiting.clone();
        tokio::spawn(async move {
            begin.elected.cancelled().await;
            let now = Instant::now();
            begin.lock().values_mut().for_each(|since| *since = now);
        });
        waiting
    }

    /// How many wait; none while others look after them.
    pub fn count(&self) -> usize {
        if self.elected.is_cancelled() { self.lock().len() } else { 0 }
    }

    /// A stream of objects that are to be reconciled as they change.
    pub fn changes<K, E, S>(&self, stream: S) -> impl Stream<Item = Result<K, E>> + Send + use<K, E, S>
    where
        K: Resource<DynamicType = ()>,
        S: Stream<Item = Result<K, E>> + Send,
    {
        let waiting = self.clone();
        stream.inspect(move |change| {
            if let Ok(object) = change {
                waiting.changed(&ObjectRef::from_obj(object));
            }
        })
    }

    /// A stream of children whose owners, of the kind `K`, are to be reconciled.
    pub fn children<K, C, E, S>(&self, stream: S) -> impl Stream<Item = Result<C, E>> + Send + use<K, C, E, S>
    where
        K: Resource<DynamicType = ()>,
        C: Resource<DynamicType = ()>,
        S: Stream<Item = Result<C, E>> + Send,
    {
        let waiting = self.clone();
        stream.inspect(move |change| {
            let Ok(child) = change else { return };
            let namespace = child.meta().namespace.as_deref();
            for owner in child.meta().owner_references.iter().flatten() {
                if let Some(owner) = ObjectRef::<K>::from_owner_ref(namespace, owner, ()) {
                    waiting.changed(&owner);
                }
            }
        })
    }

    /// A stream of objects that are to be reconciled for another reason.
    pub fn wakes<K, S>(&self, stream: S) -> impl Stream<Item = ObjectRef<K>> + Send + use<K, S>
    where
        K: Resource<DynamicType = ()>,
        S: Stream<Item = ObjectRef<K>> + Send,
    {
        let waiting = self.clone();
        stream.inspect(move |object| waiting.changed(object))
    }

    /// A reconcile takes the object up.
    pub fn taken<K: Lookup>(&self, object: &ObjectRef<K>) {
        if self.elected.is_cancelled()
            && let Some(since) = self.lock().remove(&name(object))
        {
            self.seconds.observe(since.elapsed().as_secs_f64());
        }
    }

    /// The object is gone; no reconcile takes it up.
    pub fn gone<K: Lookup>(&self, object: &ObjectRef<K>) {
        self.lock().remove(&name(object));
    }

    fn changed<K: Lookup>(&self, object: &ObjectRef<K>) {
        self.lock().entry(name(object)).or_insert_with(Instant::now);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name<K: Lookup>(object: &ObjectRef<K>) -> Name {
    (object.namespace.clone(), object.name.clone())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use futures::stream;
    use k8s_openapi::api::apps::v1::StatefulSet;
    use k8s_openapi::api::core::v1::Pod;
    use prometheus::HistogramOpts;
    use serde_json::json;
    use tokio::task::yield_now;

    use super::*;

    fn waiting(elected: &CancellationToken) -> Waiting {
        let options = HistogramOpts::new("seconds", "Seconds.").buckets(vec![1.5, 60.0]);
        Waiting::new(Histogram::with_opts(options).unwrap(), elected.clone())
    }

    fn of(name: &str) -> ObjectRef<StatefulSet> {
        ObjectRef::new(name).within("n")
    }

    #[tokio::test(start_paused = true)]
    async fn changes_of_one_object_are_one_entry_until_it_is_taken_up() {
        let elected = CancellationToken::new();
        elected.cancel();
        let waiting = waiting(&elected);
        yield_now().await;
        let pod = json!({ "metadata": { "name": "a-0", "namespace": "n", "ownerReferences": [
            { "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a", "uid": "1" },
            { "apiVersion": "other/v1", "kind": "StatefulSet", "name": "b", "uid": "2" },
        ] } });
        let pods = [Ok::<Pod, Infallible>(serde_json::from_value(pod).unwrap())];
        let own = json!({ "metadata": { "name": "a", "namespace": "n" } });
        let own = [Ok::<StatefulSet, Infallible>(serde_json::from_value(own).unwrap())];
        let _: Vec<_> = waiting.children::<StatefulSet, _, _, _>(stream::iter(pods)).collect().await;
        let _: Vec<_> = waiting.changes(stream::iter(own)).collect().await;
        assert_eq!(waiting.count(), 1, "an owner of another group is not ours");
        let _: Vec<_> = waiting.wakes(stream::iter([of("c")])).collect().await;
        assert_eq!(waiting.count(), 2);
        tokio::time::advance(Duration::from_secs(2)).await;
        waiting.taken(&of("a"));
        waiting.gone(&of("c"));
        waiting.taken(&of("never-changed"));
        assert_eq!((waiting.count(), waiting.seconds.get_sample_count()), (0, 1));
        assert!((waiting.seconds.get_sample_sum() - 2.0).abs() < 0.1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_without_its_turn_keeps_nobody_waiting() {
        let elected = CancellationToken::new();
        let waiting = waiting(&elected);
        waiting.changed(&of("a"));
        waiting.taken(&of("a"));
        assert_eq!((waiting.count(), waiting.seconds.get_sample_count()), (0, 0));
        tokio::time::advance(Duration::from_hours(1)).await;
        elected.cancel();
        yield_now().await;
        assert_eq!(waiting.count(), 1);
        waiting.taken(&of("a"));
        assert!(waiting.seconds.get_sample_sum() < 1.0, "it waits since the turn has come");
    }
}
