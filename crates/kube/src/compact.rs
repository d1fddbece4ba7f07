//! Cached objects: the JSON from the API server without `managedFields`, compressed, plus the metadata for look-ups. Each
//! reconcile decodes its objects.
//!
//! An object never fails another one. The cache accepts any JSON object: it prunes the text without a tree and without
//! recursion, and decodes each metadata field separately. An object that does not decode fails its own reconcile only.
//! Errors quote fields and positions, never content, which may be a secret.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use kube::Resource;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::decode_error::{DecodeError, decode};
use crate::list_watch::Item;
use crate::memory::{CacheBudget, CacheReservation, Memory, cost};
use crate::pack::Packed;
use crate::prune::{ObjectScan, string_member};

/// An object in a cache, decoded on demand.
pub struct Compact<K> {
    metadata: ObjectMeta,
    content: u64,
    body: Body,
    kind: PhantomData<fn() -> K>,
}

#[derive(Clone)]
enum Body {
    Full(Arc<Full>),
    /// Too large for the cache: a reconcile reads it from the API server.
    Partial(Arc<PartialObject>),
}

/// The cached part of an object that is too large.
struct PartialObject {
    /// The memory that its reconcile takes, in bytes.
    cost: usize,
    annotations: Option<Box<str>>,
    status: Option<Box<str>>,
}

/// Longest annotations, and longest status, of a large object that are cached, in bytes.
const MAX_PARTIAL_LEN: usize = 4 << 10;

struct Full {
    /// The JSON.
    packed: Packed,
    /// The memory that a reconcile takes, in bytes, once it is known.
    cost: OnceLock<usize>,
    /// Its share of the cache budget.
    _reservation: Option<CacheReservation>,
}

impl<K> Compact<K> {
    /// Wraps an object. Fails only if the text is not a JSON object.
    pub fn from_json(json: &str) -> Result<Self, DecodeError> {
        Self::new(json, None)
    }

    /// The same within a cache budget: if it is spent, only metadata are kept.
    pub fn for_cache(json: &str, budget: &CacheBudget) -> Result<Self, DecodeError> {
        Self::new(json, Some(budget))
    }

    fn new(json: &str, budget: Option<&CacheBudget>) -> Result<Self, DecodeError> {
        let scan = ObjectScan::parse(json).map_err(|error| DecodeError::from_json(&error))?;
        let reservation = budget.map(|budget| budget.reserve(scan.pruned_len()));
        let body = if let Some(None) = reservation {
            let part = |json: Option<&str>| json.filter(|json| json.len() <= MAX_PARTIAL_LEN).map(Into::into);
            let (annotations, status) = (part(annotations(json)), part(status(json).map(RawValue::get)));
            Body::Partial(Arc::new(PartialObject { cost: cost(json), annotations, status }))
        } else {
            let text = scan.pruned();
            let dictionary =
                budget.and_then(|budget| budget.dictionaries.of(std::any::type_name::<K>(), &text));
            let packed = Packed::new(&text, dictionary);
            let cost = OnceLock::new();
            Body::Full(Arc::new(Full { packed, cost, _reservation: reservation.flatten() }))
        };
        Ok(Self { metadata: scan.metadata, content: scan.content, body, kind: PhantomData })
    }

    /// Whether only metadata are cached.
    pub fn is_large(&self) -> bool {
        matches!(self.body, Body::Partial(_))
    }

    /// Hash of the object without status, resource version and `managedFields`: two versions of an object with the same
    /// hash differ in their status only. It is comparable within this process.
    pub fn content(&self) -> u64 {
        self.content
    }

    /// The memory that a reconcile of it takes, in bytes; see
    /// [`Memory::try_reserve`](crate::memory::Memory::try_reserve).
    pub fn cost(&self) -> usize {
        match &self.body {
            Body::Full(full) => *full.cost.get_or_init(|| full.packed.text().map_or(0, |json| cost(&json))),
            Body::Partial(partial) => partial.cost,
        }
    }

    /// The value of an annotation, even if other annotations are invalid.
    pub fn annotation(&self, name: &str) -> Option<String> {
        match &self.body {
            Body::Full(full) => string_member(annotations(&full.packed.text()?)?, name),
            Body::Partial(partial) => string_member(partial.annotations.as_deref()?, name),
        }
    }

    /// The value of a label. None if only metadata are cached.
    pub fn label(&self, name: &str) -> Option<String> {
        ObjectScan::parse(&self.json()?).ok()?.label(name)
    }

    /// The status as JSON, if there is one in the cache.
    pub fn status(&self) -> Option<String> {
        match &self.body {
            Body::Full(full) => status(&full.packed.text()?).map(|status| status.get().to_owned()),
            Body::Partial(partial) => partial.status.as_deref().map(str::to_owned),
        }
    }

    /// The JSON without `managedFields`; None if only metadata are cached.
    pub fn json(&self) -> Option<String> {
        match &self.body {
            Body::Full(full) => full.packed.text(),
            Body::Partial(_) => None,
        }
    }
}

impl<K: DeserializeOwned> Compact<K> {
    /// Decodes the object.
    pub fn decode(&self) -> Result<K, DecodeError> {
        self.json().map_or(Err(DecodeError::not_cached()), |json| decode(&json))
    }
}

/// The `managedFields` of an object; None if they are missing or cannot be decoded.
pub fn managed_fields(json: &str) -> Option<Vec<ManagedFieldsEntry>> {
    let managed_fields = ObjectScan::parse(json).ok()?.managed_fields?;
    serde_json::from_str(managed_fields).ok()
}

/// Kinds whose status no reconcile reads. The status of an autoscaler changes every few seconds.
const WITHOUT_STATUS: [&str; 2] = ["HorizontalPodAutoscaler", "Service"];

impl<K: Resource<DynamicType = ()> + 'static> Item for Compact<K> {
    fn is_same_as(&self, before: &Self) -> bool {
        self.content == before.content && WITHOUT_STATUS.contains(&&*K::kind(&()))
    }

    fn resource_version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }

    fn from_json(json: &str, memory: &Memory) -> Result<Self, DecodeError> {
        let object = Self::for_cache(json, &memory.caches)?;
        if is_named(&object.metadata) { Ok(object) } else { Err(DecodeError::unnamed()) }
    }
}

/// Whether an object has a name and a namespace.
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
        Self {
            metadata: self.metadata.clone(),
            content: self.content,
            body: self.body.clone(),
            kind: PhantomData,
        }
    }
}

impl<K> fmt::Debug for Compact<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without content, which may be a secret.
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

/// All finalizers of an object; cached metadata contain a limited number of them.
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

/// The status of an object, of any shape.
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
