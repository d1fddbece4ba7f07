//! The console in the cluster, as a program.

use clap::Parser;
use function_mesh_console::cli::Cli;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    Cli::parse().run().await
}
