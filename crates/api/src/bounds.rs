//! Size limits of lists, maps and strings in the CRD schemas, far above what components need. The API server rejects
//! oversized objects by them, and needs them to estimate the cost of CEL rules.
//!
//! [`crate::complexity`] limits the size of an object as a whole.

use serde_json::{Value, json};

/// Maximum items of a list.
pub const MAX_ITEMS: usize = 4096;
/// Maximum entries of a map.
pub const MAX_PROPERTIES: usize = 4096;
/// Maximum length of a string: half of what Linux accepts as one argument of a command.
pub const MAX_LENGTH: usize = 65_536;

/// Adds the limits at every level that has none. Fields of embedded types get a limit, but their contents do not.
pub(crate) fn add_limits(schema: &mut Value, is_embedded: &impl Fn(&str) -> bool) {
    add_limit(schema);
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for (name, property) in properties.iter_mut() {
            if is_embedded(name) { add_limit(property) } else { add_limits(property, is_embedded) }
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(inner) {
            add_limits(inner, is_embedded);
        }
    }
}

fn add_limit(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    let is_closed = ["enum", "format"].iter().any(|key| object.contains_key(*key));
    let (key, most) = match object.get("type").and_then(Value::as_str) {
        Some("array") => ("maxItems", MAX_ITEMS),
        Some("object") if object.contains_key("additionalProperties") => ("maxProperties", MAX_PROPERTIES),
        Some("string") if !is_closed => ("maxLength", MAX_LENGTH),
        _ => return,
    };
    object.entry(key).or_insert_with(|| json!(most));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_existing_limits_and_skips_embedded_contents() {
        let mut schema = json!({ "type": "object", "properties": {
            "topics": { "type": "array", "items": { "type": "string" } },
            "few": { "type": "array", "maxItems": 2, "items": { "type": "string", "enum": ["a"] } },
            "secretsMap": { "type": "object", "additionalProperties": { "type": "string", "format": "date" } },
            "volumes": { "type": "array", "items": { "type": "string" } },
            "config": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
        } });
        add_limits(&mut schema, &|name| name == "volumes");
        let expected = json!({ "type": "object", "properties": {
            "topics": {
                "type": "array", "maxItems": MAX_ITEMS, "items": { "type": "string", "maxLength": MAX_LENGTH },
            },
            "few": { "type": "array", "maxItems": 2, "items": { "type": "string", "enum": ["a"] } },
            "secretsMap": {
                "type": "object", "maxProperties": MAX_PROPERTIES,
                "additionalProperties": { "type": "string", "format": "date" },
            },
            "volumes": { "type": "array", "maxItems": MAX_ITEMS, "items": { "type": "string" } },
            "config": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
        } });
        assert_eq!(schema, expected);
    }
}
