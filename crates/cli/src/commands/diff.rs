//! `diff`: shows changes, and whether pods restart.

use std::path::PathBuf;

use clap::ValueEnum;
use function_mesh_api::BackendConfig;
use function_mesh_workloads::Settings;

use super::inputs;
use crate::diff::report::Values;
use crate::diff::{Against, Change, Entry, compare, report};
use crate::input::{Document, Files, read_all};
use crate::object::Object;
use crate::object_ref::{ObjectRef, Snapshot};
use crate::operator::{OperatorArgs, OperatorSettings};
use crate::rendering::{Item, Renderer, backends};
use crate::{Failure, Outcome, Streams, output};

/// The value of `--against` for the cluster.
const CLUSTER: &str = "cluster";

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// Changed objects and fields
    Text,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl mesh diff -f mesh.yaml                        against the cluster
  kubectl mesh diff -f new.yaml --against old.yaml      against an older version, offline
  git show HEAD:mesh.yaml | kubectl mesh diff -f mesh.yaml --against -
  kubectl mesh diff -f mesh.yaml -o json | jq -r '.objects[] | select(.verdict == \"pods restart\") | .name'

The diff covers the objects in the files and the children that the operator creates. It compares as the operator
does: defaults of the API server are no changes, and quantities are equal by value. Verdicts:
  pods restart  the pod template changes
  pods stay     running pods do not restart
  immutable     Kubernetes rejects the change; the operator keeps the field
The settings of the operator are read from its cluster, and flags override them. If they cannot be read, defaults are
assumed, and the output says so. Components that are not in the files are not compared, even if a BackendConfig in
the files affects them.
Values of the configuration of functions and connectors are redacted unless --show-values is set. Other values that
look like passwords, tokens or keys, or are named so, are always redacted.

Exit code: 0 no changes, 1 changes, 2 unreadable input or an invalid object.")]
pub(crate) struct Args {
    #[command(flatten)]
    files: Files,

    /// Compare with `cluster`, or with a file or directory of older manifests; may be repeated
    #[arg(long, value_name = "cluster|FILE")]
    against: Vec<PathBuf>,

    /// Show unchanged objects too
    #[arg(long)]
    all: bool,

    /// Show the values of funcConfig, sourceConfig, sinkConfig and the like, including passwords
    #[arg(long)]
    show_values: bool,

    /// Output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,

    #[cfg(feature = "cluster")]
    #[command(flatten)]
    connection: crate::cluster::Connection,

    #[command(flatten, next_help_heading = "Settings of the operator")]
    operator: OperatorArgs,
}

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    let documents = read_all(&args.files)?;
    inputs::warn_of_repetitions(&documents, streams)?;
    let against = match args.against.as_slice() {
        [] => Against::Cluster,
        [one] if one.as_os_str() == CLUSTER => Against::Cluster,
        paths if paths.iter().any(|path| path.as_os_str() == CLUSTER) => {
            return Err(Failure::Message(
                "--against takes either `cluster` or files; for a file of that name use `./cluster`"
                    .to_owned(),
            ));
        }
        _ => Against::Files,
    };
    let (operator, entries) = match against {
        #[cfg(feature = "cluster")]
        Against::Cluster => super::diff_cluster::against_cluster(
            &args.connection,
            &args.files,
            &args.operator,
            &documents,
            streams,
        )?,
        #[cfg(not(feature = "cluster"))]
        Against::Cluster => {
            return Err(Failure::Message(
                "this build has no cluster client; compare with older files: --against FILE".to_owned(),
            ));
        }
        Against::Files => {
            let operator = args.operator()?;
            let entries = against_files(args, &operator.settings, &documents, streams)?;
            (operator, entries)
        }
    };
    let Some(entries) = entries else { return Ok(Outcome::Failed) };
    let values = if args.show_values { Values::WithConfiguration } else { Values::Redacted };
    match args.output {
        Format::Text => report::text(streams.out, &entries, values, streams.colour, args.all)?,
        Format::Json => {
            output::write(streams.out, output::Format::Json, &report::data(&entries, values, &operator))?;
        }
        Format::Yaml => {
            output::write(streams.out, output::Format::Yaml, &report::data(&entries, values, &operator))?;
        }
    }
    inputs::note(&operator, streams)?;
    let is_same = entries.iter().all(|entry| entry.change == Change::Unchanged);
    Ok(if is_same { Outcome::Success } else { Outcome::Changed })
}

/// The entries; None after reporting an invalid document.
pub(super) type Compared = Result<Option<Vec<Entry>>, Failure>;

impl Args {
    /// The settings for comparing files.
    fn operator(&self) -> Result<OperatorSettings, Failure> {
        #[cfg(feature = "cluster")]
        return self.connection.operator_settings(&self.operator);
        #[cfg(not(feature = "cluster"))]
        Ok(self.operator.offline()?)
    }
}

fn against_files(
    args: &Args,
    settings: &Settings,
    documents: &[Document],
    streams: &mut Streams<'_>,
) -> Compared {
    let namespace = args.files.namespace();
    let older = read_all(&args.files.with_paths(args.against.clone()))?;
    let nothing = Snapshot::new();
    let mut side = |documents: &[Document]| -> Result<Option<Vec<Item>>, Failure> {
        let Some(objects) = inputs::objects(documents, namespace, streams)? else { return Ok(None) };
        let backends = backends(objects.iter().map(|(_, object)| object));
        rendered(objects, settings, &backends, &nothing, streams)
    };
    let (Some(before), Some(after)) = (side(&older)?, side(documents)?) else { return Ok(None) };
    if before.is_empty() && after.is_empty() {
        return Err(nothing_to_compare(documents.len() + older.len()));
    }
    let mut snapshot = Snapshot::new();
    for mut item in before {
        function_mesh_workloads::diff::dedup_keyed_lists(&mut item.value);
        snapshot.insert(ObjectRef::of(&item.value), item.value);
    }
    Ok(Some(compare(after, &snapshot, Against::Files)))
}

/// Renders the objects; None after reporting violations.
pub(super) fn rendered(
    objects: Vec<(&Document, Object)>,
    settings: &Settings,
    backends: &[BackendConfig],
    live: &Snapshot,
    streams: &mut Streams<'_>,
) -> Result<Option<Vec<Item>>, Failure> {
    let mut renderer =
        Renderer { settings, backends, with_cleanup: false, live, leaves_replicas: true, items: Vec::new() };
    let mut is_valid = true;
    for (document, object) in objects {
        if let Err(violations) = renderer.object(object)? {
            is_valid = false;
            inputs::report_violations(document, &violations, streams)?;
        }
    }
    Ok(is_valid.then_some(renderer.items))
}

pub(super) fn nothing_to_compare(seen: usize) -> Failure {
    Failure::Message(format!(
        "nothing to compare: no FunctionMesh, Function, Source, Sink or BackendConfig among {seen} document(s)"
    ))
}
