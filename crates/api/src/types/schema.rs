//! Fragments of the OpenAPI schema that cannot be derived from the types.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A string without a default, for fields that the schema requires. The Rust type accepts their absence, so that
/// validation names all missing fields at once.
pub(crate) fn string(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string" })
}

/// An object with unknown fields preserved. The map is atomic: server-side apply replaces it as a whole, so it never
/// mixes the fields of two managers.
pub(crate) fn free_form(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "nullable": true,
        "x-kubernetes-map-type": "atomic",
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// Quantities by resource, as strings or numbers.
pub(crate) fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "nullable": true,
        "additionalProperties": { "x-kubernetes-int-or-string": true },
    })
}

/// A whole number or a text.
pub(crate) fn int_or_string(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-int-or-string": true })
}
