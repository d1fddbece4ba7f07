//! The admission webhook of Function Mesh.

use clap::Parser;
use function_mesh_webhook::cli::Cli;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    Cli::parse().run().await
}
