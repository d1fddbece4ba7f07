//! `kubectl mesh`: a kubectl plugin for Function Mesh.
//!
//! `render` prints the objects that the operator creates from a manifest, `validate` reports errors with file and
//! line, `diff` shows changes and whether pods restart, `explain` shows the source of each value, `graph` draws the
//! data flow, and `crds` prints the CRDs. They share defaults, validation and rendering with the operator, and work
//! offline; with the feature `cluster` also on objects of a cluster and topic stats of a broker, read-only. Only with
//! that feature, `status` shows what is wrong with a running mesh, `top` which components lag, `ui` both in a browser, and
//! `rollout` revisions. What writes is an action of `function_mesh_actions`: undoing, pausing and resuming a rollout, and
//! what a person confirms in `ui`; besides, `shadow` runs a new version beside the real one.
//!
//! [`run`] takes the parsed command line and the output streams.

#[cfg(feature = "cluster")]
mod broker;
mod check;
#[cfg(feature = "cluster")]
mod cluster;
mod commands;
mod diff;
mod explain;
pub mod input;
mod object;
mod operator;
mod output;
mod reference;
mod rendering;
mod screen;
mod shell_args;
#[cfg(feature = "cluster")]
pub mod status;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use function_mesh_graph as graph;
use function_mesh_status::object_ref;

pub use commands::crds::{FILE_HEADER, crd_files, crd_reference};

/// Validate, render, diff, explain and draw Function Mesh manifests
#[derive(Debug, Parser)]
#[command(name = "kubectl-mesh", bin_name = "kubectl mesh", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  kubectl mesh validate -f mesh.yaml              errors with line and remedy
  kubectl mesh graph -f mesh.yaml                 the data flow, drawn in the terminal
  kubectl mesh graph -f mesh.yaml -o svg > m.svg  the same as SVG
  kubectl mesh graph -f mesh.yaml --rates http://broker:8080   with the message rate of each topic
  kubectl mesh diff -f mesh.yaml                  changes to the cluster, and whether pods restart
  kubectl mesh explain -f mesh.yaml clean         the source of each value of a component
  kubectl mesh render -f mesh.yaml                the StatefulSets, Services and autoscalers of a mesh
  kubectl mesh status people                      a running mesh: what is wrong, and why
  kubectl mesh top -A                             which components lag most
  kubectl mesh rollout history people             revisions of running components, and what differs
  kubectl mesh shadow start people/clean --image clean:2       a new version beside the real one
  kubectl mesh ui                                 running meshes in a browser
  kubectl mesh crds | kubectl apply --server-side -f -

`rollout undo`, `pause` and `resume` write one annotation, `shadow` creates and deletes a Function and changes a spec, and
`ui` writes what you confirm; no other command writes to a cluster. Exit code: 0 success, 1 invalid object (`diff`:
changes, `status`: not healthy), 2 unreadable input or invalid command line.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the objects that the operator creates from manifests
    Render(commands::render::Args),
    /// Validate manifests by the rules of the operator
    Validate(commands::validate::Args),
    /// Show changes, and whether pods restart
    Diff(commands::diff::Args),
    /// Show the source of each value of a component
    Explain(commands::explain::Args),
    /// Draw the data flow between components
    Graph(commands::graph::Args),
    /// Show the health and the traffic of a running mesh, and why it is not healthy
    #[cfg(feature = "cluster")]
    Status(commands::status::Args),
    /// Show the traffic of running components, those that lag most first
    #[cfg(feature = "cluster")]
    Top(commands::top::Args),
    /// Show running meshes in a browser, as graphs with their traffic
    #[cfg(feature = "cluster")]
    Ui(commands::ui::Args),
    /// Show the rollouts of running components, and undo, pause and resume them
    #[cfg(feature = "cluster")]
    Rollout(commands::rollout::Args),
    /// Run a new version of a function beside the real one, and compare what both write
    #[cfg(feature = "cluster")]
    Shadow(commands::shadow::Args),
    /// Print the CRDs, or a reference of their fields
    Crds(commands::crds::Args),
}

/// The output streams of a command.
pub struct Streams<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub err: &'a mut dyn Write,
    /// Whether the output may have colours.
    pub colour: bool,
    /// Whether the output is a terminal, which can be redrawn.
    pub terminal: bool,
}

/// The result of a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Success.
    Success,
    /// An object is invalid.
    Invalid,
    /// There are changes.
    Changed,
    /// Something in the cluster is not healthy.
    Unhealthy,
    /// Input or output failed, or the command line is invalid.
    Failed,
}

impl Outcome {
    /// The exit code of the process.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Success => 0,
            Self::Invalid | Self::Changed | Self::Unhealthy => 1,
            Self::Failed => 2,
        })
    }
}

/// Why a command failed.
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
    #[cfg(feature = "cluster")]
    #[error(transparent)]
    Action(#[from] function_mesh_actions::ActionError),
    #[cfg(feature = "cluster")]
    #[error(transparent)]
    Console(#[from] function_mesh_console::local::LocalError),
    #[error("failed to write {path}: {source}")]
    Write { path: String, source: io::Error },
    #[error("failed to write the output: {0}")]
    Output(#[from] output::OutputError),
    #[error("failed to write the output: {0}")]
    Stream(#[from] io::Error),
    #[error("{0}")]
    Message(String),
    #[error("internal error: {0}")]
    Internal(#[from] serde_json::Error),
}

impl Failure {
    /// Whether the reader of the output has exited, as `head` does, which is no error.
    fn is_broken_pipe(&self) -> bool {
        match self {
            Self::Stream(error) | Self::Output(output::OutputError::Stream(error)) => {
                error.kind() == io::ErrorKind::BrokenPipe
            }
            _ => false,
        }
    }
}

/// Runs a command.
pub fn run(cli: &Cli, streams: &mut Streams<'_>) -> Outcome {
    let result = match &cli.command {
        Command::Render(args) => commands::render::run(args, streams),
        Command::Validate(args) => commands::validate::run(args, streams),
        Command::Diff(args) => commands::diff::run(args, streams),
        Command::Explain(args) => commands::explain::run(args, streams),
        Command::Graph(args) => commands::graph::run(args, streams),
        #[cfg(feature = "cluster")]
        Command::Status(args) => commands::status::run(args, streams),
        #[cfg(feature = "cluster")]
        Command::Top(args) => commands::top::run(args, streams),
        #[cfg(feature = "cluster")]
        Command::Ui(args) => commands::ui::run(args, streams),
        #[cfg(feature = "cluster")]
        Command::Rollout(args) => commands::rollout::run(args, streams),
        #[cfg(feature = "cluster")]
        Command::Shadow(args) => commands::shadow::run(args, streams),
        Command::Crds(args) => commands::crds::run(args, streams),
    };
    match result.and_then(|outcome| Ok(streams.out.flush().map(|()| outcome)?)) {
        Ok(outcome) => outcome,
        Err(failure) if failure.is_broken_pipe() => Outcome::Success,
        Err(failure) => {
            let _ = screen::lines(streams.err, &format!("error: {failure}"));
            Outcome::Failed
        }
    }
}
