//! The input of a command: files, standard input, or objects of a cluster.

use std::io;
use std::ops::Range;

#[cfg(feature = "cluster")]
use crate::Failure;
use crate::Streams;
use crate::check::{Checker, Severity, report};
#[cfg(feature = "cluster")]
use crate::cluster::{Cluster, Selection};
use crate::input::{Document, Files, InputError, read};
#[cfg(feature = "cluster")]
use crate::input::{Source, parse};
use crate::object::Object;
use crate::object_ref::Snapshot;
#[cfg(feature = "cluster")]
use crate::operator::OperatorArgs;
use crate::operator::OperatorSettings;
use crate::screen;

/// Documents with their context.
pub(super) struct Inputs {
    pub(super) documents: Vec<Document>,
    pub(super) errors: Vec<InputError>,
    /// Namespace of objects without one.
    pub(super) namespace: String,
    /// The live objects of the cluster.
    pub(super) live: Snapshot,
}

impl Inputs {
    /// Reads files.
    pub(super) fn from_files(files: &Files) -> Self {
        let (documents, errors) = read(files);
        Self { documents, errors, namespace: files.namespace().to_owned(), live: Snapshot::new() }
    }

    /// Takes the documents, or the first error.
    pub(super) fn take_documents(&mut self) -> Result<Vec<Document>, InputError> {
        let documents = std::mem::take(&mut self.documents);
        std::mem::take(&mut self.errors).into_iter().next().map_or(Ok(documents), Err)
    }
}

#[cfg(feature = "cluster")]
impl Inputs {
    /// Reads files or, with `--from-cluster`, objects of the cluster. Components of a selected mesh are omitted.
    /// BackendConfigs are always included, since they affect rendering; those of `extra_namespace` too.
    pub(super) fn read(
        files: &Files,
        selection: &Selection,
        extra_namespace: Option<&str>,
    ) -> Result<Self, Failure> {
        if !selection.from_cluster {
            return Ok(Self::from_files(files));
        }
        let cluster = Cluster::connect(&selection.connection)?;
        Self::from_cluster(&cluster, files, selection, extra_namespace)
    }

    /// The same, with the settings to render them with.
    pub(super) fn read_with_settings(
        files: &Files,
        selection: &Selection,
        flags: &OperatorArgs,
    ) -> Result<(OperatorSettings, Self), Failure> {
        let connection = &selection.connection;
        if !selection.from_cluster {
            return Ok((connection.operator_settings(flags)?, Self::from_files(files)));
        }
        let cluster = Cluster::connect(connection)?;
        let namespace = files.namespace.as_deref().unwrap_or_else(|| cluster.namespace());
        let operator = cluster.settings(flags, (!selection.all_namespaces).then_some(namespace))?;
        let global = operator.settings.global_backend_config_ref().map(|global| global.namespace);
        let inputs = Self::from_cluster(&cluster, files, selection, global)?;
        Ok((operator, inputs))
    }

    fn from_cluster(
        cluster: &Cluster,
        files: &Files,
        selection: &Selection,
        extra_namespace: Option<&str>,
    ) -> Result<Self, Failure> {
        let namespace = files.namespace.clone().unwrap_or_else(|| cluster.namespace().to_owned());
        let mut live = cluster.mesh_objects((!selection.all_namespaces).then_some(namespace.as_str()))?;
        for target in &selection.targets {
            if !live.keys().any(|id| id.kind == target.kind && id.name == target.name) {
                let (kind, name) = (target.kind, &target.name);
                return Err(Failure::Message(format!("{kind} {name} not found in namespace {namespace}")));
            }
        }
        let is_selected = |id: &crate::object_ref::ObjectRef, object: &serde_json::Value| {
            if selection.targets.is_empty() {
                return crate::object_ref::controller(object).is_none_or(|(kind, ..)| kind != "FunctionMesh");
            }
            id.kind == "BackendConfig"
                || selection.targets.iter().any(|target| target.kind == id.kind && target.name == id.name)
        };
        let mut documents = Vec::new();
        for (id, object) in live.iter().filter(|(id, object)| is_selected(id, object)) {
            documents.push(document(id, object)?);
        }
        let extra = extra_namespace.filter(|_| !selection.all_namespaces).filter(|it| *it != namespace);
        if let Some(extra) = extra {
            for (id, object) in cluster.backend_configs(extra)? {
                documents.push(document(&id, &object)?);
                live.insert(id, object);
            }
        }
        Ok(Self { documents, errors: Vec::new(), namespace, live })
    }
}

/// A live object as a YAML document, so that findings have a location.
#[cfg(feature = "cluster")]
pub(super) fn document(
    id: &crate::object_ref::ObjectRef,
    object: &serde_json::Value,
) -> Result<Document, Failure> {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
        if let Some(metadata) = fields.get_mut("metadata").and_then(serde_json::Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    }
    let source = Source { name: format!("<cluster>/{id}"), text: crate::output::yaml(&object)? };
    let (documents, error) = parse(source);
    let mut documents = documents.into_iter();
    match (documents.next(), error) {
        (Some(document), None) => Ok(document),
        (_, Some(error)) => Err(error.into()),
        (None, None) => Err(Failure::Message(format!("{id} is empty"))),
    }
}

/// Notes what a reader must know of the operator's settings.
pub(super) fn note(operator: &OperatorSettings, streams: &mut Streams<'_>) -> io::Result<()> {
    operator.note().map_or(Ok(()), |note| screen::lines(streams.err, &format!("note: {note}")))
}

/// Warns of what `kubectl` reads without a word: keys that are there twice.
pub(super) fn warn_of_repetitions(documents: &[Document], streams: &mut Streams<'_>) -> io::Result<()> {
    for document in documents.iter().filter(|document| document.is_mesh_kind()) {
        for (field, at, message) in document.repetitions() {
            let title = format!("{field}: {message}");
            let note = format!("in {}", document.title());
            let source = &document.source;
            let shown = report::show(Severity::Warning, &title, source, &at, Some(&note), streams.colour);
            writeln!(streams.err, "{shown}\n")?;
        }
    }
    Ok(())
}

/// Decodes documents; None after reporting errors with their locations.
pub(super) fn objects<'a>(
    documents: &'a [Document],
    namespace: &str,
    streams: &mut Streams<'_>,
) -> io::Result<Option<Vec<(&'a Document, Object)>>> {
    let mut objects = Vec::new();
    let mut is_valid = true;
    for document in documents {
        if let Ok(object) = Object::decode(document, namespace) {
            objects.push((document, object));
            continue;
        }
        // Decoding stops at the first error; the checks of `validate` report all, with better messages.
        is_valid = false;
        let findings = Checker { namespace }.check(document).unwrap_or_default();
        for finding in findings.iter().filter(|finding| finding.severity == Severity::Error) {
            show(document, &format!("{}: {}", finding.field, finding.message), &finding.at, streams)?;
        }
    }
    Ok(is_valid.then_some(objects))
}

/// Reports violations of a document with their locations.
pub(super) fn report_violations(
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
