//! Status writes: one server-side apply of the status subresource. If upstream's operator wrote the status before, a
//! second patch removes the fields that only upstream set.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::api::{Patch, PatchParams};
use kube::core::Request;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::prune::ObjectScan;
use crate::request::send_for_text;
use crate::ssa_patch::ssa_patch;

/// The last error that was reported for each object that cannot be decoded. The status of such an object may not be
/// decodable either, so it cannot be compared; and a status write triggers the next reconcile.
#[derive(Debug, Default)]
pub struct ReportedErrors(Mutex<HashMap<String, String>>);

impl ReportedErrors {
    /// Records the error of an object; false if it is the same as before.
    pub fn record(&self, object: &str, message: &str) -> bool {
        let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = reported.insert(object.to_owned(), message.to_owned());
        before.is_none_or(|before| before != message)
    }

    /// Removes an object that is deleted, or can be decoded.
    pub fn forget(&self, object: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
    }
}

/// Writes a status, and returns the resource version of the object after it. An object that no longer exists is not an
/// error.
pub async fn write_status<K, S>(
    client: &Client,
    object: &K,
    status: &S,
    manager: &str,
) -> Result<Option<String>, kube::Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    S: Serialize + Sync,
{
    let name = object.name_any();
    let request = Request::new(K::url_path(&(), object.meta().namespace.as_deref()));
    // The UID prevents a write to a newer object of the same name.
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": name, "uid": object.uid() },
        "status": status,
    });
    let params =
        PatchParams { field_manager: Some(manager.to_owned()), force: true, ..PatchParams::default() };
    let patch = ssa_patch(&body)?;
    let mut written =
        send_for_text(client, request.patch_subresource("status", &name, &params, &patch)).await;
    if let Ok(json) = &written
        && let Some(removal) = stale_fields(&live_status(json), &body["status"])
    {
        let patch = json!({ "metadata": { "uid": object.uid() }, "status": removal });
        let params = PatchParams { force: false, ..params };
        let patch = Patch::Merge(patch);
        written = send_for_text(client, request.patch_subresource("status", &name, &params, &patch)).await;
    }
    match written {
        Ok(json) => Ok(ObjectScan::parse(&json).ok().and_then(|scan| scan.metadata.resource_version)),
        Err(kube::Error::Api(status))
            if status.is_not_found()
                || status.is_conflict() && object.uid().is_some() && is_gone(&status) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The status of an object; null if it cannot be decoded.
fn live_status(json: &str) -> Value {
    let status = crate::compact::status(json).and_then(|status| serde_json::from_str(status.get()).ok());
    status.unwrap_or_default()
}

/// A merge patch that removes the fields of the live status that are not wanted.
fn stale_fields(live: &Value, wanted: &Value) -> Option<Value> {
    let (live, wanted) = (live.as_object()?, wanted.as_object()?);
    let stale: Map<_, _> = live
        .iter()
        .filter_map(|(key, value)| match wanted.get(key) {
            None | Some(Value::Null) => (!value.is_null()).then(|| (key.clone(), Value::Null)),
            Some(wanted) => Some((key.clone(), stale_fields(value, wanted)?)),
        })
        .collect();
    (!stale.is_empty()).then_some(Value::Object(stale))
}

/// With a UID in the patch the API server responds with a conflict if the object no longer exists.
fn is_gone(status: &kube::core::Status) -> bool {
    status.message.contains("uid mismatch")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undecodable_object_is_reported_once() {
        let reported = ReportedErrors::default();
        let record = |message: &str| reported.record("function/n/f", message);
        assert_eq!((record("a"), record("a"), record("b"), record("a")), (true, false, true, true));
        reported.forget("function/n/f");
        assert!(record("a"));
    }

    #[test]
    fn stale_fields_removes_unwanted_fields_only() {
        let wanted = json!({ "a": 1, "map": { "x": { "y": 2 } }, "list": [1], "none": null });
        assert_eq!(stale_fields(&wanted, &wanted), None);
        let live =
            json!({ "a": 3, "b": 1, "map": { "x": { "y": 1, "z": 1 }, "w": {} }, "list": [1, 2], "none": 1 });
        let expected = json!({ "b": null, "map": { "x": { "z": null }, "w": null }, "none": null });
        assert_eq!(stale_fields(&live, &wanted), Some(expected));
        assert_eq!(stale_fields(&Value::Null, &wanted), None);
    }
}
