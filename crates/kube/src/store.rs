//! One store that the watches of several namespaces fill.
//!
//! kube's own store replaces its whole content on a relist, which is correct for a single watch only. Here a relist
//! replaces the objects of its shard, and deletions missed while the watch was down are emitted as Delete events.

use std::collections::HashSet;

use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, store::Writer};
use kube::runtime::watcher::Event;

use crate::cache::Watched;

/// A store of several shards, each filled by its own watch.
pub(crate) struct NamespacedStore<K: Watched> {
    writer: Writer<K>,
    shards: Vec<Shard<K>>,
}

/// The objects of one watch.
struct Shard<K: Watched> {
    /// The watched namespace; None for all.
    namespace: Option<String>,
    /// Whether a list has started: the store may contain objects of this shard.
    has_started: bool,
    /// The objects listed so far by a relist; None outside of a relist.
    listed: Option<HashSet<ObjectRef<K>>>,
}

impl<K: Watched> NamespacedStore<K> {
    pub(crate) fn new(mut writer: Writer<K>, namespaces: &[Option<String>]) -> Self {
        // Callers wait for a shard, never for the whole store: it counts as initialised.
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        let shard = |namespace: &Option<String>| Shard {
            namespace: namespace.clone(),
            has_started: false,
            listed: None,
        };
        Self { writer, shards: namespaces.iter().map(shard).collect() }
    }

    /// Applies an event of the watch of this shard. Returns the objects that were deleted, or changed in something that is
    /// read. Those of a list have no resource version: it may contain changes of others whose own event was missed, so
    /// nothing may take it for the echo of a write.
    pub(crate) fn apply_event(&mut self, index: usize, event: Event<K>) -> Vec<K> {
        let Some(shard) = self.shards.get_mut(index) else { return Vec::new() };
        match event {
            Event::Init => {
                shard.listed = shard.has_started.then(HashSet::new);
                shard.has_started = true;
                Vec::new()
            }
            Event::InitApply(object) => {
                if let Some(listed) = &mut shard.listed {
                    listed.insert(ObjectRef::from_obj(&object));
                }
                self.insert(object).into_iter().map(without_version).collect()
            }
            Event::Apply(object) => self.insert(object),
            Event::Delete(object) => self.remove(object),
            Event::InitDone => {
                let Some(listed) = shard.listed.take() else { return Vec::new() };
                let is_deleted =
                    |cached: &K| shard.covers(cached) && !listed.contains(&ObjectRef::from_obj(cached));
                let deleted = self.writer.as_reader().state_filter(is_deleted);
                let removed = deleted.into_iter().flat_map(|cached| self.remove((*cached).clone()));
                removed.map(without_version).collect()
            }
        }
    }

    fn insert(&mut self, object: K) -> Vec<K> {
        let before = self.writer.as_reader().get(&ObjectRef::from_obj(&object));
        let is_same = before.is_some_and(|before| object.is_same_as(&before));
        let event = Event::Apply(object);
        self.writer.apply_watcher_event(&event);
        if is_same { Vec::new() } else { objects_of(event) }
    }

    fn remove(&mut self, object: K) -> Vec<K> {
        let event = Event::Delete(object);
        self.writer.apply_watcher_event(&event);
        objects_of(event)
    }
}

impl<K: Watched> Shard<K> {
    fn covers(&self, cached: &K) -> bool {
        self.namespace.is_none() || self.namespace == cached.namespace()
    }
}

fn without_version<K: Watched>(mut object: K) -> K {
    object.meta_mut().resource_version = None;
    object
}

fn objects_of<K>(event: Event<K>) -> Vec<K> {
    match event {
        Event::Apply(object) | Event::Delete(object) => vec![object],
        Event::Init | Event::InitApply(_) | Event::InitDone => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Resource;
    use kube::runtime::reflector;

    use super::*;
    use crate::compact::Compact;

    fn object(namespace: &str, name: &str) -> Compact<ConfigMap> {
        let object = serde_json::json!({ "metadata": { "namespace": namespace, "name": name } });
        Compact::from_json(&object.to_string()).expect("an object")
    }

    fn namespaced_store(
        namespaces: &[Option<&str>],
    ) -> (NamespacedStore<Compact<ConfigMap>>, reflector::Store<Compact<ConfigMap>>) {
        let (store, writer) = reflector::store();
        let namespaces: Vec<_> = namespaces.iter().map(|name| name.map(str::to_owned)).collect();
        (NamespacedStore::new(writer, &namespaces), store)
    }

    fn names(objects: impl IntoIterator<Item = Compact<ConfigMap>>) -> Vec<String> {
        let name = |object: Compact<ConfigMap>| {
            format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
        };
        let mut names: Vec<_> = objects.into_iter().map(name).collect();
        names.sort();
        names
    }

    fn cached(store: &reflector::Store<Compact<ConfigMap>>) -> Vec<String> {
        names(store.state().into_iter().map(|cached| (*cached).clone()))
    }

    /// A complete list of one shard. Returns the objects that its end reports.
    fn list(
        namespaced_store: &mut NamespacedStore<Compact<ConfigMap>>,
        index: usize,
        objects: &[Compact<ConfigMap>],
    ) -> Vec<String> {
        namespaced_store.apply_event(index, Event::Init);
        for object in objects {
            assert_eq!(namespaced_store.apply_event(index, Event::InitApply(object.clone())).len(), 1);
        }
        names(namespaced_store.apply_event(index, Event::InitDone))
    }

    #[test]
    fn relist_emits_deletions_of_its_namespace_only() {
        let (mut namespaced_store, store) = namespaced_store(&[Some("a"), Some("b")]);
        assert_eq!(list(&mut namespaced_store, 0, &[object("a", "x"), object("a", "y")]), [""; 0]);
        assert_eq!(list(&mut namespaced_store, 1, &[object("b", "x"), object("b", "z")]), [""; 0]);
        assert_eq!(cached(&store), ["a/x", "a/y", "b/x", "b/z"]);
        assert_eq!(list(&mut namespaced_store, 0, &[object("a", "y"), object("a", "new")]), ["a/x"]);
        assert_eq!(cached(&store), ["a/new", "a/y", "b/x", "b/z"]);
        assert_eq!(list(&mut namespaced_store, 1, &[]), ["b/x", "b/z"]);
        assert_eq!(cached(&store), ["a/new", "a/y"]);
    }

    #[test]
    fn objects_of_a_list_are_returned_without_version() {
        let versioned = |version: &str| {
            let mut object = object("a", "x");
            object.meta_mut().resource_version = Some(version.to_owned());
            object
        };
        let (mut namespaced_store, store) = namespaced_store(&[None]);
        let versions = |objects: Vec<Compact<ConfigMap>>| {
            objects.iter().map(|it| it.meta().resource_version.clone()).collect::<Vec<_>>()
        };
        namespaced_store.apply_event(0, Event::Init);
        assert_eq!(versions(namespaced_store.apply_event(0, Event::InitApply(versioned("1")))), [None]);
        namespaced_store.apply_event(0, Event::InitDone);
        let second = namespaced_store.apply_event(0, Event::Apply(versioned("2")));
        assert_eq!(versions(second), [Some("2".to_owned())]);
        assert_eq!(store.state()[0].meta().resource_version.as_deref(), Some("2"));
        namespaced_store.apply_event(0, Event::Init);
        assert_eq!(versions(namespaced_store.apply_event(0, Event::InitDone)), [None]);
    }

    #[test]
    fn concurrent_lists_are_independent() {
        let (mut namespaced_store, store) = namespaced_store(&[Some("a"), Some("b")]);
        list(&mut namespaced_store, 0, &[object("a", "x")]);
        list(&mut namespaced_store, 1, &[object("b", "x")]);
        namespaced_store.apply_event(0, Event::Init);
        namespaced_store.apply_event(1, Event::Init);
        namespaced_store.apply_event(0, Event::InitApply(object("a", "x")));
        assert_eq!(names(namespaced_store.apply_event(1, Event::InitDone)), ["b/x"]);
        namespaced_store.apply_event(1, Event::Apply(object("b", "y")));
        assert_eq!(names(namespaced_store.apply_event(0, Event::InitDone)), [""; 0]);
        assert_eq!(cached(&store), ["a/x", "b/y"]);
    }

    #[test]
    fn objects_of_an_aborted_first_list_are_removed() {
        let (mut namespaced_store, store) = namespaced_store(&[None]);
        namespaced_store.apply_event(0, Event::Init);
        namespaced_store.apply_event(0, Event::InitApply(object("a", "x")));
        assert_eq!(list(&mut namespaced_store, 0, &[object("b", "y")]), ["a/x"]);
        assert_eq!(cached(&store), ["b/y"]);
        assert_eq!(names(namespaced_store.apply_event(0, Event::Delete(object("b", "y")))), ["b/y"]);
        assert_eq!(cached(&store), [""; 0]);
    }
}
