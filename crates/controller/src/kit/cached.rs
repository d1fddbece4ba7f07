//! Objects as caches hold them: as compact JSON, with only the metadata by which they are found beside it.
//!
//! A StatefulSet takes 6 KB that way, and 40 as a structure with all that the API server sends. It is opened for
//! each reconcile, which takes some tens of microseconds. One that does not have the form of its kind is one
//! object's problem, and hinders no other.

use std::fmt;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An object in a cache.
pub struct Cached<K> {
    metadata: ObjectMeta,
    json: Box<str>,
    kind: PhantomData<fn() -> K>,
}

/// Why an object cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unreadable {
    /// Its metadata, as far as it is held.
    pub metadata: Box<ObjectMeta>,
    /// What does not have the form of its kind.
    pub error: String,
}

impl<K: DeserializeOwned> Cached<K> {
    /// The object.
    pub fn open(&self) -> Result<K, Unreadable> {
        serde_json::from_str(&self.json).map_err(|error| Unreadable {
            metadata: Box::new(self.metadata.clone()),
            error: error.to_string(),
        })
    }
}

impl<'de, K> Deserialize<'de> for Cached<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = Value::deserialize(deserializer)?;
        // Half of an object's size, and nothing here reads it.
        _ = object
            .get_mut("metadata")
            .and_then(Value::as_object_mut)
            .map(|meta| meta.remove("managedFields"));
        let metadata = object.get("metadata").cloned().unwrap_or_default();
        let metadata: ObjectMeta = serde_json::from_value(metadata).map_err(D::Error::custom)?;
        let metadata = ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            generation: metadata.generation,
            deletion_timestamp: metadata.deletion_timestamp,
            finalizers: metadata.finalizers,
            owner_references: metadata.owner_references,
            ..ObjectMeta::default()
        };
        Ok(Self { metadata, json: object.to_string().into(), kind: PhantomData })
    }
}

impl<K> Clone for Cached<K> {
    fn clone(&self) -> Self {
        Self { metadata: self.metadata.clone(), json: self.json.clone(), kind: PhantomData }
    }
}

impl<K> fmt::Debug for Cached<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not its content: that may hold passwords.
        f.debug_struct("Cached").field("name", &self.metadata.name).finish_non_exhaustive()
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Cached<K> {
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

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use kube::ResourceExt;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_opened_as_it_came_without_its_managers() {
        let object = json!({
            "metadata": { "name": "s", "namespace": "n", "labels": { "a": "b" }, "managedFields": [{ "manager": "m" }] },
            "spec": { "clusterIP": "None" },
        });
        let cached: Cached<Service> = serde_json::from_value(object).expect("an object");
        assert_eq!((cached.name_any().as_str(), cached.namespace().as_deref()), ("s", Some("n")));
        let service = cached.open().expect("a Service");
        assert_eq!(service.metadata.labels.as_ref().map(|labels| labels["a"].as_str()), Some("b"));
        assert_eq!(service.metadata.managed_fields, None);
        assert_eq!(service.spec.and_then(|spec| spec.cluster_ip).as_deref(), Some("None"));
    }

    #[test]
    fn what_has_another_form_is_held_and_told() {
        let object = json!({ "metadata": { "name": "s" }, "spec": 3 });
        let cached: Cached<Service> = serde_json::from_value(object).expect("an object");
        let fault = cached.open().expect_err("no Service");
        assert_eq!(fault.metadata.name.as_deref(), Some("s"));
        assert!(fault.error.contains("invalid type: integer"), "{fault}");
    }
}
