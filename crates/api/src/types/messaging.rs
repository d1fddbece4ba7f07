//! Connection to Pulsar: service URLs, authentication, TLS and the state store.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use validator::Validate;

use super::free_form::FreeForm;
use super::schema;

/// Connection to a Pulsar cluster.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize, Validate)]
#[serde(rename_all = "camelCase")]
pub struct PulsarMessaging {
    /// ConfigMap in the same namespace with the keys `webServiceURL` and `brokerServiceURL`.
    pub pulsar_config: Option<String>,
    /// Secret with the keys `clientAuthenticationPlugin` and `clientAuthenticationParameters`.
    /// Ignored when `authConfig` is set.
    pub auth_secret: Option<String>,
    /// Secret with the keys `tlsAllowInsecureConnection`, `tlsHostnameVerificationEnable` and
    /// `tlsTrustCertsFilePath`. Ignored when `tlsConfig` is set.
    pub tls_secret: Option<String>,
    /// TLS settings. Override `tlsSecret`.
    pub tls_config: Option<PulsarTlsConfig>,
    /// Authentication. Overrides `authSecret`.
    #[validate(nested)]
    pub auth_config: Option<AuthConfig>,
    /// Authentication of the clean-up Job, if deleting subscriptions needs another role. Defaults to `authConfig`.
    #[validate(nested)]
    pub cleanup_auth_config: Option<AuthConfig>,
}

/// TLS settings of a connection to Pulsar.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PulsarTlsConfig {
    /// Whether to use TLS. Defaults to false.
    pub enabled: Option<bool>,
    /// Whether to accept an untrusted server certificate. Defaults to false.
    pub allow_insecure: Option<bool>,
    /// Whether to verify the hostname in the server certificate. Defaults to false.
    pub hostname_verification: Option<bool>,
    /// Secret with the trusted CA certificates.
    pub cert_secret_name: Option<String>,
    /// Key of the certificates in that Secret, for example `ca.crt`.
    pub cert_secret_key: Option<String>,
}

impl PulsarTlsConfig {
    /// Whether TLS is enabled.
    pub fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or_default()
    }

    /// Name and key of the Secret with the trusted CA certificates, if both are set.
    pub fn certificate(&self) -> Option<(&str, &str)> {
        let name = self.cert_secret_name.as_deref().filter(|name| !name.is_empty())?;
        let key = self.cert_secret_key.as_deref().filter(|key| !key.is_empty())?;
        Some((name, key))
    }
}

/// Authentication to Pulsar. OAuth2 wins if both forms are set.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize, Validate)]
#[serde(rename_all = "camelCase")]
pub struct AuthConfig {
    /// OAuth2 client credentials.
    #[serde(rename = "oauth2Config")]
    #[validate(nested)]
    pub oauth2_config: Option<OAuth2Config>,
    /// Authentication plugin of the Pulsar client, with its parameters.
    #[validate(nested)]
    pub generic_auth: Option<GenericAuth>,
}

/// OAuth2 client credentials.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize, Validate)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["audience", "issuerUrl", "keySecretName", "keySecretKey"]))]
pub struct OAuth2Config {
    /// Audience of the token: the identifier of the Pulsar cluster.
    #[schemars(schema_with = "schema::string")]
    pub audience: String,
    /// URL of the token issuer.
    #[validate(length(min = 1))]
    #[schemars(schema_with = "schema::string")]
    pub issuer_url: String,
    /// Scope of the token.
    pub scope: Option<String>,
    /// Secret with the credentials file.
    #[validate(length(min = 1))]
    #[schemars(schema_with = "schema::string")]
    pub key_secret_name: String,
    /// Key of the credentials file in that Secret.
    #[validate(length(min = 1))]
    #[schemars(schema_with = "schema::string")]
    pub key_secret_key: String,
}

/// Authentication plugin of the Pulsar client, with its parameters.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize, Validate)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["clientAuthenticationPlugin", "clientAuthenticationParameters"]))]
pub struct GenericAuth {
    /// Class of the plugin, for example `org.apache.pulsar.client.impl.auth.AuthenticationToken`.
    #[validate(length(min = 1))]
    #[schemars(schema_with = "schema::string")]
    pub client_authentication_plugin: String,
    /// Parameters of the plugin, in its own format.
    #[schemars(schema_with = "schema::string")]
    pub client_authentication_parameters: String,
}

/// State store of a function.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stateful {
    /// Pulsar's state store.
    pub pulsar: Option<PulsarStateStore>,
}

/// Pulsar's state store, in BookKeeper.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["serviceUrl"]))]
pub struct PulsarStateStore {
    /// Service URL of the store, for example `bk://bookie:4181`.
    #[schemars(schema_with = "schema::string")]
    pub service_url: String,
    /// State store provider of Java functions.
    pub java_provider: Option<JavaStateStoreProvider>,
}

/// State store provider of Java functions.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["className"]))]
pub struct JavaStateStoreProvider {
    /// Class of the provider.
    #[schemars(schema_with = "schema::string")]
    pub class_name: String,
    /// Configuration of the provider. Any JSON object.
    #[serde(default)]
    #[schemars(schema_with = "schema::free_form")]
    pub config: Option<FreeForm>,
}
