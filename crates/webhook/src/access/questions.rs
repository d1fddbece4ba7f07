//! What is to be asked about an object: a pure step.

use std::collections::BTreeMap;

use function_mesh_api::references::{Reference, Target, references, references_of_backend};
use function_mesh_api::validate::{FieldPath, Violation};
use function_mesh_api::{BackendConfig, Function, FunctionMesh, Sink, Source, Spec, parse};
use serde_json::Value;

/// Most questions about one object. One that refers to more is not asked about, but refused.
pub(super) const MOST: usize = 64;

/// Fields of a specification that decide how many pods there are, and nothing about what is in them.
const SCALE: [&str; 3] = ["replicas", "minReplicas", "maxReplicas"];

/// One right that the author of an object needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Question {
    /// The first field that needs it.
    pub(super) field: FieldPath,
    pub(super) right: Right,
}

/// A right in the object's namespace.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Right {
    pub(super) verb: &'static str,
    pub(super) resource: &'static str,
    /// Empty for all of them.
    pub(super) name: String,
}

impl Right {
    fn create_pods() -> Self {
        Self { verb: "create", resource: "pods", name: String::new() }
    }

    fn of(reference: &Reference) -> Self {
        let (verb, resource) = match reference.target {
            Target::Secret => ("get", "secrets"),
            // What RBAC has for acting as an account.
            Target::ServiceAccount => ("impersonate", "serviceaccounts"),
        };
        Self { verb, resource, name: reference.name.clone() }
    }
}

/// The rights that a change of an object takes: those of each component that runs something else than before. Whoever
/// changes what runs gets all that the component is given, and not only what is new of it.
pub(super) fn questions(kind: &str, object: Value, old: Option<Value>) -> Result<Vec<Question>, Violation> {
    let mut asked = Asked::default();
    let root = FieldPath::root("spec");
    match kind {
        "Function" => asked.object::<Function>(&root, object, old)?,
        "Source" => asked.object::<Source>(&root, object, old)?,
        "Sink" => asked.object::<Sink>(&root, object, old)?,
        "FunctionMesh" => {
            let mesh = parse::<FunctionMesh>(object)?.spec;
            // One that cannot be read was given nothing.
            let old =
                old.and_then(|old| parse::<FunctionMesh>(old).ok()).map(|old| old.spec).unwrap_or_default();
            asked.list(&root.field("functions"), mesh.functions.as_deref(), old.functions.as_deref());
            asked.list(&root.field("sources"), mesh.sources.as_deref(), old.sources.as_deref());
            asked.list(&root.field("sinks"), mesh.sinks.as_deref(), old.sinks.as_deref());
        }
        "BackendConfig" => {
            let new = references_of_backend(&parse::<BackendConfig>(object)?.spec);
            asked.references(&new);
        }
        // The router knows no other.
        _ => {}
    }
    Ok(asked.0.into_iter().map(|(right, field)| Question { field, right }).collect())
}

#[derive(Default)]
struct Asked(BTreeMap<Right, FieldPath>);

impl Asked {
    fn object<C: function_mesh_api::Component>(
        &mut self,
        path: &FieldPath,
        object: Value,
        old: Option<Value>,
    ) -> Result<(), Violation> {
        let new = parse::<C>(object)?;
        let old = old.and_then(|old| parse::<C>(old).ok());
        self.component(path, new.spec(), old.as_ref().map(C::spec));
        Ok(())
    }

    /// Components of a mesh are known by their names.
    fn list<S: Spec>(&mut self, path: &FieldPath, new: Option<&[S]>, old: Option<&[S]>) {
        let name = |spec: &S| spec.view().common.name.unwrap_or_default().to_owned();
        let old: BTreeMap<_, _> = old.into_iter().flatten().map(|spec| (name(spec), spec)).collect();
        for (index, spec) in new.into_iter().flatten().enumerate() {
            self.component(&path.index(index), spec, old.get(&name(spec)).copied());
        }
    }

    fn component<S: Spec>(&mut self, path: &FieldPath, new: &S, old: Option<&S>) {
        if old.is_some_and(|old| runs_the_same(new, old)) {
            return;
        }
        self.0.entry(Right::create_pods()).or_insert_with(|| path.clone());
        self.references(&references(path, new));
    }

    fn references(&mut self, references: &[Reference]) {
        for reference in references {
            self.0.entry(Right::of(reference)).or_insert_with(|| reference.field.clone());
        }
    }
}

/// Whether two specifications differ in the number of pods at most.
fn runs_the_same<S: Spec>(new: &S, old: &S) -> bool {
    if new == old {
        return true;
    }
    let without_scale = |spec: &S| {
        let mut value = serde_json::to_value(spec).ok()?;
        let fields = value.as_object_mut()?;
        for field in SCALE {
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

    #[allow(clippy::needless_pass_by_value, reason = "fixtures read better so")]
    fn function(change: Value) -> Value {
        let mut spec = json!({ "pulsar": { "authSecret": "auth" }, "pod": { "serviceAccountName": "db" }, "replicas": 1 });
        json_patch::merge(&mut spec, &change);
        json!({ "metadata": { "name": "f" }, "spec": spec })
    }

    fn asked(kind: &str, object: Value, old: Option<Value>) -> Vec<String> {
        let found = questions(kind, object, old).expect("an object");
        let text = |it: &Question| {
            format!("{} {} {} by {}", it.right.verb, it.right.resource, it.right.name, it.field)
        };
        found.iter().map(text).collect()
    }

    #[test]
    fn component_asks_for_pods_its_account_and_its_secrets() {
        let all = [
            "create pods  by spec",
            "get secrets auth by spec.pulsar.authSecret",
            "impersonate serviceaccounts db by spec.pod.serviceAccountName",
        ];
        assert_eq!(asked("Function", function(json!({})), None), all);
        // Other code with the same Secret and account gets both.
        let other = function(json!({ "image": "other" }));
        assert_eq!(asked("Function", other, Some(function(json!({})))), all);
        for harmless in [json!({}), json!({ "replicas": 5 }), json!({ "minReplicas": 1, "maxReplicas": 9 })] {
            assert!(asked("Function", function(harmless), Some(function(json!({})))).is_empty());
        }
    }

    #[test]
    fn mesh_asks_for_the_components_that_change() {
        let part = |name: &str, secret: &str| json!({ "name": name, "pulsar": { "authSecret": secret } });
        let mesh = |parts: Value| json!({ "metadata": { "name": "m" }, "spec": { "functions": parts } });
        let old = mesh(json!([part("a", "s1"), part("b", "s2")]));
        let moved = mesh(json!([part("b", "s2"), part("a", "s1")]));
        assert!(asked("FunctionMesh", moved, Some(old.clone())).is_empty());
        let more = mesh(json!([part("c", "s3"), part("b", "s2")]));
        let wanted =
            ["create pods  by spec.functions[0]", "get secrets s3 by spec.functions[0].pulsar.authSecret"];
        assert_eq!(asked("FunctionMesh", more, Some(old)), wanted);
    }

    #[test]
    fn backend_config_asks_for_what_it_gives_to_pods() {
        let config = json!({ "metadata": { "name": "c" }, "spec": { "pod": { "serviceAccountName": "db", "imagePullSecrets": [{ "name": "pull" }] } } });
        let wanted = [
            "get secrets pull by spec.pod.imagePullSecrets[0].name",
            "impersonate serviceaccounts db by spec.pod.serviceAccountName",
        ];
        assert_eq!(asked("BackendConfig", config, None), wanted);
    }
}
