//! Settings as command-line flags and environment variables. Flags override variables, variables override defaults. A
//! boolean flag can have a value: `--flag=false`.

use std::path::Path;

use clap::Args;
use serde_json::Value;

use crate::settings::{Settings, SettingsError};

/// Flags of the rendering settings.
#[derive(Args, Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the operator")]
pub struct SettingsArgs {
    /// YAML file with runner images, image pull secrets, labels and annotations of pods, and resources of added
    /// containers
    #[arg(long, env = "CONFIG_FILE", value_name = "FILE", default_value = "")]
    pub config_file: String,

    /// Download packages in an init container instead of the main container
    #[arg(long, env = "ENABLE_INIT_CONTAINERS", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "false", action = clap::ArgAction::Set,
        value_parser = parse_bool("ENABLE_INIT_CONTAINERS", false))]
    pub enable_init_containers: bool,

    /// Name of the global BackendConfig
    #[arg(long, env = "GLOBAL_BACKEND_CONFIG", value_name = "NAME", default_value = "")]
    pub global_backend_config: String,

    /// Namespace of the global BackendConfig
    #[arg(
        long,
        env = "GLOBAL_BACKEND_CONFIG_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "default"
    )]
    pub global_backend_config_namespace: String,

    /// Name of the namespaced BackendConfig, in each namespace
    #[arg(long, env = "NAMESPACED_BACKEND_CONFIG", value_name = "NAME", default_value = "backend-config")]
    pub namespaced_backend_config: String,

    /// Allow BackendConfigs to set variables that control shells, loaders and runtimes or select the Pulsar cluster,
    /// and exec startup probes. Ignored by default, since they run code in all pods that use the BackendConfig
    #[arg(long, env = "ALLOW_UNSAFE_BACKEND_CONFIG", visible_alias = "allow-unsafe-backend-env", value_name = "BOOL",
        num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false",
        action = clap::ArgAction::Set, value_parser = parse_bool("ALLOW_UNSAFE_BACKEND_CONFIG", false))]
    pub allow_unsafe_backend_config: bool,

    /// Add an anti-affinity that spreads the pods of a component over nodes
    #[arg(long, env = "ADD_DEFAULT_AFFINITY", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "true", action = clap::ArgAction::Set,
        value_parser = parse_bool("ADD_DEFAULT_AFFINITY", true))]
    pub add_default_affinity: bool,

    /// Add a readiness and a startup probe of the runner's metrics port, unless the component or its BackendConfig has a
    /// startup probe
    #[arg(long, env = "ADD_DEFAULT_PROBES", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "true", action = clap::ArgAction::Set,
        value_parser = parse_bool("ADD_DEFAULT_PROBES", true))]
    pub add_default_probes: bool,

    /// Seconds that a new pod must be ready before a rolling update replaces the next one
    #[arg(long, env = "MIN_READY_SECONDS", value_name = "SECONDS", default_value_t = 10,
        value_parser = clap::value_parser!(i32).range(0..=3600))]
    pub min_ready_seconds: i32,

    /// Set runAsNonRoot, so that the kubelet rejects images that run as root
    #[arg(long, env = "RUN_AS_NON_ROOT", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "false", action = clap::ArgAction::Set,
        value_parser = parse_bool("RUN_AS_NON_ROOT", false))]
    pub run_as_non_root: bool,

    /// Deadline in seconds for deleting the subscriptions of a deleted component. Afterwards the component is deleted
    /// with a Warning Event that names the remaining subscriptions
    #[arg(long, env = "CLEANUP_DEADLINE", value_name = "SECONDS", default_value_t = 600,
        value_parser = clap::value_parser!(i64).range(1..))]
    pub cleanup_deadline: i64,
}

impl SettingsArgs {
    /// The settings from the flags and the configuration file. The error names the file or the key.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        self.settings_over(Settings::default(), |_| true)
    }

    /// Other settings, overridden by the flags that are set; `is_set` takes a flag's name as in this struct. The error
    /// names the file or the key.
    pub fn settings_over(
        &self,
        base: Settings,
        is_set: impl Fn(&str) -> bool,
    ) -> Result<Settings, SettingsError> {
        let mut settings = base.with_config(config(Path::new(&self.config_file))?)?;
        macro_rules! override_with {
            ($($flag:ident => $value:expr),* $(,)?) => {
                $(if is_set(stringify!($flag)) { settings.$flag = $value; })*
            };
        }
        override_with! {
            enable_init_containers => self.enable_init_containers,
            add_default_affinity => self.add_default_affinity,
            add_default_probes => self.add_default_probes,
            min_ready_seconds => self.min_ready_seconds,
            allow_unsafe_backend_config => self.allow_unsafe_backend_config,
            run_as_non_root => self.run_as_non_root,
            cleanup_deadline => self.cleanup_deadline,
            global_backend_config => non_empty(&self.global_backend_config),
            global_backend_config_namespace => self.global_backend_config_namespace.clone(),
            namespaced_backend_config => non_empty(&self.namespaced_backend_config),
        }
        Ok(settings)
    }
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn config(file: &Path) -> Result<Value, SettingsError> {
    if file.as_os_str().is_empty() {
        return Ok(Value::Null);
    }
    let path = file.display().to_string();
    match std::fs::read_to_string(file) {
        Err(source) => Err(SettingsError::Read { path, source }),
        Ok(text) if text.trim().is_empty() => Ok(Value::Null),
        Ok(text) => serde_saphyr::from_str(&text)
            .map_err(|error| SettingsError::Syntax { path, message: error.to_string() }),
    }
}

/// Parses a boolean like Go's `strconv.ParseBool`, for compatibility with existing command lines. An empty value means
/// unset: charts set variables to an empty string. clap's `BoolishValueParser` accepts neither.
pub fn parse_bool(
    variable: &'static str,
    default: bool,
) -> impl Fn(&str) -> Result<bool, String> + Clone + Send + Sync + 'static {
    move |text| match text {
        "" => Ok(default),
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => Err(format!("expected true or false, in the flag or the environment variable {variable}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        settings: SettingsArgs,
    }

    fn parse(args: &[&str]) -> Result<Settings, String> {
        let args = ["operator"].iter().chain(args);
        let cli = Cli::try_parse_from(args).map_err(|error| error.to_string())?;
        cli.settings.settings().map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_without_flags() {
        assert_eq!(parse(&[]), Ok(Settings::default()));
    }

    #[test]
    fn boolean_flags_with_and_without_value() {
        let settings =
            parse(&["--enable-init-containers", "--add-default-affinity=F", "--run-as-non-root=1"]).unwrap();
        assert!(settings.enable_init_containers);
        assert!(!settings.add_default_affinity);
        assert!(settings.run_as_non_root);
        assert!(parse(&["--add-default-affinity="]).unwrap().add_default_affinity);
    }

    #[test]
    fn invalid_boolean_names_the_variable() {
        let error = parse(&["--run-as-non-root=yes"]).unwrap_err();
        assert!(error.contains("RUN_AS_NON_ROOT"), "{error}");
    }

    #[test]
    fn empty_name_disables_the_backend_config() {
        let settings = parse(&["--namespaced-backend-config=", "--global-backend-config", "g"]).unwrap();
        assert_eq!(settings.namespaced_backend_config, None);
        assert_eq!(settings.global_backend_config.as_deref(), Some("g"));
    }

    #[test]
    fn only_flags_that_are_set_override_other_settings() {
        let base = Settings { run_as_non_root: true, cleanup_deadline: 60, ..Settings::default() };
        let cli = Cli::try_parse_from(["operator", "--cleanup-deadline=30"]).unwrap();
        let settings = cli.settings.settings_over(base.clone(), |flag| flag == "cleanup_deadline").unwrap();
        assert_eq!(settings, Settings { cleanup_deadline: 30, ..base });
    }

    /// A new flag must be taken into account there.
    #[test]
    fn every_flag_overrides_other_settings() {
        let flags: std::collections::BTreeSet<String> = Cli::command()
            .get_arguments()
            .map(|argument| argument.get_id().to_string())
            .filter(|name| !matches!(name.as_str(), "help" | "config_file"))
            .collect();
        let asked = std::cell::RefCell::new(std::collections::BTreeSet::new());
        let cli = Cli::try_parse_from(["operator"]).unwrap();
        let note = |flag: &str| asked.borrow_mut().insert(flag.to_owned());
        cli.settings.settings_over(Settings::default(), note).unwrap();
        assert_eq!(asked.into_inner(), flags);
    }

    #[test]
    fn missing_file_is_named() {
        let error = parse(&["--config-file", "/no/such/file"]).unwrap_err();
        assert!(error.contains("/no/such/file"), "{error}");
    }
}
