//! Flags of the observer.

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;
use function_mesh_pulsar::{AccessError, AccessFile};

use super::ObserverSettings;

/// Flags of the observer.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Message traffic")]
pub struct ObserverArgs {
    /// Observe message traffic in Pulsar: backlog, lag, rates and stalls of components, in their status. The operator then
    /// reads the ConfigMaps that components name in spec.pulsar, and asks the web services that they name
    #[arg(
        long,
        env = "FUNCTION_MESH_OBSERVE",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        action = clap::ArgAction::Set,
        value_parser = BoolishValueParser::new()
    )]
    observe: bool,

    /// File with the access to Pulsar clusters, in YAML: a token file or a client certificate for each web service URL.
    /// Clusters that it does not name are asked without credentials
    #[arg(long, env = "FUNCTION_MESH_OBSERVE_ACCESS", value_name = "FILE")]
    observe_access: Option<PathBuf>,

    /// Expose metrics of each observed component, with its name in the labels
    #[arg(
        long,
        env = "FUNCTION_MESH_OBSERVE_METRICS",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        action = clap::ArgAction::Set,
        value_parser = BoolishValueParser::new()
    )]
    observe_metrics: bool,
}

impl ObserverArgs {
    /// The settings; None if message traffic is not observed.
    pub fn settings(&self) -> Result<Option<ObserverSettings>, AccessError> {
        if !self.observe {
            return Ok(None);
        }
        let file = self.observe_access.as_deref().filter(|file| !file.as_os_str().is_empty());
        let access = file.map(AccessFile::read).transpose()?.unwrap_or_default();
        Ok(Some(ObserverSettings {
            access,
            component_metrics: self.observe_metrics,
            ..ObserverSettings::default()
        }))
    }
}
