//! The program: managing is what it does without a subcommand; `trial` is for those who installed it.

use clap::{Parser, Subcommand};

use crate::args::Args;
use crate::trial::TrialArgs;

/// Runs Pulsar Functions, sources and sinks on Kubernetes: it turns FunctionMeshes into Functions, Sources and
/// Sinks, those into StatefulSets, Services and autoscalers, and reports what it sees of them.
#[derive(Debug, Parser)]
#[command(name = "function-mesh-controller-manager", version, args_conflicts_with_subcommands = true)]
pub struct Program {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    manage: Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a mesh as a user would, see it ready, and remove it
    Trial(TrialArgs),
}

impl Program {
    /// Does what the flags say. The first thing that a process does.
    pub async fn run(self) -> anyhow::Result<()> {
        let Self { command, manage } = self;
        match command {
            Some(Command::Trial(trial)) => trial.run().await,
            None => manage.run().await,
        }
    }
}
