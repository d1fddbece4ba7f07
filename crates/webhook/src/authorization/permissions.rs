//! The permissions that an object requires of its author; pure.

use std::collections::BTreeMap;

use function_mesh_api::references::{Reference, Target, references, references_of_backend};
use function_mesh_api::validate::{FieldPath, Violation};
use function_mesh_api::{BackendConfig, Function, FunctionMesh, Sink, Source, Spec, parse};
use serde_json::Value;

/// Most permissions that are checked per object; an object that requires more is denied.
pub(super) const MAX_PERMISSIONS: usize = 64;

/// Fields that change the number of pods, but not what runs in them.
const SCALE_FIELDS: [&str; 3] = ["replicas", "minReplicas", "maxReplicas"];

/// A permission that the author of an object needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct RequiredPermission {
    /// The first field that requires it.
    pub(super) field: FieldPath,
    pub(super) permission: Permission,
}

/// An RBAC permission in the object's namespace.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Permission {
    pub(super) verb: &'static str,
    pub(super) resource: &'static str,
    /// Name of the object; empty for all objects of the resource.
    pub(super) name: String,
}

impl Permission {
    fn create_pods() -> Self {
        Self { verb: "create", resource: "pods", name: String::new() }
    }

    fn for_reference(reference: &Reference) -> Self {
        let (verb, resource) = match reference.target {
            Target::Secret => ("get", "secrets"),
            // RBAC has no verb for "run a pod as this account"; `impersonate` is its closest match.
            Target::ServiceAccount => ("impersonate", "serviceaccounts"),
        };
        Self { verb, resource, name: reference.name.clone() }
    }
}

/// The permissions that a change requires: those of each component whose pods change. The author of a change needs
/// all permissions of the component, not only new ones, since the new code can use what the component has.
pub(super) fn required_permissions(
    kind: &str,
    object: Value,
    old: Option<Value>,
) -> Result<Vec<RequiredPermission>, Violation> {
    let mut required = Permissions::default();
    let root = FieldPath::root("spec");
    match kind {
        "Function" => required.add_object::<Function>(&root, object, old)?,
        "Source" => required.add_object::<Source>(&root, object, old)?,
        "Sink" => required.add_object::<Sink>(&root, object, old)?,
        "FunctionMesh" => {
            let mesh = parse::<FunctionMesh>(object)?.spec;
            // An old object that cannot be decoded counts as empty.
            let old =
                old.and_then(|old| parse::<FunctionMesh>(old).ok()).map(|old| old.spec).unwrap_or_default();
            required.add_list(&root.field("functions"), mesh.functions.as_deref(), old.functions.as_deref());
            required.add_list(&root.field("sources"), mesh.sources.as_deref(), old.sources.as_deref());
            required.add_list(&root.field("sinks"), mesh.sinks.as_deref(), old.sinks.as_deref());
        }
        "BackendConfig" => {
            let new = references_of_backend(&parse::<BackendConfig>(object)?.spec);
            required.add_references(&new);
        }
        // The router has no endpoint for other kinds.
        _ => {}
    }
    let permissions = required.0.into_iter();
    Ok(permissions.map(|(permission, field)| RequiredPermission { field, permission }).collect())
}

#[derive(Default)]
struct Permissions(BTreeMap<Permission, FieldPath>);

impl Permissions {
    fn add_object<C: function_mesh_api::Component>(
        &mut self,
        path: &FieldPath,
        object: Value,
        old: Option<Value>,
    ) -> Result<(), Violation> {
        let new = parse::<C>(object)?;
        let old = old.and_then(|old| parse::<C>(old).ok());
        self.add_component(path, new.spec(), old.as_ref().map(C::spec));
        Ok(())
    }

    /// Matches the components of two versions of a mesh by name.
    fn add_list<S: Spec>(&mut self, path: &FieldPath, new: Option<&[S]>, old: Option<&[S]>) {
        let name = |spec: &S| spec.view().common.name.unwrap_or_default().to_owned();
        let old: BTreeMap<_, _> = old.into_iter().flatten().map(|spec| (name(spec), spec)).collect();
        for (index, spec) in new.into_iter().flatten().enumerate() {
            self.add_component(&path.index(index), spec, old.get(&name(spec)).copied());
        }
    }

    fn add_component<S: Spec>(&mut self, path: &FieldPath, new: &S, old: Option<&S>) {
        if old.is_some_and(|old| has_same_pods(new, old)) {
            return;
        }
        self.0.entry(Permission::create_pods()).or_insert_with(|| path.clone());
        self.add_references(&references(path, new));
    }

    fn add_references(&mut self, references: &[Reference]) {
        for reference in references {
            self.0.entry(Permission::for_reference(reference)).or_insert_with(|| reference.field.clone());
        }
    }
}

/// Whether two specs differ at most in the number of pods.
fn has_same_pods<S: Spec>(new: &S, old: &S) -> bool {
    if new == old {
        return true;
    }
    let without_scale = |spec: &S| {
        let mut value = serde_json::to_value(spec).ok()?;
        let fields = value.as_object_mut()?;
        for field in SCALE_FIELDS {
            fields.remove(field);
        }
        Some(value)
    };
    let new = without_scale(new);
    new.is_some() && new == without_scale(old)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "json! reads best inline")]
    fn function(change: Value) -> Value {
        let mut spec = json!({ "pulsar": { "authSecret": "auth" }, "pod": { "serviceAccountName": "db" }, "replicas": 1 });
        json_patch::merge(&mut spec, &change);
        json!({ "metadata": { "name": "f" }, "spec": spec })
    }

    fn required(kind: &str, object: Value, old: Option<Value>) -> Vec<String> {
        let found = required_permissions(kind, object, old).expect("an object");
        let text = |it: &RequiredPermission| {
            let Permission { verb, resource, name } = &it.permission;
            format!("{verb} {resource} {name} by {}", it.field)
        };
        found.iter().map(text).collect()
    }

    #[test]
    fn component_requires_pods_account_and_secrets() {
        let all = [
            "create pods  by spec",
            "get secrets auth by spec.pulsar.authSecret",
            "impersonate serviceaccounts db by spec.pod.serviceAccountName",
        ];
        assert_eq!(required("Function", function(json!({})), None), all);
        // New code gets the Secret and the account that the old code had.
        let other = function(json!({ "image": "other" }));
        assert_eq!(required("Function", other, Some(function(json!({})))), all);
        for harmless in [json!({}), json!({ "replicas": 5 }), json!({ "minReplicas": 1, "maxReplicas": 9 })] {
            assert!(required("Function", function(harmless), Some(function(json!({})))).is_empty());
        }
    }

    #[test]
    fn mesh_requires_permissions_of_changed_components() {
        let part = |name: &str, secret: &str| json!({ "name": name, "pulsar": { "authSecret": secret } });
        let mesh = |parts: Value| json!({ "metadata": { "name": "m" }, "spec": { "functions": parts } });
        let old = mesh(json!([part("a", "s1"), part("b", "s2")]));
        let moved = mesh(json!([part("b", "s2"), part("a", "s1")]));
        assert!(required("FunctionMesh", moved, Some(old.clone())).is_empty());
        let more = mesh(json!([part("c", "s3"), part("b", "s2")]));
        let expected =
            ["create pods  by spec.functions[0]", "get secrets s3 by spec.functions[0].pulsar.authSecret"];
        assert_eq!(required("FunctionMesh", more, Some(old)), expected);
    }

    #[test]
    fn backend_config_requires_its_references() {
        let config = json!({ "metadata": { "name": "c" }, "spec": { "pod": { "serviceAccountName": "db", "imagePullSecrets": [{ "name": "pull" }] } } });
        let expected = [
            "get secrets pull by spec.pod.imagePullSecrets[0].name",
            "impersonate serviceaccounts db by spec.pod.serviceAccountName",
        ];
        assert_eq!(required("BackendConfig", config, None), expected);
    }
}
