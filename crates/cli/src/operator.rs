//! The settings of the operator: flags, over those that it publishes in its cluster, over the defaults.

use std::collections::BTreeSet;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use function_mesh_workloads::{Settings, SettingsArgs, SettingsError};
use serde_json::{Value, json};

/// Flags of the settings, and which of them are set.
#[derive(Clone, Debug)]
pub(crate) struct OperatorArgs {
    flags: SettingsArgs,
    /// Names of the flags that the command line or the environment sets.
    set: BTreeSet<String>,
}

impl clap::FromArgMatches for OperatorArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { flags: SettingsArgs::from_arg_matches(matches)?, set: set_in(matches) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.set.extend(set_in(matches));
        self.flags.update_from_arg_matches(matches)
    }
}

impl clap::Args for OperatorArgs {
    fn augment_args(command: Command) -> Command {
        SettingsArgs::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        SettingsArgs::augment_args_for_update(command)
    }
}

fn set_in(matches: &ArgMatches) -> BTreeSet<String> {
    let is_set = |id: &&clap::Id| {
        matches!(matches.value_source(id.as_str()), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    };
    matches.ids().filter(is_set).map(ToString::to_string).collect()
}

/// Where settings without a flag come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// Without a cluster: the defaults.
    Offline,
    /// The operator published them.
    #[cfg_attr(not(feature = "cluster"), allow(dead_code, reason = "only a cluster has them"))]
    Published {
        /// Namespace and name of the ConfigMap.
        config_map: String,
        /// Version of the operator.
        version: String,
    },
    /// The cluster does not report them: the defaults, as a guess.
    #[cfg_attr(not(feature = "cluster"), allow(dead_code, reason = "only a cluster has them"))]
    Assumed {
        /// Why they are unknown.
        reason: String,
    },
}

/// The settings to render with.
#[derive(Clone, Debug)]
pub(crate) struct OperatorSettings {
    pub(crate) settings: Settings,
    pub(crate) origin: Origin,
}

impl OperatorArgs {
    /// The flags over the defaults.
    pub(crate) fn offline(&self) -> Result<OperatorSettings, SettingsError> {
        Ok(OperatorSettings { settings: self.flags.settings()?, origin: Origin::Offline })
    }

    /// The flags over published settings or, without those, over the defaults.
    #[cfg(feature = "cluster")]
    pub(crate) fn over(
        &self,
        published: Result<function_mesh_workloads::PublishedSettings, String>,
        config_map: String,
    ) -> Result<OperatorSettings, SettingsError> {
        let (base, origin) = match published {
            Ok(published) => {
                (published.settings, Origin::Published { config_map, version: published.version })
            }
            Err(reason) => (Settings::default(), Origin::Assumed { reason }),
        };
        let settings = self.flags.settings_over(base, |flag| self.set.contains(flag))?;
        Ok(OperatorSettings { settings, origin })
    }
}

impl OperatorSettings {
    /// What a reader of the output must know; None if there is no doubt.
    pub(crate) fn note(&self) -> Option<String> {
        let own = env!("CARGO_PKG_VERSION");
        match &self.origin {
            Origin::Offline => None,
            Origin::Published { version, .. } => (version != own)
                .then(|| format!("the operator has version {version}, this is {own}: rendering may differ")),
            Origin::Assumed { reason } => Some(format!(
                "the settings of the operator are unknown ({reason}); defaults are assumed, so images and other fields \
                 may differ from the cluster. Pass --operator NAMESPACE, or the settings as flags"
            )),
        }
    }

    /// The origin as data.
    pub(crate) fn data(&self) -> Value {
        match &self.origin {
            Origin::Offline => json!({ "source": "flags" }),
            Origin::Published { config_map, version } => {
                json!({ "source": "cluster", "configMap": config_map, "version": version })
            }
            Origin::Assumed { reason } => json!({ "source": "assumed", "reason": reason }),
        }
    }
}

#[cfg(all(test, feature = "cluster"))]
mod tests {
    use clap::Parser;
    use function_mesh_workloads::PublishedSettings;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        operator: OperatorArgs,
    }

    fn published(version: &str) -> PublishedSettings {
        let settings = Settings { run_as_non_root: true, cleanup_deadline: 60, ..Settings::default() };
        PublishedSettings { version: version.to_owned(), watched_namespaces: Vec::new(), settings }
    }

    fn over(args: &[&str], published: Result<PublishedSettings, String>) -> anyhow::Result<OperatorSettings> {
        let cli = Cli::try_parse_from([&["mesh"], args].concat())?;
        Ok(cli.operator.over(published, "a/b".to_owned())?)
    }

    #[test]
    fn flags_override_published_settings() {
        let known = over(&["--run-as-non-root=false"], Ok(published(env!("CARGO_PKG_VERSION")))).unwrap();
        assert_eq!(known.settings, Settings { cleanup_deadline: 60, ..Settings::default() });
        assert_eq!(known.note(), None);
    }

    #[test]
    fn another_version_is_noted() {
        let note = over(&[], Ok(published("9.9.9"))).unwrap().note().unwrap();
        assert!(note.starts_with("the operator has version 9.9.9"), "{note}");
    }

    #[test]
    fn unknown_settings_are_called_a_guess() {
        let known = over(&["--cleanup-deadline=5"], Err("forbidden".to_owned())).unwrap();
        assert_eq!(known.settings, Settings { cleanup_deadline: 5, ..Settings::default() });
        assert!(known.note().unwrap().contains("unknown (forbidden); defaults are assumed"));
        assert_eq!(known.data()["source"], "assumed");
    }
}
