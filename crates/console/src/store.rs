//! The objects of the watch: FunctionMeshes and their components, without what no page shows.

use std::collections::{BTreeMap, BTreeSet};

use function_mesh_status::object_ref::controller;
use serde_json::Value;

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
type Key = (String, &'static str, String);

/// An event of a watch.
#[derive(Clone, Debug)]
pub enum Change {
    /// A list of this kind begins.
    Init(&'static str),
    /// An object of a list, or one that was created or changed.
    Apply(&'static str, Box<Value>),
    /// An object was deleted.
    Delete(&'static str, Box<Value>),
    /// The list is complete: other objects of this kind no longer exist.
    InitDone(&'static str),
    /// The watch failed; it is tried again.
    Failed(&'static str, String),
    /// The API server answers again. A watch that resumes says so only with its next event.
    Working(&'static str),
}

/// The objects, and the state of each watch.
#[derive(Debug, Default)]
pub struct Store {
    objects: BTreeMap<Key, Value>,
    /// Objects of a list that is under way.
    listed: BTreeMap<&'static str, BTreeSet<Key>>,
    synced: BTreeSet<&'static str>,
    problems: BTreeMap<&'static str, String>,
}

impl Store {
    /// Applies an event.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Init(kind) => {
                self.listed.insert(kind, BTreeSet::new());
            }
            Change::Apply(kind, object) => {
                self.problems.remove(kind);
                let Some(key) = key(kind, &object) else { return };
                if let Some(listed) = self.listed.get_mut(kind) {
                    listed.insert(key.clone());
                }
                self.objects.insert(key, prune(kind, *object));
            }
            Change::Delete(kind, object) => {
                self.problems.remove(kind);
                if let Some(key) = key(kind, &object) {
                    self.objects.remove(&key);
                }
            }
            Change::InitDone(kind) => {
                if let Some(listed) = self.listed.remove(kind) {
                    self.objects.retain(|key, _| key.1 != kind || listed.contains(key));
                }
                self.problems.remove(kind);
                self.synced.insert(kind);
            }
            Change::Working(kind) => {
                self.problems.remove(kind);
            }
            Change::Failed(kind, message) => {
                self.problems.insert(kind, message);
            }
        }
    }

    /// Whether every kind was listed once.
    pub fn has_synced(&self) -> bool {
        self.synced.len() == KINDS.len()
    }

    /// Why what is shown may be old or incomplete; None if every watch works.
    pub fn problem(&self) -> Option<String> {
        let texts: BTreeSet<&str> = self.problems.values().map(String::as_str).collect();
        (!texts.is_empty()).then(|| texts.into_iter().collect::<Vec<_>>().join("; "))
    }

    /// All meshes, and a page for each namespace with components that have none.
    pub fn meshes(&self) -> BTreeSet<MeshKey> {
        let mesh = |((namespace, kind, name), object): (&Key, &Value)| {
            let name = match *kind {
                "FunctionMesh" => name.clone(),
                _ if is_standalone(object) => STANDALONE.to_owned(),
                _ => return None,
            };
            Some(MeshKey { namespace: namespace.clone(), name })
        };
        self.objects.iter().filter_map(mesh).collect()
    }

    /// A FunctionMesh.
    pub fn mesh(&self, mesh: &MeshKey) -> Option<&Value> {
        self.objects.get(&(mesh.namespace.clone(), KINDS[0], mesh.name.clone()))
    }

    /// A component by its kind.
    pub fn component(&self, namespace: &str, kind: &str, name: &str) -> Option<&Value> {
        let kind = KINDS.into_iter().skip(1).find(|known| *known == kind)?;
        self.objects.get(&(namespace.to_owned(), kind, name.to_owned()))
    }

    /// The components that may belong to a mesh: the names of its own ones begin with its name.
    pub fn components(&self, mesh: &MeshKey) -> Vec<&Value> {
        let standalone = mesh.name == STANDALONE;
        let prefix = if standalone { String::new() } else { format!("{}-", mesh.name) };
        let mut found = Vec::new();
        for kind in KINDS.into_iter().skip(1) {
            let first = (mesh.namespace.clone(), kind, prefix.clone());
            let of_kind = self.objects.range(first..).take_while(|((namespace, of, name), _)| {
                *namespace == mesh.namespace && *of == kind && name.starts_with(&prefix)
            });
            found.extend(of_kind.map(|(_, object)| object).filter(|it| !standalone || is_standalone(it)));
        }
        found
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

fn is_standalone(object: &Value) -> bool {
    controller(object).is_none_or(|(kind, ..)| kind != "FunctionMesh")
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
    fn object(name: &str, mesh: Option<&str>) -> Box<Value> {
        let owner = json!([{ "kind": "FunctionMesh", "name": mesh, "uid": "u", "controller": true }]);
        Box::new(json!({
            "metadata": {
                "namespace": "shop", "name": name, "managedFields": [1],
                "ownerReferences": if mesh.is_some() { owner } else { json!([]) },
            },
            "spec": { "className": "c" },
        }))
    }

    fn key(name: &str) -> MeshKey {
        MeshKey { namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn names(store: &Store, mesh: &str) -> Vec<String> {
        let name = |object: &&Value| object["metadata"]["name"].as_str().unwrap().to_owned();
        store.components(&key(mesh)).iter().map(name).collect()
    }

    #[test]
    fn components_are_found_by_mesh_and_without_one() {
        let mut store = Store::default();
        store.apply(Change::Apply("FunctionMesh", object("m", None)));
        for (kind, name, mesh) in [
            ("Function", "m-a", Some("m")),
            ("Sink", "m-b", Some("m")),
            ("Function", "alone", None),
            ("Function", "n-a", Some("n")),
        ] {
            store.apply(Change::Apply(kind, object(name, mesh)));
        }
        assert_eq!(names(&store, "m"), ["m-a", "m-b"]);
        assert_eq!(names(&store, STANDALONE), ["alone"]);
        assert_eq!(store.meshes(), [key("-"), key("m")].into());
        let part = store.component("shop", "Function", "m-a").unwrap();
        assert_eq!((&part["kind"], part.get("spec")), (&json!("Function"), None));
        let alone = store.component("shop", "Function", "alone").unwrap();
        assert_eq!(
            (&alone["spec"]["className"], alone["metadata"].get("managedFields")),
            (&json!("c"), None)
        );
    }

    #[test]
    fn a_new_list_drops_what_is_gone() {
        let mut store = Store::default();
        store.apply(Change::Apply("Function", object("old", None)));
        store.apply(Change::Apply("Sink", object("old", None)));
        store.apply(Change::Init("Function"));
        store.apply(Change::Apply("Function", object("new", None)));
        assert_eq!(names(&store, STANDALONE), ["new", "old", "old"], "shown until the list is complete");
        store.apply(Change::InitDone("Function"));
        assert_eq!(names(&store, STANDALONE), ["new", "old"]);
        assert!(!store.has_synced());
    }

    #[test]
    fn problems_end_with_the_next_event() {
        let mut store = Store::default();
        store.apply(Change::Failed("Function", "gone".to_owned()));
        store.apply(Change::Failed("Sink", "gone".to_owned()));
        assert_eq!(store.problem().as_deref(), Some("gone"));
        store.apply(Change::InitDone("Function"));
        store.apply(Change::Delete("Sink", object("x", None)));
        assert_eq!(store.problem(), None);
    }
}
