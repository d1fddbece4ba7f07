//! Flags shared by all programs. Those that upstream has keep its flag and environment variable names; our own
//! variables have the prefix `FUNCTION_MESH_`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;

use crate::listen::ListenAddr;
use crate::logging::LogArgs;

/// Flags for metrics, probes, TLS and logs.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Serving")]
pub struct ServingArgs {
    /// Address of /metrics; `0` disables it
    #[arg(long, env = "METRICS_ADDR", default_value = ":8443", value_name = "ADDR")]
    pub metrics_addr: ListenAddr,

    /// Serve metrics over TLS [default: true if a certificate is configured]
    #[arg(
        long,
        env = "FUNCTION_MESH_METRICS_SECURE",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub metrics_secure: Option<bool>,

    /// Address of /healthz and /readyz, which never use TLS; `0` disables them
    #[arg(long, env = "HEALTH_PROBE_ADDR", default_value = ":8000", value_name = "ADDR")]
    pub health_probe_addr: ListenAddr,

    /// Directory of the serving certificate, tls.crt and tls.key, as mounted from a Secret of type kubernetes.io/tls.
    /// Changed files are reloaded without a restart
    #[arg(long, env = "CERT_DIR", default_value = "", hide_default_value = true, value_name = "DIR")]
    #[arg(value_parser = cert_dir)]
    pub cert_dir: CertDir,

    /// Interval at which to check the certificate files for changes, for example 10s or 1m
    #[arg(long, env = "FUNCTION_MESH_CERT_POLL_INTERVAL", default_value = "10s", value_name = "DURATION")]
    #[arg(value_parser = duration)]
    pub cert_poll_interval: Duration,

    /// Log level and format.
    #[command(flatten)]
    pub log: LogArgs,
}

/// The certificate directory. Charts pass an empty string for an unset value.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CertDir(pub Option<PathBuf>);

#[allow(clippy::unnecessary_wraps, reason = "the signature of clap's value parsers")]
fn cert_dir(text: &str) -> Result<CertDir, String> {
    Ok(CertDir(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from)))
}

/// Parses a duration, `500ms`, `10s`, `1h30m` or `90d`, as clap's value parsers do: the error is for the user.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| {
        format!("invalid duration: {error}; use a number with a unit, such as 500ms, 10s or 90d")
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        serving: ServingArgs,
    }

    fn parse(args: &[&str]) -> ServingArgs {
        Cli::try_parse_from([&["program"], args].concat()).expect("flags").serving
    }

    #[test]
    fn defaults_match_upstream() {
        let args = parse(&[]);
        assert_eq!(args.metrics_addr.to_string(), ":8443");
        assert_eq!(args.health_probe_addr.to_string(), ":8000");
        assert_eq!(args.cert_dir, CertDir(None));
        assert_eq!(args.metrics_secure, None);
        assert_eq!(args.cert_poll_interval, Duration::from_secs(10));
    }

    #[test]
    fn flags_parse_in_the_forms_of_go() {
        for (value, expected) in [("true", true), ("1", true), ("T", true), ("false", false), ("0", false)] {
            assert_eq!(parse(&[&format!("--metrics-secure={value}")]).metrics_secure, Some(expected));
        }
        assert_eq!(parse(&["--metrics-secure"]).metrics_secure, Some(true));
        assert_eq!(parse(&["--metrics-addr=0"]).metrics_addr, ListenAddr::Off);
        assert_eq!(parse(&["--cert-dir="]).cert_dir, CertDir(None));
        assert_eq!(parse(&["--cert-dir", "/certs"]).cert_dir, CertDir(Some("/certs".into())));
    }

    #[test]
    fn errors_show_valid_values() {
        let error = Cli::try_parse_from(["program", "--metrics-addr", "8443"]).expect_err("no port");
        assert!(error.to_string().contains("use `:8443`"), "{error}");
        let error = Cli::try_parse_from(["program", "--cert-poll-interval", "10"]).expect_err("no unit");
        assert!(error.to_string().contains("such as 500ms"), "{error}");
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        assert_eq!(duration("1h"), Ok(Duration::from_hours(1)));
        assert_eq!(duration("90d"), Ok(Duration::from_hours(90 * 24)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        for text in ["", "s", "10", "-1s", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
