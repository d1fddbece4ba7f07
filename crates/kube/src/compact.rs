//! Objects as caches hold them: the JSON that the API server sent, without `managedFields`, and beside it the
//! metadata by which they are found. They are decoded for each reconcile.
//!
//! The unit of failure is the object. Whatever an object holds, it is taken up: the text is cut without building a
//! tree and without recursion, and each field of the metadata is read alone. What does not decode is an error of that
//! object's own reconcile. Errors quote fields and positions, never content: that may be a password.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use kube::Resource;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::decode_error::{DecodeError, decode};
use crate::list_watch::Item;
use crate::memory::{CacheBudget, Memory, Share, cost};
use crate::prune::{Lean, string_of};

/// An object in a cache.
pub struct Compact<K> {
    metadata: ObjectMeta,
    body: Body,
    kind: PhantomData<fn() -> K>,
}

#[derive(Clone)]
enum Body {
    Held(Arc<Held>),
    /// Too large to be held in memory: who needs it reads it.
    Large(Arc<Rest>),
}

/// What is held of an object that is too large.
struct Rest {
    /// What work on it costs.
    cost: usize,
    annotations: Option<Box<str>>,
    status: Option<Box<str>>,
}

/// Longest part of a large object that is held.
const LONGEST_PART: usize = 4 << 10;

struct Held {
    json: Box<str>,
    /// What it takes of the budget of caches.
    _share: Option<Share>,
}

impl<K> Compact<K> {
    /// Takes an object up from its JSON. It fails only where this is no JSON object.
    pub fn from_json(json: &str) -> Result<Self, DecodeError> {
        Self::new(json, None)
    }

    /// The same for a cache: an object for which there is no room is not held, only its metadata are.
    pub fn for_cache(json: &str, budget: &CacheBudget) -> Result<Self, DecodeError> {
        Self::new(json, Some(budget))
    }

    fn new(json: &str, budget: Option<&CacheBudget>) -> Result<Self, DecodeError> {
        let lean = Lean::read(json).map_err(|error| DecodeError::of_json(&error))?;
        let share = budget.map(|budget| budget.admit(lean.length()));
        let body = if let Some(None) = share {
            let part = |json: Option<&str>| json.filter(|json| json.len() <= LONGEST_PART).map(Into::into);
            let (annotations, status) = (part(annotations(json)), part(status(json).map(RawValue::get)));
            Body::Large(Arc::new(Rest { cost: cost(json), annotations, status }))
        } else {
            Body::Held(Arc::new(Held { json: lean.without_managers().into(), _share: share.flatten() }))
        };
        Ok(Self { metadata: lean.metadata, body, kind: PhantomData })
    }

    /// Whether only its metadata are held.
    pub fn is_large(&self) -> bool {
        matches!(self.body, Body::Large(_))
    }

    /// What work on it costs; see [`Memory::room`](crate::memory::Memory::room).
    pub fn cost(&self) -> usize {
        match &self.body {
            Body::Held(held) => cost(&held.json),
            Body::Large(rest) => rest.cost,
        }
    }

    /// The value of an annotation, whatever the other ones are.
    pub fn annotation(&self, name: &str) -> Option<String> {
        string_of(
            match &self.body {
                Body::Held(held) => annotations(&held.json)?,
                Body::Large(rest) => rest.annotations.as_deref()?,
            },
            name,
        )
    }

    /// Its status as JSON, if it has one that is held.
    pub fn status(&self) -> Option<&str> {
        match &self.body {
            Body::Held(held) => status(&held.json).map(RawValue::get),
            Body::Large(rest) => rest.status.as_deref(),
        }
    }

    /// Its JSON without `managedFields`, if it is held.
    pub fn json(&self) -> Option<&str> {
        match &self.body {
            Body::Held(held) => Some(&held.json),
            Body::Large(_) => None,
        }
    }
}

impl<K: DeserializeOwned> Compact<K> {
    /// The object.
    pub fn decode(&self) -> Result<K, DecodeError> {
        self.json().map_or(Err(DecodeError::not_held()), decode)
    }
}

/// Who manages which fields of an object. What cannot be decoded counts as absent: it was not written by a program
/// whose fields we take over.
pub fn managers(json: &str) -> Option<Vec<ManagedFieldsEntry>> {
    let managers = Lean::read(json).ok()?.managers?;
    serde_json::from_str(managers).ok()
}

impl<K: 'static> Item for Compact<K> {
    fn from_json(json: &str, memory: &Memory) -> Result<Self, DecodeError> {
        let object = Self::for_cache(json, &memory.caches)?;
        if is_named(&object.metadata) { Ok(object) } else { Err(DecodeError::unnamed()) }
    }
}

/// Whether an object can be found again.
pub fn is_named(metadata: &ObjectMeta) -> bool {
    let is_there = |name: Option<&String>| name.is_some_and(|name| !name.is_empty());
    is_there(metadata.name.as_ref()) && is_there(metadata.namespace.as_ref())
}

impl<'de, K> Deserialize<'de> for Compact<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_json(json.get()).map_err(D::Error::custom)
    }
}

impl<K> Clone for Compact<K> {
    fn clone(&self) -> Self {
        Self { metadata: self.metadata.clone(), body: self.body.clone(), kind: PhantomData }
    }
}

impl<K> fmt::Debug for Compact<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not its content: that may hold passwords.
        f.debug_struct("Compact").field("name", &self.metadata.name).finish_non_exhaustive()
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Compact<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        K::kind(&())
    }
    fn group((): &()) -> std::borrow::Cow<'_, str> {
        K::group(&())
    }
    fn version((): &()) -> std::borrow::Cow<'_, str> {
        K::version(&())
    }
    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        K::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// All finalizers of an object: a cache holds no more of them than an object usually has.
pub fn finalizers(json: &str) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        #[serde(default)]
        finalizers: Option<Vec<String>>,
    }
    let object: Object = serde_json::from_str(json).ok()?;
    Some(object.metadata.finalizers.unwrap_or_default())
}

/// A field of the status of an object, which may be of any form.
pub fn status(json: &str) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Object<'a> {
        #[serde(borrow, default)]
        status: Option<&'a RawValue>,
    }
    serde_json::from_str::<Object<'_>>(json).ok()?.status
}

fn annotations(json: &str) -> Option<&str> {
    #[derive(Deserialize)]
    struct Object<'a> {
        #[serde(borrow)]
        metadata: Metadata<'a>,
    }
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow, default)]
        annotations: Option<&'a RawValue>,
    }
    Some(serde_json::from_str::<Object<'_>>(json).ok()?.metadata.annotations?.get())
}

#[cfg(test)]
mod tests;
