//! Logs: one line an event on standard error, as text for people or JSON for collectors.

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged, and how.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logging")]
pub struct LogArgs {
    /// What to log: off, error, warn, info, debug or trace, also by module, for example `info,kube=debug`
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub log_level: LogLevel,

    /// Form of a log line
    #[arg(long, env = "LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// A level, or several by module; known to be well-formed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogLevel(String);

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(format!("{error}; write a level such as `info`, or `info,kube=debug`")),
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For log collectors: one JSON object a line.
    Json,
}

/// kube's client logs an answer that it cannot decode whole, at the level `warn`: all that a tenant keeps to itself.
const QUIET: &str = "kube_client::client=error";

/// What is logged at this level. Whoever names the client's module asks for what it says.
fn filter(level: &LogLevel) -> EnvFilter {
    if level.0.contains("kube_client") || level.0 == "off" {
        return EnvFilter::new(&level.0);
    }
    EnvFilter::new(format!("{QUIET},{}", level.0))
}

/// Sends the program's events to standard error. Fails when another subscriber is there already.
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
    fn levels_are_checked_when_they_are_read() {
        for text in ["info", "off", "warn,kube=debug", "function_mesh_webhook=trace"] {
            assert_eq!(text.parse::<LogLevel>().map(|level| level.to_string()), Ok(text.to_owned()));
        }
        assert!("kube=loud".parse::<LogLevel>().unwrap_err().contains("`info,kube=debug`"));
    }

    #[test]
    fn s9_the_client_does_not_log_answers_unless_it_is_asked_by_name() {
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
