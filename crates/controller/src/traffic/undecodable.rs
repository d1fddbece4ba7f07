//! Objects that cannot be decoded, so that the same content is not tried again each second.

use std::collections::HashMap;

/// Hashes of the content, by key of the object.
#[derive(Debug, Default)]
pub(super) struct Undecodable {
    known: HashMap<String, u64>,
    /// Those of the current visit of all objects.
    seen: HashMap<String, u64>,
}

impl Undecodable {
    /// Whether this content was not decodable before. It then stays known after this visit.
    pub(super) fn is_known(&mut self, key: &str, content: u64) -> bool {
        let is_known = self.known.get(key) == Some(&content);
        if is_known {
            self.seen.insert(key.to_owned(), content);
        }
        is_known
    }

    /// Notes content that cannot be decoded.
    pub(super) fn note(&mut self, key: String, content: u64) {
        self.seen.insert(key, content);
    }

    /// All objects were visited: forgets those that are deleted or decodable by now.
    pub(super) fn end_visit(&mut self) {
        self.known = std::mem::take(&mut self.seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleted_and_repaired_objects_are_forgotten() {
        let mut undecodable = Undecodable::default();
        for key in ["deleted", "repaired", "kept"] {
            assert!(!undecodable.is_known(key, 1));
            undecodable.note(key.to_owned(), 1);
        }
        undecodable.end_visit();
        assert!(undecodable.is_known("kept", 1));
        assert!(!undecodable.is_known("repaired", 2));
        undecodable.end_visit();
        assert_eq!(undecodable.known.into_keys().collect::<Vec<_>>(), ["kept"]);
    }
}
