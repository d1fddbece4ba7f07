//! How a component reaches Pulsar: service addresses, authentication, TLS and the state store.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use validator::Validate;

use super::free_form::FreeForm;
use super::schema;

/// Where Pulsar is and how to log in to it.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize, Validate)]
#[serde(rename_all = "camelCase")]
pub struct PulsarMessaging {
    /// Name of a ConfigMap in the same namespace with the keys `webServiceURL` and `brokerServiceURL`.
    pub pulsar_config: Option<String>,
    /// Name of a Secret with the keys `clientAuthenticationPlugin` and `clientAuthenticationParameters`.
    /// Ignored when `authConfig` is set.
    pub auth_secret: Option<String>,
    /// Name of a Secret with the keys `tlsAllowInsecureConnection`, `tlsHostnameVerificationEnable` and
    /// `tlsTrustCertsFilePath`. Ignored when `tlsConfig` is set.
    pub tls_secret: Option<String>,
    /// TLS towards Pulsar; takes precedence over `tlsSecret`.
    pub tls_config: Option<PulsarTlsConfig>,
    /// Authentication; takes precedence over `authSecret`.
    #[validate(nested)]
    pub auth_config: Option<AuthConfig>,
    /// Authentication of the subscription clean-up alone, where that needs more rights. Default: `authConfig`.
    #[validate(nested)]
    pub cleanup_auth_config: Option<AuthConfig>,
}

/// TLS towards the Pulsar brokers.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PulsarTlsConfig {
    /// Whether to use TLS. Default: false.
    pub enabled: Option<bool>,
    /// Whether to accept a server certificate that no known authority signed. Default: false.
    pub allow_insecure: Option<bool>,
    /// Whether the server's name must be in its certificate. Default: false.
    pub hostname_verification: Option<bool>,
    /// Name of the Secret that holds the trusted certificates.
    pub cert_secret_name: Option<String>,
    /// Key of the trusted certificates in that Secret, for example `ca.crt`.
    pub cert_secret_key: Option<String>,
}

impl PulsarTlsConfig {
    /// Whether TLS is switched on.
    pub fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or_default()
    }

    /// Name and key of the Secret with the trusted certificates, when both are given.
    pub fn certificate(&self) -> Option<(&str, &str)> {
        let name = self.cert_secret_name.as_deref().filter(|name| !name.is_empty())?;
        let key = self.cert_secret_key.as_deref().filter(|key| !key.is_empty())?;
        Some((name, key))
    }
}

/// Authentication towards Pulsar. With both forms given, OAuth2 is used.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize, Validate)]
#[serde(rename_all = "camelCase")]
pub struct AuthConfig {
    /// OAuth2 client credentials.
    #[serde(rename = "oauth2Config")]
    #[validate(nested)]
    pub oauth2_config: Option<OAuth2Config>,
    /// Any authentication plugin with its parameters.
    #[validate(nested)]
    pub generic_auth: Option<GenericAuth>,
}

/// OAuth2 client credentials.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize, Validate)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["audience", "issuerUrl", "keySecretName", "keySecretKey"]))]
pub struct OAuth2Config {
    /// Audience that the token is asked for: the identifier of the Pulsar cluster.
    #[schemars(schema_with = "schema::string")]
    pub audience: String,
    /// Address of the token issuer.
    #[validate(length(min = 1))]
    #[schemars(schema_with = "schema::string")]
    pub issuer_url: String,
    /// Scope of the token.
    pub scope: Option<String>,
    /// Name of the Secret that holds the credentials file.
    #[validate(length(min = 1))]
    #[schemars(schema_with = "schema::string")]
    pub key_secret_name: String,
    /// Key of the credentials file in that Secret.
    #[validate(length(min = 1))]
    #[schemars(schema_with = "schema::string")]
    pub key_secret_key: String,
}

/// An authentication plugin of the Pulsar client with its parameters.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize, Validate)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["clientAuthenticationPlugin", "clientAuthenticationParameters"]))]
pub struct GenericAuth {
    /// Class name of the plugin, for example `org.apache.pulsar.client.impl.auth.AuthenticationToken`.
    #[validate(length(min = 1))]
    #[schemars(schema_with = "schema::string")]
    pub client_authentication_plugin: String,
    /// Parameters of the plugin, in the form that it expects.
    #[schemars(schema_with = "schema::string")]
    pub client_authentication_parameters: String,
}

/// State of a function, kept outside its pods.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stateful {
    /// State kept in a state store of Pulsar.
    pub pulsar: Option<PulsarStateStore>,
}

/// A state store of Pulsar.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["serviceUrl"]))]
pub struct PulsarStateStore {
    /// Address of the store, for example `bk://bookie:4181`.
    #[schemars(schema_with = "schema::string")]
    pub service_url: String,
    /// The provider that a Java function reads and writes its state with.
    pub java_provider: Option<JavaStateStoreProvider>,
}

/// A state store provider in Java.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["className"]))]
pub struct JavaStateStoreProvider {
    /// Class name of the provider.
    #[schemars(schema_with = "schema::string")]
    pub class_name: String,
    /// Configuration of the provider.
    #[serde(default)]
    #[schemars(schema_with = "schema::free_form")]
    pub config: Option<FreeForm>,
}
