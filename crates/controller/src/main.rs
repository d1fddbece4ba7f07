//! The program `function-mesh-controller-manager`.

use clap::Parser;
use function_mesh_controller::cli::Cli;
use function_mesh_serving::tls;

fn main() -> anyhow::Result<()> {
    tls::install_crypto_provider()?;
    Cli::parse().run()
}
