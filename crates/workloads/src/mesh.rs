//! Component objects of a mesh.

use std::collections::BTreeMap;

use function_mesh_api::validate::Valid;
use function_mesh_api::{Component, Function, FunctionMesh, Sink, Source, Spec, labels};

use crate::context::owner_reference;
use crate::names;

/// The component objects of a mesh.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshComponents {
    /// The Functions.
    pub functions: Vec<Function>,
    /// The Sources.
    pub sources: Vec<Source>,
    /// The Sinks.
    pub sinks: Vec<Sink>,
}

/// Builds the component objects, named `<mesh>-<name>`, with the specs of the mesh.
pub(crate) fn build_components(mesh: &Valid<FunctionMesh>) -> MeshComponents {
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
    meta.owner_references = Some(vec![owner_reference("FunctionMesh", owner)]);
    // The name of a mesh can exceed the length of a label value.
    meta.labels =
        is_label_value(mesh_name).then(|| BTreeMap::from([(labels::MESH.to_owned(), mesh_name.to_owned())]));
    let propagated =
        labels::PROPAGATED.into_iter().filter_map(|key| Some((key, labels::annotation(owner, key)?)));
    let annotations: BTreeMap<_, _> =
        propagated.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
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
    fn components_have_the_spec_and_owner_of_the_mesh() {
        let mesh = mesh(json!({ "name": "m", "namespace": "ns", "uid": "u" }));
        let all = build_components(&mesh);
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
    fn annotations_propagate_except_managed() {
        let annotations = json!({ labels::PAUSE_ROLLOUT: "true", labels::MANAGED: "true", "other": "x" });
        let all = build_components(&mesh(json!({ "name": "m", "annotations": annotations })));
        let found = all.functions[0].metadata.annotations.as_ref().unwrap();
        assert_eq!(
            found.iter().collect::<Vec<_>>(),
            [(&labels::PAUSE_ROLLOUT.to_owned(), &"true".to_owned())]
        );
    }

    #[test]
    fn is_label_value_accepts_only_label_values() {
        for good in ["a", "a.b-c_d", "A1"] {
            assert!(is_label_value(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", &"a".repeat(64)] {
            assert!(!is_label_value(bad), "{bad}");
        }
    }
}
