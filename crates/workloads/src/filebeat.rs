//! The Filebeat sidecar, which tails the log files and produces to the log topic.

use std::collections::BTreeMap;

use function_mesh_api::types::{GenericAuth, OAuth2Config};
use k8s_openapi::api::core::v1::{Container, EnvVar, SecurityContext};

use crate::connection::{OAUTH2_PLUGIN, TOKEN_PLUGIN};
use crate::context::Context;
use crate::optional::none_if_empty;
use crate::shell::{Command, Script};
use crate::{container_parts, images, volumes};

const CONFIG: &str = "/usr/share/filebeat/config/filebeat.yaml";
/// Folder that any user may write.
const FOLDER: &str = "/tmp/filebeat";
const FILE: &str = "/tmp/filebeat/filebeat.yaml";
const DATA: &str = "/tmp/filebeat/data";
const PROGRAM: &str = "/usr/share/filebeat/filebeat";

/// Filebeat expands the variables; the text after a colon is the default.
const CONFIG_TEXT: &str = r#"filebeat.inputs:
- type: log
  paths: ["/pulsar/logs/functions/*.log"]
output.pulsar:
  fast_fail: true
  url: "${brokerServiceURL}"
  topic: "${logTopic}"
  name: "${POD_NAME}"
  token: "${clientAuthenticationParameters:}"
  oauth2:
    enabled: ${oauth2Enabled:false}
    issuerUrl: "${oauth2IssuerUrl:}"
    privateKey: "${oauth2PrivateKey:}"
    audience: "${oauth2Audience:}"
    scope: "${oauth2Scope:}"
logging.level: info
"#;

/// Builds the sidecar. None without a log topic, or if the runner produces to it.
pub(crate) fn build_sidecar(context: &Context<'_>) -> Option<Container> {
    let topic = context.log_topic().filter(|_| context.logs_to_files())?;
    let is_second = context.is_second_edition();
    let script = if is_second {
        let command = Command::new(PROGRAM).arg("-e").option("-c", FILE).option("--path.data", DATA);
        let make = Command::new("mkdir").args(["-p", FOLDER]);
        Script::default().run(make).write(CONFIG_TEXT, FILE).exec(&command)
    } else {
        let command = Command::new(PROGRAM).arg("-e").option("-c", CONFIG);
        Script::default().write(CONFIG_TEXT, CONFIG).exec(&command)
    };
    let mut env: Vec<EnvVar> = context.pod.env.iter().flatten().cloned().collect();
    env.extend([container_parts::variable("logTopic", topic), container_parts::pod_name()]);
    env.extend(credentials(context));
    Some(Container {
        name: "filebeat".to_owned(),
        image: Some(images::filebeat(context)),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(script.into_command("/bin/sh")),
        env: Some(context.backend.env(env)),
        env_from: none_if_empty(context.connection().env_from().collect()),
        // The user is the pod's, which OpenShift may choose.
        security_context: Some(SecurityContext {
            run_as_user: (!is_second).then_some(1000),
            ..container_parts::security_context()
        }),
        resources: is_second.then(|| context.settings.log_sidecar_resources.clone()),
        volume_mounts: Some(volumes::build_filebeat_mounts(context)),
        ..Container::default()
    })
}

/// Variables with the credentials that Filebeat supports.
fn credentials(context: &Context<'_>) -> Vec<EnvVar> {
    let config = context.common.pulsar.and_then(|pulsar| pulsar.auth_config.as_ref());
    let generic = config.and_then(|config| config.generic_auth.as_ref()).map(plugin_credentials);
    let oauth2 = config.and_then(|config| config.oauth2_config.as_ref());
    generic.or_else(|| oauth2.map(|oauth2| oauth2_credentials(context, oauth2))).unwrap_or_default()
}

fn plugin_credentials(auth: &GenericAuth) -> Vec<EnvVar> {
    let parameters = auth.client_authentication_parameters.as_str();
    match auth.client_authentication_plugin.as_str() {
        TOKEN_PLUGIN => vec![container_parts::variable("clientAuthenticationParameters", parameters)],
        OAUTH2_PLUGIN => {
            let parameters: BTreeMap<String, String> = serde_json::from_str(parameters).unwrap_or_default();
            let get = |key: &str| parameters.get(key).map(String::as_str).unwrap_or_default();
            oauth2(get("issuerUrl"), get("audience"), get("privateKey"), get("scope"))
        }
        _ => Vec::new(),
    }
}

fn oauth2_credentials(context: &Context<'_>, config: &OAuth2Config) -> Vec<EnvVar> {
    let file = context.connection().credentials_file(config);
    oauth2(&config.issuer_url, &config.audience, &file, config.scope.as_deref().unwrap_or_default())
}

fn oauth2(issuer: &str, audience: &str, key: &str, scope: &str) -> Vec<EnvVar> {
    let mut env = vec![
        container_parts::variable("oauth2Enabled", "true"),
        container_parts::variable("oauth2IssuerUrl", issuer),
        container_parts::variable("oauth2Audience", audience),
        container_parts::variable("oauth2PrivateKey", key),
    ];
    if !scope.is_empty() {
        env.push(container_parts::variable("oauth2Scope", scope));
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{function, sink, with_defaults};
    use serde_json::{Value, json};

    #[allow(clippy::needless_pass_by_value, reason = "JSON reads best where it is used")]
    fn env(pulsar: Value) -> BTreeMap<String, String> {
        let container = with_defaults(&sink(json!({ "logTopic": "logs", "pulsar": pulsar })), build_sidecar)
            .expect("a sidecar");
        container.env.into_iter().flatten().filter_map(|it| Some((it.name, it.value?))).collect()
    }

    #[test]
    fn sidecar_needs_log_topic_and_agent() {
        assert_eq!(with_defaults(&sink(json!({})), build_sidecar), None);
        assert_eq!(with_defaults(&sink(json!({ "logTopicAgent": "sidecar" })), build_sidecar), None);
        assert_eq!(with_defaults(&function(json!({ "logTopic": "logs" })), build_sidecar), None);
        assert!(with_defaults(&sink(json!({ "logTopic": "logs" })), build_sidecar).is_some());
    }

    #[test]
    fn supported_credentials_are_variables() {
        let generic = |plugin: &str, parameters: &str| {
            let auth =
                json!({ "clientAuthenticationPlugin": plugin, "clientAuthenticationParameters": parameters });
            env(json!({ "authConfig": { "genericAuth": auth } }))
        };
        assert_eq!(generic(TOKEN_PLUGIN, "token:x")["clientAuthenticationParameters"], "token:x");
        let oauth2 =
            generic(OAUTH2_PLUGIN, r#"{"issuerUrl":"i","audience":"a","privateKey":"p","scope":"s"}"#);
        assert_eq!(oauth2["oauth2Enabled"], "true");
        assert_eq!(oauth2["oauth2Scope"], "s");
        assert_eq!(generic("other", "x").len(), 1);
        assert_eq!(generic(OAUTH2_PLUGIN, "no JSON")["oauth2IssuerUrl"], "");
        let config = json!({ "issuerUrl": "i", "audience": "a", "keySecretName": "n", "keySecretKey": "k" });
        let config = env(json!({ "authConfig": { "oauth2Config": config } }));
        assert_eq!(config["oauth2PrivateKey"], "/etc/oauth2/k");
        assert_eq!(config.get("oauth2Scope"), None);
    }

    #[test]
    fn configuration_is_yaml() {
        let config: Value = serde_saphyr::from_str(CONFIG_TEXT).expect("YAML");
        assert_eq!(config["output.pulsar"]["topic"], "${logTopic}");
    }
}
