//! What is read of an object before it is decoded: where its `managedFields` stand, and a few of its metadata.
//!
//! One pass over the text: neither a tree nor recursion, so neither depth nor size of what an object holds matters.
//! Each field is read alone, and one that has another form than it should counts as absent.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::de::{DeserializeOwned, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Longest name of an object that Kubernetes takes.
const LONGEST_NAME: usize = 253;
/// Longest label value, UID and version are below it.
const LONGEST_WORD: usize = 128;
/// Finalizers and owners that are held of an object, and how long each may be.
const MOST_ENTRIES: usize = 16;
const LONGEST_ENTRY: usize = 1024;

/// An object as it is read.
pub struct Lean<'a> {
    json: &'a str,
    /// Metadata by which an object is found.
    pub metadata: ObjectMeta,
    /// `managedFields`, as JSON.
    pub managers: Option<&'a str>,
    /// Labels, as JSON.
    pub labels: Option<&'a str>,
    /// Where `managedFields` stand, each with a comma.
    cuts: Vec<Range<usize>>,
}

impl<'a> Lean<'a> {
    /// Reads an object. It fails only where this is no JSON object.
    pub fn read(json: &'a str) -> Result<Self, serde_json::Error> {
        let mut lean =
            Self { json, metadata: ObjectMeta::default(), managers: None, labels: None, cuts: Vec::new() };
        let mut metadata = Vec::new();
        members(json, |key, value| {
            if is(key, "metadata") {
                metadata.push(value);
            }
        })?;
        for text in metadata {
            // The last one counts, as everywhere in JSON.
            lean.metadata = ObjectMeta::default();
            (lean.managers, lean.labels) = (None, None);
            lean.read_metadata(text);
        }
        Ok(lean)
    }

    fn read_metadata(&mut self, text: &'a str) {
        let mut cutter =
            Cutter { json: self.json, cuts: std::mem::take(&mut self.cuts), ..Cutter::default() };
        // What is no object has no members.
        _ = members(text, |key, value| {
            let is_managers = is(key, "managedFields");
            cutter.member(key, value, is_managers);
            if is_managers {
                self.managers = Some(value);
            } else {
                self.take(key, value);
            }
        });
        self.cuts = cutter.end();
    }

    fn take(&mut self, key: &'a str, value: &'a str) {
        let Some(key) = text(key) else { return };
        let metadata = &mut self.metadata;
        match key.as_ref() {
            "name" => metadata.name = word(value, LONGEST_NAME),
            "namespace" => metadata.namespace = word(value, LONGEST_NAME),
            "uid" => metadata.uid = word(value, LONGEST_WORD),
            "resourceVersion" => metadata.resource_version = word(value, LONGEST_WORD),
            "generation" => metadata.generation = value_of(value),
            "deletionTimestamp" => metadata.deletion_timestamp = value_of(value),
            "finalizers" => metadata.finalizers = Some(entries(value)),
            "ownerReferences" => metadata.owner_references = Some(owners(value)),
            "labels" => self.labels = Some(value),
            _ => {}
        }
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<String> {
        string_of(self.labels?, name).filter(|value| value.len() <= LONGEST_WORD)
    }

    /// Bytes of the text without `managedFields`.
    pub fn length(&self) -> usize {
        self.json.len() - self.cuts.iter().map(ExactSizeIterator::len).sum::<usize>()
    }

    /// The text without `managedFields`.
    pub fn without_managers(&self) -> String {
        let mut text = String::with_capacity(self.length());
        let mut from = 0;
        for cut in &self.cuts {
            text.push_str(&self.json[from..cut.start]);
            from = cut.end;
        }
        text.push_str(&self.json[from..]);
        text
    }
}

/// Finds what is to be cut out of an object so that it stays JSON.
#[derive(Default)]
struct Cutter<'a> {
    json: &'a str,
    cuts: Vec<Range<usize>>,
    /// Where the last member that stays ends.
    kept: Option<usize>,
    /// Where what is to be cut begins, and where it ends as far as is known.
    cut: Option<Range<usize>>,
}

impl<'a> Cutter<'a> {
    fn place(&self, part: &str) -> usize {
        part.as_ptr().addr() - self.json.as_ptr().addr()
    }

    fn member(&mut self, key: &'a str, value: &'a str, is_cut: bool) {
        let (start, end) = (self.place(key), self.place(value) + value.len());
        if is_cut {
            // With the comma before it, if there is one.
            let start = self.cut.as_ref().map_or(self.kept.unwrap_or(start), |cut| cut.start);
            self.cut = Some(start..end);
            return;
        }
        if let Some(cut) = self.cut.take() {
            // Nothing stands before it: then the comma after it goes.
            self.cuts.push(cut.start..if self.kept.is_some() { cut.end } else { start });
        }
        self.kept = Some(end);
    }

    fn end(mut self) -> Vec<Range<usize>> {
        self.cuts.extend(self.cut);
        self.cuts
    }
}

/// Tells of each member of a JSON object its key and value, as they are written.
fn members<'a>(json: &'a str, tell: impl FnMut(&'a str, &'a str)) -> Result<(), serde_json::Error> {
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
    deserializer.deserialize_map(Members(tell))?;
    deserializer.end()
}

/// Whether a key, as it is written, is this one: `managed\u0046ields` is one way to write `managedFields`.
fn is(key: &str, wanted: &str) -> bool {
    text(key).is_some_and(|key| key == wanted)
}

/// A JSON text.
fn text(json: &str) -> Option<Cow<'_, str>> {
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        _ => serde_json::from_str::<String>(json).ok().map(Cow::Owned),
    }
}

/// A JSON value, if it has this form.
fn value_of<T: DeserializeOwned>(json: &str) -> Option<T> {
    serde_json::from_str(json).ok()
}

fn word(json: &str, longest: usize) -> Option<String> {
    text(json).filter(|text| text.len() <= longest).map(Cow::into_owned)
}

/// The text that stands under this key of an object.
pub fn string_of(json: &str, wanted: &str) -> Option<String> {
    let mut found = None;
    members(json, |key, value| {
        if is(key, wanted) {
            found = Some(value);
        }
    })
    .ok()?;
    text(found?).map(Cow::into_owned)
}

/// The items of a list, as they are written.
pub fn items(json: &str) -> Vec<&str> {
    struct Items;
    impl<'a> Visitor<'a> for Items {
        type Value = Vec<&'a str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while items.len() < MOST_ITEMS
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

/// Items of a list that are looked at.
const MOST_ITEMS: usize = 1024;

fn entries(json: &str) -> Vec<String> {
    let entries = items(json).into_iter().filter_map(|item| word(item, LONGEST_ENTRY));
    entries.take(MOST_ENTRIES).collect()
}

fn owners(json: &str) -> Vec<OwnerReference> {
    let owners = items(json).into_iter().filter(|item| item.len() <= LONGEST_ENTRY);
    let mut owners: Vec<OwnerReference> = owners.filter_map(value_of).collect();
    // The one that controls it counts most.
    owners.sort_by_key(|owner| owner.controller != Some(true));
    owners.truncate(MOST_ENTRIES);
    owners
}
