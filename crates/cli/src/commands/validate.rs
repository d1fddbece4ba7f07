//! `validate`: what is wrong with manifests, and where.

use std::collections::BTreeMap;

use clap::ValueEnum;
use function_mesh_api::printable_lines;
use serde_json::{Value, json};

use super::given::Given;
use crate::check::{Checker, Finding, Severity, report};
use crate::input::{Document, Files, InputError};
use crate::{Failure, Outcome, Streams, output};

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// For people: each finding with the line at fault
    Text,
    /// For programs
    Json,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl mesh validate -f mesh.yaml
  kubectl mesh validate -f manifests/ -R --strict          for CI: warnings count too
  kubectl mesh validate -f mesh.yaml -o json | jq '.findings[].field'
  kubectl mesh validate --from-cluster -A           what is in the cluster already

An error is what the cluster refuses: a rule of the operator that is broken, a value of a wrong type. A
warning is what it takes and most likely was not meant: an unknown field, a component that shares no topic
with its mesh. Objects of other kinds are passed over.

Exit status: 0 no errors, 1 errors, 2 something could not be read.")]
pub(crate) struct Args {
    #[command(flatten)]
    files: Files,

    #[cfg(feature = "cluster")]
    #[command(flatten)]
    cluster: crate::cluster::Selection,

    /// Count warnings as errors
    #[arg(long)]
    strict: bool,

    /// Format of the output
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// What was found, with the document it was found in.
struct Found<'a> {
    document: &'a Document,
    finding: Finding,
}

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    #[cfg(feature = "cluster")]
    let given = Given::of(&args.files, &args.cluster, None)?;
    #[cfg(not(feature = "cluster"))]
    let given = Given::in_files(&args.files);
    let Given { documents, errors, namespace, .. } = given;
    let rules = Checker { namespace: &namespace };
    let mut found = Vec::new();
    let mut checked = 0;
    for document in &documents {
        let Some(findings) = rules.check(document) else { continue };
        checked += 1;
        found.extend(findings.into_iter().map(|finding| Found { document, finding }));
    }
    found.extend(repeated(&documents, &namespace));

    let count = |severity| found.iter().filter(|found| found.finding.severity == severity).count();
    let (faults, warnings) = (count(Severity::Error), count(Severity::Warning));
    match args.output {
        Format::Json => json_report(&found, &errors, checked, streams)?,
        Format::Text => {
            text_report(&found, &errors, streams)?;
            let seen = documents.len() - checked.min(documents.len());
            let others =
                if seen == 0 { String::new() } else { format!(", {seen} of other kinds passed over") };
            let summary = format!(
                "{}{others}: {}, {}",
                counted(checked, "object"),
                counted(faults, "error"),
                counted(warnings, "warning"),
            );
            writeln!(streams.out, "{summary}")?;
        }
    }
    Ok(if !errors.is_empty() {
        Outcome::Failed
    } else if faults > 0 || (args.strict && warnings > 0) {
        Outcome::Rejected
    } else {
        Outcome::Fine
    })
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Objects that come twice: the later one silently replaces the earlier one.
fn repeated<'a>(documents: &'a [Document], namespace: &str) -> Vec<Found<'a>> {
    let mut first: BTreeMap<_, &Document> = BTreeMap::new();
    let mut found = Vec::new();
    for document in documents.iter().filter(|document| document.is_ours()) {
        let Some(name) = document.text(&["metadata", "name"]) else { continue };
        let namespace = document.text(&["metadata", "namespace"]).unwrap_or(namespace);
        if let Some(earlier) = first.get(&(document.kind(), namespace, name)) {
            let (line, _) = earlier.source.position(earlier.node.at.start);
            let earlier = format!("{}:{line}", earlier.source.name);
            let finding = Finding {
                severity: Severity::Warning,
                field: "metadata.name".to_owned(),
                message: format!("{} comes before, at {earlier}; this one replaces it", document.title()),
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
