//! Webhook configurations for installations without the chart. The chart has its own templates; a test compares both.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ServiceReference,
    ValidatingWebhook, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::core::ObjectMeta;

use crate::Endpoint;
use crate::admission::Action;

/// Seconds that the API server waits for a response.
const TIMEOUT: i32 = 5;

/// Match condition: new objects, and changes of the spec. Changes of metadata only, such as a finalizer, skip the
/// webhook. Status and scale are subresources, which the rules do not match.
const SPEC_CHANGES: &str = "request.operation == 'CREATE' || !has(object.spec) || !has(oldObject.spec) || \
                            object.spec != oldObject.spec";

/// How the API server reaches the webhook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientTarget {
    /// By a URL, `https://host:port`, without a path.
    Url(String),
    /// Through a Service.
    Service {
        /// Name of the Service.
        name: String,
        /// Namespace of the Service.
        namespace: String,
        /// Port of the Service.
        port: i32,
    },
}

/// Builds both webhook configurations, named `<prefix>-mutating-webhook-configuration` and alike. The CA bundle is PEM;
/// None leaves it to cert-manager or to the webhook itself.
pub fn webhook_configurations(
    prefix: &str,
    target: &ClientTarget,
    ca_bundle: Option<&[u8]>,
) -> (MutatingWebhookConfiguration, ValidatingWebhookConfiguration) {
    let client = |endpoint: &Endpoint, action| {
        let path = endpoint.path(action);
        let ca_bundle = ca_bundle.map(|bundle| ByteString(bundle.to_vec()));
        let (url, service) = match target {
            ClientTarget::Url(base) => (Some(format!("{}{path}", base.trim_end_matches('/'))), None),
            ClientTarget::Service { name, namespace, port } => {
                let (name, namespace, port) = (name.clone(), namespace.clone(), Some(*port));
                (None, Some(ServiceReference { name, namespace, path: Some(path), port }))
            }
        };
        WebhookClientConfig { ca_bundle, service, url }
    };
    let metadata = |action: &str| ObjectMeta {
        name: Some(format!("{prefix}-{action}-webhook-configuration")),
        ..ObjectMeta::default()
    };
    let endpoints = Endpoint::all();
    let mutating = endpoints.iter().map(|endpoint| MutatingWebhook {
        name: format!("m{}.functionmesh.io", endpoint.kind),
        client_config: client(endpoint, Action::Mutate),
        rules: Some(vec![rule(endpoint)]),
        admission_review_versions: versions(),
        failure_policy: Some("Fail".to_owned()),
        match_conditions: Some(conditions()),
        match_policy: Some("Equivalent".to_owned()),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(TIMEOUT),
        ..MutatingWebhook::default()
    });
    let validating = endpoints.iter().map(|endpoint| ValidatingWebhook {
        name: format!("v{}.functionmesh.io", endpoint.kind),
        client_config: client(endpoint, Action::Validate),
        rules: Some(vec![rule(endpoint)]),
        admission_review_versions: versions(),
        failure_policy: Some("Fail".to_owned()),
        match_conditions: Some(conditions()),
        match_policy: Some("Equivalent".to_owned()),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(TIMEOUT),
        ..ValidatingWebhook::default()
    });
    (
        MutatingWebhookConfiguration { metadata: metadata("mutating"), webhooks: Some(mutating.collect()) },
        ValidatingWebhookConfiguration {
            metadata: metadata("validating"),
            webhooks: Some(validating.collect()),
        },
    )
}

fn conditions() -> Vec<MatchCondition> {
    vec![MatchCondition { name: "spec-changes".to_owned(), expression: SPEC_CHANGES.to_owned() }]
}

fn versions() -> Vec<String> {
    vec!["v1".to_owned()]
}

/// Matches creation and update of the objects, but not of the subresources `/status` and `/scale`, so that neither
/// controllers nor autoscalers wait for the webhook.
fn rule(endpoint: &Endpoint) -> RuleWithOperations {
    RuleWithOperations {
        api_groups: Some(vec![endpoint.group.clone()]),
        api_versions: Some(vec![endpoint.version.clone()]),
        operations: Some(vec!["CREATE".to_owned(), "UPDATE".to_owned()]),
        resources: Some(vec![endpoint.plural.clone()]),
        scope: Some("Namespaced".to_owned()),
    }
}
