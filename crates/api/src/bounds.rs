//! How large lists, maps and strings of our own may be: far above what anybody needs, and enough for the API server to
//! refuse what only costs. With bounds, it also knows what its rules cost at most.
//!
//! What an object costs as a whole is bounded by [`crate::complexity`].

use serde_json::{Value, json};

/// Most items of a list.
pub const MAX_ITEMS: usize = 4096;
/// Most entries of a map.
pub const MAX_PROPERTIES: usize = 4096;
/// Most characters of a string: half of what the kernel takes as one argument of a command.
pub const MAX_LENGTH: usize = 65_536;

/// Bounds what has none, at every level. Fields for which `is_foreign` holds are bounded themselves, but not what is in
/// them.
pub(crate) fn bound(schema: &mut Value, is_foreign: &impl Fn(&str) -> bool) {
    bound_this(schema);
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for (name, property) in properties.iter_mut() {
            if is_foreign(name) { bound_this(property) } else { bound(property, is_foreign) }
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(inner) {
            bound(inner, is_foreign);
        }
    }
}

fn bound_this(schema: &mut Value) {
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
    fn what_has_a_bound_keeps_it_and_what_is_foreign_is_bounded_as_a_whole() {
        let mut schema = json!({ "type": "object", "properties": {
            "topics": { "type": "array", "items": { "type": "string" } },
            "few": { "type": "array", "maxItems": 2, "items": { "type": "string", "enum": ["a"] } },
            "secretsMap": { "type": "object", "additionalProperties": { "type": "string", "format": "date" } },
            "volumes": { "type": "array", "items": { "type": "string" } },
            "config": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
        } });
        bound(&mut schema, &|name| name == "volumes");
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
