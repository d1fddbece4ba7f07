//! The effective settings of an operator, as a ConfigMap that it writes and `kubectl mesh` reads.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::ObjectMeta;
use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// Key of the ConfigMap.
pub const SETTINGS_KEY: &str = "settings.yaml";

/// Name of the ConfigMap, unless another one is given.
pub const SETTINGS_CONFIG_MAP: &str = "function-mesh-settings";

/// Namespace of the operator, unless another one is given.
pub const OPERATOR_NAMESPACE: &str = "function-mesh";

/// The effective settings of an operator. They hold names of Secrets, and no values of them.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishedSettings {
    /// Version of the operator.
    pub version: String,
    /// Watched namespaces; empty for all.
    #[serde(default)]
    pub watched_namespaces: Vec<String>,
    /// Settings for rendering.
    #[serde(default)]
    pub settings: Settings,
}

/// Why a ConfigMap has no settings.
#[derive(Debug, thiserror::Error)]
pub enum PublishedSettingsError {
    /// The operator has not written them yet, or this is another ConfigMap.
    #[error("it has no key {SETTINGS_KEY}")]
    Missing,
    /// The key does not hold settings.
    #[error("key {SETTINGS_KEY}: {0}")]
    Invalid(String),
}

impl PublishedSettings {
    /// Whether the operator watches this namespace.
    pub fn watches(&self, namespace: &str) -> bool {
        self.watched_namespaces.is_empty() || self.watched_namespaces.iter().any(|it| it == namespace)
    }

    /// The ConfigMap. The error is the serializer's.
    pub fn to_config_map(&self, namespace: &str, name: &str) -> Result<ConfigMap, String> {
        let text = serde_saphyr::to_string(self).map_err(|error| error.to_string())?;
        Ok(ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(SETTINGS_KEY.to_owned(), text)])),
            ..ConfigMap::default()
        })
    }

    /// The settings in a ConfigMap. Unknown keys are ignored: a newer operator may have written them.
    pub fn from_config_map(config_map: &ConfigMap) -> Result<Self, PublishedSettingsError> {
        let data = config_map.data.as_ref();
        let text = data.and_then(|data| data.get(SETTINGS_KEY)).ok_or(PublishedSettingsError::Missing)?;
        serde_saphyr::from_str(text).map_err(|error| PublishedSettingsError::Invalid(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::RunnerImages;

    fn published() -> PublishedSettings {
        let settings = Settings {
            runner_images: RunnerImages {
                java: "registry.example.com/java:1".to_owned(),
                ..RunnerImages::default()
            },
            resource_labels: BTreeMap::from([("cost".to_owned(), "4711".to_owned())]),
            namespaced_backend_config: None,
            run_as_non_root: true,
            ..Settings::default()
        };
        PublishedSettings { version: "0.1.0".to_owned(), watched_namespaces: vec!["a".to_owned()], settings }
    }

    fn with(text: &str) -> Result<PublishedSettings, PublishedSettingsError> {
        let data = Some(BTreeMap::from([(SETTINGS_KEY.to_owned(), text.to_owned())]));
        PublishedSettings::from_config_map(&ConfigMap { data, ..ConfigMap::default() })
    }

    #[test]
    fn a_config_map_keeps_all_settings() {
        let published = published();
        let config_map = published.to_config_map("function-mesh", SETTINGS_CONFIG_MAP).unwrap();
        assert_eq!(PublishedSettings::from_config_map(&config_map).unwrap(), published);
    }

    #[test]
    fn settings_of_other_versions_are_read() {
        let older = with("version: 0.1.0\nsettings: {runAsNonRoot: true}").unwrap();
        assert_eq!(older.settings, Settings { run_as_non_root: true, ..Settings::default() });
        let newer = with("version: 9.0.0\nsettings: {somethingNew: 1}\nmore: []").unwrap();
        assert_eq!(newer.settings, Settings::default());
    }

    #[test]
    fn a_config_map_without_settings_is_an_error() {
        let empty = PublishedSettings::from_config_map(&ConfigMap::default()).unwrap_err().to_string();
        assert_eq!(empty, "it has no key settings.yaml");
        assert!(with("version: [").unwrap_err().to_string().starts_with("key settings.yaml: "));
    }

    #[test]
    fn empty_list_of_namespaces_means_all() {
        let mut published = published();
        assert!(published.watches("a") && !published.watches("b"));
        published.watched_namespaces.clear();
        assert!(published.watches("b"));
    }
}
