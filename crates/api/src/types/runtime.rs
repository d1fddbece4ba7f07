//! What runs a component: Java, Python, Go or a generic runtime, and how it logs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use validator::Validate;

use super::schema;

/// A component in Java.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["jar"]))]
pub struct JavaRuntime {
    /// Path of the jar or nar in the container, for example `/pulsar/examples/api-examples.jar`. With
    /// `jarLocation` it is where the download is stored.
    #[schemars(schema_with = "schema::string")]
    pub jar: String,
    /// Where to download the jar from: `function://`, `source://` or `sink://` followed by
    /// `tenant/namespace/name@version`, or an `http(s)://` address. Behind that, `#sha256=` and the digest of the file: another file does not run.
    pub jar_location: Option<String>,
    /// Folder with more jars for the class path.
    pub extra_dependencies_dir: Option<String>,
    /// Logging.
    pub log: Option<RuntimeLogConfig>,
    /// More options of the Java virtual machine, after the ones that the operator sets.
    pub java_opts: Option<Vec<String>>,
    /// Path of the instance jar. Default: `/pulsar/instances/java-instance.jar`.
    pub instance_path: Option<String>,
    /// Main class. Default: `org.apache.pulsar.functions.instance.JavaInstanceMain`.
    pub entry_class: Option<String>,
}

/// A function in Python.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["py"]))]
pub struct PythonRuntime {
    /// Path of the file, wheel or zip in the container. With `pyLocation` it is where the download is stored.
    #[schemars(schema_with = "schema::string")]
    pub py: String,
    /// Where to download it from; see `java.jarLocation`.
    pub py_location: Option<String>,
    /// Logging.
    pub log: Option<RuntimeLogConfig>,
}

/// A function in Go.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["go"]))]
pub struct GoRuntime {
    /// Path of the program in the container. With `goLocation` it is where the download is stored.
    #[schemars(schema_with = "schema::string")]
    pub go: String,
    /// Where to download it from; see `java.jarLocation`.
    pub go_location: Option<String>,
    /// Logging.
    pub log: Option<RuntimeLogConfig>,
}

/// A function in a language that the generic runner serves.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize, Validate)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["functionFile", "language"]))]
pub struct GenericRuntime {
    /// Path of the function in the container.
    #[validate(length(min = 1))]
    #[schemars(schema_with = "schema::string")]
    pub function_file: String,
    /// Where to download it from; see `java.jarLocation`.
    pub function_file_location: Option<String>,
    /// Language: `nodejs`, `python`, `executable` or `wasm`.
    #[validate(length(min = 1))]
    #[schemars(schema_with = "schema::string")]
    pub language: String,
}

/// Logging of a component.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeLogConfig {
    /// Lowest level that is logged. Default: info.
    pub level: Option<LogLevel>,
    /// When a log file is closed and the next begun.
    pub rotate_policy: Option<LogRotatePolicy>,
    /// Form of a log line. Default: text.
    pub format: Option<LogFormat>,
    /// A log configuration of one's own, used in place of the generated one.
    pub log_config: Option<LogConfigRef>,
    /// Form of the log4j configuration. Default: xml.
    #[serde(rename = "javaLog4JConfigFileType")]
    pub java_log4j_config_file_type: Option<Log4jConfigFileType>,
}

/// A log configuration in a ConfigMap.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name", "key"]))]
pub struct LogConfigRef {
    /// Name of the ConfigMap.
    #[schemars(schema_with = "schema::string")]
    pub name: String,
    /// Key of the configuration in it.
    #[schemars(schema_with = "schema::string")]
    pub key: String,
}

/// Lowest level that is logged.
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

/// When a log file is closed and the next begun.
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

/// Form of a log line.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum LogFormat {
    Json,
    #[default]
    Text,
}

/// Form of the log4j configuration.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Log4jConfigFileType {
    Yaml,
    #[default]
    Xml,
    Ini,
}
