//! Defaults of the CRD schemas, applied as the API server applies them to an object that it reads: before admission, so
//! that everything after it sees them. Tools that work without a cluster apply them first and then decide the same.

use serde_json::Value;

use crate::crd;

/// Sets the defaults of the schema of a kind. An unknown kind, and a value of another type than the schema's, stay
/// unchanged. The status is left out: users do not write it.
pub fn apply(kind: &str, object: &mut Value) {
    if let Some(schema) = crd::schema(kind) {
        let status = object.as_object_mut().and_then(|object| object.remove("status"));
        set(object, schema);
        if let (Some(status), Value::Object(object)) = (status, object) {
            object.insert("status".to_owned(), status);
        }
    }
}

/// Recursion is bounded by the schema. Free-form configuration has no properties.
fn set(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(object) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                if let Some(default) = property.get("default")
                    && object.get(name).is_none_or(|value| is_dropped(value, property))
                {
                    object.insert(name.clone(), default.clone());
                }
            }
            let others = schema.get("additionalProperties").filter(|schema| schema.is_object());
            for (name, value) in object.iter_mut() {
                if let Some(inner) = properties.and_then(|properties| properties.get(name)).or(others) {
                    set(value, inner);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for item in items {
                    set(item, schema);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A null where the schema allows none counts as absent.
fn is_dropped(value: &Value, schema: &Value) -> bool {
    value.is_null() && schema.get("nullable") != Some(&Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sets_the_defaults_of_the_schema_only() {
        for (kind, object, wanted) in [
            ("Source", json!({}), json!({ "spec": { "minReplicas": 1 } })),
            ("Source", json!({ "spec": null }), json!({ "spec": { "minReplicas": 1 } })),
            (
                "Function",
                json!({ "spec": { "minReplicas": null, "replicas": 3 } }),
                json!({ "spec": { "minReplicas": 1, "replicas": 3 } }),
            ),
            ("Sink", json!({ "spec": { "minReplicas": 2 } }), json!({ "spec": { "minReplicas": 2 } })),
            (
                "FunctionMesh",
                json!({ "spec": { "functions": [{ "name": "a" }, null, 5], "sinks": null } }),
                json!({ "spec": { "functions": [{ "name": "a", "minReplicas": 1 }, null, 5], "sinks": null } }),
            ),
            (
                "Function",
                json!({ "spec": { "funcConfig": { "minReplicas": null }, "minReplicas": 1 } }),
                json!({ "spec": { "funcConfig": { "minReplicas": null }, "minReplicas": 1 } }),
            ),
            ("Function", json!({ "spec": "x", "status": {} }), json!({ "spec": "x", "status": {} })),
            ("ConfigMap", json!({}), json!({})),
            ("Function", json!([1]), json!([1])),
        ] {
            let mut object = object;
            apply(kind, &mut object);
            assert_eq!(object, wanted, "{kind}");
            let once = object.clone();
            apply(kind, &mut object);
            assert_eq!(object, once, "{kind}: it is idempotent");
        }
    }

    #[test]
    fn set_follows_maps_lists_and_nullable_fields() {
        let schema = json!({ "properties": {
            "map": { "additionalProperties": { "properties": { "x": { "default": 1 } } } },
            "list": { "items": { "properties": { "y": { "default": "a" } } } },
            "may": { "nullable": true, "default": 5 },
        } });
        let mut value = json!({ "map": { "a": {}, "b": { "x": 2 } }, "list": [{}, {}], "may": null });
        set(&mut value, &schema);
        let wanted = json!({
            "map": { "a": { "x": 1 }, "b": { "x": 2 } }, "list": [{ "y": "a" }, { "y": "a" }], "may": null,
        });
        assert_eq!(value, wanted);
    }
}
