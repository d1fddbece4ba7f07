//! Command of the Go runtime: the function is an executable that gets its configuration as one JSON argument.

use std::collections::BTreeMap;

use function_mesh_api::types::{InputConf, ProcessingGuarantee, SubscribePosition};
use serde::Serialize;

use crate::connection::{Auth, Connection, Tls};
use crate::context::Context;
use crate::details;
use crate::json::{self, is_default};
use crate::shell::{Command, Script, ShellWord};

/// Variable with the authentication parameters, escaped for JSON.
const PARAMETERS: &str = "AUTH_PARAMETERS";

/// The static part of the configuration, in the order of the runtime's declaration. Fields of later versions of the
/// runtime are omitted if they have their default.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Configuration<'a> {
    #[serde(rename = "funcVersion")]
    function_version: &'static str,
    #[serde(rename = "maxBufTuples")]
    max_buffered_tuples: u16,
    port: u16,
    cluster_name: &'a str,
    kill_after_idle_ms: u32,
    tenant: &'a str,
    #[serde(rename = "nameSpace")]
    namespace: &'a str,
    name: &'a str,
    log_topic: &'a str,
    processing_guarantees: u8,
    secrets_map: &'static str,
    runtime: u8,
    auto_ack: bool,
    parallelism: i32,
    subscription_type: u8,
    timeout_ms: i32,
    subscription_name: &'a str,
    cleanup_subscription: bool,
    #[serde(skip_serializing_if = "is_default")]
    subscription_position: u8,
    #[serde(flatten)]
    source: Source<'a>,
    sink_specs_topic: &'a str,
    sink_schema_type: &'a str,
    #[serde(serialize_with = "json::number")]
    cpu: f64,
    ram: i64,
    disk: i64,
    max_message_retries: i32,
    dead_letter_topic: String,
    expected_health_check_interval: i32,
    user_config: String,
    metrics_port: u16,
}

/// The first topic, for all versions of the runtime, and the other topics, for later versions.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "the names are the runtime's")]
struct Source<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    source_input_specs: BTreeMap<&'a str, String>,
    source_specs_topic: &'a str,
    source_schema_type: &'a str,
    is_regex_pattern_subscription: bool,
    receiver_queue_size: i32,
}

pub(super) fn script(context: &Context<'_>, script: Script, program: &str) -> Script {
    let connection = context.connection();
    let mut script = script;
    if matches!(connection.auth, Auth::Secret) {
        let parameters = connection.variable_name("clientAuthenticationParameters");
        script = script
            .run(format!(r"{PARAMETERS}=${{{parameters}//\\/\\\\}}"))
            .run(format!(r#"{PARAMETERS}=${{{PARAMETERS}//\"/\\\"}}"#));
    }
    let file = ShellWord::from(program);
    let executable = format!("{{ test -x {file} || chmod +x {file}; }}");
    // The shell would search a name without a directory in PATH.
    let path = if program.contains('/') { file } else { ShellWord::variable("PWD").then("/").then(file) };
    script.run(executable).exec(&Command::new(path).option("-instance-conf", argument(context, &connection)))
}

/// The configuration as one argument: values that the shell expands, then the static part.
fn argument(context: &Context<'_>, connection: &Connection<'_>) -> ShellWord {
    let mut word = ShellWord::from(r#"{"pulsarServiceURL":""#)
        .then(connection.variable("brokerServiceURL"))
        .then(r#"","instanceID":"#)
        .then(super::shard_id())
        .then(r#","funcID":""#)
        .then(super::function_id(context))
        .then(r#"","#);
    if let Some((plugin, parameters)) = authentication(connection) {
        word = word
            .then(r#""clientAuthenticationPlugin":"#)
            .then(plugin)
            .then(r#","clientAuthenticationParameters":"#)
            .then(parameters)
            .then(",");
    }
    if let Some((file, insecure, verify)) = encryption(connection) {
        word = word
            .then(r#""tlsTrustCertsFilePath":"#)
            .then(file)
            .then(r#","tlsAllowInsecureConnection":"#)
            .then(insecure)
            .then(r#","tlsHostnameVerificationEnable":"#)
            .then(verify)
            .then(",");
    }
    let known = json::text(&configuration(context));
    word.then(known.strip_prefix('{').unwrap_or_default())
}

fn text(value: &str) -> ShellWord {
    json::text(&value).into()
}

fn text_of_variable(variable: String) -> ShellWord {
    ShellWord::from("\"").then(ShellWord::variable(variable)).then("\"")
}

/// Plugin and parameters of authentication, as JSON.
fn authentication(connection: &Connection<'_>) -> Option<(ShellWord, ShellWord)> {
    match connection.auth {
        Auth::None => None,
        Auth::Secret => Some((
            text_of_variable(connection.variable_name("clientAuthenticationPlugin")),
            text_of_variable(PARAMETERS.to_owned()),
        )),
        Auth::Generic(auth) => {
            Some((text(&auth.client_authentication_plugin), text(&auth.client_authentication_parameters)))
        }
        Auth::OAuth2(oauth2) => Some((
            text(crate::connection::OAUTH2_PLUGIN),
            // The Go client requires the grant type.
            text(&connection.oauth2_parameters(oauth2, Some("client_credentials"))),
        )),
    }
}

/// Path of the trusted CA certificates, allowInsecure and hostnameVerification, as JSON.
fn encryption(connection: &Connection<'_>) -> Option<(ShellWord, ShellWord, ShellWord)> {
    match connection.tls {
        Tls::None => None,
        Tls::Secret => Some((
            text_of_variable(connection.variable_name("tlsTrustCertsFilePath")),
            connection.variable_or("tlsAllowInsecureConnection", "false"),
            connection.variable_or("tlsHostnameVerificationEnable", "true"),
        )),
        Tls::Config(tls) => tls.is_enabled().then(|| {
            let file = connection.certificate_file().unwrap_or_default();
            let insecure = tls.allow_insecure.unwrap_or_default();
            (text(&file), insecure.into(), tls.hostname_verification.unwrap_or_default().into())
        }),
    }
}

fn configuration<'a>(context: &Context<'a>) -> Configuration<'a> {
    let common = context.common;
    let consuming = context.view.consuming;
    let guarantee = common.processing_guarantee;
    let resources = details::resources(common.resources);
    let retries = consuming.map(|consuming| details::retries(context, &consuming)).unwrap_or_default();
    let sharing = consuming.and_then(|consuming| details::subscription_type(&consuming, guarantee));
    let position = consuming.and_then(|consuming| consuming.subscription_position);
    let output = context.view.output();
    Configuration {
        function_version: "0",
        max_buffered_tuples: 100,
        port: 9093,
        cluster_name: common.cluster_name.unwrap_or_default(),
        kill_after_idle_ms: 0,
        tenant: common.tenant.unwrap_or_default(),
        namespace: common.namespace.unwrap_or_default(),
        name: context.name(),
        log_topic: details::log_topic(context).unwrap_or_default(),
        processing_guarantees: match guarantee {
            ProcessingGuarantee::AtLeastOnce => 0,
            ProcessingGuarantee::AtMostOnce => 1,
            ProcessingGuarantee::EffectivelyOnce => 2,
            ProcessingGuarantee::Manual => 3,
        },
        // A Go function reads secrets from its environment variables.
        secrets_map: "",
        runtime: 3,
        auto_ack: consuming.and_then(|consuming| consuming.auto_ack).unwrap_or(true),
        parallelism: details::parallelism(context),
        subscription_type: sharing.map_or(0, |sharing| sharing as u8),
        timeout_ms: consuming.and_then(|consuming| consuming.timeout).unwrap_or_default().max(0),
        subscription_name: consuming.and_then(|consuming| consuming.subscription_name).unwrap_or_default(),
        cleanup_subscription: consuming.is_some_and(|consuming| consuming.cleanup_subscription),
        subscription_position: u8::from(position == Some(SubscribePosition::Earliest)),
        source: context.view.input().map(source).unwrap_or_default(),
        sink_specs_topic: context.view.output_topic().unwrap_or_default(),
        sink_schema_type: output.and_then(|output| output.sink_schema_type.as_deref()).unwrap_or_default(),
        // The field has always been an integer for this runtime.
        cpu: resources.cpu.ceil(),
        ram: resources.ram,
        disk: resources.disk,
        max_message_retries: retries.max_message_retries,
        dead_letter_topic: retries.dead_letter_topic,
        expected_health_check_interval: -1,
        user_config: details::user_config(context).unwrap_or_default(),
        metrics_port: 9094,
    }
}

fn source(input: &InputConf) -> Source<'_> {
    let mut specs = details::input_specs(input);
    let listed = input.topics.iter().flatten().map(String::as_str).next();
    let Some(first) = listed.or_else(|| specs.keys().next().copied()) else { return Source::default() };
    let spec = specs.remove(first).unwrap_or_default();
    Source {
        source_specs_topic: first,
        source_schema_type: spec.schema_type.unwrap_or_default(),
        is_regex_pattern_subscription: spec.is_regex_pattern,
        receiver_queue_size: spec.receiver_queue_size(),
        source_input_specs: specs.iter().map(|(topic, spec)| (*topic, json::text(spec))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use crate::Settings;
    use crate::testing::{bare_function, run, script};
    use serde_json::{Value, json};

    /// The configuration that the program gets.
    fn configuration(spec: Value, env: &[(&str, &str)]) -> Value {
        let mut spec = spec;
        spec["golang"] = json!({ "go": "/pulsar/f" });
        let script = script(&bare_function(spec), &Settings::default());
        // Replaces the program by one that prints its argument.
        let check = "{ test -x /pulsar/f || chmod +x /pulsar/f; } && exec /pulsar/f -instance-conf";
        assert!(script.contains(check), "{script}");
        let script = script.replace(check, "printf %s").replace("echo shardId", "true shardId");
        let mut all = vec![("POD_NAME", "f-function-3"), ("brokerServiceURL", "pulsar://b:6650")];
        all.extend_from_slice(env);
        serde_json::from_str(&run("bash", &script, &all)).expect("JSON")
    }

    #[test]
    fn configuration_is_valid_json() {
        let hostile = json!({ "a b": "it's \"$HOME\" `x` \\ $(y)\n${SHARD_ID}" });
        let configuration = configuration(json!({ "funcConfig": hostile, "clusterName": "c '\"$d" }), &[]);
        assert_eq!(configuration["clusterName"], "c '\"$d");
        let user: Value = serde_json::from_str(configuration["userConfig"].as_str().unwrap()).unwrap();
        assert_eq!(user, hostile);
        assert_eq!(configuration["pulsarServiceURL"], "pulsar://b:6650");
        assert_eq!(configuration["instanceID"], 3);
        assert_eq!(configuration["funcID"], "3-u-1");
    }

    #[test]
    fn subscription_type_by_ordering() {
        let sharing = |spec| configuration(spec, &[])["subscriptionType"].clone();
        assert_eq!(sharing(json!({})), 0);
        assert_eq!(sharing(json!({ "retainOrdering": true })), 1);
        assert_eq!(sharing(json!({ "retainKeyOrdering": true })), 2);
    }

    #[test]
    fn first_topic_and_other_topics() {
        let input = json!({ "input": { "topics": ["b", "a"], "customSchemaSources": { "b": "avro" } } });
        let several = configuration(input, &[]);
        assert_eq!(several["sourceSpecsTopic"], "b");
        assert_eq!(several["sourceSchemaType"], "avro");
        assert_eq!(several["sourceInputSpecs"], json!({ "a": "{}" }));
        let pattern = configuration(json!({ "input": { "topics": null, "topicPattern": "t/n/.*" } }), &[]);
        assert_eq!(pattern["sourceSpecsTopic"], "t/n/.*");
        assert_eq!(pattern["isRegexPatternSubscription"], true);
        assert_eq!(pattern["sourceInputSpecs"], Value::Null);
    }

    #[test]
    fn oauth2_and_tls_are_configured() {
        let oauth2 =
            json!({ "audience": "a", "issuerUrl": "i", "keySecretName": "s", "keySecretKey": "k.json" });
        let pulsar = json!({
            "authConfig": { "oauth2Config": oauth2 },
            "tlsConfig": { "enabled": true, "certSecretName": "c", "certSecretKey": "ca.crt" },
        });
        let found = configuration(json!({ "pulsar": pulsar }), &[]);
        assert_eq!(found["clientAuthenticationPlugin"], crate::connection::OAUTH2_PLUGIN);
        let parameters = found["clientAuthenticationParameters"].as_str().unwrap();
        let parameters: Value = serde_json::from_str(parameters).unwrap();
        assert_eq!(parameters["type"], "client_credentials");
        assert_eq!(parameters["privateKey"], "/etc/oauth2/k.json");
        assert_eq!(found["tlsTrustCertsFilePath"], "/etc/tls/pulsar-functions/ca.crt");
        assert_eq!(found["tlsHostnameVerificationEnable"], false);
    }

    #[test]
    fn credentials_from_a_secret_are_escaped() {
        let hostile = r#"{"k":"a\\b \"c\" $d"}"#;
        let env = [("clientAuthenticationPlugin", "P"), ("clientAuthenticationParameters", hostile)];
        let found = configuration(json!({ "pulsar": { "authSecret": "s", "tlsSecret": "t" } }), &env);
        assert_eq!(found["clientAuthenticationPlugin"], "P");
        assert_eq!(found["clientAuthenticationParameters"], hostile);
        assert_eq!(found["tlsAllowInsecureConnection"], false);
        assert_eq!(found["tlsHostnameVerificationEnable"], true);
    }

    #[test]
    fn relative_program_runs_from_working_directory() {
        let script = script(&bare_function(json!({ "golang": { "go": "f" } })), &Settings::default());
        assert!(
            script.contains(r#"{ test -x f || chmod +x f; } && exec "${PWD}"/f -instance-conf "#),
            "{script}"
        );
    }
}
