//! Connections of containers to Pulsar: service URLs, credentials and certificates.

use function_mesh_api::types::{GenericAuth, OAuth2Config, PulsarMessaging, PulsarTlsConfig};
use k8s_openapi::api::core::v1::{
    ConfigMapEnvSource, EnvFromSource, KeyToPath, SecretEnvSource, SecretVolumeSource, Volume, VolumeMount,
};
use serde::Serialize;

use crate::names;
use crate::optional::non_empty;
use crate::shell::ShellWord;
use crate::volume_names;

/// OAuth2 plugin of the Pulsar client.
pub(crate) const OAUTH2_PLUGIN: &str = "org.apache.pulsar.client.impl.auth.oauth2.AuthenticationOAuth2";
/// Token plugin of the Pulsar client.
pub(crate) const TOKEN_PLUGIN: &str = "org.apache.pulsar.client.impl.auth.AuthenticationToken";

/// Authentication of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Auth<'a> {
    /// No authentication.
    None,
    /// OAuth2 client credentials in a mounted file.
    OAuth2(&'a OAuth2Config),
    /// A plugin and its parameters.
    Generic(&'a GenericAuth),
    /// A plugin and its parameters from a Secret, in environment variables.
    Secret,
}

/// TLS of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tls<'a> {
    /// No TLS.
    None,
    /// Settings of the spec.
    Config(&'a PulsarTlsConfig),
    /// Settings from a Secret, in environment variables.
    Secret,
}

/// Which cluster a connection is for. Determines its variables and mount paths.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Cluster {
    /// The cluster of the component.
    Runtime,
    /// The package service.
    Packages,
}

/// A connection to Pulsar.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection<'a> {
    pulsar: &'a PulsarMessaging,
    cluster: Cluster,
    pub(crate) auth: Auth<'a>,
    pub(crate) tls: Tls<'a>,
}

/// Parameters of the OAuth2 plugin. Clients use different names for the same parameters.
#[derive(Serialize)]
struct OAuth2Parameters<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    grant: Option<&'static str>,
    credentials_url: String,
    #[serde(rename = "privateKey")]
    private_key_camel: &'a str,
    private_key: &'a str,
    #[serde(rename = "issuerUrl")]
    issuer_url_camel: &'a str,
    issuer_url: &'a str,
    audience: &'a str,
    scope: &'a str,
}

impl<'a> Connection<'a> {
    /// Connection to the cluster of the component.
    pub(crate) fn runtime(pulsar: &'a PulsarMessaging) -> Self {
        Self::new(pulsar, Cluster::Runtime)
    }

    /// Connection to the package service.
    pub(crate) fn packages(pulsar: &'a PulsarMessaging) -> Self {
        Self::new(pulsar, Cluster::Packages)
    }

    /// Connection to the cluster of the component with the clean-up authentication.
    pub(crate) fn cleanup(pulsar: &'a PulsarMessaging) -> Self {
        let auth = if pulsar.cleanup_auth_config.is_some() {
            auth(pulsar.cleanup_auth_config.as_ref(), None)
        } else {
            auth(pulsar.auth_config.as_ref(), pulsar.auth_secret.as_deref())
        };
        Self { auth, ..Self::runtime(pulsar) }
    }

    fn new(pulsar: &'a PulsarMessaging, cluster: Cluster) -> Self {
        let tls = match &pulsar.tls_config {
            Some(config) => Tls::Config(config),
            None if non_empty(pulsar.tls_secret.as_deref()).is_some() => Tls::Secret,
            None => Tls::None,
        };
        Self { pulsar, cluster, auth: auth(pulsar.auth_config.as_ref(), pulsar.auth_secret.as_deref()), tls }
    }

    fn prefix(&self) -> Option<String> {
        (self.cluster == Cluster::Packages).then(|| "PACKAGE_".to_owned())
    }

    /// Name of the environment variable of a setting.
    pub(crate) fn variable_name(&self, setting: &str) -> String {
        self.prefix().unwrap_or_default() + setting
    }

    /// Reference to the environment variable of a setting.
    pub(crate) fn variable(&self, setting: &str) -> ShellWord {
        ShellWord::variable(self.variable_name(setting))
    }

    /// Reference to the environment variable of a setting, with a default.
    pub(crate) fn variable_or(&self, setting: &str, default: &str) -> ShellWord {
        ShellWord::variable_or(self.variable_name(setting), default)
    }

    fn oauth2_mount_path(&self) -> &'static str {
        match self.cluster {
            Cluster::Runtime => "/etc/oauth2",
            Cluster::Packages => "/etc/oauth2-package-service",
        }
    }

    fn tls_mount_path(&self) -> &'static str {
        match self.cluster {
            Cluster::Runtime => "/etc/tls/pulsar-functions",
            Cluster::Packages => "/etc/tls/pulsar-functions-package-service",
        }
    }

    /// Path of the credentials file.
    pub(crate) fn credentials_file(&self, oauth2: &OAuth2Config) -> String {
        format!("{}/{}", self.oauth2_mount_path(), oauth2.key_secret_key)
    }

    /// Path of the trusted CA certificates, if they are mounted.
    pub(crate) fn certificate_file(&self) -> Option<String> {
        let (_, key) = self.certificate()?;
        Some(format!("{}/{key}", self.tls_mount_path()))
    }

    fn certificate(&self) -> Option<(&'a str, &'a str)> {
        match self.tls {
            Tls::Config(config) => config.certificate(),
            Tls::None | Tls::Secret => None,
        }
    }

    fn credentials(&self) -> Option<(&'a str, &'a str)> {
        match self.auth {
            Auth::OAuth2(oauth2) => Some((&oauth2.key_secret_name, &oauth2.key_secret_key)),
            Auth::None | Auth::Generic(_) | Auth::Secret => None,
        }
    }

    /// Parameters of the OAuth2 plugin, with the grant type for clients that require it.
    pub(crate) fn oauth2_parameters(&self, oauth2: &OAuth2Config, grant: Option<&'static str>) -> String {
        let file = self.credentials_file(oauth2);
        crate::json::text(&OAuth2Parameters {
            grant,
            credentials_url: format!("file://{file}"),
            private_key_camel: &file,
            private_key: &file,
            issuer_url_camel: &oauth2.issuer_url,
            issuer_url: &oauth2.issuer_url,
            audience: &oauth2.audience,
            scope: oauth2.scope.as_deref().unwrap_or_default(),
        })
    }

    /// Authentication plugin and parameters, if any.
    pub(crate) fn auth_plugin(&self) -> Option<(ShellWord, ShellWord)> {
        match self.auth {
            Auth::None => None,
            Auth::OAuth2(oauth2) => Some((OAUTH2_PLUGIN.into(), self.oauth2_parameters(oauth2, None).into())),
            Auth::Generic(auth) => Some((
                auth.client_authentication_plugin.as_str().into(),
                auth.client_authentication_parameters.as_str().into(),
            )),
            Auth::Secret => Some((
                self.variable("clientAuthenticationPlugin"),
                self.variable("clientAuthenticationParameters"),
            )),
        }
    }

    /// The ConfigMap and Secrets with the settings, as sources of environment variables.
    pub(crate) fn env_from(&self) -> impl Iterator<Item = EnvFromSource> + use<'a> {
        let prefix = self.prefix();
        let address = non_empty(self.pulsar.pulsar_config.as_deref()).map(|name| EnvFromSource {
            config_map_ref: Some(ConfigMapEnvSource { name: name.to_owned(), optional: None }),
            ..EnvFromSource::default()
        });
        let secrets = [&self.pulsar.auth_secret, &self.pulsar.tls_secret];
        let secrets = secrets.map(|name| non_empty(name.as_deref())).into_iter().flatten();
        let secrets = secrets.map(|name| EnvFromSource {
            secret_ref: Some(SecretEnvSource { name: name.to_owned(), optional: None }),
            ..EnvFromSource::default()
        });
        let sources = address.into_iter().chain(secrets);
        sources.map(move |source| EnvFromSource { prefix: prefix.clone(), ..source })
    }

    /// Volumes of certificates and credentials.
    pub(crate) fn volumes(&self) -> impl Iterator<Item = Volume> + use<'a> {
        let secrets = [self.certificate(), self.credentials()];
        secrets.into_iter().flatten().map(|(name, key)| secret_volume(name, key))
    }

    /// Mounts of these volumes.
    pub(crate) fn mounts(&self) -> impl Iterator<Item = VolumeMount> + use<'a> {
        let tls = self.certificate().map(|secret| (secret, self.tls_mount_path()));
        let oauth2 = self.credentials().map(|secret| (secret, self.oauth2_mount_path()));
        tls.into_iter().chain(oauth2).map(|((name, key), path)| mount(secret_volume_name(name, key), path))
    }
}

fn auth<'a>(config: Option<&'a function_mesh_api::types::AuthConfig>, secret: Option<&str>) -> Auth<'a> {
    // An empty authConfig disables the Secret.
    match config {
        Some(config) => match (&config.oauth2_config, &config.generic_auth) {
            (Some(oauth2), _) => Auth::OAuth2(oauth2),
            (None, Some(generic)) => Auth::Generic(generic),
            (None, None) => Auth::None,
        },
        None if non_empty(secret).is_some() => Auth::Secret,
        None => Auth::None,
    }
}

fn secret_volume_name(name: &str, key: &str) -> String {
    volume_names::provisional(&names::volume(&format!("{name}-{key}")), &["secret", name, key])
}

/// A volume with one key of a Secret, as a file of the same name.
pub(crate) fn secret_volume(name: &str, key: &str) -> Volume {
    Volume {
        name: secret_volume_name(name, key),
        secret: Some(SecretVolumeSource {
            secret_name: Some(name.to_owned()),
            items: Some(vec![KeyToPath { key: key.to_owned(), path: key.to_owned(), mode: None }]),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// The mount of that volume.
pub(crate) fn secret_mount(name: &str, key: &str, path: &str) -> VolumeMount {
    mount(secret_volume_name(name, key), path)
}

fn mount(name: String, path: &str) -> VolumeMount {
    VolumeMount { name, mount_path: path.to_owned(), ..VolumeMount::default() }
}
