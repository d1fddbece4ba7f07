//! The types of the fields of a component spec and of a status: plain data in the shape that users write.
//!
//! Every field is optional unless its type says otherwise, and `null` means absent. `kubectl explain` prints the
//! documentation of the fields.

mod canary;
mod free_form;
mod io;
mod messaging;
mod pod;
mod recreate;
mod rollout;
mod runtime;
mod scaling;
pub(crate) mod schema;
mod status;
mod traffic;
mod window;

pub use canary::*;
pub use free_form::{FreeForm, canonical, raw_entries};
pub use io::*;
pub use messaging::*;
pub use pod::*;
pub use recreate::*;
pub use rollout::*;
pub use runtime::*;
pub use scaling::*;
pub use status::*;
pub use traffic::*;
pub use window::*;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// Reference to a key of a Secret.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    pub path: Option<String>,
    /// Key of the Secret.
    pub key: Option<String>,
}

/// Discovery of work for a batch source.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["discoveryTriggererClassName"]))]
pub struct BatchSourceConfig {
    /// Class that triggers discovery.
    #[serde(default)]
    #[schemars(schema_with = "schema::string")]
    pub discovery_triggerer_class_name: String,
    /// Configuration of the triggerer. Any JSON object.
    #[serde(default)]
    #[schemars(schema_with = "schema::free_form")]
    pub discovery_triggerer_config: Option<FreeForm>,
}

/// Source connector that replaces a function's input topics.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionSourceConfig {
    /// Name of a built-in connector.
    pub source_type: Option<String>,
    /// Discovery of work, for batch sources.
    pub batch_source_config: Option<BatchSourceConfig>,
    /// Class that implements the connector.
    pub class_name: Option<String>,
    /// Type class of the messages.
    pub type_class_name: Option<String>,
    /// Configuration of the connector. Any JSON object.
    #[serde(default)]
    #[schemars(schema_with = "schema::free_form")]
    pub configs: Option<FreeForm>,
}

/// Sink connector that replaces a function's output topic.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionSinkConfig {
    /// Name of a built-in connector.
    pub sink_type: Option<String>,
    /// Class that implements the connector.
    pub class_name: Option<String>,
    /// Type class of the messages.
    pub type_class_name: Option<String>,
    /// Configuration of the connector. Any JSON object.
    #[serde(default)]
    #[schemars(schema_with = "schema::free_form")]
    pub configs: Option<FreeForm>,
}

/// Retention policy of a function's PersistentVolumeClaims.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeClaimRetention {
    /// Policy when the function is deleted: `Retain` or `Delete`. Defaults to `Retain`.
    pub when_deleted: Option<String>,
    /// Policy when the function is scaled down: `Retain` or `Delete`. Defaults to `Retain`.
    pub when_scaled: Option<String>,
}
