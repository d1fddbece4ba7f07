//! The version of an object as people mean it: its spec and its annotations, and not its status.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A text that changes with the object, its spec or its annotations. The resource version changes with each number in the
/// status too, which is no reason to reject an action.
pub fn version(object: &Value) -> String {
    let metadata = |field: &str| object.pointer(&format!("/metadata/{field}"));
    let parts = json!([metadata("uid"), metadata("generation"), metadata("annotations")]);
    Sha256::digest(parts.to_string()).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_no_part_of_the_version() {
        let object = |uid: &str, generation: u8, annotation: &str, status: u8| {
            let annotations = json!({ "a": annotation });
            let metadata = json!({ "uid": uid, "generation": generation, "annotations": annotations, "resourceVersion": status.to_string() });
            version(&json!({ "metadata": metadata, "status": { "n": status } }))
        };
        let seen = object("u", 1, "x", 1);
        assert_eq!(seen, object("u", 1, "x", 2));
        for other in [object("v", 1, "x", 1), object("u", 2, "x", 1), object("u", 1, "y", 1)] {
            assert_ne!(seen, other);
        }
        assert_eq!(seen.len(), 64);
    }
}
