//! Texts of cached objects, compressed.
//!
//! Objects of one kind are alike. The first one of a usual length is the dictionary of those that follow, which then take about a
//! tenth of their text; without a dictionary it is half. A dictionary lives as long as a text needs it.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use lz4_flex::block::{compress_prepend_size_with_dict, decompress_size_prepended_with_dict};

/// Lengths of a text that may become a dictionary, in bytes. LZ4 looks back by 64 KiB at most, the text itself included.
const USUAL: RangeInclusive<usize> = 256..=32 << 10;

/// The dictionaries of all kinds.
#[derive(Debug, Default)]
pub(crate) struct Dictionaries(Mutex<HashMap<&'static str, Dictionary>>);

type Dictionary = Arc<[u8]>;

impl Dictionaries {
    /// The dictionary of a kind. Without one, this text becomes it if its length is usual.
    pub(crate) fn of(&self, kind: &'static str, text: &str) -> Option<Dictionary> {
        let mut dictionaries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if USUAL.contains(&text.len()) {
            return Some(Arc::clone(dictionaries.entry(kind).or_insert_with(|| text.as_bytes().into())));
        }
        dictionaries.get(kind).cloned()
    }
}

/// A compressed text.
#[derive(Debug)]
pub(crate) struct Packed {
    bytes: Box<[u8]>,
    dictionary: Option<Dictionary>,
}

impl Packed {
    /// Compresses a text.
    pub(crate) fn new(text: &str, dictionary: Option<Dictionary>) -> Self {
        let known = dictionary.as_deref().unwrap_or_default();
        let bytes = compress_prepend_size_with_dict(text.as_bytes(), known).into_boxed_slice();
        Self { bytes, dictionary }
    }

    /// The text. This process has compressed it, so that it is never damaged.
    pub(crate) fn text(&self) -> Option<String> {
        let known = self.dictionary.as_deref().unwrap_or_default();
        String::from_utf8(decompress_size_prepended_with_dict(&self.bytes, known).ok()?).ok()
    }

    /// Its length as compressed, in bytes.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object(name: &str) -> String {
        let fields: Vec<_> = (0..60).map(|at| format!(r#""field-{at}":"a value of this field""#)).collect();
        format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{{}}}}}"#, fields.join(","))
    }

    #[test]
    fn objects_of_a_kind_take_a_tenth() {
        let dictionaries = Dictionaries::default();
        for name in ["one", "another", "a-third"] {
            let text = object(name);
            let packed = Packed::new(&text, dictionaries.of("kind", &text));
            assert_eq!(packed.text().as_deref(), Some(&*text));
            assert!(packed.len() * 10 < text.len(), "{} of {}", packed.len(), text.len());
        }
    }

    #[test]
    fn the_first_text_of_a_usual_length_is_the_dictionary() {
        let dictionaries = Dictionaries::default();
        let (short, long) = ("x".to_owned(), "x".repeat(USUAL.end() + 1));
        assert_eq!(dictionaries.of("kind", &short), None);
        assert_eq!(dictionaries.of("kind", &long), None);
        let first = dictionaries.of("kind", &object("first")).expect("a dictionary");
        for text in [short, long, object("second")] {
            assert_eq!(dictionaries.of("kind", &text).as_ref(), Some(&first));
        }
        assert_eq!(dictionaries.of("another", "{}"), None);
    }

    proptest! {
        /// Also with a dictionary that has nothing in common with the text.
        #[test]
        fn any_text_is_the_same_afterwards(text in "\\PC{0,400}", times in 1_usize..400, other in "\\PC{256,300}") {
            let text = text.repeat(times);
            for dictionary in [None, Some(Arc::from(other.as_bytes())), Some(Arc::from(text.as_bytes()))] {
                prop_assert_eq!(Packed::new(&text, dictionary).text(), Some(text.clone()));
            }
        }
    }
}
