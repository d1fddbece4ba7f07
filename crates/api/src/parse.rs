//! Objects as people write them: `null` where nothing is meant, numbers where quantities are.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::validate::{FieldPath, Violation};

/// Fields whose content is the user's own, null included.
const FREE_FORM: [&str; 6] =
    ["funcConfig", "sourceConfig", "sinkConfig", "configs", "discoveryTriggererConfig", "config"];

/// Reads an object, taking null for absent. The error names the field that could not be read.
///
/// ```
/// let raw = serde_json::json!({
///     "apiVersion": "compute.functionmesh.io/v1alpha1",
///     "kind": "Function",
///     "metadata": { "name": "f" },
///     "spec": { "replicas": "three" },
/// });
/// let fault = function_mesh_api::parse::<function_mesh_api::Function>(raw).unwrap_err();
/// assert_eq!(fault.field.as_str(), "spec.replicas");
/// ```
pub fn parse<T: DeserializeOwned>(mut raw: Value) -> Result<T, Violation> {
    drop_nulls(&mut raw);
    if let Value::Object(object) = &mut raw {
        // The API server fills this in; a file may leave it out.
        object.entry("spec").or_insert_with(|| Value::Object(serde_json::Map::default()));
    }
    serde_path_to_error::deserialize(raw).map_err(|error| {
        let path = error.path().to_string();
        let field = FieldPath::root(if path == "." { "spec" } else { path.trim_start_matches('.') });
        Violation { field, message: error.into_inner().to_string() }
    })
}

/// Removes every null that stands for an absent field. What users configure freely stays as it is.
pub fn drop_nulls(raw: &mut Value) {
    match raw {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            for (key, value) in object.iter_mut() {
                if !FREE_FORM.contains(&key.as_str()) {
                    drop_nulls(value);
                }
            }
        }
        Value::Array(items) => {
            items.retain(|item| !item.is_null());
            items.iter_mut().for_each(drop_nulls);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
