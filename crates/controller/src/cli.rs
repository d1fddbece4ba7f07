//! The command line: without a subcommand the controllers run; `self-test` checks an installation.

use clap::{Parser, Subcommand};

use crate::args::Args;
use crate::self_test::SelfTestArgs;

/// Runs Pulsar Functions, sources and sinks on Kubernetes. Reconciles each FunctionMesh into Functions, Sources and
/// Sinks, and those into StatefulSets, Services and autoscalers, and reports their status.
#[derive(Debug, Parser)]
#[command(name = "function-mesh-controller-manager", version, args_conflicts_with_subcommands = true)]
#[command(after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    args: Args,
}

const EXAMPLES: &str = "\
Examples:
  Watch one namespace of the current kubectl context:
    function-mesh-controller-manager --watched-namespace team-a --metrics-addr 127.0.0.1:8443

  Watch two namespaces, with permissions in these only:
    function-mesh-controller-manager --watched-namespace team-a,team-b

  Use custom runner images:
    function-mesh-controller-manager --config-file config.yaml
  with this config.yaml:
    runnerImages:
      java: registry.example.com/pulsar-java-runner:4.0.8";

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a mesh, wait until it is ready, and delete it
    SelfTest(SelfTestArgs),
}

impl Cli {
    /// Runs the command. Must be called outside of a Tokio runtime, since it creates its own.
    pub fn run(self) -> anyhow::Result<()> {
        let Self { command, args } = self;
        match command {
            Some(Command::SelfTest(self_test)) => tokio::runtime::Runtime::new()?.block_on(self_test.run()),
            None => args.run(),
        }
    }
}
