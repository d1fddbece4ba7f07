//! Decodes documents as objects of Function Mesh.

use function_mesh_api::validate::{FieldPath, Violation};
use function_mesh_api::{
    BackendConfig, Function, FunctionMesh, Sink, Source, complexity, labels, parse, schema_defaults,
};
use kube::Resource;
use serde::de::DeserializeOwned;

use crate::input::Document;

/// An object of a Function Mesh kind.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    Mesh(Box<FunctionMesh>),
    Function(Box<Function>),
    Source(Box<Source>),
    Sink(Box<Sink>),
    BackendConfig(Box<BackendConfig>),
    /// An object of another kind, which is ignored.
    Other,
}

/// The kinds of Function Mesh.
pub(crate) const KINDS: [&str; 5] = ["FunctionMesh", "Function", "Source", "Sink", "BackendConfig"];

impl Object {
    /// Decodes a document as its kind.
    pub(crate) fn decode(document: &Document, namespace: &str) -> Result<Self, Violation> {
        if let Some(violation) = type_meta_violation(document) {
            return Err(violation);
        }
        if !document.is_mesh_kind() {
            return Ok(Self::Other);
        }
        Ok(match document.kind() {
            "FunctionMesh" => Self::Mesh(typed(document, namespace)?),
            "Function" => Self::Function(typed(document, namespace)?),
            "Source" => Self::Source(typed(document, namespace)?),
            "Sink" => Self::Sink(typed(document, namespace)?),
            _ => Self::BackendConfig(typed(document, namespace)?),
        })
    }

    /// The namespace; None for other kinds.
    #[cfg(feature = "cluster")]
    pub(crate) fn namespace(&self) -> Option<String> {
        use kube::ResourceExt;
        match self {
            Self::Mesh(mesh) => mesh.namespace(),
            Self::Function(function) => function.namespace(),
            Self::Source(source) => source.namespace(),
            Self::Sink(sink) => sink.namespace(),
            Self::BackendConfig(backend) => backend.namespace(),
            Self::Other => None,
        }
    }
}

/// What is wrong with apiVersion and kind.
pub(crate) fn type_meta_violation(document: &Document) -> Option<Violation> {
    let violation = |field, message| Some(Violation { field: FieldPath::root(field), message });
    if document.text(&["apiVersion"]).is_none_or(str::is_empty) {
        let message =
            format!("apiVersion is required; for the kinds of Function Mesh it is {:?}", labels::API_VERSION);
        return violation("apiVersion", message);
    }
    if document.kind().is_empty() {
        return violation("kind", format!("kind is required, for example {:?}", KINDS[0]));
    }
    if !document.is_mesh_kind() {
        return None;
    }
    if document.text(&["apiVersion"]) != Some(labels::API_VERSION) {
        return violation("apiVersion", format!("unknown version; use {:?}", labels::API_VERSION));
    }
    if !KINDS.contains(&document.kind()) {
        return violation("kind", format!("unknown kind; use one of {}", KINDS.join(", ")));
    }
    None
}

/// Decodes a document as a kind with the defaults of its schema, as the API server reads it, and sets the namespace that
/// it would be created in.
fn typed<K>(document: &Document, namespace: &str) -> Result<Box<K>, Violation>
where
    K: Resource + DeserializeOwned,
{
    let mut value = document.node.to_value();
    schema_defaults::apply(document.kind(), &mut value);
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

    fn decode_error(text: &str) -> String {
        let source = Rc::new(crate::input::Source { name: "x".to_owned(), text: text.to_owned() });
        let node = load(text).documents.remove(0);
        Object::decode(&Document { source, node, repeated: Vec::new() }, "default").unwrap_err().to_string()
    }

    #[test]
    fn complexity_limits_match_the_operator() {
        let head = format!("apiVersion: {}\nkind: Function\nmetadata: {{name: f}}\n", labels::API_VERSION);
        let deep = format!("{head}spec: {{funcConfig: {{a: {}{}}}}}\n", "[".repeat(80), "]".repeat(80));
        assert!(
            decode_error(&deep).contains("object is nested more than 64 levels deep"),
            "{}",
            decode_error(&deep)
        );
        let wide = format!("{head}spec: {{funcConfig: {{a: [{}]}}}}\n", "{\"\": 0},".repeat(40_000));
        assert!(decode_error(&wide).contains("object has too many values"), "{}", decode_error(&wide));
    }
}
