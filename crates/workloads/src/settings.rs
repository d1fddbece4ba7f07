//! Settings of the operator that shape what is rendered.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Apache Pulsar's own image, which has its instances for Java and Python, and its programs for Go.
const PULSAR: &str = "apachepulsar/pulsar:4.0.8";
/// The same with all connectors.
const PULSAR_ALL: &str = "apachepulsar/pulsar-all:4.0.8";

/// Images of the runners, one a runtime.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunnerImages {
    /// For Java.
    pub java: String,
    /// For Python.
    pub python: String,
    /// For Go.
    pub go: String,
    /// For the languages of the generic runner.
    pub generic: BTreeMap<String, String>,
    /// For everything else.
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

/// Settings of the operator that shape what is rendered.
#[derive(Clone, Debug, Eq, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the operator")]
pub struct Settings {
    /// Images of the runners.
    pub runner_images: RunnerImages,
    /// Names of Secrets that every pod pulls its images with.
    pub runner_image_pull_secrets: Vec<String>,
    /// When runner images are pulled, where the component does not say.
    pub runner_image_pull_policy: Option<String>,
    /// Labels of every pod.
    pub resource_labels: BTreeMap<String, String>,
    /// Annotations of every pod.
    pub resource_annotations: BTreeMap<String, String>,
    /// Whether packages are downloaded in an init container rather than before the runner starts.
    pub enable_init_containers: bool,
    /// Whether pods of a component are spread over nodes.
    pub add_default_affinity: bool,
    /// Whether the kubelet must refuse images that run as root.
    pub run_as_non_root: bool,
    /// Seconds that the clean-up after a component may take, the pull of its image included.
    pub cleanup_deadline: i64,
    /// Whether a BackendConfig may set what runs code in pods; see
    /// [`function_mesh_api::validate::unsafe_variable`].
    pub allow_unsafe_backend_config: bool,
    /// Name of the BackendConfig for the whole cluster.
    pub global_backend_config: Option<String>,
    /// Namespace of the BackendConfig for the whole cluster.
    pub global_backend_config_namespace: String,
    /// Name of the BackendConfig that each namespace may have.
    pub namespaced_backend_config: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            runner_images: RunnerImages::default(),
            runner_image_pull_secrets: Vec::new(),
            runner_image_pull_policy: None,
            resource_labels: BTreeMap::new(),
            resource_annotations: BTreeMap::new(),
            enable_init_containers: false,
            add_default_affinity: true,
            run_as_non_root: false,
            cleanup_deadline: 600,
            allow_unsafe_backend_config: false,
            global_backend_config: None,
            global_backend_config_namespace: "default".to_owned(),
            namespaced_backend_config: Some("backend-config".to_owned()),
        }
    }
}

/// Why settings could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A value in the configuration file is not what its key takes.
    #[error("configuration file: `{key}` must be {expected}")]
    Value {
        /// The key, with dots between levels.
        key: String,
        /// What the key takes.
        expected: &'static str,
    },
    /// The configuration file cannot be read.
    #[error("configuration file {path}: {source}")]
    Read {
        /// Path of the file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The configuration file is no YAML.
    #[error("configuration file {path}: {message}")]
    Syntax {
        /// Path of the file.
        path: String,
        /// What the parser says.
        message: String,
    },
}

impl Settings {
    /// Settings by a configuration file that was parsed already; what it does not name keeps its default.
    /// Keys are recognised in any case, and unknown ones are passed over, since files are in use that have
    /// some.
    pub fn from_config(config: Value) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        for (key, value) in object("", config)? {
            match key.to_ascii_lowercase().as_str() {
                "runnerimages" => settings.runner_images.apply(object(&key, value)?)?,
                "runnerimagepullsecrets" => settings.runner_image_pull_secrets = secrets(&key, value)?,
                "runnerimagepullpolicy" => settings.runner_image_pull_policy = text(&key, value)?,
                "resourcelabels" => settings.resource_labels = texts(&key, value)?,
                "resourceannotations" => settings.resource_annotations = texts(&key, value)?,
                _ => {}
            }
        }
        Ok(settings)
    }
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
                    let images = texts(&path, value)?;
                    self.generic.extend(images.into_iter().filter(|(_, image)| !image.is_empty()));
                    continue;
                }
                _ => continue,
            };
            if let Some(given) = text(&path, value)? {
                *image = given;
            }
        }
        Ok(())
    }
}

fn wrong(key: &str, expected: &'static str) -> SettingsError {
    SettingsError::Value { key: key.to_owned(), expected }
}

fn object(key: &str, value: Value) -> Result<Map<String, Value>, SettingsError> {
    match value {
        Value::Object(object) => Ok(object),
        Value::Null => Ok(Map::new()),
        _ => Err(wrong(if key.is_empty() { "." } else { key }, "a map")),
    }
}

/// A text, if it is not empty. Numbers and booleans are texts that their author did not quote.
fn text(key: &str, value: Value) -> Result<Option<String>, SettingsError> {
    let text = match value {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Null => return Ok(None),
        Value::Array(_) | Value::Object(_) => return Err(wrong(key, "a text")),
    };
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn texts(key: &str, value: Value) -> Result<BTreeMap<String, String>, SettingsError> {
    let entries = object(key, value)?.into_iter();
    entries
        .map(|(name, value)| {
            let value = text(&format!("{key}.{name}"), value)?;
            Ok((name, value.unwrap_or_default()))
        })
        .collect()
}

/// Names of Secrets: `[{name: x}]`, as in a pod, or simply `[x]`.
fn secrets(key: &str, value: Value) -> Result<Vec<String>, SettingsError> {
    let items = match value {
        Value::Array(items) => items,
        Value::Null => return Ok(Vec::new()),
        _ => return Err(wrong(key, "a list of Secrets")),
    };
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        let name = match item {
            Value::Object(mut item) => item.remove("name").unwrap_or_default(),
            name => name,
        };
        names.extend(text(&format!("{key}.name"), name)?);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_empty_file_changes_nothing() {
        assert_eq!(Settings::from_config(Value::Null).unwrap(), Settings::default());
        assert_eq!(Settings::from_config(json!({})).unwrap(), Settings::default());
    }

    /// S20: no release candidate, and of the Pulsar line that is supported.
    #[test]
    fn default_runner_images_are_of_pulsar_4_0() {
        let RunnerImages { java, python, go, other, .. } = RunnerImages::default();
        for image in [java, python, go, other] {
            let (_, tag) = image.rsplit_once(':').unwrap();
            assert!(tag.starts_with("4.0.") && !tag.contains("rc"), "{image}");
        }
    }

    #[test]
    fn a_file_overrides_what_it_names_and_keeps_the_rest() {
        let settings = Settings::from_config(json!({
            "runnerImages": { "java": "j:1", "go": "", "connectors": "c:1", "genericRuntime": { "nodejs": "n:1", "lua": "l:1" } },
            "runnerImagePullSecrets": [{ "name": "pull" }, "bare", { "other": "x" }],
            "RunnerImagePullPolicy": "Always",
            "resourceLabels": { "team": "data", "tier": 1 },
            "resourceAnnotations": { "note": "x" },
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
    }

    #[test]
    fn a_wrong_value_is_an_error_that_names_its_key() {
        for (config, key) in [
            (json!([]), "`.`"),
            (json!({ "runnerImages": "x" }), "`runnerImages`"),
            (json!({ "runnerImages": { "java": {} } }), "`runnerImages.java`"),
            (json!({ "resourceLabels": { "a": [] } }), "`resourceLabels.a`"),
            (json!({ "runnerImagePullSecrets": "x" }), "`runnerImagePullSecrets`"),
        ] {
            let error = Settings::from_config(config).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
