//! All that is wrong with a document, each with its place in the text.
//!
//! Two readers look at it. The first compares it with the schema of its kind, as the API server does, and
//! finds every wrong type and unknown field. The second applies the rules of the operator, which needs an
//! object that can be read at all.

pub(crate) mod report;
mod schema;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use function_mesh_api::validate::{Findings, Violation, check_backend_config, check_component, check_mesh};
use serde_json::Value;

use crate::input::Document;
use crate::object::{self, Object};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Severity {
    /// The cluster refuses the document.
    Error,
    /// The cluster takes it; most likely it is not meant so.
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

/// One thing to say of a document.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) field: String,
    pub(crate) message: String,
    /// Where in the text.
    pub(crate) at: Range<usize>,
}

/// The schemas of all kinds, by kind. Made once: they are large.
static SCHEMAS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let mut schemas = BTreeMap::new();
    // Definitions that cannot be made are the business of `crds`, whose test fails.
    for crd in function_mesh_api::crd::all().unwrap_or_default() {
        let version = crd.spec.versions.into_iter().next();
        let schema = version.and_then(|version| version.schema?.open_api_v3_schema);
        schemas.insert(crd.spec.names.kind, serde_json::to_value(schema).unwrap_or_default());
    }
    schemas
});

/// Checks documents.
pub(crate) struct Checker<'a> {
    /// The namespace of objects that name none.
    pub(crate) namespace: &'a str,
}

impl Checker<'_> {
    /// What is to say of a document, by its place in the text. None for an object of another project.
    pub(crate) fn check(&self, document: &Document) -> Option<Vec<Finding>> {
        if let Some(fault) = object::header_fault(document) {
            return Some(vec![placed(document, Severity::Error, fault)]);
        }
        if !document.is_ours() {
            return misspelt_group(document).map(|fault| vec![placed(document, Severity::Warning, fault)]);
        }
        let mut found = match SCHEMAS.get(document.kind()) {
            Some(schema) => schema::compare(document, schema),
            None => Vec::new(),
        };
        match Object::read(document, self.namespace) {
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
        Object::Foreign => Findings::default(),
    }
}

fn placed(document: &Document, severity: Severity, violation: Violation) -> Finding {
    let field = violation.field.as_str().to_owned();
    let at = document.node.locate(&field);
    Finding { severity, field, message: violation.message, at }
}

/// A group that differs from this project's by a slip of the pen.
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
