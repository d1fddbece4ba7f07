//! The objects that make the API server call this program. The chart has the same in its own words, which a test
//! compares with these; these serve whoever installs without it.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ServiceReference,
    ValidatingWebhook, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::core::ObjectMeta;

use crate::Endpoint;
use crate::admission::Action;

/// Seconds that the API server waits for an answer.
const TIMEOUT: i32 = 5;

/// Objects that are sent: new ones, and those whose specification changes. What moves only metadata, such as a
/// finalizer, waits for nobody. Status and scale are resources of their own, which no rule names.
const SPEC_CHANGES: &str = "request.operation == 'CREATE' || !has(object.spec) || !has(oldObject.spec) || \
                            object.spec != oldObject.spec";

/// Where the API server finds this program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientTarget {
    /// At an address, `https://host:port`, without a path.
    Url(String),
    /// Behind a Service.
    Service {
        /// Name of the Service.
        name: String,
        /// Its namespace.
        namespace: String,
        /// Its port.
        port: i32,
    },
}

/// The two objects. Names are of the form `<prefix>-mutating-webhook-configuration`; the bundle holds the
/// certificates in PEM that the program's own is checked against, and may be left to cert-manager.
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

/// Creation and change of the objects themselves; `/status` and `/scale` are resources of their own, so that
/// neither a controller nor an autoscaler waits for us.
fn rule(endpoint: &Endpoint) -> RuleWithOperations {
    RuleWithOperations {
        api_groups: Some(vec![endpoint.group.clone()]),
        api_versions: Some(vec![endpoint.version.clone()]),
        operations: Some(vec!["CREATE".to_owned(), "UPDATE".to_owned()]),
        resources: Some(vec![endpoint.plural.clone()]),
        scope: Some("Namespaced".to_owned()),
    }
}
