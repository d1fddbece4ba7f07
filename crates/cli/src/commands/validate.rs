//! `validate`: reports errors and warnings in manifests, with their locations.

use std::collections::BTreeMap;

use clap::ValueEnum;
use function_mesh_api::printable_lines;
use serde_json::{Value, json};

use super::inputs::Inputs;
use crate::check::{Checker, Finding, Severity, report};
use crate::input::{Document, Files, InputError};
use crate::{Failure, Outcome, Streams, output};

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// Findings with the source line
    Text,
    /// JSON
    Json,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl mesh validate -f mesh.yaml
  kubectl mesh validate -f manifests/ -R --strict          for CI: warnings are errors
  kubectl mesh validate -f mesh.yaml -o json | jq '.findings[].field'
  kubectl mesh validate --from-cluster -A           objects in the cluster

The cluster rejects objects with errors: violated rules of the operator and wrong types. Warnings are most likely
mistakes that the cluster accepts: unknown fields, keys that are there twice, settings that cannot work, or a
component that shares no topic with its mesh. Objects of other kinds are ignored.

Exit code: 0 no errors, 1 errors, 2 unreadable input.")]
pub(crate) struct Args {
    #[command(flatten)]
    files: Files,

    #[cfg(feature = "cluster")]
    #[command(flatten)]
    cluster: crate::cluster::Selection,

    /// Treat warnings as errors
    #[arg(long)]
    strict: bool,

    /// Output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// A finding and its document.
struct Found<'a> {
    document: &'a Document,
    finding: Finding,
}

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    #[cfg(feature = "cluster")]
    let inputs = Inputs::read(&args.files, &args.cluster, None)?;
    #[cfg(not(feature = "cluster"))]
    let inputs = Inputs::from_files(&args.files);
    let Inputs { documents, errors, namespace, .. } = inputs;
    let rules = Checker { namespace: &namespace };
    let mut found = Vec::new();
    let mut checked = 0;
    for document in &documents {
        let Some(findings) = rules.check(document) else { continue };
        checked += 1;
        found.extend(findings.into_iter().map(|finding| Found { document, finding }));
    }
    found.extend(duplicates(&documents, &namespace));

    let count = |severity| found.iter().filter(|found| found.finding.severity == severity).count();
    let (error_count, warning_count) = (count(Severity::Error), count(Severity::Warning));
    match args.output {
        Format::Json => json_report(&found, &errors, checked, streams)?,
        Format::Text => {
            text_report(&found, &errors, streams)?;
            let seen = documents.len() - checked.min(documents.len());
            let others = if seen == 0 { String::new() } else { format!(", {seen} of other kinds ignored") };
            let summary = format!(
                "{}{others}: {}, {}",
                plural(checked, "object"),
                plural(error_count, "error"),
                plural(warning_count, "warning"),
            );
            writeln!(streams.out, "{summary}")?;
        }
    }
    Ok(if !errors.is_empty() {
        Outcome::Failed
    } else if error_count > 0 || (args.strict && warning_count > 0) {
        Outcome::Invalid
    } else {
        Outcome::Success
    })
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Duplicate objects: the later one silently replaces the earlier one.
fn duplicates<'a>(documents: &'a [Document], namespace: &str) -> Vec<Found<'a>> {
    let mut first: BTreeMap<_, &Document> = BTreeMap::new();
    let mut found = Vec::new();
    for document in documents.iter().filter(|document| document.is_mesh_kind()) {
        let Some(name) = document.text(&["metadata", "name"]) else { continue };
        let namespace = document.text(&["metadata", "namespace"]).unwrap_or(namespace);
        if let Some(earlier) = first.get(&(document.kind(), namespace, name)) {
            let (line, _) = earlier.source.position(earlier.node.at.start);
            let earlier = format!("{}:{line}", earlier.source.name);
            let finding = Finding {
                severity: Severity::Warning,
                field: "metadata.name".to_owned(),
                message: format!("duplicate of {} at {earlier}, which it replaces", document.title()),
                at: document.node.locate("metadata.name"),
            };
            found.push(Found { document, finding });
        }
        first.entry((document.kind(), namespace, name)).or_insert(document);
    }
    found
}

fn text_report(found: &[Found<'_>], errors: &[InputError], streams: &mut Streams<'_>) -> Result<(), Failure> {
    for error in errors {
        let text = match error {
            InputError::Syntax { source, message, at } => {
                report::show(Severity::Error, message, source, at, None, streams.colour)
            }
            other => printable_lines(&format!("error: {other}")).into_owned(),
        };
        writeln!(streams.out, "{text}\n")?;
    }
    for Found { document, finding } in found {
        let title = format!("{}: {}", finding.field, finding.message);
        let note = format!("in {}", document.title());
        let text = report::show(
            finding.severity,
            &title,
            &document.source,
            &finding.at,
            Some(&note),
            streams.colour,
        );
        writeln!(streams.out, "{text}\n")?;
    }
    Ok(())
}

fn json_report(
    found: &[Found<'_>],
    errors: &[InputError],
    checked: usize,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let unreadable: Vec<Value> = errors.iter().map(|error| json!({ "message": error.to_string() })).collect();
    let findings: Vec<Value> = found
        .iter()
        .map(|Found { document, finding }| {
            let (line, column) = document.source.position(finding.at.start);
            json!({
                "severity": finding.severity.as_str(),
                "file": document.source.name,
                "line": line,
                "column": column,
                "kind": document.kind(),
                "namespace": document.text(&["metadata", "namespace"]),
                "name": document.text(&["metadata", "name"]),
                "field": finding.field,
                "message": finding.message,
            })
        })
        .collect();
    let report = json!({ "objects": checked, "findings": findings, "unreadable": unreadable });
    Ok(output::write(streams.out, output::Format::Json, &report)?)
}
