//! Validates documents; each finding has a location in the text.
//!
//! First the document is validated against the schema of its kind, as the API server does, which finds all wrong types
//! and unknown fields. Then the rules of the operator are applied, if the object can be decoded.

pub(crate) mod report;
mod schema;

use std::ops::Range;

use function_mesh_api::crd;
use function_mesh_api::validate::{Findings, Violation, check_backend_config, check_component, check_mesh};

use crate::input::Document;
use crate::object::{self, Object};

/// Severity of a finding.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Severity {
    /// The cluster rejects the document.
    Error,
    /// The cluster accepts the document, but it is most likely a mistake.
    Warning,
}

impl Severity {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One finding about a document.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) field: String,
    pub(crate) message: String,
    /// Location in the text.
    pub(crate) at: Range<usize>,
}

/// Validates documents.
pub(crate) struct Checker<'a> {
    /// Namespace of objects without one.
    pub(crate) namespace: &'a str,
}

impl Checker<'_> {
    /// The findings in order of location; None for other kinds.
    pub(crate) fn check(&self, document: &Document) -> Option<Vec<Finding>> {
        if let Some(fault) = object::type_meta_violation(document) {
            return Some(vec![placed(document, Severity::Error, fault)]);
        }
        if !document.is_mesh_kind() {
            return misspelt_group(document).map(|fault| vec![placed(document, Severity::Warning, fault)]);
        }
        let mut found = match crd::schema(document.kind()) {
            Some(schema) => schema::compare(document, schema),
            None => Vec::new(),
        };
        match Object::decode(document, self.namespace) {
            Ok(object) => {
                let Findings { violations, warnings } = rules(&object);
                for (severity, violations) in [(Severity::Error, violations), (Severity::Warning, warnings)] {
                    for violation in violations {
                        if !found.iter().any(|other| other.field == violation.field.as_str()) {
                            found.push(placed(document, severity, violation));
                        }
                    }
                }
            }
            // Reading stops at the first value of a wrong type. The schema has found it and all others.
            Err(violation) => {
                let fault = placed(document, Severity::Error, violation);
                if !found.iter().any(|other| other.severity == Severity::Error && other.at == fault.at) {
                    found.push(fault);
                }
            }
        }
        let repeated = document.repetitions();
        found.extend(repeated.map(|(field, at, message)| Finding {
            severity: Severity::Warning,
            field,
            message,
            at,
        }));
        found.sort_by_key(|finding| (finding.at.start, finding.severity));
        Some(found)
    }
}

fn rules(object: &Object) -> Findings {
    match object {
        Object::Mesh(mesh) => check_mesh(mesh),
        Object::Function(function) => check_component(&**function),
        Object::Source(source) => check_component(&**source),
        Object::Sink(sink) => check_component(&**sink),
        Object::BackendConfig(backend) => check_backend_config(&backend.spec),
        Object::Other => Findings::default(),
    }
}

fn placed(document: &Document, severity: Severity, violation: Violation) -> Finding {
    let field = violation.field.as_str().to_owned();
    let at = document.node.locate(&field);
    Finding { severity, field, message: violation.message, at }
}

/// A group that differs from this project's by a typo.
fn misspelt_group(document: &Document) -> Option<Violation> {
    use function_mesh_api::labels::{API_VERSION, GROUP};
    use function_mesh_api::validate::FieldPath;
    let version = document.text(&["apiVersion"])?;
    let group = version.split_once('/').map_or(version, |(group, _)| group);
    let is_close = strsim::normalized_damerau_levenshtein(group, GROUP) > 0.75;
    (is_close || document.kind() == "FunctionMesh").then(|| Violation {
        field: FieldPath::root("apiVersion"),
        message: format!("this is not the operator's; did you mean {API_VERSION:?}?"),
    })
}
