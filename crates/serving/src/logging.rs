//! Logs to standard error, one line per event, as text or JSON.

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// Log level and format.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logging")]
pub struct LogArgs {
    /// Log level: off, error, warn, info, debug or trace; also per module, for example `info,kube=debug`
    #[arg(long, env = "FUNCTION_MESH_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub log_level: LogLevel,

    /// Log format
    #[arg(long, env = "FUNCTION_MESH_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// A validated log filter: a level, or levels per module.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogLevel(String);

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(format!("{error}; use a level such as `info`, or `info,kube=debug`")),
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Log format.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// Human-readable lines.
    Text,
    /// One JSON object per line, for log collectors.
    Json,
}

/// kube's client logs a response that it cannot decode in full, at level `warn`: that would leak a tenant's data.
const CLIENT_FILTER: &str = "kube_client::client=error";

/// The filter for this level. A level that names the client's module overrides the default for it.
fn filter(level: &LogLevel) -> EnvFilter {
    if level.0.contains("kube_client") || level.0 == "off" {
        return EnvFilter::new(&level.0);
    }
    EnvFilter::new(format!("{CLIENT_FILTER},{}", level.0))
}

/// Installs the global subscriber. Fails if one is installed already.
pub fn init(args: &LogArgs) -> Result<(), tracing_subscriber::util::TryInitError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&args.log_level))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match args.log_format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_levels_are_rejected() {
        for text in ["info", "off", "warn,kube=debug", "function_mesh_webhook=trace"] {
            assert_eq!(text.parse::<LogLevel>().map(|level| level.to_string()), Ok(text.to_owned()));
        }
        assert!("kube=loud".parse::<LogLevel>().unwrap_err().contains("`info,kube=debug`"));
    }

    #[test]
    fn s9_client_responses_are_logged_only_on_request() {
        let shown = |level: &str| {
            let lines = Lines::default();
            let subscriber = tracing_subscriber::fmt()
                .with_env_filter(filter(&level.parse().unwrap()))
                .with_writer(lines.clone())
                .finish();
            tracing::subscriber::with_default(subscriber, || {
                tracing::warn!(target: "kube_client::client", "SECRET");
                tracing::error!(target: "kube_client::client", "broken");
                tracing::warn!(target: "other", "other");
            });
            let text = String::from_utf8_lossy(&lines.0.lock().unwrap()).into_owned();
            ["SECRET", "broken", "other"].map(|word| text.contains(word))
        };
        assert_eq!(shown("info"), [false, true, true]);
        assert_eq!(shown("debug"), [false, true, true]);
        assert_eq!(shown("warn,kube=debug"), [false, true, true]);
        assert_eq!(shown("off"), [false, false, false]);
        assert_eq!(shown("info,kube_client=warn"), [true, true, true]);
    }

    #[derive(Clone, Default)]
    struct Lines(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }
}
