//! The sidecar that carries log lines from files to the log topic.

use std::collections::BTreeMap;

use function_mesh_api::types::{GenericAuth, OAuth2Config};
use k8s_openapi::api::core::v1::{Container, EnvVar, SecurityContext};

use crate::connection::{OAUTH2_PLUGIN, TOKEN_PLUGIN};
use crate::context::Context;
use crate::shell::{Command, Script};
use crate::{container, images, volumes};

const CONFIG: &str = "/usr/share/filebeat/config/filebeat.yaml";
const PROGRAM: &str = "/usr/share/filebeat/filebeat";

/// Filebeat itself replaces the variables; after the colon stands what it takes when one is not set.
const TEXT: &str = r#"filebeat.inputs:
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

/// The sidecar, when the component logs through it.
pub(crate) fn sidecar(context: &Context<'_>) -> Option<Container> {
    let topic = context.log_topic().filter(|_| context.logs_to_files())?;
    let command = Command::new(PROGRAM).arg("-e").option("-c", CONFIG);
    let script = Script::default().write(TEXT, CONFIG).exec(&command);
    let mut env: Vec<EnvVar> = context.pod.env.iter().flatten().cloned().collect();
    env.extend([container::variable("logTopic", topic), container::pod_name()]);
    env.extend(credentials(context));
    Some(Container {
        name: "filebeat".to_owned(),
        image: Some(images::filebeat(context)),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(script.into_command("/bin/sh")),
        env: Some(context.backend.env(env)),
        env_from: container::some(context.connection().env_from().collect()),
        security_context: Some(SecurityContext { run_as_user: Some(1000), ..container::security_context() }),
        volume_mounts: Some(volumes::filebeat_mounts(context)),
        ..Container::default()
    })
}

/// Who the sidecar says it is, as far as filebeat has a way to say it.
fn credentials(context: &Context<'_>) -> Vec<EnvVar> {
    let config = context.common.pulsar.and_then(|pulsar| pulsar.auth_config.as_ref());
    let generic = config.and_then(|config| config.generic_auth.as_ref()).map(of_plugin);
    let oauth2 = config.and_then(|config| config.oauth2_config.as_ref());
    generic.or_else(|| oauth2.map(|oauth2| of_oauth2(context, oauth2))).unwrap_or_default()
}

fn of_plugin(auth: &GenericAuth) -> Vec<EnvVar> {
    let parameters = auth.client_authentication_parameters.as_str();
    match auth.client_authentication_plugin.as_str() {
        TOKEN_PLUGIN => vec![container::variable("clientAuthenticationParameters", parameters)],
        OAUTH2_PLUGIN => {
            let parameters: BTreeMap<String, String> = serde_json::from_str(parameters).unwrap_or_default();
            let get = |key: &str| parameters.get(key).map(String::as_str).unwrap_or_default();
            oauth2(get("issuerUrl"), get("audience"), get("privateKey"), get("scope"))
        }
        _ => Vec::new(),
    }
}

fn of_oauth2(context: &Context<'_>, config: &OAuth2Config) -> Vec<EnvVar> {
    let file = context.connection().credentials_file(config);
    oauth2(&config.issuer_url, &config.audience, &file, config.scope.as_deref().unwrap_or_default())
}

fn oauth2(issuer: &str, audience: &str, key: &str, scope: &str) -> Vec<EnvVar> {
    let mut env = vec![
        container::variable("oauth2Enabled", "true"),
        container::variable("oauth2IssuerUrl", issuer),
        container::variable("oauth2Audience", audience),
        container::variable("oauth2PrivateKey", key),
    ];
    if !scope.is_empty() {
        env.push(container::variable("oauth2Scope", scope));
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{function, of, sink};
    use serde_json::{Value, json};

    #[allow(clippy::needless_pass_by_value, reason = "JSON reads best where it is used")]
    fn env(pulsar: Value) -> BTreeMap<String, String> {
        let container =
            of(&sink(json!({ "logTopic": "logs", "pulsar": pulsar })), sidecar).expect("a sidecar");
        container.env.into_iter().flatten().filter_map(|it| Some((it.name, it.value?))).collect()
    }

    #[test]
    fn it_runs_only_where_log_lines_reach_the_topic_through_files() {
        assert_eq!(of(&sink(json!({})), sidecar), None);
        assert_eq!(of(&sink(json!({ "logTopicAgent": "sidecar" })), sidecar), None);
        assert_eq!(of(&function(json!({ "logTopic": "logs" })), sidecar), None);
        assert!(of(&sink(json!({ "logTopic": "logs" })), sidecar).is_some());
    }

    #[test]
    fn it_says_who_it_is_as_far_as_filebeat_can() {
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
    fn its_configuration_is_yaml() {
        let config: Value = serde_saphyr::from_str(TEXT).expect("YAML");
        assert_eq!(config["output.pulsar"]["topic"], "${logTopic}");
    }
}
