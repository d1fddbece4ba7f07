//! How a container reaches Pulsar: where it finds addresses, credentials and certificates.

use function_mesh_api::types::{GenericAuth, OAuth2Config, PulsarMessaging, PulsarTlsConfig};
use k8s_openapi::api::core::v1::{
    ConfigMapEnvSource, EnvFromSource, KeyToPath, SecretEnvSource, SecretVolumeSource, Volume, VolumeMount,
};
use serde::Serialize;

use crate::names;
use crate::shell::Word;
use crate::volume_names;

/// The Pulsar client's own OAuth2 plugin.
pub(crate) const OAUTH2_PLUGIN: &str = "org.apache.pulsar.client.impl.auth.oauth2.AuthenticationOAuth2";
/// The Pulsar client's own plugin for tokens.
pub(crate) const TOKEN_PLUGIN: &str = "org.apache.pulsar.client.impl.auth.AuthenticationToken";

/// How a container says who it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Auth<'a> {
    /// Not at all.
    None,
    /// By OAuth2 client credentials, in a mounted file.
    OAuth2(&'a OAuth2Config),
    /// By a plugin and its parameters.
    Generic(&'a GenericAuth),
    /// By a plugin and its parameters from a Secret, in the environment.
    Secret,
}

/// How a container secures its connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tls<'a> {
    /// Not at all.
    None,
    /// As the specification says.
    Config(&'a PulsarTlsConfig),
    /// As a Secret says, in the environment.
    Secret,
}

/// Where a connection's settings are found in a container.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// The Pulsar that the component works with.
    Runtime,
    /// Another Pulsar, of which only packages are downloaded.
    Packages,
}

/// A way to Pulsar.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection<'a> {
    pulsar: &'a PulsarMessaging,
    place: Place,
    pub(crate) auth: Auth<'a>,
    pub(crate) tls: Tls<'a>,
}

/// Parameters of the Pulsar client's OAuth2 plugin. Clients disagree about the names of the same things.
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

fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

impl<'a> Connection<'a> {
    /// To the Pulsar that the component works with.
    pub(crate) fn runtime(pulsar: &'a PulsarMessaging) -> Self {
        Self::new(pulsar, Place::Runtime)
    }

    /// To the Pulsar that packages are downloaded from, when that is another one.
    pub(crate) fn packages(pulsar: &'a PulsarMessaging) -> Self {
        Self::new(pulsar, Place::Packages)
    }

    /// To the Pulsar that the component works with, with the rights to clean up there.
    pub(crate) fn cleanup(pulsar: &'a PulsarMessaging) -> Self {
        let auth = if pulsar.cleanup_auth_config.is_some() {
            auth(pulsar.cleanup_auth_config.as_ref(), None)
        } else {
            auth(pulsar.auth_config.as_ref(), pulsar.auth_secret.as_deref())
        };
        Self { auth, ..Self::runtime(pulsar) }
    }

    fn new(pulsar: &'a PulsarMessaging, place: Place) -> Self {
        let tls = match &pulsar.tls_config {
            Some(config) => Tls::Config(config),
            None if given(pulsar.tls_secret.as_deref()).is_some() => Tls::Secret,
            None => Tls::None,
        };
        Self { pulsar, place, auth: auth(pulsar.auth_config.as_ref(), pulsar.auth_secret.as_deref()), tls }
    }

    fn prefix(&self) -> Option<String> {
        (self.place == Place::Packages).then(|| "PACKAGE_".to_owned())
    }

    /// Name of the environment variable that holds a setting.
    pub(crate) fn variable_name(&self, setting: &str) -> String {
        self.prefix().unwrap_or_default() + setting
    }

    /// A setting from the environment.
    pub(crate) fn variable(&self, setting: &str) -> Word {
        Word::variable(self.variable_name(setting))
    }

    /// A setting from the environment, or its default.
    pub(crate) fn variable_or(&self, setting: &str, default: &str) -> Word {
        Word::variable_or(self.variable_name(setting), default)
    }

    fn oauth2_folder(&self) -> &'static str {
        match self.place {
            Place::Runtime => "/etc/oauth2",
            Place::Packages => "/etc/oauth2-package-service",
        }
    }

    fn tls_folder(&self) -> &'static str {
        match self.place {
            Place::Runtime => "/etc/tls/pulsar-functions",
            Place::Packages => "/etc/tls/pulsar-functions-package-service",
        }
    }

    /// Path of the credentials file.
    pub(crate) fn credentials_file(&self, oauth2: &OAuth2Config) -> String {
        format!("{}/{}", self.oauth2_folder(), oauth2.key_secret_key)
    }

    /// Path of the trusted certificates, when they are mounted.
    pub(crate) fn certificate_file(&self) -> Option<String> {
        let (_, key) = self.certificate()?;
        Some(format!("{}/{key}", self.tls_folder()))
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

    /// Parameters of the OAuth2 plugin, with the kind of grant where a client wants to be told.
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

    /// Plugin and parameters of authentication, if there is any.
    pub(crate) fn auth_plugin(&self) -> Option<(Word, Word)> {
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

    /// The objects that hold the settings, as sources of environment variables.
    pub(crate) fn env_from(&self) -> impl Iterator<Item = EnvFromSource> + use<'a> {
        let prefix = self.prefix();
        let address = given(self.pulsar.pulsar_config.as_deref()).map(|name| EnvFromSource {
            config_map_ref: Some(ConfigMapEnvSource { name: name.to_owned(), optional: None }),
            ..EnvFromSource::default()
        });
        let secrets = [&self.pulsar.auth_secret, &self.pulsar.tls_secret];
        let secrets = secrets.map(|name| given(name.as_deref())).into_iter().flatten();
        let secrets = secrets.map(|name| EnvFromSource {
            secret_ref: Some(SecretEnvSource { name: name.to_owned(), optional: None }),
            ..EnvFromSource::default()
        });
        let sources = address.into_iter().chain(secrets);
        sources.map(move |source| EnvFromSource { prefix: prefix.clone(), ..source })
    }

    /// Volumes with certificates and credentials.
    pub(crate) fn volumes(&self) -> impl Iterator<Item = Volume> + use<'a> {
        let secrets = [self.certificate(), self.credentials()];
        secrets.into_iter().flatten().map(|(name, key)| secret_volume(name, key))
    }

    /// Where those volumes are mounted.
    pub(crate) fn mounts(&self) -> impl Iterator<Item = VolumeMount> + use<'a> {
        let tls = self.certificate().map(|secret| (secret, self.tls_folder()));
        let oauth2 = self.credentials().map(|secret| (secret, self.oauth2_folder()));
        tls.into_iter()
            .chain(oauth2)
            .map(|((name, key), folder)| mount(secret_volume_name(name, key), folder))
    }
}

fn auth<'a>(config: Option<&'a function_mesh_api::types::AuthConfig>, secret: Option<&str>) -> Auth<'a> {
    // An authentication that is given and says nothing switches the Secret off.
    match config {
        Some(config) => match (&config.oauth2_config, &config.generic_auth) {
            (Some(oauth2), _) => Auth::OAuth2(oauth2),
            (None, Some(generic)) => Auth::Generic(generic),
            (None, None) => Auth::None,
        },
        None if given(secret).is_some() => Auth::Secret,
        None => Auth::None,
    }
}

fn secret_volume_name(name: &str, key: &str) -> String {
    volume_names::provisional(&names::volume(&format!("{name}-{key}")), &["secret", name, key])
}

/// A volume with one key of a Secret, under the key's own name.
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

/// A mount of such a volume.
pub(crate) fn secret_mount(name: &str, key: &str, folder: &str) -> VolumeMount {
    mount(secret_volume_name(name, key), folder)
}

fn mount(name: String, folder: &str) -> VolumeMount {
    VolumeMount { name, mount_path: folder.to_owned(), ..VolumeMount::default() }
}
