//! Settings of the operator for rendering.

use std::collections::BTreeMap;

use function_mesh_api::{BackendConfig, quantity};
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Apache Pulsar's image, with the Java and Python instances.
const PULSAR: &str = "apachepulsar/pulsar:4.0.8";
/// Apache Pulsar's image with all connectors.
const PULSAR_ALL: &str = "apachepulsar/pulsar-all:4.0.8";

/// Default runner images, one for each runtime.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RunnerImages {
    /// For Java.
    pub java: String,
    /// For Python.
    pub python: String,
    /// For Go.
    pub go: String,
    /// For the generic runtime, by language.
    pub generic: BTreeMap<String, String>,
    /// For connectors, and languages without an image.
    pub other: String,
}

impl Default for RunnerImages {
    fn default() -> Self {
        let generic = [
            ("nodejs", "streamnative/pulsar-functions-generic-nodejs-runner:0.1.0"),
            ("python", "streamnative/pulsar-functions-generic-python-runner:0.1.0"),
            ("executable", "streamnative/pulsar-functions-generic-base-runner:0.1.0"),
            ("wasm", "streamnative/pulsar-functions-generic-base-runner:0.1.0"),
        ];
        Self {
            java: PULSAR.to_owned(),
            python: PULSAR.to_owned(),
            go: PULSAR.to_owned(),
            generic: generic.map(|(language, image)| (language.to_owned(), image.to_owned())).into(),
            other: PULSAR_ALL.to_owned(),
        }
    }
}

/// Settings of the operator for rendering.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the operator")]
pub struct Settings {
    /// Default runner images.
    pub runner_images: RunnerImages,
    /// Names of the image pull secrets of every pod.
    pub runner_image_pull_secrets: Vec<String>,
    /// Default image pull policy of the main container.
    pub runner_image_pull_policy: Option<String>,
    /// Labels of every pod.
    pub resource_labels: BTreeMap<String, String>,
    /// Annotations of every pod.
    pub resource_annotations: BTreeMap<String, String>,
    /// Resources of the log sidecar.
    pub log_sidecar_resources: ResourceRequirements,
    /// Resources of the clean-up Job's container.
    pub cleanup_resources: ResourceRequirements,
    /// Whether an init container downloads packages, instead of the main container.
    pub enable_init_containers: bool,
    /// Whether pods get an anti-affinity that spreads them over nodes.
    pub add_default_affinity: bool,
    /// Whether runners get a readiness and a startup probe of their metrics port.
    pub add_default_probes: bool,
    /// Seconds that a new pod must be ready before a rolling update replaces the next one.
    pub min_ready_seconds: i32,
    /// Whether pods get `runAsNonRoot`.
    pub run_as_non_root: bool,
    /// Deadline of the clean-up Job in seconds, including the image pull.
    pub cleanup_deadline: i64,
    /// Whether a BackendConfig may set fields that run code in pods; see
    /// [`function_mesh_api::validate::unsafe_variable`].
    pub allow_unsafe_backend_config: bool,
    /// Name of the global BackendConfig.
    pub global_backend_config: Option<String>,
    /// Namespace of the global BackendConfig.
    pub global_backend_config_namespace: String,
    /// Name of the namespaced BackendConfigs.
    pub namespaced_backend_config: Option<String>,
}

/// Name and namespace of a BackendConfig.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BackendConfigRef<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
}

impl BackendConfigRef<'_> {
    /// Whether this is the object's name and namespace.
    pub fn is_of(&self, config: &BackendConfig) -> bool {
        config.metadata.name.as_deref() == Some(self.name)
            && config.metadata.namespace.as_deref() == Some(self.namespace)
    }
}

impl Settings {
    /// The global BackendConfig, if it is enabled.
    pub fn global_backend_config_ref(&self) -> Option<BackendConfigRef<'_>> {
        let name = self.global_backend_config.as_deref().filter(|name| !name.is_empty())?;
        Some(BackendConfigRef { name, namespace: &self.global_backend_config_namespace })
    }

    /// The BackendConfig of a namespace, if it is enabled.
    pub fn namespaced_backend_config_ref<'a>(&'a self, namespace: &'a str) -> Option<BackendConfigRef<'a>> {
        let name = self.namespaced_backend_config.as_deref().filter(|name| !name.is_empty())?;
        Some(BackendConfigRef { name, namespace })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            runner_images: RunnerImages::default(),
            runner_image_pull_secrets: Vec::new(),
            runner_image_pull_policy: None,
            resource_labels: BTreeMap::new(),
            resource_annotations: BTreeMap::new(),
            log_sidecar_resources: resources(("25m", "64Mi"), ("500m", "256Mi")),
            // The admin tool can be a Java program.
            cleanup_resources: resources(("50m", "128Mi"), ("1", "512Mi")),
            enable_init_containers: false,
            add_default_affinity: true,
            add_default_probes: true,
            min_ready_seconds: 10,
            run_as_non_root: false,
            cleanup_deadline: 600,
            allow_unsafe_backend_config: false,
            global_backend_config: None,
            global_backend_config_namespace: "default".to_owned(),
            namespaced_backend_config: Some("backend-config".to_owned()),
        }
    }
}

/// Error of reading the settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A key of the configuration file has an invalid value.
    #[error("configuration file: `{key}` must be {expected}")]
    Value {
        /// The key, with dots between levels.
        key: String,
        /// The expected type.
        expected: &'static str,
    },
    /// Failed to read the configuration file.
    #[error("configuration file {path}: {source}")]
    Read {
        /// Path of the file.
        path: String,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The configuration file is not valid YAML.
    #[error("configuration file {path}: {message}")]
    Syntax {
        /// Path of the file.
        path: String,
        /// The error of the parser.
        message: String,
    },
}

impl Settings {
    /// Settings from a parsed configuration file. Missing keys keep their default. Keys are case-insensitive and
    /// unknown keys are ignored, as in Function Mesh for Go. The error names the invalid key.
    pub fn from_config(config: Value) -> Result<Self, SettingsError> {
        Self::default().with_config(config)
    }

    /// These settings, with those that a parsed configuration file sets.
    pub fn with_config(self, config: Value) -> Result<Self, SettingsError> {
        let mut settings = self;
        for (key, value) in map("", config)? {
            match key.to_ascii_lowercase().as_str() {
                "runnerimages" => settings.runner_images.apply(map(&key, value)?)?,
                "runnerimagepullsecrets" => settings.runner_image_pull_secrets = secret_names(&key, value)?,
                "runnerimagepullpolicy" => settings.runner_image_pull_policy = string(&key, value)?,
                "resourcelabels" => settings.resource_labels = string_map(&key, value)?,
                "resourceannotations" => settings.resource_annotations = string_map(&key, value)?,
                "logsidecarresources" => requirements(&key, value, &mut settings.log_sidecar_resources)?,
                "cleanupresources" => requirements(&key, value, &mut settings.cleanup_resources)?,
                _ => {}
            }
        }
        Ok(settings)
    }
}

/// Requests and limits of CPU and memory.
fn resources(requests: (&str, &str), limits: (&str, &str)) -> ResourceRequirements {
    let quantities = |(cpu, memory): (&str, &str)| {
        let quantities = [("cpu", cpu), ("memory", memory)];
        Some(quantities.map(|(key, quantity)| (key.to_owned(), Quantity(quantity.to_owned()))).into())
    };
    ResourceRequirements { requests: quantities(requests), limits: quantities(limits), claims: None }
}

/// Replaces the default by a value that is not empty.
fn requirements(key: &str, value: Value, default: &mut ResourceRequirements) -> Result<(), SettingsError> {
    let expected = "requests and limits of a container, such as `{requests: {cpu: 50m}}`";
    let value = Value::Object(map(key, value)?);
    let read: ResourceRequirements = function_mesh_api::parse(value).map_err(|_| invalid(key, expected))?;
    let mut quantities = read.requests.iter().chain(&read.limits).flat_map(BTreeMap::values);
    if quantities.any(|amount| quantity::value(amount).is_none()) {
        return Err(invalid(key, expected));
    }
    if read != ResourceRequirements::default() {
        *default = read;
    }
    Ok(())
}

impl RunnerImages {
    fn apply(&mut self, images: Map<String, Value>) -> Result<(), SettingsError> {
        for (key, value) in images {
            let path = format!("runnerImages.{key}");
            let image = match key.to_ascii_lowercase().as_str() {
                "java" => &mut self.java,
                "python" => &mut self.python,
                "go" => &mut self.go,
                "connectors" => &mut self.other,
                "genericruntime" => {
                    let images = string_map(&path, value)?;
                    self.generic.extend(images.into_iter().filter(|(_, image)| !image.is_empty()));
                    continue;
                }
                _ => continue,
            };
            if let Some(value) = string(&path, value)? {
                *image = value;
            }
        }
        Ok(())
    }
}

fn invalid(key: &str, expected: &'static str) -> SettingsError {
    SettingsError::Value { key: key.to_owned(), expected }
}

fn map(key: &str, value: Value) -> Result<Map<String, Value>, SettingsError> {
    match value {
        Value::Object(object) => Ok(object),
        Value::Null => Ok(Map::new()),
        _ => Err(invalid(if key.is_empty() { "." } else { key }, "a map")),
    }
}

/// A string, or None if it is empty. Accepts numbers and booleans, since YAML strings need no quotes.
fn string(key: &str, value: Value) -> Result<Option<String>, SettingsError> {
    let text = match value {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Null => return Ok(None),
        Value::Array(_) | Value::Object(_) => return Err(invalid(key, "a string")),
    };
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn string_map(key: &str, value: Value) -> Result<BTreeMap<String, String>, SettingsError> {
    let entries = map(key, value)?.into_iter();
    entries
        .map(|(name, value)| {
            let value = string(&format!("{key}.{name}"), value)?;
            Ok((name, value.unwrap_or_default()))
        })
        .collect()
}

/// Names of Secrets, as `[{name: x}]` or `[x]`.
fn secret_names(key: &str, value: Value) -> Result<Vec<String>, SettingsError> {
    let items = match value {
        Value::Array(items) => items,
        Value::Null => return Ok(Vec::new()),
        _ => return Err(invalid(key, "a list of Secrets")),
    };
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        let name = match item {
            Value::Object(mut item) => item.remove("name").unwrap_or_default(),
            name => name,
        };
        names.extend(string(&format!("{key}.name"), name)?);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn empty_file_keeps_defaults() {
        assert_eq!(Settings::from_config(Value::Null).unwrap(), Settings::default());
        assert_eq!(Settings::from_config(json!({})).unwrap(), Settings::default());
    }

    /// No release candidates, and only the supported release line.
    #[test]
    fn default_images_are_pulsar_4_0_releases() {
        let RunnerImages { java, python, go, other, .. } = RunnerImages::default();
        for image in [java, python, go, other] {
            let (_, tag) = image.rsplit_once(':').unwrap();
            assert!(tag.starts_with("4.0.") && !tag.contains("rc"), "{image}");
        }
    }

    #[test]
    fn file_overrides_its_keys_only() {
        let settings = Settings::from_config(json!({
            "runnerImages": { "java": "j:1", "go": "", "connectors": "c:1", "genericRuntime": { "nodejs": "n:1", "lua": "l:1" } },
            "runnerImagePullSecrets": [{ "name": "pull" }, "bare", { "other": "x" }],
            "RunnerImagePullPolicy": "Always",
            "resourceLabels": { "team": "data", "tier": 1 },
            "resourceAnnotations": { "note": "x" },
            "logSidecarResources": { "limits": { "memory": "1Gi" } },
            "cleanupResources": {},
            "imagePullPolicy": "Never",
        }))
        .unwrap();
        let defaults = RunnerImages::default();
        assert_eq!(settings.runner_images.java, "j:1");
        assert_eq!(settings.runner_images.other, "c:1");
        assert_eq!(settings.runner_images.go, defaults.go);
        assert_eq!(settings.runner_images.generic["nodejs"], "n:1");
        assert_eq!(settings.runner_images.generic["lua"], "l:1");
        assert_eq!(settings.runner_images.generic["wasm"], defaults.generic["wasm"]);
        assert_eq!(settings.runner_image_pull_secrets, ["pull", "bare"]);
        assert_eq!(settings.runner_image_pull_policy.as_deref(), Some("Always"));
        assert_eq!(settings.resource_labels["tier"], "1");
        assert_eq!(settings.resource_annotations["note"], "x");
        let sidecar = json!({ "limits": { "memory": "1Gi" } });
        assert_eq!(serde_json::to_value(settings.log_sidecar_resources).unwrap(), sidecar);
        assert_eq!(settings.cleanup_resources, Settings::default().cleanup_resources);
    }

    #[test]
    fn invalid_value_names_its_key() {
        for (config, key) in [
            (json!([]), "`.`"),
            (json!({ "runnerImages": "x" }), "`runnerImages`"),
            (json!({ "runnerImages": { "java": {} } }), "`runnerImages.java`"),
            (json!({ "resourceLabels": { "a": [] } }), "`resourceLabels.a`"),
            (json!({ "runnerImagePullSecrets": "x" }), "`runnerImagePullSecrets`"),
            (json!({ "logSidecarResources": { "requests": { "cpu": "much" } } }), "`logSidecarResources`"),
            (json!({ "cleanupResources": { "requests": [] } }), "`cleanupResources`"),
        ] {
            let error = Settings::from_config(config).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
