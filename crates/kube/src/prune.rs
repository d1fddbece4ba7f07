//! Scans an object before it is decoded: finds `managedFields` to prune them, and the metadata for look-ups.
//!
//! One pass over the text without a tree and without recursion, so nesting and size do not matter. Each field is decoded
//! separately; one of the wrong type is treated as absent.

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;
use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::de::{DeserializeOwned, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Longest name of a Kubernetes object, in bytes.
const MAX_NAME_LEN: usize = 253;
/// Longest label value, UID and resource version, in bytes.
const MAX_STRING_LEN: usize = 128;
/// Finalizers and owner references that are kept of an object, and the longest of either, in bytes.
const MAX_ENTRIES: usize = 16;
const MAX_ENTRY_LEN: usize = 1024;

/// Keys of the content hashes, random in each process: a hash is compared with hashes of the same process only.
static CONTENT_KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The result of a scan.
pub struct ObjectScan<'a> {
    json: &'a str,
    /// Metadata for look-ups.
    pub metadata: ObjectMeta,
    /// `managedFields`, as JSON.
    pub managed_fields: Option<&'a str>,
    /// Labels, as JSON.
    pub labels: Option<&'a str>,
    /// Hash of the object without status, resource version and `managedFields`, and without its type, which items of lists
    /// lack.
    pub content: u64,
    /// The ranges of `managedFields` in the text, each with a comma.
    removed: Vec<Range<usize>>,
}

impl<'a> ObjectScan<'a> {
    /// Scans an object. Fails only if the text is not a JSON object.
    pub fn parse(json: &'a str) -> Result<Self, serde_json::Error> {
        let mut scan = Self {
            json,
            metadata: ObjectMeta::default(),
            managed_fields: None,
            labels: None,
            content: 0,
            removed: Vec::new(),
        };
        let mut metadata = Vec::new();
        let mut content = CONTENT_KEYS.build_hasher();
        members(json, |key, value| {
            if is_key(key, "metadata") {
                metadata.push(value);
            } else if !["status", "kind", "apiVersion"].iter().any(|name| is_key(key, name)) {
                hash_member(&mut content, key, value);
            }
        })?;
        for string in metadata {
            // The last of duplicate keys wins, as in serde_json.
            scan.metadata = ObjectMeta::default();
            (scan.managed_fields, scan.labels) = (None, None);
            scan.scan_metadata(string, &mut content);
        }
        scan.content = content.finish();
        Ok(scan)
    }

    fn scan_metadata(&mut self, string: &'a str, content: &mut impl Hasher) {
        let mut pruner =
            Pruner { json: self.json, removed: std::mem::take(&mut self.removed), ..Pruner::default() };
        // Metadata that are not an object have no members.
        _ = members(string, |key, value| {
            let is_managed_fields = is_key(key, "managedFields");
            pruner.member(key, value, is_managed_fields);
            if is_managed_fields {
                self.managed_fields = Some(value);
            } else {
                self.set_field(key, value);
                if !is_key(key, "resourceVersion") {
                    hash_member(content, key, value);
                }
            }
        });
        self.removed = pruner.end();
    }

    fn set_field(&mut self, key: &'a str, value: &'a str) {
        let Some(key) = string(key) else { return };
        let metadata = &mut self.metadata;
        match key.as_ref() {
            "name" => metadata.name = short_string(value, MAX_NAME_LEN),
            "namespace" => metadata.namespace = short_string(value, MAX_NAME_LEN),
            "uid" => metadata.uid = short_string(value, MAX_STRING_LEN),
            "resourceVersion" => metadata.resource_version = short_string(value, MAX_STRING_LEN),
            "generation" => metadata.generation = value_of(value),
            "deletionTimestamp" => metadata.deletion_timestamp = value_of(value),
            "finalizers" => metadata.finalizers = Some(short_strings(value)),
            "ownerReferences" => metadata.owner_references = Some(owner_references(value)),
            "labels" => self.labels = Some(value),
            _ => {}
        }
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<String> {
        string_member(self.labels?, name).filter(|value| value.len() <= MAX_STRING_LEN)
    }

    /// Bytes of the text without `managedFields`.
    pub fn pruned_len(&self) -> usize {
        self.json.len() - self.removed.iter().map(ExactSizeIterator::len).sum::<usize>()
    }

    /// The text without `managedFields`.
    pub fn pruned(&self) -> String {
        let mut string = String::with_capacity(self.pruned_len());
        let mut from = 0;
        for range in &self.removed {
            string.push_str(&self.json[from..range.start]);
            from = range.end;
        }
        string.push_str(&self.json[from..]);
        string
    }
}

fn hash_member(content: &mut impl Hasher, key: &str, value: &str) {
    for text in [key, value] {
        content.write(text.as_bytes());
        // Ends a text, so that two members never hash like one.
        content.write_u8(0xff);
    }
}

/// Collects the ranges to remove from an object so that the rest is valid JSON.
#[derive(Default)]
struct Pruner<'a> {
    json: &'a str,
    removed: Vec<Range<usize>>,
    /// The end of the last member that is kept.
    last_kept: Option<usize>,
    /// A removal whose end is not final: the next member may extend it.
    open_removal: Option<Range<usize>>,
}

impl<'a> Pruner<'a> {
    fn offset(&self, part: &str) -> usize {
        part.as_ptr().addr() - self.json.as_ptr().addr()
    }

    fn member(&mut self, key: &'a str, value: &'a str, is_removed: bool) {
        let (start, end) = (self.offset(key), self.offset(value) + value.len());
        if is_removed {
            // Includes the comma in front of it, if there is one.
            let start =
                self.open_removal.as_ref().map_or(self.last_kept.unwrap_or(start), |range| range.start);
            self.open_removal = Some(start..end);
            return;
        }
        if let Some(range) = self.open_removal.take() {
            // The first member has no comma in front of it: the comma behind it is removed.
            self.removed.push(range.start..if self.last_kept.is_some() { range.end } else { start });
        }
        self.last_kept = Some(end);
    }

    fn end(mut self) -> Vec<Range<usize>> {
        self.removed.extend(self.open_removal);
        self.removed
    }
}

/// Visits each member of a JSON object with the raw text of key and value.
fn members<'a>(json: &'a str, visit: impl FnMut(&'a str, &'a str)) -> Result<(), serde_json::Error> {
    struct Members<F>(F);
    impl<'a, F: FnMut(&'a str, &'a str)> Visitor<'a> for Members<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some((key, value)) = map.next_entry::<&'a RawValue, &'a RawValue>()? {
                (self.0)(key.get(), value.get());
            }
            Ok(())
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.deserialize_map(Members(visit))?;
    deserializer.end()
}

/// Whether a raw key equals a name once it is unescaped: `managed\u0046ields` is `managedFields`.
fn is_key(key: &str, wanted: &str) -> bool {
    string(key).is_some_and(|key| key == wanted)
}

/// A JSON string, unescaped.
fn string(json: &str) -> Option<Cow<'_, str>> {
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        _ => serde_json::from_str::<String>(json).ok().map(Cow::Owned),
    }
}

/// A JSON value, if it has this type.
fn value_of<T: DeserializeOwned>(json: &str) -> Option<T> {
    serde_json::from_str(json).ok()
}

fn short_string(json: &str, max_len: usize) -> Option<String> {
    string(json).filter(|string| string.len() <= max_len).map(Cow::into_owned)
}

/// The string value of a key of an object.
pub fn string_member(json: &str, wanted: &str) -> Option<String> {
    let mut found = None;
    members(json, |key, value| {
        if is_key(key, wanted) {
            found = Some(value);
        }
    })
    .ok()?;
    string(found?).map(Cow::into_owned)
}

/// The raw items of a list.
pub fn items(json: &str) -> Vec<&str> {
    struct Items;
    impl<'a> Visitor<'a> for Items {
        type Value = Vec<&'a str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while items.len() < MAX_ITEMS
                && let Some(item) = list.next_element::<&'a RawValue>()?
            {
                items.push(item.get());
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(items)
        }
    }
    serde_json::Deserializer::from_str(json).deserialize_seq(Items).unwrap_or_default()
}

/// Items of a list that are read.
const MAX_ITEMS: usize = 1024;

fn short_strings(json: &str) -> Vec<String> {
    let strings = items(json).into_iter().filter_map(|item| short_string(item, MAX_ENTRY_LEN));
    strings.take(MAX_ENTRIES).collect()
}

fn owner_references(json: &str) -> Vec<OwnerReference> {
    let items = items(json).into_iter().filter(|item| item.len() <= MAX_ENTRY_LEN);
    let mut owners: Vec<OwnerReference> = items.filter_map(value_of).collect();
    // The controller comes first, so that the limit never drops it.
    owners.sort_by_key(|owner| owner.controller != Some(true));
    owners.truncate(MAX_ENTRIES);
    owners
}
