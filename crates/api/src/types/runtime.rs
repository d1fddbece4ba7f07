//! Runtimes of a component: Java, Python, Go or generic, and their logging.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use validator::Validate;

use super::schema;

/// Java runtime.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["jar"]))]
pub struct JavaRuntime {
    /// Path of the JAR or NAR in the container, for example `/pulsar/examples/api-examples.jar`. With `jarLocation`
    /// it is the target of the download.
    #[schemars(schema_with = "schema::string")]
    pub jar: String,
    /// Location of the package: `function://`, `source://` or `sink://` with `tenant/namespace/name@version`, an
    /// `http(s)://` URL, or a bare path in the storage of Pulsar's function workers. `#sha256=` with the digest of the
    /// file may follow a URL; a file with another digest does not run.
    pub jar_location: Option<String>,
    /// Directory with additional JARs for the class path.
    pub extra_dependencies_dir: Option<String>,
    /// Log settings.
    pub log: Option<RuntimeLogConfig>,
    /// Additional JVM options. They follow the operator's options, so they override them.
    pub java_opts: Option<Vec<String>>,
    /// Path of the instance JAR. Defaults to `/pulsar/instances/java-instance.jar`.
    pub instance_path: Option<String>,
    /// Main class. Defaults to `org.apache.pulsar.functions.instance.JavaInstanceMain`.
    pub entry_class: Option<String>,
}

/// Python runtime.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["py"]))]
pub struct PythonRuntime {
    /// Path of the file, wheel or ZIP in the container. With `pyLocation` it is the target of the download.
    #[schemars(schema_with = "schema::string")]
    pub py: String,
    /// Location of the package; see `java.jarLocation`.
    pub py_location: Option<String>,
    /// Log settings.
    pub log: Option<RuntimeLogConfig>,
}

/// Go runtime.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["go"]))]
pub struct GoRuntime {
    /// Path of the executable in the container. With `goLocation` it is the target of the download.
    #[schemars(schema_with = "schema::string")]
    pub go: String,
    /// Location of the package; see `java.jarLocation`.
    pub go_location: Option<String>,
    /// Log settings.
    pub log: Option<RuntimeLogConfig>,
}

/// Generic runtime.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize, Validate)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["functionFile", "language"]))]
pub struct GenericRuntime {
    /// Path of the function in the container. With `functionFileLocation` it is the target of the download.
    #[validate(length(min = 1))]
    #[schemars(schema_with = "schema::string")]
    pub function_file: String,
    /// Location of the package; see `java.jarLocation`.
    pub function_file_location: Option<String>,
    /// Language: `nodejs`, `python`, `executable` or `wasm`.
    #[validate(length(min = 1))]
    #[schemars(schema_with = "schema::string")]
    pub language: String,
}

/// Log settings of a component.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeLogConfig {
    /// Log level. Defaults to `info`.
    pub level: Option<LogLevel>,
    /// Rotation policy of the log file. Setting it enables the file.
    pub rotate_policy: Option<LogRotatePolicy>,
    /// Log format. Defaults to `text`.
    pub format: Option<LogFormat>,
    /// ConfigMap with a log configuration that replaces the generated one.
    pub log_config: Option<LogConfigRef>,
    /// File type of the Log4j configuration. Defaults to `xml`.
    #[serde(rename = "javaLog4JConfigFileType")]
    pub java_log4j_config_file_type: Option<Log4jConfigFileType>,
}

/// Reference to a log configuration in a ConfigMap.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name", "key"]))]
pub struct LogConfigRef {
    /// Name of the ConfigMap.
    #[schemars(schema_with = "schema::string")]
    pub name: String,
    /// Key of the configuration in the ConfigMap.
    #[schemars(schema_with = "schema::string")]
    pub key: String,
}

/// Log level.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum LogLevel {
    Off,
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
    All,
    Panic,
}

/// Rotation policy of a log file.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum LogRotatePolicy {
    TimedPolicyWithDaily,
    TimedPolicyWithWeekly,
    TimedPolicyWithMonthly,
    SizedPolicyWith10MB,
    SizedPolicyWith50MB,
    SizedPolicyWith100MB,
}

/// Log format.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum LogFormat {
    Json,
    #[default]
    Text,
}

/// File type of the Log4j configuration.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Log4jConfigFileType {
    Yaml,
    #[default]
    Xml,
    Ini,
}
