//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::attacks::{ATTACKS, Attack};

/// Attacks the controller and the webhook under the chart's memory limits and measures the effect on another tenant
#[derive(Debug, Parser)]
#[command(name = "hack/attack")]
pub(crate) struct Args {
    /// Directory of the binaries function-mesh-controller-manager and function-mesh-webhook
    #[arg(long, value_name = "DIR")]
    pub(crate) programs: PathBuf,
    /// Directory of the manifests to install: crds/ and function-mesh-self-signed.yaml
    #[arg(long, value_name = "DIR")]
    pub(crate) manifests: PathBuf,
    /// Run only this attack; can be repeated [default: all]
    #[arg(long, value_name = "NAME", value_parser = parse_attack_name)]
    only: Vec<String>,
    /// Run only the attacks of the commit check, 6 seconds each
    #[arg(long)]
    quick: bool,
    /// Duration of each attack in seconds [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    duration: Option<u64>,
    /// Also write the results to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// List the attacks and exit
    #[arg(long)]
    pub(crate) list: bool,
    /// Multiply the time limits of the goals by this factor, for a slow or busy machine
    #[arg(long, env = "FUNCTION_MESH_ATTACK_FACTOR", default_value_t = 1.0, value_name = "N")]
    pub(crate) factor: f64,
}

fn parse_attack_name(name: &str) -> Result<String, String> {
    if ATTACKS.iter().any(|attack| attack.name == name) {
        return Ok(name.to_owned());
    }
    let names: Vec<_> = ATTACKS.iter().map(|attack| attack.name).collect();
    Err(format!("unknown attack; must be one of: {}", names.join(", ")))
}

impl Args {
    /// The attacks to run, in table order.
    pub(crate) fn attacks(&self) -> impl Iterator<Item = &'static Attack> {
        ATTACKS.iter().filter(|attack| {
            let is_named = self.only.iter().any(|name| name == attack.name);
            if self.only.is_empty() { attack.is_quick || !self.quick } else { is_named }
        })
    }

    /// Duration of each attack.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.duration.unwrap_or(if self.quick { 6 } else { 10 }))
    }
}
