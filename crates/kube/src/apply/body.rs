//! Bodies of server-side apply, with the hash that shows a later reconcile what was applied.

use function_mesh_api::labels;
use function_mesh_workloads::diff::dedup_keyed_lists;
use kube::ResourceExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Child, ChildError};

/// A hash of the wanted object. As an annotation of the live object it shows a later reconcile, without reading
/// `managedFields`, that no field was wanted before that is not wanted now.
pub fn hash(body: &Value) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(body.to_string().as_bytes());
    digest.iter().take(16).fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn with_applied_hash<K: Child>(mut body: Value, hash: &str, live: Option<&K>) -> Value {
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(labels::APPLIED_HASH.to_owned(), Value::String(hash.to_owned()));
        }
        // Preconditions: the API server rejects the write for another object of that name, or a newer version.
        let mut precondition = |key: &str, value: Option<String>| {
            metadata.extend(value.map(|value| (key.to_owned(), Value::String(value))));
        };
        precondition("uid", live.and_then(ResourceExt::uid));
        precondition("resourceVersion", live.and_then(ResourceExt::resource_version));
    }
    body
}

/// An object as JSON for server-side apply.
pub(super) fn to_json<K: Child>(object: &K) -> Result<Value, ChildError> {
    let mut body = serde_json::to_value(object).map_err(|source| {
        let kind = K::kind(&()).into_owned();
        ChildError::Serialize { kind, name: object.name_any(), source }
    })?;
    dedup_keyed_lists(&mut body);
    Ok(body)
}
