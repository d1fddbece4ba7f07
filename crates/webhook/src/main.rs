//! The admission webhook of Function Mesh.

use clap::Parser;
use function_mesh_webhook::program::Program;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    Program::parse().run().await
}
