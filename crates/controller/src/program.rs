//! The program: managing is what it does without a subcommand; `trial` is for those who installed it.

use clap::{Parser, Subcommand};

use crate::args::Args;
use crate::trial::TrialArgs;

/// Runs Pulsar Functions, sources and sinks on Kubernetes: it turns FunctionMeshes into Functions, Sources and
/// Sinks, those into StatefulSets, Services and autoscalers, and reports what it sees of them.
#[derive(Debug, Parser)]
#[command(name = "function-mesh-controller-manager", version, args_conflicts_with_subcommands = true)]
#[command(after_help = EXAMPLES)]
pub struct Program {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    manage: Args,
}

const EXAMPLES: &str = "\
Examples:
  Look after one namespace of the cluster that kubectl talks to:
    function-mesh-controller-manager --watched-namespace team-a --metrics-addr 127.0.0.1:8443

  Look after two namespaces with no rights in any other:
    function-mesh-controller-manager --watched-namespace team-a,team-b

  Use runner images of one's own:
    function-mesh-controller-manager --config-file config.yaml
  where config.yaml says
    runnerImages:
      java: registry.example.com/pulsar-java-runner:4.0.8";

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a mesh as a user would, see it ready, and remove it
    Trial(TrialArgs),
}

impl Program {
    /// Does what the flags say. The first thing that a process does, outside of any runtime: it makes its own.
    pub fn run(self) -> anyhow::Result<()> {
        let Self { command, manage } = self;
        match command {
            Some(Command::Trial(trial)) => tokio::runtime::Runtime::new()?.block_on(trial.run()),
            None => manage.run(),
        }
    }
}
