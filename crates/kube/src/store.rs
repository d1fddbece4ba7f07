//! One store for the watches of several namespaces.
//!
//! A list that begins anew tells what there is, and so, without saying it, what is gone. kube's own store takes
//! such a list for all that it is to hold, which is true of one watch alone. Here it counts for the part of the
//! store that its watch is of, and what is gone is told, as if the watch had not been interrupted.

use std::collections::HashSet;

use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, store::Writer};
use kube::runtime::watcher::Event;

use crate::cache::Watched;

/// A store that several watches fill, each of a part of it.
pub(crate) struct NamespacedStore<K: Watched> {
    writer: Writer<K>,
    parts: Vec<Part<K>>,
}

/// What one watch is of.
struct Part<K: Watched> {
    /// Its namespace; None for all.
    namespace: Option<String>,
    /// Whether a list was begun: then there may be something of it in the store.
    begun: bool,
    /// What a list has told so far that is not the first one.
    listed: Option<HashSet<ObjectRef<K>>>,
}

impl<K: Watched> NamespacedStore<K> {
    pub(crate) fn new(mut writer: Writer<K>, namespaces: &[Option<String>]) -> Self {
        // Whoever waits for objects of a namespace waits for its part, and none for the store.
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        let part =
            |namespace: &Option<String>| Part { namespace: namespace.clone(), begun: false, listed: None };
        Self { writer, parts: namespaces.iter().map(part).collect() }
    }

    /// Takes up what the watch of this part tells, and gives the objects that have changed or are gone.
    pub(crate) fn apply_event(&mut self, at: usize, event: Event<K>) -> Vec<K> {
        let Some(part) = self.parts.get_mut(at) else { return Vec::new() };
        match event {
            Event::Init => {
                part.listed = part.begun.then(HashSet::new);
                part.begun = true;
                Vec::new()
            }
            Event::InitApply(object) => {
                if let Some(listed) = &mut part.listed {
                    listed.insert(ObjectRef::from_obj(&object));
                }
                self.put(object)
            }
            Event::Apply(object) => self.put(object),
            Event::Delete(object) => self.remove(object),
            Event::InitDone => {
                let Some(listed) = part.listed.take() else { return Vec::new() };
                let is_gone = |held: &K| part.covers(held) && !listed.contains(&ObjectRef::from_obj(held));
                let gone = self.writer.as_reader().state_filter(is_gone);
                gone.into_iter().flat_map(|held| self.remove((*held).clone())).collect()
            }
        }
    }

    fn put(&mut self, object: K) -> Vec<K> {
        let event = Event::Apply(object);
        self.writer.apply_watcher_event(&event);
        touched(event)
    }

    fn remove(&mut self, object: K) -> Vec<K> {
        let event = Event::Delete(object);
        self.writer.apply_watcher_event(&event);
        touched(event)
    }
}

impl<K: Watched> Part<K> {
    fn covers(&self, held: &K) -> bool {
        self.namespace.is_none() || self.namespace == held.namespace()
    }
}

fn touched<K>(event: Event<K>) -> Vec<K> {
    match event {
        Event::Apply(object) | Event::Delete(object) => vec![object],
        Event::Init | Event::InitApply(_) | Event::InitDone => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::reflector;

    use super::*;
    use crate::compact::Compact;

    fn object(namespace: &str, name: &str) -> Compact<ConfigMap> {
        let object = serde_json::json!({ "metadata": { "namespace": namespace, "name": name } });
        Compact::from_json(&object.to_string()).expect("an object")
    }

    fn merge(
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

    fn held(store: &reflector::Store<Compact<ConfigMap>>) -> Vec<String> {
        names(store.state().into_iter().map(|held| (*held).clone()))
    }

    /// A whole list of one part. Gives what was told as it ended.
    fn list(
        merge: &mut NamespacedStore<Compact<ConfigMap>>,
        at: usize,
        objects: &[Compact<ConfigMap>],
    ) -> Vec<String> {
        merge.apply_event(at, Event::Init);
        for object in objects {
            assert_eq!(merge.apply_event(at, Event::InitApply(object.clone())).len(), 1);
        }
        names(merge.apply_event(at, Event::InitDone))
    }

    #[test]
    fn a_list_that_begins_anew_drops_what_is_gone_of_its_own_namespace_alone_and_tells() {
        let (mut merge, store) = merge(&[Some("a"), Some("b")]);
        assert_eq!(list(&mut merge, 0, &[object("a", "x"), object("a", "y")]), [""; 0]);
        assert_eq!(list(&mut merge, 1, &[object("b", "x"), object("b", "z")]), [""; 0]);
        assert_eq!(held(&store), ["a/x", "a/y", "b/x", "b/z"]);
        assert_eq!(list(&mut merge, 0, &[object("a", "y"), object("a", "new")]), ["a/x"]);
        assert_eq!(held(&store), ["a/new", "a/y", "b/x", "b/z"]);
        assert_eq!(list(&mut merge, 1, &[]), ["b/x", "b/z"]);
        assert_eq!(held(&store), ["a/new", "a/y"]);
    }

    #[test]
    fn lists_at_a_time_do_not_mix() {
        let (mut merge, store) = merge(&[Some("a"), Some("b")]);
        list(&mut merge, 0, &[object("a", "x")]);
        list(&mut merge, 1, &[object("b", "x")]);
        merge.apply_event(0, Event::Init);
        merge.apply_event(1, Event::Init);
        merge.apply_event(0, Event::InitApply(object("a", "x")));
        assert_eq!(names(merge.apply_event(1, Event::InitDone)), ["b/x"]);
        merge.apply_event(1, Event::Apply(object("b", "y")));
        assert_eq!(names(merge.apply_event(0, Event::InitDone)), [""; 0]);
        assert_eq!(held(&store), ["a/x", "b/y"]);
    }

    #[test]
    fn a_first_list_that_breaks_off_leaves_nothing_behind() {
        let (mut merge, store) = merge(&[None]);
        merge.apply_event(0, Event::Init);
        merge.apply_event(0, Event::InitApply(object("a", "x")));
        assert_eq!(list(&mut merge, 0, &[object("b", "y")]), ["a/x"]);
        assert_eq!(held(&store), ["b/y"]);
        assert_eq!(names(merge.apply_event(0, Event::Delete(object("b", "y")))), ["b/y"]);
        assert_eq!(held(&store), [""; 0]);
    }
}
