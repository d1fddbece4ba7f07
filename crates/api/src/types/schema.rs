//! Pieces of the OpenAPI schema that the types alone do not give.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A plain string without a default: a field that the schema requires although the Rust type tolerates its
/// absence, so that rules can name every missing field at once.
pub(crate) fn string(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string" })
}

/// An object of which the API server keeps everything. It is one value: whoever applies it applies the whole, so that
/// nothing of another author's is left in it.
pub(crate) fn free_form(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "nullable": true,
        "x-kubernetes-map-type": "atomic",
        "x-kubernetes-preserve-unknown-fields": true,
    })
}
