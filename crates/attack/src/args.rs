//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::attacks::{ATTACKS, Attack};

/// Attacks the controller and the webhook under the chart's memory limits, and measures what a bystander notices.
#[derive(Debug, Parser)]
#[command(name = "hack/attack")]
pub(crate) struct Args {
    /// Folder with function-mesh-controller-manager and function-mesh-webhook
    #[arg(long, value_name = "DIR")]
    pub(crate) programs: PathBuf,
    /// The manifests to install: a folder with crds/ and function-mesh-self-signed.yaml
    #[arg(long, value_name = "DIR")]
    pub(crate) manifests: PathBuf,
    /// Run this attack; may be repeated. Without it all are run
    #[arg(long, value_name = "NAME", value_parser = known)]
    only: Vec<String>,
    /// Run the few attacks that a commit must pass, with 6 seconds each
    #[arg(long)]
    quick: bool,
    /// Seconds of each attack [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    duration: Option<u64>,
    /// Write all figures to this file, too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Print the names of the attacks and what they do
    #[arg(long)]
    pub(crate) list: bool,
    /// Multiply the goals of time, for a busy machine
    #[arg(long, env = "FUNCTION_MESH_ATTACK_FACTOR", default_value_t = 1.0, value_name = "N")]
    pub(crate) factor: f64,
}

fn known(name: &str) -> Result<String, String> {
    if ATTACKS.iter().any(|attack| attack.name == name) {
        return Ok(name.to_owned());
    }
    let names: Vec<_> = ATTACKS.iter().map(|attack| attack.name).collect();
    Err(format!("unknown attack; known are {}", names.join(", ")))
}

impl Args {
    /// The attacks to run, in the order of the table.
    pub(crate) fn attacks(&self) -> impl Iterator<Item = &'static Attack> {
        ATTACKS.iter().filter(|attack| {
            let is_named = self.only.iter().any(|name| name == attack.name);
            if self.only.is_empty() { attack.is_quick || !self.quick } else { is_named }
        })
    }

    /// Time of each attack.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.duration.unwrap_or(if self.quick { 6 } else { 10 }))
    }
}
