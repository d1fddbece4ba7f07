//! The types that make up a component: pure data, in the shape that users write.
//!
//! Every field is optional unless its type says otherwise, and `null` means absent. Field documentation is
//! what `kubectl explain` prints.

mod free_form;
mod io;
mod messaging;
mod pod;
mod runtime;
pub(crate) mod schema;
mod status;
mod window;

pub use free_form::{FreeForm, canonical, raw_entries};
pub use io::*;
pub use messaging::*;
pub use pod::*;
pub use runtime::*;
pub use status::*;
pub use window::*;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// A value of a Secret, given to the component by name.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    pub path: Option<String>,
    /// Key in the Secret.
    pub key: Option<String>,
}

/// Discovery of the work of a batch source.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["discoveryTriggererClassName"]))]
pub struct BatchSourceConfig {
    /// Class that triggers a discovery.
    #[serde(default)]
    #[schemars(schema_with = "schema::string")]
    pub discovery_triggerer_class_name: String,
    /// Configuration of that class.
    #[serde(default)]
    #[schemars(schema_with = "schema::free_form")]
    pub discovery_triggerer_config: Option<FreeForm>,
}

/// A source connector in place of a function's input topics.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionSourceConfig {
    /// Name of a built-in connector.
    pub source_type: Option<String>,
    /// Discovery, when the connector is a batch source.
    pub batch_source_config: Option<BatchSourceConfig>,
    /// Class of the connector.
    pub class_name: Option<String>,
    /// Class of the messages' payload.
    pub type_class_name: Option<String>,
    /// Configuration of the connector.
    #[serde(default)]
    #[schemars(schema_with = "schema::free_form")]
    pub configs: Option<FreeForm>,
}

/// A sink connector in place of a function's output topic.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionSinkConfig {
    /// Name of a built-in connector.
    pub sink_type: Option<String>,
    /// Class of the connector.
    pub class_name: Option<String>,
    /// Class of the messages' payload.
    pub type_class_name: Option<String>,
    /// Configuration of the connector.
    #[serde(default)]
    #[schemars(schema_with = "schema::free_form")]
    pub configs: Option<FreeForm>,
}

/// What becomes of a function's volume claims.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeClaimRetention {
    /// When the function is deleted: `Retain` or `Delete`. Default: Retain.
    pub when_deleted: Option<String>,
    /// When replicas are removed: `Retain` or `Delete`. Default: Retain.
    pub when_scaled: Option<String>,
}
