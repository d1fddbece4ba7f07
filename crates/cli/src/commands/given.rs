//! What a command is to look at: files, standard input, or objects of a cluster.

use std::io;
use std::ops::Range;

#[cfg(feature = "cluster")]
use crate::Failure;
use crate::Streams;
use crate::check::{Checker, Severity, report};
#[cfg(feature = "cluster")]
use crate::cluster::{Cluster, Selection};
use crate::id::Snapshot;
use crate::input::{Document, Files, InputError, read};
#[cfg(feature = "cluster")]
use crate::input::{Source, parse};
use crate::object::Object;

/// Documents, and what is known of the place that they come from.
pub(super) struct Given {
    pub(super) documents: Vec<Document>,
    pub(super) errors: Vec<InputError>,
    /// Namespace of objects that name none.
    pub(super) namespace: String,
    /// The objects of the cluster that they were taken from.
    pub(super) live: Snapshot,
}

impl Given {
    /// Documents of files.
    pub(super) fn in_files(files: &Files) -> Self {
        let (documents, errors) = read(files);
        Self { documents, errors, namespace: files.namespace().to_owned(), live: Snapshot::new() }
    }

    /// The documents, or why one cannot be read.
    pub(super) fn all(&mut self) -> Result<Vec<Document>, InputError> {
        let documents = std::mem::take(&mut self.documents);
        std::mem::take(&mut self.errors).into_iter().next().map_or(Ok(documents), Err)
    }
}

#[cfg(feature = "cluster")]
impl Given {
    /// Documents of files or, when it is asked for, objects of the cluster. A mesh stands for its components.
    /// BackendConfigs always come along, since they shape what is rendered; `others` adds those of a namespace
    /// that is not asked for.
    pub(super) fn of(files: &Files, selection: &Selection, others: Option<&str>) -> Result<Self, Failure> {
        if !selection.from_cluster {
            return Ok(Self::in_files(files));
        }
        let cluster = Cluster::connect(&selection.connection)?;
        let namespace = files.namespace.clone().unwrap_or_else(|| cluster.namespace().to_owned());
        let mut live = cluster.ours((!selection.all_namespaces).then_some(namespace.as_str()))?;
        for target in &selection.targets {
            if !live.keys().any(|id| id.kind == target.kind && id.name == target.name) {
                let (kind, name) = (target.kind, &target.name);
                return Err(Failure::Nothing(format!("there is no {kind} {name} in namespace {namespace}")));
            }
        }
        let chosen = |id: &crate::id::Id, object: &serde_json::Value| {
            if selection.targets.is_empty() {
                return crate::id::controller(object).is_none_or(|(kind, ..)| kind != "FunctionMesh");
            }
            id.kind == "BackendConfig"
                || selection.targets.iter().any(|target| target.kind == id.kind && target.name == id.name)
        };
        let mut documents = Vec::new();
        for (id, object) in live.iter().filter(|(id, object)| chosen(id, object)) {
            documents.push(document(id, object)?);
        }
        if let Some(others) = others.filter(|_| !selection.all_namespaces).filter(|it| *it != namespace) {
            for (id, object) in cluster.backend_configs(others)? {
                documents.push(document(&id, &object)?);
                live.insert(id, object);
            }
        }
        Ok(Self { documents, errors: Vec::new(), namespace, live })
    }
}

/// An object of the cluster as a document: as YAML, so that what is wrong with it can be shown in its place.
#[cfg(feature = "cluster")]
pub(super) fn document(id: &crate::id::Id, object: &serde_json::Value) -> Result<Document, Failure> {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
        if let Some(metadata) = fields.get_mut("metadata").and_then(serde_json::Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    }
    let source = Source { name: format!("<cluster>/{id}"), text: crate::output::yaml(&object)? };
    let (documents, fault) = parse(source);
    let mut documents = documents.into_iter();
    match (documents.next(), fault) {
        (Some(document), None) => Ok(document),
        (_, Some(fault)) => Err(fault.into()),
        (None, None) => Err(Failure::Nothing(format!("{id} is empty"))),
    }
}

/// Documents as objects. What is wrong with one is told as a compiler does; None when something is.
pub(super) fn objects<'a>(
    documents: &'a [Document],
    namespace: &str,
    streams: &mut Streams<'_>,
) -> io::Result<Option<Vec<(&'a Document, Object)>>> {
    let mut objects = Vec::new();
    let mut is_whole = true;
    for document in documents {
        if let Ok(object) = Object::read(document, namespace) {
            objects.push((document, object));
            continue;
        }
        // Reading stops at the first fault; the checks of `validate` find all of them, and better words.
        is_whole = false;
        let found = Checker { namespace }.check(document).unwrap_or_default();
        for fault in found.iter().filter(|finding| finding.severity == Severity::Error) {
            show(document, &format!("{}: {}", fault.field, fault.message), &fault.at, streams)?;
        }
    }
    Ok(is_whole.then_some(objects))
}

/// Tells what is wrong with a document, with the line at fault.
pub(super) fn tell(
    document: &Document,
    violations: &[function_mesh_api::validate::Violation],
    streams: &mut Streams<'_>,
) -> io::Result<()> {
    for violation in violations {
        let at = document.node.locate(violation.field.as_str());
        show(document, &violation.to_string(), &at, streams)?;
    }
    Ok(())
}

fn show(document: &Document, title: &str, at: &Range<usize>, streams: &mut Streams<'_>) -> io::Result<()> {
    let note = format!("in {}", document.title());
    let shown = report::show(Severity::Error, title, &document.source, at, Some(&note), streams.colour);
    writeln!(streams.err, "{shown}\n")
}
