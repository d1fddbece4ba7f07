//! References of a component to Secrets and to the ServiceAccount of its pods.
//!
//! The author of a component gains access to these through its pods, so a multi-tenant cluster authorizes each
//! reference. Fields of this API are listed one by one; fields of embedded Kubernetes types are found by name, anywhere
//! in the pod settings.

use serde_json::Value;

use crate::BackendConfigSpec;
use crate::component::Spec;
use crate::types::{AuthConfig, CryptoConfig, PodPolicy, PulsarMessaging};
use crate::validate::FieldPath;

/// Kind of the referenced object.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Target {
    /// A Secret.
    Secret,
    /// A ServiceAccount.
    ServiceAccount,
}

/// One reference.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reference {
    /// The field with the reference.
    pub field: FieldPath,
    /// Kind of the referenced object.
    pub target: Target,
    /// Name of the referenced object.
    pub name: String,
}

/// The ServiceAccount of pods that name none, which needs no authorization.
const DEFAULT_ACCOUNT: &str = "default";

/// The references of a component spec at `path`, in the order of the fields.
pub fn references<S: Spec>(path: &FieldPath, spec: &S) -> Vec<Reference> {
    let view = spec.view();
    let mut found = Found::default();
    for (name, secret) in view.common.secrets_map.into_iter().flatten() {
        found.secret(path.field("secretsMap").key(name).field("path"), secret.path.as_deref());
    }
    for (field, pulsar) in
        [("pulsar", view.common.pulsar), ("pulsarPackageService", view.common.pulsar_package_service)]
    {
        if let Some(pulsar) = pulsar {
            found.messaging(&path.field(field), pulsar);
        }
    }
    if let Some(input) = view.input() {
        let sources = path.field("input.sourceSpecs");
        for (topic, source) in input.source_specs.iter().flatten() {
            found.crypto(&sources.key(topic), source.crypto_config.as_ref());
        }
    }
    if let Some(producer) = view.output().and_then(|output| output.producer_conf.as_ref()) {
        found.crypto(&path.field("output.producerConf"), producer.crypto_config.as_ref());
    }
    if let Some(pod) = view.common.pod {
        found.pod(&path.field("pod"), pod);
    }
    found.0
}

/// The references that a BackendConfig adds to the pods of components.
pub fn references_of_backend(spec: &BackendConfigSpec) -> Vec<Reference> {
    let mut found = Found::default();
    if let Some(pod) = &spec.pod {
        found.pod(&FieldPath::root("spec.pod"), pod);
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<Reference>);

impl Found {
    fn add(&mut self, field: FieldPath, target: Target, name: Option<&str>) {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            self.0.push(Reference { field, target, name: name.to_owned() });
        }
    }

    fn secret(&mut self, field: FieldPath, name: Option<&str>) {
        self.add(field, Target::Secret, name);
    }

    fn messaging(&mut self, path: &FieldPath, pulsar: &PulsarMessaging) {
        self.secret(path.field("authSecret"), pulsar.auth_secret.as_deref());
        self.secret(path.field("tlsSecret"), pulsar.tls_secret.as_deref());
        let tls = pulsar.tls_config.as_ref();
        self.secret(
            path.field("tlsConfig.certSecretName"),
            tls.and_then(|tls| tls.cert_secret_name.as_deref()),
        );
        self.auth(&path.field("authConfig"), pulsar.auth_config.as_ref());
        self.auth(&path.field("cleanupAuthConfig"), pulsar.cleanup_auth_config.as_ref());
    }

    fn auth(&mut self, path: &FieldPath, auth: Option<&AuthConfig>) {
        let oauth2 = auth.and_then(|auth| auth.oauth2_config.as_ref());
        self.secret(
            path.field("oauth2Config.keySecretName"),
            oauth2.map(|oauth2| oauth2.key_secret_name.as_str()),
        );
    }

    fn crypto(&mut self, path: &FieldPath, crypto: Option<&CryptoConfig>) {
        let path = path.field("cryptoConfig.cryptoSecrets");
        let secrets = crypto.and_then(|crypto| crypto.crypto_secrets.as_ref());
        for (index, secret) in secrets.into_iter().flatten().enumerate() {
            self.secret(path.index(index).field("secretName"), Some(&secret.secret_name));
        }
    }

    fn pod(&mut self, path: &FieldPath, pod: &PodPolicy) {
        let account = pod.service_account_name.as_deref().filter(|name| *name != DEFAULT_ACCOUNT);
        self.add(path.field("serviceAccountName"), Target::ServiceAccount, account);
        // The value was parsed from JSON, so it serializes.
        let Ok(pod) = serde_json::to_value(pod) else { return };
        self.kubernetes(path, &pod);
    }

    /// Fields of Kubernetes types that name a Secret: `secretName`, the forms of `secretRef`, and image pull secrets.
    fn kubernetes(&mut self, path: &FieldPath, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = path.field(name);
                    match name.as_str() {
                        "secretName" => self.secret(path, value.as_str()),
                        "imagePullSecrets" => {
                            for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                                self.secret(path.index(index).field("name"), named(item));
                            }
                        }
                        // A projected volume; a plain Secret volume has `secretName`.
                        "secret" if named(value).is_some() => self.secret(path.field("name"), named(value)),
                        _ if is_reference(name) => self.secret(path.field("name"), named(value)),
                        _ => self.kubernetes(&path, value),
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.kubernetes(&path.index(index), item);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// `secretRef`, `secretKeyRef`, `nodePublishSecretRef` and similar fields.
fn is_reference(field: &str) -> bool {
    field == "secretKeyRef" || field == "secretRef" || field.ends_with("SecretRef")
}

fn named(value: &Value) -> Option<&str> {
    value.get("name")?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::FunctionSpec;

    #[test]
    fn finds_every_secret_and_service_account() {
        let container = json!({
            "name": "c", "env": [{ "name": "A", "valueFrom": { "secretKeyRef": { "name": "env", "key": "k" } } }],
            "envFrom": [{ "secretRef": { "name": "env-from" } }],
        });
        let oauth2 = |name: &str| json!({ "oauth2Config": { "keySecretName": name } });
        let messaging = |prefix: &str| {
            json!({
                "authSecret": format!("{prefix}-auth"), "tlsSecret": format!("{prefix}-tls"),
                "tlsConfig": { "certSecretName": format!("{prefix}-cert") },
                "authConfig": oauth2(&format!("{prefix}-oauth2")),
                "cleanupAuthConfig": oauth2(&format!("{prefix}-cleanup")),
            })
        };
        let crypto = |name: &str| json!({ "cryptoSecrets": [{ "secretName": name, "secretKey": "k" }] });
        let spec: FunctionSpec = serde_json::from_value(json!({
            "funcConfig": { "secretName": "free-form configuration" },
            "secretsMap": { "A": { "path": "map", "key": "k" } },
            "pulsar": messaging("p"), "pulsarPackageService": messaging("q"),
            "input": { "sourceSpecs": { "t": { "cryptoConfig": crypto("crypto-in") } } },
            "output": { "producerConf": { "cryptoConfig": crypto("crypto-out") } },
            "pod": {
                "serviceAccountName": "account", "imagePullSecrets": [{ "name": "pull" }],
                "env": [{ "name": "B", "valueFrom": { "secretKeyRef": { "name": "pod-env", "key": "k" } } }],
                "initContainers": [container], "sidecars": [container],
                "volumes": [
                    { "name": "a", "secret": { "secretName": "volume" } },
                    { "name": "b", "projected": { "sources": [{ "secret": { "name": "projected" } }] } },
                    { "name": "c", "csi": { "driver": "d", "nodePublishSecretRef": { "name": "csi" } } },
                    { "name": "d", "azureFile": { "secretName": "azure", "shareName": "s" } },
                    { "name": "e", "cephfs": { "monitors": [], "secretRef": { "name": "ceph" } } },
                    { "name": "f", "configMap": { "name": "no-secret" } },
                ],
            },
        }))
        .expect("a spec");
        let found = references(&FieldPath::root("spec"), &spec);
        let mut secrets: Vec<_> =
            found.iter().filter(|it| it.target == Target::Secret).map(|it| it.name.as_str()).collect();
        secrets.sort_unstable();
        secrets.dedup();
        assert_eq!(
            secrets,
            [
                "azure",
                "ceph",
                "crypto-in",
                "crypto-out",
                "csi",
                "env",
                "env-from",
                "map",
                "p-auth",
                "p-cert",
                "p-cleanup",
                "p-oauth2",
                "p-tls",
                "pod-env",
                "projected",
                "pull",
                "q-auth",
                "q-cert",
                "q-cleanup",
                "q-oauth2",
                "q-tls",
                "volume",
            ]
        );
        let account = found.iter().find(|it| it.target == Target::ServiceAccount).expect("an account");
        assert_eq!(
            (account.field.as_str(), account.name.as_str()),
            ("spec.pod.serviceAccountName", "account")
        );
        let csi = found.iter().find(|it| it.name == "csi").expect("a reference");
        assert_eq!(csi.field.as_str(), "spec.pod.volumes[2].csi.nodePublishSecretRef.name");
    }

    #[test]
    fn ignores_the_default_account_and_empty_names() {
        let spec: FunctionSpec = serde_json::from_value(json!({
            "pulsar": { "authSecret": "" }, "pod": { "serviceAccountName": "default" },
        }))
        .expect("a spec");
        assert_eq!(references(&FieldPath::root("spec"), &spec), []);
    }
}
