//! The flags that all programs share. Names and environment variables are those of the original operator.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::listen::ListenAddr;
use crate::logging::LogArgs;

/// Metrics, probes, certificates and logs.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Serving")]
pub struct ServingArgs {
    /// Where to serve /metrics; `0` for nowhere
    #[arg(long, env = "METRICS_ADDR", default_value = ":8443", value_name = "ADDR")]
    pub metrics_addr: ListenAddr,

    /// Whether to serve metrics over TLS [default: true when there is a certificate]
    #[arg(
        long,
        env = "METRICS_SECURE",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub metrics_secure: Option<bool>,

    /// Where to serve /healthz and /readyz, always without TLS; `0` for nowhere
    #[arg(long, env = "HEALTH_PROBE_ADDR", default_value = ":8000", value_name = "ADDR")]
    pub health_probe_addr: ListenAddr,

    /// Folder with the serving certificate: tls.crt and tls.key, as a Secret of type kubernetes.io/tls
    /// mounts them. New files are taken up without a restart
    #[arg(long, env = "CERT_DIR", default_value = "", hide_default_value = true, value_name = "DIR")]
    #[arg(value_parser = folder)]
    pub cert_dir: CertDir,

    /// How often to look for new certificate files, for example 10s or 1m
    #[arg(long, env = "CERT_POLL_INTERVAL", default_value = "10s", value_name = "TIME")]
    #[arg(value_parser = duration)]
    pub cert_poll_interval: Duration,

    /// Logs.
    #[command(flatten)]
    pub log: LogArgs,
}

/// The folder of the certificate, if one is named. An empty name counts as none, since charts pass those.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CertDir(pub Option<PathBuf>);

#[allow(clippy::unnecessary_wraps, reason = "the shape that clap asks for")]
fn folder(text: &str) -> Result<CertDir, String> {
    Ok(CertDir(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from)))
}

/// Reads a time as Go writes it, in one unit: `500ms`, `10s`, `2m`, `1h`; and in days, `90d`, which Go has not.
pub fn duration(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: Option<u64> = number.parse().ok();
    let time = match unit {
        "ms" => number.map(Duration::from_millis),
        "s" => number.map(Duration::from_secs),
        "m" => number.and_then(|minutes| minutes.checked_mul(60)).map(Duration::from_secs),
        "h" => number.and_then(|hours| hours.checked_mul(60 * 60)).map(Duration::from_secs),
        "d" => number.and_then(|days| days.checked_mul(24 * 60 * 60)).map(Duration::from_secs),
        _ => None,
    };
    time.ok_or_else(|| {
        format!("{text:?} is no time: write a whole number with a unit, such as 500ms, 10s, 2m, 1h or 90d")
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        serving: ServingArgs,
    }

    fn parse(args: &[&str]) -> ServingArgs {
        Program::try_parse_from([&["program"], args].concat()).expect("flags").serving
    }

    #[test]
    fn defaults_are_those_of_the_original() {
        let args = parse(&[]);
        assert_eq!(args.metrics_addr.to_string(), ":8443");
        assert_eq!(args.health_probe_addr.to_string(), ":8000");
        assert_eq!(args.cert_dir, CertDir(None));
        assert_eq!(args.metrics_secure, None);
        assert_eq!(args.cert_poll_interval, Duration::from_secs(10));
    }

    #[test]
    fn switches_are_written_as_in_go() {
        assert_eq!(parse(&["--metrics-secure"]).metrics_secure, Some(true));
        assert_eq!(parse(&["--metrics-secure=false"]).metrics_secure, Some(false));
        assert_eq!(parse(&["--metrics-addr=0"]).metrics_addr, ListenAddr::Off);
        assert_eq!(parse(&["--cert-dir="]).cert_dir, CertDir(None));
        assert_eq!(parse(&["--cert-dir", "/certs"]).cert_dir, CertDir(Some("/certs".into())));
    }

    #[test]
    fn faults_are_explained() {
        let error = Program::try_parse_from(["program", "--metrics-addr", "8443"]).expect_err("no port");
        assert!(error.to_string().contains("write `:8443`"), "{error}");
        let error = Program::try_parse_from(["program", "--cert-poll-interval", "10"]).expect_err("no unit");
        assert!(error.to_string().contains("such as 500ms"), "{error}");
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        assert_eq!(duration("1h"), Ok(Duration::from_hours(1)));
        assert_eq!(duration("90d"), Ok(Duration::from_hours(90 * 24)));
        for text in ["", "s", "1h30m", "-1s", "1.5s", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
