//! Watches a kind as JSON, for programs that show objects of any version of the API.

use futures::{Stream, StreamExt};
use kube::Client;
use kube::api::ApiResource;
use kube::runtime::WatchStreamExt;
pub use kube::runtime::watcher::{Error as WatchError, Event as WatchEvent};
use serde_json::Value;

use crate::decode_error::DecodeError;
use crate::list_watch::{Item, Target, list_watch};
use crate::memory::Memory;

/// An object as JSON, with a name and a namespace.
#[derive(Clone, Debug)]
pub struct Object(pub Value);

impl Object {
    fn text(&self, pointer: &str) -> Option<&str> {
        self.0.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
    }
}

impl Item for Object {
    fn from_json(json: &str, _memory: &Memory) -> Result<Self, DecodeError> {
        let object = Self(serde_json::from_str(json).map_err(|error| DecodeError::from_json(&error))?);
        let is_named = object.text("/metadata/name").and(object.text("/metadata/namespace")).is_some();
        if is_named { Ok(object) } else { Err(DecodeError::unnamed()) }
    }

    fn resource_version(&self) -> Option<&str> {
        self.text("/metadata/resourceVersion")
    }
}

/// All objects of a kind in a namespace, or in all namespaces, then each change. The stream never ends; after an error it
/// resumes with more and more time between.
pub fn watch(
    client: &Client,
    resource: &ApiResource,
    namespace: Option<&str>,
    memory: &Memory,
) -> impl Stream<Item = Result<WatchEvent<Object>, WatchError>> + Send + use<> {
    let target = Target::dynamic(client, resource, namespace, memory);
    let kind = resource.kind.clone();
    let events = list_watch::<Object>(target, move |error| {
        tracing::debug!(%kind, %error, "skipped an object that cannot be decoded");
    });
    events.boxed().default_backoff()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_a_name_and_a_namespace() {
        let read = |json: &str| Object::from_json(json, &Memory::default());
        let object =
            read(r#"{"metadata":{"name":"a","namespace":"n","resourceVersion":"7"},"spec":1}"#).unwrap();
        assert_eq!(object.resource_version(), Some("7"));
        for wrong in [
            "{}",
            "[]",
            r#"{"metadata":{"name":"a"}}"#,
            r#"{"metadata":{"name":"","namespace":"n"}}"#,
            "SECRET",
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(!error.contains("SECRET"), "{error}");
        }
    }
}
