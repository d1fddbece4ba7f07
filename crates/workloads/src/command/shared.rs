//! Arguments of all runners except Go.

use crate::connection::Tls;
use crate::context::Context;
use crate::details;
use crate::shell::{Command, ShellWord};

/// Appends the identity of the component and its connection to Pulsar.
pub(super) fn arguments(context: &Context<'_>, command: Command) -> Command {
    let connection = context.connection();
    let mut command = command
        .option("--instance_id", super::shard_id())
        .option("--function_id", super::function_id(context))
        .option("--function_version", "0")
        .option("--function_details", details::build_function_details(context))
        .option("--pulsar_serviceurl", connection.variable("brokerServiceURL"))
        .option("--max_buffered_tuples", "100")
        .option("--port", "9093")
        .option("--metrics_port", "9094")
        .option("--expected_healthcheck_interval", "0")
        .option("--cluster_name", context.common.cluster_name.unwrap_or_default());
    if let Some((plugin, parameters)) = connection.auth_plugin() {
        command = command.option("--client_auth_plugin", plugin).option("--client_auth_params", parameters);
    }
    match connection.tls {
        Tls::None => command.option("--use_tls", "false"),
        Tls::Secret => command
            .option("--use_tls", "true")
            .option("--tls_allow_insecure", connection.variable_or("tlsAllowInsecureConnection", "false"))
            .option(
                "--hostname_verification_enabled",
                connection.variable_or("tlsHostnameVerificationEnable", "true"),
            )
            .option("--tls_trust_cert_path", connection.variable("tlsTrustCertsFilePath")),
        Tls::Config(tls) if !tls.is_enabled() => command.option("--use_tls", "false"),
        Tls::Config(tls) => {
            command = command
                .option("--use_tls", "true")
                .option("--tls_allow_insecure", tls.allow_insecure.unwrap_or_default())
                .option("--hostname_verification_enabled", tls.hostname_verification.unwrap_or_default());
            match connection.certificate_file() {
                Some(file) => command.option("--tls_trust_cert_path", file),
                None => command,
            }
        }
    }
}

/// Appends the secrets provider, if the component has secrets.
pub(super) fn secrets(context: &Context<'_>, command: Command, provider: &str) -> Command {
    if context.common.secrets_map.is_some_and(|secrets| !secrets.is_empty()) {
        command.option("--secrets_provider", provider)
    } else {
        command
    }
}

/// Service URL of the state store, if the component has one.
pub(super) fn state_store<'a>(context: &Context<'a>) -> Option<&'a str> {
    let store = context.common.stateful_config?.pulsar.as_ref()?;
    Some(store.service_url.as_str()).filter(|address| !address.is_empty())
}

/// Appends the state store, if the component has one.
pub(super) fn state(context: &Context<'_>, command: Command) -> Command {
    match state_store(context) {
        Some(address) => command.option("--state_storage_serviceurl", ShellWord::from(address)),
        None => command,
    }
}

#[cfg(test)]
mod tests {
    use crate::Settings;
    use crate::testing::{function, run, script};
    use serde_json::json;

    fn arguments(pulsar: &serde_json::Value) -> String {
        let script =
            script(&function(json!({ "pulsar": pulsar, "clusterName": "c d" })), &Settings::default());
        script.split(" --cluster_name ").nth(1).expect("arguments").to_owned()
    }

    #[test]
    fn auth_config_and_tls_config_override_secrets() {
        assert_eq!(arguments(&json!({})), "'c d' --use_tls false --pending_async_requests 1000");
        let generic = json!({ "clientAuthenticationPlugin": "P", "clientAuthenticationParameters": "a: b" });
        let pulsar = json!({
            "authSecret": "s", "authConfig": { "genericAuth": generic }, "tlsSecret": "t",
            "tlsConfig": { "enabled": true, "allowInsecure": true },
        });
        assert_eq!(
            arguments(&pulsar),
            "'c d' --client_auth_plugin P --client_auth_params 'a: b' --use_tls true --tls_allow_insecure true \
             --hostname_verification_enabled false --pending_async_requests 1000"
        );
        let off = json!({ "authSecret": "s", "authConfig": {}, "tlsSecret": "t", "tlsConfig": {} });
        assert_eq!(arguments(&off), "'c d' --use_tls false --pending_async_requests 1000");
    }

    #[test]
    fn values_of_secrets_are_one_argument() {
        let arguments = arguments(&json!({ "authSecret": "s", "tlsSecret": "t" }));
        let env = [
            ("clientAuthenticationPlugin", "P"),
            ("clientAuthenticationParameters", r#"{"a": "b c"}"#),
            ("tlsTrustCertsFilePath", "/my certs"),
        ];
        let shown = run("sh", &format!("printf '[%s]' {arguments}"), &env);
        assert!(shown.contains(r#"[--client_auth_params][{"a": "b c"}][--use_tls][true]"#), "{shown}");
        assert!(
            shown.contains("[--tls_allow_insecure][false][--hostname_verification_enabled][true]"),
            "{shown}"
        );
        assert!(shown.contains("[--tls_trust_cert_path][/my certs]"), "{shown}");
    }
}
