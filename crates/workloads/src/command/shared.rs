//! Arguments that all runners but the one for Go have in common.

use crate::connection::Tls;
use crate::context::Context;
use crate::details;
use crate::shell::{Command, Word};

/// Adds who the component is and how it reaches Pulsar.
pub(super) fn arguments(context: &Context<'_>, command: Command) -> Command {
    let connection = context.connection();
    let mut command = command
        .option("--instance_id", super::shard_id())
        .option("--function_id", super::function_id(context))
        .option("--function_version", "0")
        .option("--function_details", details::text(context))
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

/// Adds the provider of secrets, when there are any.
pub(super) fn secrets(context: &Context<'_>, command: Command, provider: &str) -> Command {
    if context.common.secrets_map.is_some_and(|secrets| !secrets.is_empty()) {
        command.option("--secrets_provider", provider)
    } else {
        command
    }
}

/// Address of the store that the component keeps its state in, if it keeps any.
pub(super) fn state_store<'a>(context: &Context<'a>) -> Option<&'a str> {
    let store = context.common.stateful_config?.pulsar.as_ref()?;
    Some(store.service_url.as_str()).filter(|address| !address.is_empty())
}

/// Adds the store that the component keeps its state in, if it keeps any.
pub(super) fn state(context: &Context<'_>, command: Command) -> Command {
    match state_store(context) {
        Some(address) => command.option("--state_storage_serviceurl", Word::from(address)),
        None => command,
    }
}
