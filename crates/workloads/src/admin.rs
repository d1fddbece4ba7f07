//! Commands of Pulsar's administration, with pulsarctl or with Pulsar's own pulsar-admin.

use crate::connection::{Auth, Connection, Tls};
use crate::shell::{Command, Script};

/// Which of the two programs an image has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Program {
    /// pulsarctl.
    Pulsarctl,
    /// pulsar-admin.
    PulsarAdmin,
}

/// A way to administer a Pulsar.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admin<'a> {
    pub(crate) program: Program,
    pub(crate) connection: Connection<'a>,
}

impl Admin<'_> {
    /// Runs one command of the program.
    pub(crate) fn run<'w>(&self, script: Script, words: impl IntoIterator<Item = &'w str>) -> Script {
        let (script, command) = match self.program {
            Program::Pulsarctl => self.pulsarctl(script),
            Program::PulsarAdmin => (script, self.pulsar_admin()),
        };
        script.run(command.args(words))
    }

    fn pulsarctl(&self, script: Script) -> (Script, Command) {
        let url = self.connection.variable("webServiceURL");
        let program = || Command::new("pulsarctl");
        let script = script.run("export PATH=\"$PATH\":/pulsar/bin");
        let (script, command) = match self.connection.auth {
            Auth::None => (script, program().option("--admin-service-url", url)),
            Auth::OAuth2(oauth2) => {
                let mut context = program()
                    .args(["context", "set", "downloader"])
                    .option("--admin-service-url", url)
                    .option("--issuer-endpoint", oauth2.issuer_url.as_str())
                    .option("--audience", oauth2.audience.as_str())
                    .option("--key-file", self.connection.credentials_file(oauth2));
                if let Some(scope) = oauth2.scope.as_deref().filter(|scope| !scope.is_empty()) {
                    context = context.option("--scope", scope);
                }
                (script.run(context).run(program().args(["oauth2", "activate"])), program())
            }
            Auth::Generic(_) | Auth::Secret => {
                let Some((plugin, parameters)) = self.connection.auth_plugin() else {
                    return (script, program().option("--admin-service-url", url));
                };
                // Only some parameters are OAuth2; with the others this fails, and is not needed.
                let activate =
                    program().args(["oauth2", "activate"]).option("--auth-params", parameters.clone());
                let command = program()
                    .option("--auth-plugin", plugin)
                    .option("--auth-params", parameters)
                    .option("--admin-service-url", url);
                (script.run(format!("{{ {activate} || true; }}")), command)
            }
        };
        (script, self.pulsarctl_tls(command))
    }

    fn pulsarctl_tls(&self, command: Command) -> Command {
        const INSECURE: &str = "--tls-allow-insecure=";
        const VERIFY: &str = "--tls-enable-hostname-verification=";
        const FILE: &str = "--tls-trust-cert-path";
        let connection = &self.connection;
        match connection.tls {
            Tls::None => command,
            Tls::Secret => {
                let insecure = connection.variable_or("tlsAllowInsecureConnection", "false");
                let verify = connection.variable_or("tlsHostnameVerificationEnable", "true");
                command
                    .arg(crate::shell::Word::from(INSECURE).then(insecure))
                    .arg(crate::shell::Word::from(VERIFY).then(verify))
                    .option(FILE, connection.variable("tlsTrustCertsFilePath"))
            }
            Tls::Config(tls) if tls.is_enabled() => {
                let command = command
                    .arg(format!("{INSECURE}{}", tls.allow_insecure.unwrap_or_default()))
                    .arg(format!("{VERIFY}{}", tls.hostname_verification.unwrap_or_default()));
                match connection.certificate_file() {
                    Some(file) => command.option(FILE, file),
                    None => command,
                }
            }
            Tls::Config(_) => command,
        }
    }

    fn pulsar_admin(&self) -> Command {
        const INSECURE: &str = "--tls-allow-insecure";
        const VERIFY: &str = "--tls-enable-hostname-verification";
        const FILE: &str = "--tls-trust-cert-path";
        let connection = &self.connection;
        let mut command = Command::new("/pulsar/bin/pulsar-admin")
            .option("--admin-url", connection.variable("webServiceURL"));
        if let Some((plugin, parameters)) = connection.auth_plugin() {
            command = command.option("--auth-plugin", plugin).option("--auth-params", parameters);
        }
        match connection.tls {
            Tls::None => command,
            Tls::Secret => command
                .args([INSECURE, VERIFY])
                .option(FILE, connection.variable("tlsTrustCertsFilePath")),
            Tls::Config(tls) if tls.is_enabled() => {
                command = command
                    .args(tls.allow_insecure.unwrap_or_default().then_some(INSECURE))
                    .args(tls.hostname_verification.unwrap_or_default().then_some(VERIFY));
                match connection.certificate_file() {
                    Some(file) => command.option(FILE, file),
                    None => command,
                }
            }
            Tls::Config(_) => command,
        }
    }
}
