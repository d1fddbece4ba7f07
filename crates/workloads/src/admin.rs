//! Commands of Pulsar's admin tools, pulsarctl and pulsar-admin.

use crate::connection::{Auth, Connection, Tls};
use crate::shell::{Command, Script, ShellWord};

/// Admin tool of an image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AdminTool {
    /// pulsarctl.
    Pulsarctl,
    /// pulsar-admin.
    PulsarAdmin,
}

/// Option of the JVM for a command that ends after seconds: without the second compiler, pulsar-admin downloads a file in
/// 4.7 s instead of 7.0 s, with 4.8 s of CPU instead of 11 s. Options of the user's environment stay.
const SHORT_RUN: &str = r#"PULSAR_EXTRA_OPTS="${PULSAR_EXTRA_OPTS-} -XX:TieredStopAtLevel=1""#;

/// An admin tool with its connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PulsarAdmin<'a> {
    pub(crate) tool: AdminTool,
    pub(crate) connection: Connection<'a>,
    /// Whether the JVM of pulsar-admin is set up for a short run; not in the first edition of the pod template.
    pub(crate) is_short: bool,
}

impl PulsarAdmin<'_> {
    /// A command of the tool, and the script that logs in before it.
    pub(crate) fn command<'w>(&self, args: impl IntoIterator<Item = &'w str>) -> (Script, Command) {
        let (script, command) = match self.tool {
            AdminTool::Pulsarctl => self.pulsarctl(Script::default()),
            AdminTool::PulsarAdmin => (Script::default(), self.pulsar_admin()),
        };
        (script, command.args(args))
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
                // Activation fails, and is unnecessary, unless the parameters are OAuth2's.
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
            Tls::Secret => {
                let insecure = connection.variable_or("tlsAllowInsecureConnection", "false");
                let verify = connection.variable_or("tlsHostnameVerificationEnable", "true");
                command
                    .arg(ShellWord::from(INSECURE).then(insecure))
                    .arg(ShellWord::from(VERIFY).then(verify))
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
            Tls::None | Tls::Config(_) => command,
        }
    }

    fn pulsar_admin(&self) -> Command {
        const INSECURE: &str = "--tls-allow-insecure";
        const VERIFY: &str = "--tls-enable-hostname-verification";
        const FILE: &str = "--tls-trust-cert-path";
        const PROGRAM: &str = "/pulsar/bin/pulsar-admin";
        let connection = &self.connection;
        let command = if self.is_short {
            Command::new(ShellWord::syntax(SHORT_RUN)).arg(PROGRAM)
        } else {
            Command::new(PROGRAM)
        };
        let mut command = command.option("--admin-url", connection.variable("webServiceURL"));
        if let Some((plugin, parameters)) = connection.auth_plugin() {
            command = command.option("--auth-plugin", plugin).option("--auth-params", parameters);
        }
        match connection.tls {
            Tls::Secret => {
                command.args([INSECURE, VERIFY]).option(FILE, connection.variable("tlsTrustCertsFilePath"))
            }
            Tls::Config(tls) if tls.is_enabled() => {
                command = command
                    .args(tls.allow_insecure.unwrap_or_default().then_some(INSECURE))
                    .args(tls.hostname_verification.unwrap_or_default().then_some(VERIFY));
                match connection.certificate_file() {
                    Some(file) => command.option(FILE, file),
                    None => command,
                }
            }
            Tls::None | Tls::Config(_) => command,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use function_mesh_api::types::PulsarMessaging;
    use serde_json::{Value, json};

    fn command(tool: AdminTool, pulsar: Value) -> String {
        let pulsar: PulsarMessaging = serde_json::from_value(pulsar).unwrap();
        let admin = PulsarAdmin { tool, connection: Connection::packages(&pulsar), is_short: true };
        let (script, command) = admin.command(["a", "b c"]);
        let script = script.run(command).into_command("sh").remove(2);
        script.strip_prefix("export PATH=\"$PATH\":/pulsar/bin && ").unwrap_or(&script).to_owned()
    }

    fn oauth2() -> Value {
        json!({ "authConfig": { "oauth2Config": {
            "issuerUrl": "https://i", "audience": "urn:a", "scope": "s t", "keySecretName": "n", "keySecretKey": "k",
        } } })
    }

    #[test]
    fn command_without_authentication() {
        let url = "\"${PACKAGE_webServiceURL}\"";
        assert_eq!(
            command(AdminTool::Pulsarctl, json!({})),
            format!("pulsarctl --admin-service-url {url} a 'b c'")
        );
        assert_eq!(
            command(AdminTool::PulsarAdmin, json!({})),
            format!(
                "PULSAR_EXTRA_OPTS=\"${{PULSAR_EXTRA_OPTS-}} -XX:TieredStopAtLevel=1\" /pulsar/bin/pulsar-admin --admin-url \
                 {url} a 'b c'"
            )
        );
    }

    #[test]
    fn options_of_the_user_stay_before_the_one_for_a_short_run() {
        let command = command(AdminTool::PulsarAdmin, json!({}));
        let script = command.replace("/pulsar/bin/pulsar-admin", "printenv PULSAR_EXTRA_OPTS; :");
        for (options, expected) in
            [(None, " -XX:TieredStopAtLevel=1\n"), (Some("-Xa"), "-Xa -XX:TieredStopAtLevel=1\n")]
        {
            let mut shell = std::process::Command::new("sh");
            shell
                .args(["-euc", &script])
                .env("PACKAGE_webServiceURL", "http://h")
                .env_remove("PULSAR_EXTRA_OPTS");
            options.map(|options| shell.env("PULSAR_EXTRA_OPTS", options));
            let found = shell.output().unwrap();
            assert_eq!(String::from_utf8_lossy(&found.stdout), expected, "{script}");
        }
    }

    #[test]
    fn pulsarctl_activates_oauth2_first() {
        assert_eq!(
            command(AdminTool::Pulsarctl, oauth2()),
            "pulsarctl context set downloader --admin-service-url \"${PACKAGE_webServiceURL}\" --issuer-endpoint \
             https://i --audience urn:a --key-file /etc/oauth2-package-service/k --scope 's t' && \
             pulsarctl oauth2 activate && pulsarctl a 'b c'"
        );
    }

    #[test]
    fn pulsar_admin_gets_plugin_parameters() {
        let command = command(AdminTool::PulsarAdmin, oauth2());
        assert!(
            command
                .contains(" --auth-plugin org.apache.pulsar.client.impl.auth.oauth2.AuthenticationOAuth2 ")
        );
        assert!(command.contains(r#""credentials_url":"file:///etc/oauth2-package-service/k""#), "{command}");
    }

    #[test]
    fn tls_flags_of_both_tools() {
        let tls = json!({ "tlsConfig": {
            "enabled": true, "hostnameVerification": true, "certSecretName": "s", "certSecretKey": "ca",
        } });
        let file = "--tls-trust-cert-path /etc/tls/pulsar-functions-package-service/ca a 'b c'";
        let expected = format!("--tls-allow-insecure=false --tls-enable-hostname-verification=true {file}");
        assert!(command(AdminTool::Pulsarctl, tls.clone()).ends_with(&expected));
        let expected = format!("\" --tls-enable-hostname-verification {file}");
        assert!(command(AdminTool::PulsarAdmin, tls).ends_with(&expected));
        let secret = command(AdminTool::Pulsarctl, json!({ "tlsSecret": "s", "authSecret": "a" }));
        assert!(secret.starts_with("{ pulsarctl oauth2 activate --auth-params "), "{secret}");
        assert!(
            secret.contains(r#" --tls-allow-insecure="${PACKAGE_tlsAllowInsecureConnection:-false}" "#),
            "{secret}"
        );
    }
}
