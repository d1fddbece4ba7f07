//! Parsing of objects from JSON: `null` means absent, and numbers are accepted as quantities.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::validate::{FieldPath, Violation};

/// Fields with free-form configuration, in which null is a value.
pub(crate) const FREE_FORM: [&str; 6] =
    ["funcConfig", "sourceConfig", "sinkConfig", "configs", "discoveryTriggererConfig", "config"];

/// Parses an object. The error names the field that failed.
///
/// ```
/// let raw = serde_json::json!({
///     "apiVersion": "compute.functionmesh.io/v1alpha1",
///     "kind": "Function",
///     "metadata": { "name": "f" },
///     "spec": { "replicas": "three" },
/// });
/// let error = function_mesh_api::parse::<function_mesh_api::Function>(raw).unwrap_err();
/// assert_eq!(error.field.as_str(), "spec.replicas");
/// ```
pub fn parse<T: DeserializeOwned>(mut raw: Value) -> Result<T, Violation> {
    drop_nulls(&mut raw);
    normalise(&mut raw);
    if let Value::Object(object) = &mut raw {
        // The API server defaults it, so a manifest can omit it.
        object.entry("spec").or_insert_with(|| Value::Object(serde_json::Map::default()));
    }
    serde_path_to_error::deserialize(raw).map_err(|error| {
        let path = error.path().to_string();
        let field = FieldPath::root(if path == "." { "spec" } else { path.trim_start_matches('.') });
        Violation { field, message: error.into_inner().to_string() }
    })
}

/// Converts numeric quantities to strings where the type only accepts 32-bit integers: the limits of a
/// VerticalPodAutoscaler. Elsewhere the types accept numbers. Free-form configuration stays unchanged.
pub fn normalise(raw: &mut Value) {
    match raw {
        Value::Object(object) => {
            for (key, value) in object.iter_mut().filter(|(key, _)| !FREE_FORM.contains(&key.as_str())) {
                match value {
                    Value::Object(limits) if matches!(key.as_str(), "minAllowed" | "maxAllowed") => {
                        limits.values_mut().for_each(quantity_to_text);
                    }
                    _ => normalise(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalise),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

pub(crate) fn quantity_to_text(quantity: &mut Value) {
    if let Value::Number(number) = quantity
        && number.as_i64().is_none_or(|number| i32::try_from(number).is_err())
    {
        *quantity = Value::String(number.to_string());
    }
}

/// Removes every null. Free-form configuration stays unchanged.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Function;

    #[test]
    fn quantities_can_be_numbers_or_strings() {
        let function: Function = parse(json!({
            "apiVersion": "compute.functionmesh.io/v1alpha1",
            "kind": "Function",
            "metadata": { "name": "f" },
            "spec": {
                "resources": { "requests": { "cpu": 0.5, "memory": 1_000_000_000 }, "limits": { "cpu": 1 } },
                "volumeClaimTemplates": [{ "spec": { "resources": { "requests": { "storage": 5e9 } } } }],
                "pod": {
                    "volumes": [{ "name": "v", "emptyDir": { "sizeLimit": 1_048_576.0 } }],
                    "sidecars": [{ "name": "s", "resources": { "limits": { "cpu": 0.1 } } }],
                    "initContainers": [{ "name": "i", "resources": { "limits": { "memory": 8_589_934_592_i64 } } }],
                    "autoScalingMetrics": [{
                        "type": "Pods",
                        "pods": {
                            "metric": { "name": "m" },
                            "target": { "type": "AverageValue", "averageValue": 0.25 },
                        },
                    }],
                    "vpa": { "resourcePolicy": { "containerPolicies": [{
                        "containerName": "*",
                        "minAllowed": { "cpu": 0.5, "memory": 1024 },
                        "maxAllowed": { "cpu": "2", "memory": 8_589_934_592_i64 },
                    }] } },
                },
            },
        }))
        .unwrap();
        let spec = serde_json::to_value(&function.spec).unwrap();
        for (pointer, expected) in [
            ("/resources/requests/cpu", json!("0.5")),
            ("/resources/requests/memory", json!("1000000000")),
            ("/resources/limits/cpu", json!("1")),
            ("/volumeClaimTemplates/0/spec/resources/requests/storage", json!("5000000000")),
            ("/pod/volumes/0/emptyDir/sizeLimit", json!("1048576")),
            ("/pod/sidecars/0/resources/limits/cpu", json!("0.1")),
            ("/pod/initContainers/0/resources/limits/memory", json!("8589934592")),
            ("/pod/autoScalingMetrics/0/pods/target/averageValue", json!("0.25")),
            (
                "/pod/vpa/resourcePolicy/containerPolicies/0/minAllowed",
                json!({ "cpu": "0.5", "memory": "1024" }),
            ),
            (
                "/pod/vpa/resourcePolicy/containerPolicies/0/maxAllowed",
                json!({ "cpu": "2", "memory": "8589934592" }),
            ),
        ] {
            assert_eq!(spec.pointer(pointer), Some(&expected), "{pointer}");
        }
    }
}
