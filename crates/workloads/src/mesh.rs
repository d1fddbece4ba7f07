//! The components of a mesh, as objects of their own.

use std::collections::BTreeMap;

use function_mesh_api::validate::Valid;
use function_mesh_api::{Component, FunctionMesh, Spec, labels};

use crate::MeshComponents;
use crate::context::controller_of;
use crate::names;

/// The components of a mesh. Each is told apart by its mesh and its name, and says what the mesh says.
pub(crate) fn components(mesh: &Valid<FunctionMesh>) -> MeshComponents {
    MeshComponents {
        functions: objects(mesh, mesh.spec.functions.as_deref()),
        sources: objects(mesh, mesh.spec.sources.as_deref()),
        sinks: objects(mesh, mesh.spec.sinks.as_deref()),
    }
}

fn objects<C: Component>(mesh: &FunctionMesh, specs: Option<&[C::Spec]>) -> Vec<C> {
    specs.unwrap_or_default().iter().map(|spec| object(mesh, spec)).collect()
}

fn object<C: Component>(mesh: &FunctionMesh, spec: &C::Spec) -> C {
    let owner = &mesh.metadata;
    let mesh_name = owner.name.as_deref().unwrap_or_default();
    let name = names::component(mesh_name, spec.view().common.name.unwrap_or_default());
    let mut object = C::with_spec(&name, spec.clone());
    let meta = object.meta_mut();
    meta.namespace.clone_from(&owner.namespace);
    meta.owner_references = Some(vec![controller_of("FunctionMesh", owner)]);
    // A name may be longer than a label.
    meta.labels =
        is_label_value(mesh_name).then(|| BTreeMap::from([(labels::MESH.to_owned(), mesh_name.to_owned())]));
    let passed_on =
        labels::PROPAGATED.into_iter().filter_map(|key| Some((key, labels::annotation(owner, key)?)));
    let annotations: BTreeMap<_, _> =
        passed_on.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    meta.annotations = (!annotations.is_empty()).then_some(annotations);
    object
}

fn is_label_value(text: &str) -> bool {
    let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63
        && is_end(text.bytes().next())
        && is_end(text.bytes().last())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "JSON reads best where it is used")]
mod tests {
    use super::*;
    use function_mesh_api::validate::valid_mesh;
    use serde_json::{Value, json};

    fn mesh(metadata: Value) -> Valid<FunctionMesh> {
        let function = json!({
            "name": "f", "className": "C", "java": { "jar": "f.jar" }, "input": { "topics": ["in"] },
            "pulsar": { "pulsarConfig": "p" }, "funcConfig": { "n": 9_007_199_254_740_993_i64 },
        });
        let sink = json!({
            "name": "k", "className": "C", "java": { "jar": "k.nar" }, "input": { "topics": ["in"] },
            "pulsar": { "pulsarConfig": "p" }, "sinkConfig": {},
        });
        let mesh = json!({ "metadata": metadata, "spec": { "functions": [function], "sinks": [sink] } });
        let mut mesh = mesh;
        mesh["apiVersion"] = json!(labels::API_VERSION);
        mesh["kind"] = json!("FunctionMesh");
        valid_mesh(function_mesh_api::parse(mesh).unwrap()).unwrap()
    }

    #[test]
    fn components_say_what_the_mesh_says_and_belong_to_it() {
        let mesh = mesh(json!({ "name": "m", "namespace": "ns", "uid": "u" }));
        let all = components(&mesh);
        let function = &all.functions[0];
        assert_eq!(&function.spec, &mesh.spec.functions.as_ref().unwrap()[0]);
        assert_eq!(function.metadata.name.as_deref(), Some("m-f"));
        assert_eq!(function.metadata.namespace.as_deref(), Some("ns"));
        let owner = &function.metadata.owner_references.as_ref().unwrap()[0];
        assert_eq!(
            (owner.kind.as_str(), owner.name.as_str(), owner.uid.as_str()),
            ("FunctionMesh", "m", "u")
        );
        assert_eq!(function.metadata.labels.as_ref().unwrap()[labels::MESH], "m");
        assert_eq!(function.metadata.annotations, None);
        assert_eq!(all.sinks[0].metadata.name.as_deref(), Some("m-k"));
        assert!(all.sources.is_empty());
    }

    #[test]
    fn what_steers_the_mesh_steers_its_components_but_not_whether_it_is_managed() {
        let annotations = json!({ labels::PAUSE_ROLLOUT: "true", labels::MANAGED: "true", "other": "x" });
        let all = components(&mesh(json!({ "name": "m", "annotations": annotations })));
        let found = all.functions[0].metadata.annotations.as_ref().unwrap();
        assert_eq!(
            found.iter().collect::<Vec<_>>(),
            [(&labels::PAUSE_ROLLOUT.to_owned(), &"true".to_owned())]
        );
    }

    #[test]
    fn only_what_a_label_can_hold_becomes_one() {
        for good in ["a", "a.b-c_d", "A1"] {
            assert!(is_label_value(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", &"a".repeat(64)] {
            assert!(!is_label_value(bad), "{bad}");
        }
    }
}
