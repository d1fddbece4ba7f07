//! `crds`: the CustomResourceDefinitions, and the reference of what is in them.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::Value;

use crate::output;
use crate::{Failure, Outcome, Streams, reference};

/// What the generated files begin with.
pub const FILE_HEADER: &str =
    "# Made by `kubectl-mesh crds --dir deploy/crds` from the types in crates/api. Do not edit.\n";

/// The name of the file that holds the reference.
const REFERENCE: &str = "reference.md";

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// For people and for kubectl
    Yaml,
    /// For programs
    Json,
    /// A reference of all kinds and fields, to read
    Markdown,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl mesh crds | kubectl apply --server-side -f -
  kubectl mesh crds --dir deploy/crds       one file each, named by the plural of its kind
  kubectl mesh crds -o markdown > reference.md

Apply them with --server-side: a client-side apply keeps a second copy of each in an annotation, for which
they are too large.")]
pub(crate) struct Args {
    /// Format of the output
    #[arg(short, long, value_name = "FORMAT", default_value = "yaml")]
    output: Format,

    /// Write one file each into this folder instead; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    let Some(dir) = &args.dir else {
        print(args.output, streams)?;
        return Ok(Outcome::Fine);
    };
    let failed = |what: &PathBuf| {
        let what = what.display().to_string();
        move |source| Failure::Write { what, source }
    };
    std::fs::create_dir_all(dir).map_err(failed(dir))?;
    for (name, text) in files(args.output)? {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(failed(&path))?;
        writeln!(streams.out, "{}", path.display())?;
    }
    Ok(Outcome::Fine)
}

/// The names and texts of the files that `--dir` writes. The error is for people.
pub fn crd_files() -> Result<Vec<(String, String)>, String> {
    files(Format::Yaml).map_err(|failure| failure.to_string())
}

/// The reference of all kinds and fields, as Markdown. The error is for people.
pub fn crd_reference() -> Result<String, String> {
    reference::markdown().map_err(|error| Failure::from(error).to_string())
}

fn files(format: Format) -> Result<Vec<(String, String)>, Failure> {
    let file = |(plural, definition): (String, Value)| match format {
        Format::Json => Ok((format!("{plural}.json"), output::json(&definition))),
        _ => Ok((format!("{plural}.yaml"), file_text(&definition)?)),
    };
    match format {
        Format::Markdown => Ok(vec![(REFERENCE.to_owned(), reference::markdown()?)]),
        Format::Yaml | Format::Json => definitions()?.into_iter().map(file).collect(),
    }
}

fn print(format: Format, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let objects = || Ok::<_, Failure>(definitions()?.into_iter().map(|(_, definition)| definition));
    match format {
        Format::Markdown => streams.out.write_all(reference::markdown()?.as_bytes())?,
        Format::Json => {
            let list = output::list(objects()?.collect());
            output::write(streams.out, output::Format::Json, &list)?;
        }
        Format::Yaml => {
            for definition in objects()? {
                writeln!(streams.out, "---")?;
                streams.out.write_all(output::yaml_prose(&definition)?.as_bytes())?;
            }
        }
    }
    Ok(())
}

fn file_text(definition: &Value) -> Result<String, Failure> {
    Ok(format!("{FILE_HEADER}{}", output::yaml_prose(definition)?))
}

/// The definitions by the plural of their kind, in the order in which they are best applied.
fn definitions() -> Result<Vec<(String, Value)>, serde_json::Error> {
    function_mesh_api::crd::all()?
        .into_iter()
        .map(|crd| {
            let plural = crd.spec.names.plural.clone();
            Ok((plural, serde_json::to_value(crd)?))
        })
        .collect()
}
