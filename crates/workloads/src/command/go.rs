//! Functions in Go. They are programs of their own, and take their configuration as one JSON argument.

use std::collections::BTreeMap;

use function_mesh_api::types::{InputConf, ProcessingGuarantee, SubscribePosition};
use serde::Serialize;

use crate::connection::{Auth, Connection, Tls};
use crate::context::Context;
use crate::details;
use crate::json::{self, is_default};
use crate::shell::{Command, Script, Word};

/// Holds the parameters of authentication in the form in which they can stand in JSON.
const PARAMETERS: &str = "AUTH_PARAMETERS";

/// The part of the configuration that is known here, in the order in which the runtime declares it. Later
/// versions of the runtime know more fields than earlier ones; those are written only where they say
/// something.
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

/// One topic, for every version of the runtime, and what else is read, for those that can.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "they are the runtime's own")]
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
    let file = Word::from(program);
    let executable = format!("{{ test -x {file} || chmod +x {file}; }}");
    // A name without a folder would be looked for among the programs of the image.
    let path = if program.contains('/') { file } else { Word::variable("PWD").then("/").then(file) };
    script.run(executable).exec(&Command::new(path).option("-instance-conf", argument(context, &connection)))
}

/// The configuration as one argument: first what the shell puts in, then what is known here.
fn argument(context: &Context<'_>, connection: &Connection<'_>) -> Word {
    let mut word = Word::from(r#"{"pulsarServiceURL":""#)
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

fn text(value: &str) -> Word {
    json::text(&value).into()
}

fn text_of(variable: String) -> Word {
    Word::from("\"").then(Word::variable(variable)).then("\"")
}

/// Plugin and parameters of authentication, as JSON.
fn authentication(connection: &Connection<'_>) -> Option<(Word, Word)> {
    match connection.auth {
        Auth::None => None,
        Auth::Secret => Some((
            text_of(connection.variable_name("clientAuthenticationPlugin")),
            text_of(PARAMETERS.to_owned()),
        )),
        Auth::Generic(auth) => {
            Some((text(&auth.client_authentication_plugin), text(&auth.client_authentication_parameters)))
        }
        Auth::OAuth2(oauth2) => Some((
            text(crate::connection::OAUTH2_PLUGIN),
            // The Go client wants to be told which of the OAuth2 grants this is.
            text(&connection.oauth2_parameters(oauth2, Some("client_credentials"))),
        )),
    }
}

/// Path of the trusted certificates, whether to trust others, and whether to check the server's name, as JSON.
fn encryption(connection: &Connection<'_>) -> Option<(Word, Word, Word)> {
    match connection.tls {
        Tls::None => None,
        Tls::Secret => Some((
            text_of(connection.variable_name("tlsTrustCertsFilePath")),
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
        // Secrets reach a Go function through its environment, by their names.
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
        // The field is whole in every configuration that was ever written for this runtime.
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

    /// The configuration as the program gets it.
    fn configuration(spec: Value, env: &[(&str, &str)]) -> Value {
        let mut spec = spec;
        spec["golang"] = json!({ "go": "/pulsar/f" });
        let script = script(&bare_function(spec), &Settings::default());
        // The program gives way to one that prints its argument.
        let check = "{ test -x /pulsar/f || chmod +x /pulsar/f; } && exec /pulsar/f -instance-conf";
        assert!(script.contains(check), "{script}");
        let script = script.replace(check, "printf %s").replace("echo shardId", "true shardId");
        let mut all = vec![("POD_NAME", "f-function-3"), ("brokerServiceURL", "pulsar://b:6650")];
        all.extend_from_slice(env);
        serde_json::from_str(&run("bash", &script, &all)).expect("JSON")
    }

    #[test]
    fn it_is_json_whatever_the_user_configures() {
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
    fn replicas_share_the_subscription_as_the_order_wants_it() {
        let sharing = |spec| configuration(spec, &[])["subscriptionType"].clone();
        assert_eq!(sharing(json!({})), 0);
        assert_eq!(sharing(json!({ "retainOrdering": true })), 1);
        assert_eq!(sharing(json!({ "retainKeyOrdering": true })), 2);
    }

    #[test]
    fn one_topic_is_told_to_all_runtimes_and_more_to_those_that_can_read_them() {
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
    fn credentials_are_conveyed() {
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
    fn credentials_from_a_secret_are_conveyed_unharmed() {
        let hostile = r#"{"k":"a\\b \"c\" $d"}"#;
        let env = [("clientAuthenticationPlugin", "P"), ("clientAuthenticationParameters", hostile)];
        let found = configuration(json!({ "pulsar": { "authSecret": "s", "tlsSecret": "t" } }), &env);
        assert_eq!(found["clientAuthenticationPlugin"], "P");
        assert_eq!(found["clientAuthenticationParameters"], hostile);
        assert_eq!(found["tlsAllowInsecureConnection"], false);
        assert_eq!(found["tlsHostnameVerificationEnable"], true);
    }

    #[test]
    fn a_program_in_the_working_folder_is_started_from_there() {
        let script = script(&bare_function(json!({ "golang": { "go": "f" } })), &Settings::default());
        assert!(
            script.contains(r#"{ test -x f || chmod +x f; } && exec "${PWD}"/f -instance-conf "#),
            "{script}"
        );
    }
}
