//! Flags of the authority.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use function_mesh_serving::args;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustls_pki_types::ServerName;

use super::step::Plan;

/// How many graces an authority's life has to have room for: its last third must see it replaced.
const GRACES: u32 = 6;

/// A certificate that the program makes by itself.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Certificate of its own making, in place of --cert-dir")]
pub struct AuthorityArgs {
    /// Secret to keep an authority and a serving certificate in, which the program makes and renews by itself.
    /// It may be there, empty; or the program may be allowed to create it
    #[arg(long, env = "CERTIFICATE_SECRET", value_name = "NAME")]
    pub certificate_secret: Option<String>,

    /// Namespace of the Secret [default: the program's own]
    #[arg(long, env = "CERTIFICATE_NAMESPACE", value_name = "NAMESPACE")]
    pub certificate_namespace: Option<String>,

    /// Name or address of the serving certificate, as the API server calls the program, for example
    /// function-mesh-webhook.function-mesh.svc; several with commas in between
    #[arg(long, env = "CERTIFICATE_DNS_NAMES", value_name = "NAME", value_delimiter = ',')]
    pub certificate_dns_name: Vec<String>,

    /// MutatingWebhookConfiguration that is to trust the authority
    #[arg(long, env = "MUTATING_WEBHOOK_CONFIGURATION", value_name = "NAME")]
    pub mutating_webhook_configuration: Option<String>,

    /// ValidatingWebhookConfiguration that is to trust the authority
    #[arg(long, env = "VALIDATING_WEBHOOK_CONFIGURATION", value_name = "NAME")]
    pub validating_webhook_configuration: Option<String>,

    /// How long a serving certificate is valid; it is renewed after two thirds of that
    #[arg(long, env = "CERTIFICATE_LIFETIME", value_name = "TIME", default_value = "90d")]
    #[arg(value_parser = args::duration)]
    pub certificate_lifetime: Duration,

    /// How long an authority is valid; the next one is introduced after two thirds of that
    #[arg(long, env = "AUTHORITY_LIFETIME", value_name = "TIME", default_value = "365d")]
    #[arg(value_parser = args::duration)]
    pub authority_lifetime: Duration,

    /// How long API servers and other replicas are given to learn of a new authority, before it signs and before
    /// the old one is trusted no longer
    #[arg(long, env = "AUTHORITY_GRACE", value_name = "TIME", default_value = "30s")]
    #[arg(value_parser = args::duration)]
    pub authority_grace: Duration,

    /// Kubeconfig to reach the Secret with; without it KUBECONFIG, the home folder and the pod's own account are
    /// tried
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig; without it the current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// An empty text counts as none, since charts pass those.
fn filled(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// Longer than anybody means, and short enough for what certificates can say.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

impl AuthorityArgs {
    /// The Secret's name, if the program is to make its certificate.
    pub fn secret(&self) -> Option<&str> {
        filled(self.certificate_secret.as_ref())
    }

    pub(super) fn namespace(&self) -> Option<&str> {
        filled(self.certificate_namespace.as_ref())
    }

    pub(super) fn mutating(&self) -> Option<&str> {
        filled(self.mutating_webhook_configuration.as_ref())
    }

    pub(super) fn validating(&self) -> Option<&str> {
        filled(self.validating_webhook_configuration.as_ref())
    }

    /// What is wished for; or which flag is at fault.
    pub fn plan(&self) -> anyhow::Result<Plan> {
        let names: BTreeSet<_> = self.certificate_dns_name.iter().filter(|name| !name.is_empty()).collect();
        ensure!(
            !names.is_empty(),
            "name what the API server calls the program with --certificate-dns-name, for example \
             function-mesh-webhook.function-mesh.svc"
        );
        for name in &names {
            ServerName::try_from(name.as_str()).with_context(|| {
                format!("--certificate-dns-name {name:?} is neither a name nor an address")
            })?;
        }
        ensure!(
            names.iter().all(|name| !name.ends_with('.')),
            "--certificate-dns-name must not end with a dot: certificates have names without"
        );
        let (certificate, authority) = (self.certificate_lifetime, self.authority_lifetime);
        ensure!(
            authority <= LONGEST,
            "--authority-lifetime must be a hundred years at most; it is {authority:?}"
        );
        let grace = self.authority_grace;
        ensure!(
            certificate >= Duration::from_secs(2),
            "--certificate-lifetime must be two seconds at least; it is {certificate:?}"
        );
        ensure!(
            authority > certificate,
            "--authority-lifetime, {authority:?}, must be longer than --certificate-lifetime, {certificate:?}"
        );
        ensure!(
            authority / GRACES >= grace,
            "--authority-lifetime, {authority:?}, must be {GRACES} times --authority-grace, {grace:?}, at least"
        );
        let names = names.into_iter().map(|name| canonical(name)).collect();
        Ok(Plan { names, certificate, authority, grace })
    }

    /// How to reach the cluster.
    pub(crate) async fn connection(&self) -> anyhow::Result<Config> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        Ok(match &self.kubeconfig {
            Some(file) => {
                let kubeconfig =
                    Kubeconfig::read_from(file).with_context(|| format!("cannot read {}", file.display()))?;
                Config::from_custom_kubeconfig(kubeconfig, &options).await?
            }
            None if options.context.is_some() => Config::from_kubeconfig(&options).await?,
            None => Config::infer().await.context(
                "found no cluster, which --certificate-secret and --check-rights need: pass --kubeconfig, set KUBECONFIG, or run in a \
                 pod with a service account",
            )?,
        })
    }
}

/// One way to write each address, so that it is found in a certificate again.
fn canonical(name: &str) -> String {
    let address = name.parse::<std::net::IpAddr>();
    address.map_or_else(|_| name.to_owned(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        authority: AuthorityArgs,
    }

    fn parse(args: &[&str]) -> AuthorityArgs {
        Program::try_parse_from([&["webhook"], args].concat()).expect("flags").authority
    }

    #[test]
    fn nothing_is_made_unless_it_is_asked_for() {
        assert_eq!(parse(&[]).secret(), None);
        let empty = parse(&["--certificate-secret=", "--certificate-namespace="]);
        assert_eq!((empty.secret(), empty.namespace()), (None, None));
    }

    #[test]
    fn lives_are_those_of_a_year_and_a_quarter() {
        let plan = parse(&["--certificate-dns-name", "b.ns.svc,::0:1", "--certificate-dns-name=a.ns.svc"]);
        let plan = plan.plan().expect("a plan");
        assert_eq!(plan.names.into_iter().collect::<Vec<_>>(), ["::1", "a.ns.svc", "b.ns.svc"]);
        let day = Duration::from_hours(24);
        assert_eq!((plan.certificate, plan.authority), (day * 90, day * 365));
        assert_eq!(plan.grace, Duration::from_secs(30));
    }

    #[test]
    fn faults_are_explained() {
        let name = "--certificate-dns-name=a";
        for (args, fault) in [
            (&[][..], "with --certificate-dns-name"),
            (&["--certificate-dns-name=a b"], "neither a name nor an address"),
            (&[name, "--certificate-lifetime=1s"], "two seconds at least"),
            (&[name, "--certificate-lifetime=500d"], "must be longer than --certificate-lifetime"),
            (&[name, "--certificate-lifetime=1m", "--authority-lifetime=2m"], "6 times --authority-grace"),
        ] {
            let error = format!("{:#}", parse(args).plan().expect_err(fault));
            assert!(error.contains(fault), "{error}");
        }
    }
}
