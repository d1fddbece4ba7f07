//! Documents as objects of this project's kinds.

use function_mesh_api::validate::{FieldPath, Violation};
use function_mesh_api::{BackendConfig, Function, FunctionMesh, Sink, Source, complexity, labels, parse};
use kube::Resource;
use serde::de::DeserializeOwned;

use crate::input::Document;

/// An object of this project's kinds.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    Mesh(Box<FunctionMesh>),
    Function(Box<Function>),
    Source(Box<Source>),
    Sink(Box<Sink>),
    BackendConfig(Box<BackendConfig>),
    /// An object of another kind: not this program's business.
    Foreign,
}

/// The kinds that this program knows.
pub(crate) const KINDS: [&str; 5] = ["FunctionMesh", "Function", "Source", "Sink", "BackendConfig"];

impl Object {
    /// Reads a document as the kind that it says it is.
    pub(crate) fn read(document: &Document, namespace: &str) -> Result<Self, Violation> {
        if let Some(fault) = header_fault(document) {
            return Err(fault);
        }
        if !document.is_ours() {
            return Ok(Self::Foreign);
        }
        Ok(match document.kind() {
            "FunctionMesh" => Self::Mesh(typed(document, namespace)?),
            "Function" => Self::Function(typed(document, namespace)?),
            "Source" => Self::Source(typed(document, namespace)?),
            "Sink" => Self::Sink(typed(document, namespace)?),
            _ => Self::BackendConfig(typed(document, namespace)?),
        })
    }

    /// The namespace, of an object of this project.
    #[cfg(feature = "cluster")]
    pub(crate) fn namespace(&self) -> Option<String> {
        use kube::ResourceExt;
        match self {
            Self::Mesh(mesh) => mesh.namespace(),
            Self::Function(function) => function.namespace(),
            Self::Source(source) => source.namespace(),
            Self::Sink(sink) => sink.namespace(),
            Self::BackendConfig(backend) => backend.namespace(),
            Self::Foreign => None,
        }
    }
}

/// What is wrong with the lines that say what an object is.
pub(crate) fn header_fault(document: &Document) -> Option<Violation> {
    let fault = |field, message| Some(Violation { field: FieldPath::root(field), message });
    if document.text(&["apiVersion"]).is_none_or(str::is_empty) {
        let message =
            format!("an object needs an apiVersion; for the kinds of this project {:?}", labels::API_VERSION);
        return fault("apiVersion", message);
    }
    if document.kind().is_empty() {
        return fault("kind", format!("an object needs a kind, for example {:?}", KINDS[0]));
    }
    if !document.is_ours() {
        return None;
    }
    if document.text(&["apiVersion"]) != Some(labels::API_VERSION) {
        return fault("apiVersion", format!("there is no such version; write {:?}", labels::API_VERSION));
    }
    if !KINDS.contains(&document.kind()) {
        return fault("kind", format!("there is no such kind; there are {}", KINDS.join(", ")));
    }
    None
}

/// Reads a document as a kind, and gives it the namespace that it would be created in.
fn typed<K>(document: &Document, namespace: &str) -> Result<Box<K>, Violation>
where
    K: Resource + DeserializeOwned,
{
    let value = document.node.to_value();
    complexity::check(value.to_string().as_bytes())
        .map_err(|error| Violation { field: FieldPath::root(error.field()), message: error.to_string() })?;
    let mut object: K = parse(value)?;
    let meta = object.meta_mut();
    if meta.namespace.as_deref().is_none_or(str::is_empty) {
        meta.namespace = Some(namespace.to_owned());
    }
    Ok(Box::new(object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::load;
    use std::rc::Rc;

    fn fault(text: &str) -> String {
        let source = Rc::new(crate::input::Source { name: "x".to_owned(), text: text.to_owned() });
        let node = load(text).0.remove(0);
        Object::read(&Document { source, node }, "default").unwrap_err().to_string()
    }

    #[test]
    fn too_complex_objects_are_refused_with_the_sentence_of_the_operator() {
        let head = format!("apiVersion: {}\nkind: Function\nmetadata: {{name: f}}\n", labels::API_VERSION);
        let deep = format!("{head}spec: {{funcConfig: {{a: {}{}}}}}\n", "[".repeat(80), "]".repeat(80));
        assert!(fault(&deep).contains("object is nested more than 64 levels deep"), "{}", fault(&deep));
        let wide = format!("{head}spec: {{funcConfig: {{a: [{}]}}}}\n", "{\"\": 0},".repeat(40_000));
        assert!(fault(&wide).contains("object has too many values"), "{}", fault(&wide));
    }
}
