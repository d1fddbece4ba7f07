//! `crds`: the CustomResourceDefinitions.

use std::path::PathBuf;

use serde_json::Value;

use crate::output::{self, Format};
use crate::{Failure, Outcome, Streams};

/// What the generated files begin with.
pub const FILE_HEADER: &str =
    "# Made by `kubectl-mesh crds --dir deploy/crds` from the types in crates/api. Do not edit.\n";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl mesh crds | kubectl apply --server-side -f -
  kubectl mesh crds --dir deploy/crds       one file each, named by the plural of its kind

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
    for (plural, definition) in definitions()? {
        let (name, text) = match args.output {
            Format::Yaml => (format!("{plural}.yaml"), file_text(&definition)?),
            Format::Json => (format!("{plural}.json"), output::json(&definition)),
        };
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(failed(&path))?;
        writeln!(streams.out, "{}", path.display())?;
    }
    Ok(Outcome::Fine)
}

/// The names and texts of the files that `--dir` writes. The error is for people.
pub fn crd_files() -> Result<Vec<(String, String)>, String> {
    let files = definitions().map_err(Failure::from).and_then(|all| {
        all.into_iter()
            .map(|(plural, definition)| Ok((format!("{plural}.yaml"), file_text(&definition)?)))
            .collect()
    });
    files.map_err(|failure: Failure| failure.to_string())
}

fn print(format: Format, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let definitions = definitions()?.into_iter().map(|(_, definition)| definition);
    if format == Format::Json {
        return Ok(output::write(streams.out, format, &output::list(definitions.collect()))?);
    }
    for definition in definitions {
        writeln!(streams.out, "---")?;
        streams.out.write_all(output::yaml_prose(&definition)?.as_bytes())?;
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
