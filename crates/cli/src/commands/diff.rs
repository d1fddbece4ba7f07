//! `diff`: what would change, and whether pods would restart.

use std::path::PathBuf;

use clap::ValueEnum;
use function_mesh_api::BackendConfig;
use function_mesh_workloads::{Settings, SettingsArgs};

use super::given;
use crate::diff::report::Values;
use crate::diff::{Against, Change, Entry, compare, report};
use crate::id::{Id, Snapshot};
use crate::input::{Document, Files, read_all};
use crate::object::Object;
use crate::rendering::{Item, Renderer, backends};
use crate::{Failure, Outcome, Streams, output};

/// What stands for the cluster among the paths of files.
const CLUSTER: &str = "cluster";

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// For people: each object that changes, and where
    Text,
    /// For programs
    Json,
    /// The same, in YAML
    Yaml,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl mesh diff -f mesh.yaml                        beside what is in the cluster
  kubectl mesh diff -f new.yaml --against old.yaml      offline, beside an older version
  git show HEAD:mesh.yaml | kubectl mesh diff -f mesh.yaml --against -
  kubectl mesh diff -f mesh.yaml -o json | jq -r '.objects[] | select(.verdict == \"pods restart\") | .name'

Shown are the objects of the files and all that the operator makes of them. It compares as the operator does:
what the API server fills in is no difference, and amounts are equal by value. Verdicts:
  pods restart                the template of the pods is another one
  pods stay                   running pods are not touched
  cannot be changed in place  Kubernetes refuses it; the operator leaves the field as it is
Give the settings of the operator that runs in the cluster, or its own settings show up as differences.
Components that are not in the files are not looked at, even if a BackendConfig in the files touches them.
Of the configuration of functions and connectors it is only told that it changes; --show-values shows it. Other
values that look like passwords, tokens or keys, or are named so, are not shown.

Exit status: 0 nothing changes, 1 something changes, 2 something could not be read, or breaks a rule.")]
pub(crate) struct Args {
    #[command(flatten)]
    files: Files,

    /// What to compare with: `cluster`, or a file or folder with older manifests. May be given several times
    #[arg(long, value_name = "cluster|FILE")]
    against: Vec<PathBuf>,

    /// Show objects too that stay as they are
    #[arg(long)]
    all: bool,

    /// Show the values of funcConfig, sourceConfig, sinkConfig and the like, passwords included
    #[arg(long)]
    show_values: bool,

    /// Format of the output
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,

    #[cfg(feature = "cluster")]
    #[command(flatten)]
    connection: crate::cluster::Connection,

    #[command(flatten, next_help_heading = "Settings of the operator")]
    settings: SettingsArgs,
}

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    let settings = args.settings.settings()?;
    let documents = read_all(&args.files)?;
    let against = match args.against.as_slice() {
        [] => Against::Cluster,
        [one] if one.as_os_str() == CLUSTER => Against::Cluster,
        paths if paths.iter().any(|path| path.as_os_str() == CLUSTER) => {
            return Err(Failure::Nothing(
                "--against takes either `cluster` or files; a file of that name is `./cluster`".to_owned(),
            ));
        }
        _ => Against::Files,
    };
    let entries = match against {
        #[cfg(feature = "cluster")]
        Against::Cluster => {
            super::diff_live::against_cluster(&args.connection, &args.files, &settings, &documents, streams)?
        }
        #[cfg(not(feature = "cluster"))]
        Against::Cluster => {
            return Err(Failure::Nothing(
                "this kubectl-mesh was built without a cluster client; compare with older files: --against FILE"
                    .to_owned(),
            ));
        }
        Against::Files => against_files(args, &settings, &documents, streams)?,
    };
    let Some(entries) = entries else { return Ok(Outcome::Failed) };
    let values = if args.show_values { Values::Configuration } else { Values::Safe };
    match args.output {
        Format::Text => report::text(streams.out, &entries, values, streams.colour, args.all)?,
        Format::Json => output::write(streams.out, output::Format::Json, &report::data(&entries, values))?,
        Format::Yaml => output::write(streams.out, output::Format::Yaml, &report::data(&entries, values))?,
    }
    let is_same = entries.iter().all(|entry| entry.change == Change::Unchanged);
    Ok(if is_same { Outcome::Fine } else { Outcome::Different })
}

/// The entries, or None when a document is at fault and that has been told.
pub(super) type Compared = Result<Option<Vec<Entry>>, Failure>;

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
        let Some(objects) = given::objects(documents, namespace, streams)? else { return Ok(None) };
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
        snapshot.insert(Id::of(&item.value), item.value);
    }
    Ok(Some(compare(after, &snapshot, Against::Files)))
}

/// All that the objects lead to. What breaks a rule is told; None when something does.
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
            given::tell(document, &violations, streams)?;
        }
    }
    Ok(is_valid.then_some(renderer.items))
}

pub(super) fn nothing_to_compare(seen: usize) -> Failure {
    Failure::Nothing(format!(
        "no FunctionMesh, Function, Source, Sink or BackendConfig among {seen} document(s): there is nothing to compare"
    ))
}
