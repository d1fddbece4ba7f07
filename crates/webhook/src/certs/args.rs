//! Flags of the certificate rotation.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use function_mesh_kube::connect::ConnectArgs;
use function_mesh_serving::args;
use rustls_pki_types::ServerName;

use super::rotation::RotationPolicy;

/// Propagation delays that fit into a CA's validity period: a rotation must finish within its last third.
const MIN_DELAYS_PER_CA: u32 = 6;

/// The longest validity period that X.509 timestamps can carry with a margin: a hundred years.
const MAX_CA_VALIDITY: Duration = Duration::from_hours(100 * 365 * 24);

/// Certificates that the webhook issues itself.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Self-signed certificates (instead of --cert-dir)")]
pub struct CertArgs {
    /// Secret for the CA and the serving certificate, which the webhook issues and renews itself. The Secret must be
    /// empty, or the webhook must be allowed to create it
    #[arg(long, env = "FUNCTION_MESH_CERTIFICATE_SECRET", value_name = "NAME")]
    pub certificate_secret: Option<String>,

    /// Namespace of the Secret [default: the namespace of the webhook]
    #[arg(long, env = "FUNCTION_MESH_CERTIFICATE_NAMESPACE", value_name = "NAMESPACE")]
    pub certificate_namespace: Option<String>,

    /// DNS name or IP address of the serving certificate, under which the API server reaches the webhook, for example
    /// function-mesh-webhook.function-mesh.svc; comma-separated
    #[arg(long, env = "FUNCTION_MESH_CERTIFICATE_DNS_NAMES", value_name = "NAME", value_delimiter = ',')]
    pub certificate_dns_name: Vec<String>,

    /// MutatingWebhookConfiguration to inject the CA bundle into
    #[arg(long, env = "FUNCTION_MESH_MUTATING_WEBHOOK_CONFIGURATION", value_name = "NAME")]
    pub mutating_webhook_configuration: Option<String>,

    /// ValidatingWebhookConfiguration to inject the CA bundle into
    #[arg(long, env = "FUNCTION_MESH_VALIDATING_WEBHOOK_CONFIGURATION", value_name = "NAME")]
    pub validating_webhook_configuration: Option<String>,

    /// Validity period of a serving certificate; it is renewed after two thirds
    #[arg(long, env = "FUNCTION_MESH_CERTIFICATE_VALIDITY", value_name = "DURATION", default_value = "90d")]
    #[arg(value_parser = args::duration)]
    pub certificate_validity: Duration,

    /// Validity period of a CA; the rotation to the next CA starts after two thirds
    #[arg(long, env = "FUNCTION_MESH_CA_VALIDITY", value_name = "DURATION", default_value = "365d")]
    #[arg(value_parser = args::duration)]
    pub ca_validity: Duration,

    /// Time for API servers and other replicas to observe a new CA, before it signs, and again before the previous CA
    /// is retired
    #[arg(long, env = "FUNCTION_MESH_CA_PROPAGATION_DELAY", value_name = "DURATION", default_value = "30s")]
    #[arg(value_parser = args::duration)]
    pub ca_propagation_delay: Duration,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Charts pass an empty string for an unset value.
fn non_empty(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

impl CertArgs {
    /// Name of the Secret; None when the certificate comes from files.
    pub fn secret(&self) -> Option<&str> {
        non_empty(self.certificate_secret.as_ref())
    }

    pub(super) fn namespace(&self) -> Option<&str> {
        non_empty(self.certificate_namespace.as_ref())
    }

    pub(super) fn mutating(&self) -> Option<&str> {
        non_empty(self.mutating_webhook_configuration.as_ref())
    }

    pub(super) fn validating(&self) -> Option<&str> {
        non_empty(self.validating_webhook_configuration.as_ref())
    }

    /// Validates the flags; the error names the flag.
    pub fn policy(&self) -> anyhow::Result<RotationPolicy> {
        let names: BTreeSet<_> = self.certificate_dns_name.iter().filter(|name| !name.is_empty()).collect();
        ensure!(
            !names.is_empty(),
            "--certificate-dns-name is required with --certificate-secret: set it to the name under which the API \
             server reaches the webhook, for example function-mesh-webhook.function-mesh.svc"
        );
        for name in &names {
            ServerName::try_from(name.as_str()).with_context(|| {
                format!("--certificate-dns-name {name:?} is neither a DNS name nor an IP address")
            })?;
        }
        ensure!(
            names.iter().all(|name| !name.ends_with('.')),
            "--certificate-dns-name must not end with a dot: certificates hold names without it"
        );
        let (certificate, ca) = (self.certificate_validity, self.ca_validity);
        ensure!(ca <= MAX_CA_VALIDITY, "--ca-validity must be at most a hundred years, got {ca:?}");
        let delay = self.ca_propagation_delay;
        ensure!(
            certificate >= Duration::from_secs(2),
            "--certificate-validity must be at least 2s, got {certificate:?}"
        );
        ensure!(
            ca > certificate,
            "--ca-validity ({ca:?}) must be longer than --certificate-validity ({certificate:?})"
        );
        ensure!(
            ca / MIN_DELAYS_PER_CA >= delay,
            "--ca-validity ({ca:?}) must be at least {MIN_DELAYS_PER_CA} times --ca-propagation-delay ({delay:?})"
        );
        let dns_names = names.into_iter().map(|name| canonical(name)).collect();
        Ok(RotationPolicy {
            dns_names,
            certificate_validity: certificate,
            ca_validity: ca,
            propagation_delay: delay,
        })
    }
}

/// The canonical form of an IP address, in which certificates hold it.
fn canonical(name: &str) -> String {
    let address = name.parse::<std::net::IpAddr>();
    address.map_or_else(|_| name.to_owned(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        certs: CertArgs,
    }

    fn parse(args: &[&str]) -> CertArgs {
        Cli::try_parse_from([&["webhook"], args].concat()).expect("flags").certs
    }

    #[test]
    fn empty_flags_count_as_unset() {
        assert_eq!(parse(&[]).secret(), None);
        let empty = parse(&["--certificate-secret=", "--certificate-namespace="]);
        assert_eq!((empty.secret(), empty.namespace()), (None, None));
    }

    #[test]
    fn default_validity_is_90_and_365_days() {
        let policy = parse(&["--certificate-dns-name", "b.ns.svc,::0:1", "--certificate-dns-name=a.ns.svc"]);
        let policy = policy.policy().expect("a policy");
        assert_eq!(policy.dns_names.into_iter().collect::<Vec<_>>(), ["::1", "a.ns.svc", "b.ns.svc"]);
        let day = Duration::from_hours(24);
        assert_eq!((policy.certificate_validity, policy.ca_validity), (day * 90, day * 365));
        assert_eq!(policy.propagation_delay, Duration::from_secs(30));
    }

    #[test]
    fn errors_name_the_flag() {
        let name = "--certificate-dns-name=a";
        for (args, expected) in [
            (&[][..], "--certificate-dns-name is required"),
            (&["--certificate-dns-name=a b"], "neither a DNS name nor an IP address"),
            (&[name, "--certificate-validity=1s"], "at least 2s"),
            (&[name, "--certificate-validity=500d"], "must be longer than --certificate-validity"),
            (&[name, "--certificate-validity=1m", "--ca-validity=2m"], "6 times --ca-propagation-delay"),
        ] {
            let error = format!("{:#}", parse(args).policy().expect_err(expected));
            assert!(error.contains(expected), "{error}");
        }
    }
}
