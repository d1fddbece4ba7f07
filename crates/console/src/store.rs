//! The objects of the watches: FunctionMeshes and their components, without what no page shows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use function_mesh_status::object_ref::controller;
use function_mesh_status::{ComponentView, MeshPlan, component_view};
use serde_json::Value;

use crate::seen::Seen;
use crate::visible::{Kinds, Visible};

/// The name of the page of the components without a mesh. No object can have it.
pub const STANDALONE: &str = "-";

/// Kinds that are watched.
pub const KINDS: [&str; 4] = ["FunctionMesh", "Function", "Source", "Sink"];

/// A mesh by namespace and name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MeshKey {
    /// Namespace.
    pub namespace: String,
    /// Name of the FunctionMesh; [`STANDALONE`] for the components without one.
    pub name: String,
}

/// Namespace, kind and name of an object.
pub(crate) type Key = (String, &'static str, String);

/// A watch: of a kind, in one namespace or in all.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Watch {
    /// One of [`KINDS`].
    pub kind: &'static str,
    /// None for all namespaces.
    pub namespace: Option<Arc<str>>,
}

impl Watch {
    fn covers(&self, (namespace, kind, _): &Key) -> bool {
        self.kind == *kind && self.namespace.as_ref().is_none_or(|own| **own == **namespace)
    }
}

/// The watch of a kind in all namespaces.
impl From<&'static str> for Watch {
    fn from(kind: &'static str) -> Self {
        Self { kind, namespace: None }
    }
}

/// An event of a watch.
#[derive(Clone, Debug)]
pub enum Change {
    /// A list begins.
    Init(Watch),
    /// An object of a list, or one that was created or changed.
    Apply(Watch, Box<Value>),
    /// An object was deleted.
    Delete(Watch, Box<Value>),
    /// The list is complete: other objects of this watch no longer exist.
    InitDone(Watch),
    /// The watch failed; it is tried again.
    Failed(Watch, String),
    /// The API server answers again. A watch that resumes says so only with its next event.
    Working(Watch),
}

/// The objects, and the state of each watch.
#[derive(Debug)]
pub struct Store {
    /// The number of watches.
    watches: usize,
    objects: BTreeMap<Key, Entry>,
    /// Objects of a list that is under way.
    listed: BTreeMap<Watch, BTreeSet<Key>>,
    synced: BTreeSet<Watch>,
    problems: BTreeMap<Watch, String>,
}

/// An object, and what was made of it: a page is made again for each change of another object.
#[derive(Debug)]
struct Entry {
    object: Value,
    /// Of a component.
    view: OnceLock<Option<ComponentView>>,
    /// Of a mesh.
    plan: OnceLock<MeshPlan>,
}

impl Entry {
    /// The next version of an object. The plan of a mesh stays with its spec.
    fn after(before: Option<Self>, object: Value) -> Self {
        let is_same = |before: &Self| {
            before.object.get("spec") == object.get("spec")
                && before.object.pointer("/metadata/uid") == object.pointer("/metadata/uid")
        };
        let plan = before.filter(is_same).map(|before| before.plan).unwrap_or_default();
        Self { object, view: OnceLock::new(), plan }
    }
}

/// A store of watches in all namespaces.
impl Default for Store {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Store {
    /// An empty store for watches of each kind in so many namespaces; 1 also for a watch of all.
    pub const fn new(namespaces: usize) -> Self {
        Self {
            watches: KINDS.len() * namespaces,
            objects: BTreeMap::new(),
            listed: BTreeMap::new(),
            synced: BTreeSet::new(),
            problems: BTreeMap::new(),
        }
    }

    /// Applies an event.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Init(watch) => {
                self.listed.insert(watch, BTreeSet::new());
            }
            Change::Apply(watch, object) => {
                self.problems.remove(&watch);
                let Some(key) = key(watch.kind, &object) else { return };
                if let Some(listed) = self.listed.get_mut(&watch) {
                    listed.insert(key.clone());
                }
                let entry = Entry::after(self.objects.remove(&key), prune(watch.kind, *object));
                self.objects.insert(key, entry);
            }
            Change::Delete(watch, object) => {
                self.problems.remove(&watch);
                if let Some(key) = key(watch.kind, &object) {
                    self.objects.remove(&key);
                }
            }
            Change::InitDone(watch) => {
                if let Some(listed) = self.listed.remove(&watch) {
                    self.objects.retain(|key, _| !watch.covers(key) || listed.contains(key));
                }
                self.problems.remove(&watch);
                self.synced.insert(watch);
            }
            Change::Working(watch) => {
                self.problems.remove(&watch);
            }
            Change::Failed(watch, message) => {
                self.problems.insert(watch, message);
            }
        }
    }

    /// Whether every kind was listed once.
    pub fn has_synced(&self) -> bool {
        self.synced.len() == self.watches
    }

    /// Why what is shown may be old or incomplete; None if every watch works.
    pub fn problem(&self) -> Option<String> {
        let texts: BTreeSet<&str> = self.problems.values().map(String::as_str).collect();
        (!texts.is_empty()).then(|| texts.into_iter().collect::<Vec<_>>().join("; "))
    }

    /// The objects as a viewer may see them.
    pub const fn seen_by<'a>(&'a self, visible: &'a Visible) -> Seen<'a> {
        Seen::new(self, visible)
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.objects.iter().map(|(key, entry)| (key, &entry.object))
    }

    fn entry(&self, namespace: &str, kind: &'static str, name: &str) -> Option<&Entry> {
        self.objects.get(&(namespace.to_owned(), kind, name.to_owned()))
    }

    pub(crate) fn object(&self, namespace: &str, kind: &'static str, name: &str) -> Option<&Value> {
        self.entry(namespace, kind, name).map(|entry| &entry.object)
    }

    /// A component as its status reports it.
    pub(crate) fn view(&self, namespace: &str, kind: &'static str, name: &str) -> Option<&ComponentView> {
        let entry = self.entry(namespace, kind, name)?;
        entry.view.get_or_init(|| component_view(&entry.object)).as_ref()
    }

    /// The components that a mesh asks for.
    pub(crate) fn plan(&self, mesh: &MeshKey) -> Option<&MeshPlan> {
        let entry = self.entry(&mesh.namespace, KINDS[0], &mesh.name)?;
        Some(entry.plan.get_or_init(|| MeshPlan::of(&entry.object)))
    }

    /// The objects of a kind in a namespace whose names begin with this.
    pub(crate) fn named(
        &self,
        namespace: &str,
        kind: &'static str,
        prefix: &str,
    ) -> impl Iterator<Item = &Value> + use<'_> {
        let (namespace, prefix) = (namespace.to_owned(), prefix.to_owned());
        let first = (namespace.clone(), kind, prefix.clone());
        let is_one = move |(of, its_kind, name): &Key| {
            *of == namespace && *its_kind == kind && name.starts_with(&prefix)
        };
        self.objects.range(first..).take_while(move |(key, _)| is_one(key)).map(|(_, entry)| &entry.object)
    }

    /// The kinds of the objects in each namespace.
    pub fn kinds(&self) -> BTreeMap<String, Kinds> {
        let mut kinds = BTreeMap::<_, Kinds>::new();
        for (namespace, kind, _) in self.objects.keys() {
            let found = match kinds.get_mut(namespace) {
                Some(found) => found,
                None => kinds.entry(namespace.clone()).or_default(),
            };
            *found = found.and(Kinds::one(kind));
        }
        kinds
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

pub(crate) fn is_standalone(object: &Value) -> bool {
    controller(object).is_none_or(|(kind, ..)| kind != "FunctionMesh")
}

/// The name of a kind in requests.
pub(crate) fn plural(kind: &str) -> String {
    let suffix = if kind.ends_with('h') { "es" } else { "s" };
    format!("{}{suffix}", kind.to_lowercase())
}

fn key(kind: &'static str, object: &Value) -> Option<Key> {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    Some((text("/metadata/namespace")?, kind, text("/metadata/name")?))
}

/// An object without managed fields, and a component of a mesh without its spec: the mesh has it.
fn prune(kind: &'static str, mut object: Value) -> Value {
    let is_part = kind != KINDS[0] && !is_standalone(&object);
    let Some(fields) = object.as_object_mut() else { return object };
    fields.insert("kind".to_owned(), kind.into());
    if is_part {
        fields.remove("spec");
    }
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[allow(clippy::unnecessary_box_returns, reason = "as a change has it")]
    fn object(namespace: &str, name: &str, mesh: Option<&str>) -> Box<Value> {
        let owner = json!([{ "kind": "FunctionMesh", "name": mesh, "uid": "u", "controller": true }]);
        Box::new(json!({
            "metadata": {
                "namespace": namespace, "name": name, "managedFields": [1],
                "ownerReferences": if mesh.is_some() { owner } else { json!([]) },
            },
            "spec": { "className": "c" },
        }))
    }

    fn names(store: &Store) -> Vec<String> {
        store.objects().map(|((namespace, kind, name), _)| format!("{namespace} {kind} {name}")).collect()
    }

    #[test]
    fn the_spec_of_a_part_is_that_of_its_mesh() {
        let mut store = Store::default();
        store.apply(Change::Apply("Function".into(), object("shop", "m-a", Some("m"))));
        store.apply(Change::Apply("Function".into(), object("shop", "alone", None)));
        let part = store.object("shop", "Function", "m-a").unwrap();
        assert_eq!((&part["kind"], part.get("spec")), (&json!("Function"), None));
        let alone = store.object("shop", "Function", "alone").unwrap();
        assert_eq!(
            (&alone["spec"]["className"], alone["metadata"].get("managedFields")),
            (&json!("c"), None)
        );
        assert_eq!(store.kinds(), [("shop".to_owned(), Kinds::one("Function"))].into());
    }

    #[test]
    fn a_new_list_drops_what_is_gone() {
        let mut store = Store::default();
        store.apply(Change::Apply("Function".into(), object("shop", "old", None)));
        store.apply(Change::Apply("Sink".into(), object("shop", "old", None)));
        store.apply(Change::Init("Function".into()));
        store.apply(Change::Apply("Function".into(), object("shop", "new", None)));
        assert_eq!(store.len(), 3, "shown until the list is complete");
        store.apply(Change::InitDone("Function".into()));
        assert_eq!(names(&store), ["shop Function new", "shop Sink old"]);
        assert!(!store.has_synced());
    }

    #[test]
    fn a_list_of_a_namespace_drops_nothing_of_another() {
        let watch = |namespace: &str| Watch { kind: "Function", namespace: Some(namespace.into()) };
        let mut store = Store::new(2);
        for namespace in ["bank", "shop"] {
            store.apply(Change::Apply(watch(namespace), object(namespace, "old", None)));
        }
        store.apply(Change::Init(watch("shop")));
        store.apply(Change::InitDone(watch("shop")));
        assert_eq!(names(&store), ["bank Function old"]);
        for (kind, namespace) in KINDS.into_iter().flat_map(|kind| [(kind, "bank"), (kind, "shop")]) {
            assert!(!store.has_synced());
            store.apply(Change::InitDone(Watch { kind, namespace: Some(namespace.into()) }));
        }
        assert!(store.has_synced());
    }

    #[test]
    fn problems_end_with_the_next_event() {
        let mut store = Store::default();
        store.apply(Change::Failed("Function".into(), "gone".to_owned()));
        store.apply(Change::Failed("Sink".into(), "gone".to_owned()));
        assert_eq!(store.problem().as_deref(), Some("gone"));
        store.apply(Change::InitDone("Function".into()));
        store.apply(Change::Delete("Sink".into(), object("shop", "x", None)));
        assert_eq!(store.problem(), None);
    }
}
