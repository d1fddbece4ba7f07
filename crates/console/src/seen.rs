//! The objects of the store as one viewer may see them.

use std::collections::BTreeSet;

use function_mesh_status::object_ref::ObjectRef;
use function_mesh_status::{ComponentView, MeshPlan};
use serde_json::Value;

use crate::store::{KINDS, MeshKey, STANDALONE, Store, is_standalone, plural};
use crate::visible::{Kinds, Visible};

/// The store without what a viewer may not see.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    store: &'a Store,
    visible: &'a Visible,
}

impl<'a> Seen<'a> {
    pub(crate) const fn new(store: &'a Store, visible: &'a Visible) -> Self {
        Self { store, visible }
    }

    /// Whether every kind was listed once.
    pub fn has_synced(self) -> bool {
        self.store.has_synced()
    }

    /// The kinds that are visible in a namespace.
    pub fn kinds(self, namespace: &str) -> Kinds {
        self.visible.kinds(namespace)
    }

    /// Why all meshes may be old or incomplete.
    pub fn problem(self) -> Option<String> {
        let own = self.visible.is_empty().then(|| "you may not list meshes or components".to_owned());
        joined(self.store.problem(), own)
    }

    /// Why what is shown of a namespace may be old or incomplete.
    pub fn problem_of(self, namespace: &str) -> Option<String> {
        let missing: Vec<_> = Kinds::ALL.without(self.kinds(namespace)).iter().map(plural).collect();
        let own = (!missing.is_empty()).then(|| format!("you may not list {} here", missing.join(", ")));
        joined(self.store.problem(), own)
    }

    /// All meshes, and a page for each namespace with components that have none.
    pub fn meshes(self) -> BTreeSet<MeshKey> {
        let visible = self.store.objects().filter(|(key, _)| self.kinds(&key.0).contains(key.1));
        let mesh = visible.filter_map(|((namespace, kind, name), object)| {
            let name = match *kind {
                "FunctionMesh" => name.clone(),
                _ if is_standalone(object) => STANDALONE.to_owned(),
                _ => return None,
            };
            Some(MeshKey { namespace: namespace.clone(), name })
        });
        mesh.collect()
    }

    /// A FunctionMesh.
    pub fn mesh(self, mesh: &MeshKey) -> Option<&'a Value> {
        self.object(&mesh.namespace, KINDS[0], &mesh.name)
    }

    /// A component by its kind.
    pub fn component(self, namespace: &str, kind: &str, name: &str) -> Option<&'a Value> {
        let kind = KINDS.into_iter().skip(1).find(|known| *known == kind)?;
        self.object(namespace, kind, name)
    }

    /// A component as its status reports it, by its object.
    pub fn view(self, object: &Value) -> Option<&'a ComponentView> {
        let ObjectRef { kind, namespace, name } = ObjectRef::of(object);
        let kind = KINDS.into_iter().skip(1).find(|known| *known == kind)?;
        self.kinds(&namespace).contains(kind).then(|| self.store.view(&namespace, kind, &name)).flatten()
    }

    /// The components that a mesh asks for.
    pub fn plan(self, mesh: &MeshKey) -> Option<&'a MeshPlan> {
        self.kinds(&mesh.namespace).contains(KINDS[0]).then(|| self.store.plan(mesh)).flatten()
    }

    fn object(self, namespace: &str, kind: &'static str, name: &str) -> Option<&'a Value> {
        self.kinds(namespace).contains(kind).then(|| self.store.object(namespace, kind, name)).flatten()
    }

    /// The components that may belong to a mesh: the names of its own ones begin with its name.
    pub fn components(self, mesh: &MeshKey) -> Vec<&'a Value> {
        let standalone = mesh.name == STANDALONE;
        let prefix = if standalone { String::new() } else { format!("{}-", mesh.name) };
        let visible = self.kinds(&mesh.namespace);
        let mut found = Vec::new();
        for kind in visible.without(Kinds::one(KINDS[0])).iter() {
            let of_kind = self.store.named(&mesh.namespace, kind, &prefix);
            found.extend(of_kind.filter(|it| !standalone || is_standalone(it)));
        }
        found
    }
}

fn joined(one: Option<String>, other: Option<String>) -> Option<String> {
    let texts: Vec<_> = [one, other].into_iter().flatten().collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::Change;

    fn store() -> Store {
        let mut store = Store::default();
        for (kind, name, mesh) in [
            ("FunctionMesh", "m", None),
            ("Function", "m-a", Some("m")),
            ("Sink", "m-b", Some("m")),
            ("Function", "alone", None),
            ("Function", "n-a", Some("n")),
        ] {
            let owner = json!({ "kind": "FunctionMesh", "name": mesh, "uid": "u", "controller": true });
            let owners: Vec<_> = mesh.map(|_| owner).into_iter().collect();
            let metadata = json!({ "namespace": "shop", "name": name, "ownerReferences": owners });
            store.apply(Change::Apply(kind.into(), Box::new(json!({ "metadata": metadata }))));
        }
        store
    }

    fn key(name: &str) -> MeshKey {
        MeshKey { namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn names(seen: Seen<'_>, mesh: &str) -> Vec<String> {
        let name = |object: &&Value| object["metadata"]["name"].as_str().unwrap().to_owned();
        seen.components(&key(mesh)).iter().map(name).collect()
    }

    #[test]
    fn components_are_found_by_mesh_and_without_one() {
        let (store, all) = (store(), Visible::all());
        let seen = store.seen_by(&all);
        assert_eq!(names(seen, "m"), ["m-a", "m-b"]);
        assert_eq!(names(seen, STANDALONE), ["alone"]);
        assert_eq!(seen.meshes(), [key("-"), key("m")].into());
        assert!(seen.component("shop", "Function", "m-a").is_some() && seen.problem().is_none());
    }

    #[test]
    fn what_is_not_visible_is_not_there() {
        let store = store();
        let visible = |kinds: &[&str], namespace: &str| {
            Visible::new(Kinds::NONE, [(namespace.to_owned(), kinds.iter().copied().collect())])
        };
        let sinks = visible(&["Sink"], "shop");
        let seen = store.seen_by(&sinks);
        assert_eq!((names(seen, "m"), names(seen, STANDALONE)), (vec!["m-b".to_owned()], vec![]));
        assert!(seen.meshes().is_empty() && seen.mesh(&key("m")).is_none());
        assert!(seen.component("shop", "Function", "m-a").is_none());
        let text = seen.problem_of("shop").unwrap();
        assert_eq!(text, "you may not list functionmeshes, functions, sources here");

        let elsewhere = visible(&["FunctionMesh", "Function", "Source", "Sink"], "other");
        let seen = store.seen_by(&elsewhere);
        assert!(names(seen, "m").is_empty() && seen.meshes().is_empty() && seen.mesh(&key("m")).is_none());
        let nothing = Visible::default();
        assert_eq!(store.seen_by(&nothing).problem().unwrap(), "you may not list meshes or components");
    }
}
