//! `kubectl mesh`: a look at Function Mesh manifests, and at what a cluster makes of them.
//!
//! `render` prints what the operator would make of a manifest, `validate` what is wrong with it and where,
//! `diff` what would change and whether pods would restart, `explain` where each value comes from, `graph` draws
//! which component feeds which, and `crds` prints the CustomResourceDefinitions. All of it runs on the same
//! defaults, rules and rendering as the operator, and offline; with the feature `cluster` also on the objects
//! of a cluster and the statistics of a broker, which are only ever read.
//!
//! The program is thin: [`run`] takes the parsed command line and the streams to write to.

#[cfg(feature = "cluster")]
mod broker;
mod check;
#[cfg(feature = "cluster")]
mod cluster;
mod commands;
mod diff;
mod explain;
pub mod graph;
mod id;
pub mod input;
mod object;
mod output;
mod reference;
mod rendering;
mod screen;
mod words;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use commands::crds::{FILE_HEADER, crd_files, crd_reference};

/// Checks, renders, compares, explains and draws meshes of Pulsar Functions
#[derive(Debug, Parser)]
#[command(name = "kubectl-mesh", bin_name = "kubectl mesh", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  kubectl mesh validate -f mesh.yaml              what is wrong, with the line and what to write instead
  kubectl mesh graph -f mesh.yaml                 which component feeds which, as a picture in the terminal
  kubectl mesh graph -f mesh.yaml -o svg > m.svg  the same for a document
  kubectl mesh graph -f mesh.yaml --rates http://broker:8080   with the messages a second on each topic
  kubectl mesh diff -f mesh.yaml                  what would change in the cluster, and whether pods restart
  kubectl mesh explain -f mesh.yaml clean         where each value of a component comes from
  kubectl mesh render -f mesh.yaml                the StatefulSets, Services and autoscalers it becomes
  kubectl mesh crds | kubectl apply --server-side -f -

Nothing here writes to a cluster. Exit status: 0 fine, 1 a document is rejected (`diff`: something changes),
2 something could not be read or the command line is wrong.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the objects that the operator makes of manifests
    Render(commands::render::Args),
    /// Check manifests by the rules of the operator
    Validate(commands::validate::Args),
    /// Show what would change, and whether pods would restart
    Diff(commands::diff::Args),
    /// Show where each value of a component comes from
    Explain(commands::explain::Args),
    /// Draw which component feeds which
    Graph(commands::graph::Args),
    /// Print the CustomResourceDefinitions, or a reference of their fields
    Crds(commands::crds::Args),
}

/// Where a command writes to.
pub struct Streams<'a> {
    /// What was asked for.
    pub out: &'a mut dyn Write,
    /// What else there is to say.
    pub err: &'a mut dyn Write,
    /// Whether colours are welcome in the output.
    pub colour: bool,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// All is well.
    Fine,
    /// A document breaks a rule.
    Rejected,
    /// Something would change.
    Different,
    /// Something could not be read or written, or the command line makes no sense.
    Failed,
}

impl Outcome {
    /// The exit status of the program.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Fine => 0,
            Self::Rejected | Self::Different => 1,
            Self::Failed => 2,
        })
    }
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Input(#[from] input::InputError),
    #[error(transparent)]
    Settings(#[from] function_mesh_workloads::SettingsError),
    #[cfg(feature = "cluster")]
    #[error(transparent)]
    Cluster(#[from] cluster::ClusterError),
    #[cfg(feature = "cluster")]
    #[error(transparent)]
    Broker(#[from] broker::BrokerError),
    #[error("cannot write {what}: {source}")]
    Write { what: String, source: io::Error },
    #[error("cannot write the output: {0}")]
    Output(#[from] output::OutputError),
    #[error("cannot write the output: {0}")]
    Stream(#[from] io::Error),
    #[error("{0}")]
    Nothing(String),
    #[error("internal: the definitions cannot be made: {0}")]
    Internal(#[from] serde_json::Error),
}

impl Failure {
    /// Whether the reader of the output went away, as `head` does: that is no one's fault.
    fn is_broken_pipe(&self) -> bool {
        match self {
            Self::Stream(error) | Self::Output(output::OutputError::Stream(error)) => {
                error.kind() == io::ErrorKind::BrokenPipe
            }
            _ => false,
        }
    }
}

/// Runs a command to its end.
pub fn run(cli: &Cli, streams: &mut Streams<'_>) -> Outcome {
    let done = match &cli.command {
        Command::Render(args) => commands::render::run(args, streams),
        Command::Validate(args) => commands::validate::run(args, streams),
        Command::Diff(args) => commands::diff::run(args, streams),
        Command::Explain(args) => commands::explain::run(args, streams),
        Command::Graph(args) => commands::graph::run(args, streams),
        Command::Crds(args) => commands::crds::run(args, streams),
    };
    match done.and_then(|outcome| Ok(streams.out.flush().map(|()| outcome)?)) {
        Ok(outcome) => outcome,
        Err(failure) if failure.is_broken_pipe() => Outcome::Fine,
        Err(failure) => {
            let _ = screen::lines(streams.err, &format!("error: {failure}"));
            Outcome::Failed
        }
    }
}
