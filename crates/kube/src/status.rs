//! Writing a status: one patch, of the status alone; and where the original operator had written one, another that
//! takes away what it said besides.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::api::{Patch, PatchParams};
use kube::core::Request;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::request::text;
use crate::ssa_patch::ssa_patch;

/// What was reported last of objects that cannot be decoded. Their status need not be decodable either, so it does not
/// tell; and what is written anew each time is a change each time.
#[derive(Debug, Default)]
pub struct Reported(Mutex<HashMap<String, String>>);

impl Reported {
    /// Notes what is reported of an object; false if it was reported before.
    pub fn note(&self, object: &str, message: &str) -> bool {
        let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = reported.insert(object.to_owned(), message.to_owned());
        before.is_none_or(|before| before != message)
    }

    /// The object is gone, or can be decoded.
    pub fn forget(&self, object: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
    }
}

/// Writes a status. That the object is gone meanwhile is no failure.
pub async fn write_status<K, S>(
    client: &Client,
    object: &K,
    status: &S,
    manager: &str,
) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    S: Serialize + Sync,
{
    let name = object.name_any();
    let request = Request::new(K::url_path(&(), object.meta().namespace.as_deref()));
    // The UID keeps the status of an object from ending up on a newer one of the same name.
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": name, "uid": object.uid() },
        "status": status,
    });
    let params =
        PatchParams { field_manager: Some(manager.to_owned()), force: true, ..PatchParams::default() };
    let patch = ssa_patch(&body)?;
    let mut written = text(client, request.patch_subresource("status", &name, &params, &patch)).await;
    if let Ok(json) = &written
        && let Some(nothing) = leftovers(&part(json), &body["status"])
    {
        let patch = json!({ "metadata": { "uid": object.uid() }, "status": nothing });
        let params = PatchParams { force: false, ..params };
        let patch = Patch::Merge(patch);
        written = text(client, request.patch_subresource("status", &name, &params, &patch)).await;
    }
    match written {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status))
            if status.is_not_found()
                || status.is_conflict() && object.uid().is_some() && is_gone(&status) =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// The status of an object. One that cannot be decoded has nothing that is known to be said besides.
fn part(json: &str) -> Value {
    let status = crate::compact::status(json).and_then(|status| serde_json::from_str(status.get()).ok());
    status.unwrap_or_default()
}

/// A patch that takes away what is said besides: the fields that somebody else wrote, who says nothing any more.
fn leftovers(live: &Value, wanted: &Value) -> Option<Value> {
    let (live, wanted) = (live.as_object()?, wanted.as_object()?);
    let besides: Map<_, _> = live
        .iter()
        .filter_map(|(key, value)| match wanted.get(key) {
            None | Some(Value::Null) => (!value.is_null()).then(|| (key.clone(), Value::Null)),
            Some(wanted) => Some((key.clone(), leftovers(value, wanted)?)),
        })
        .collect();
    (!besides.is_empty()).then_some(Value::Object(besides))
}

/// With a UID in the patch the API server answers "conflict" when the object is gone.
fn is_gone(status: &kube::core::Status) -> bool {
    status.message.contains("uid mismatch")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s1_what_cannot_be_decoded_is_reported_once() {
        let reported = Reported::default();
        let note = |message: &str| reported.note("function/n/f", message);
        assert_eq!((note("a"), note("a"), note("b"), note("a")), (true, false, true, true));
        reported.forget("function/n/f");
        assert!(note("a"));
    }

    #[test]
    fn what_is_said_besides_is_taken_away_and_nothing_else() {
        let wanted = json!({ "a": 1, "map": { "x": { "y": 2 } }, "list": [1], "none": null });
        assert_eq!(leftovers(&wanted, &wanted), None);
        let live =
            json!({ "a": 3, "b": 1, "map": { "x": { "y": 1, "z": 1 }, "w": {} }, "list": [1, 2], "none": 1 });
        let expected = json!({ "b": null, "map": { "x": { "z": null }, "w": null }, "none": null });
        assert_eq!(leftovers(&live, &wanted), Some(expected));
        assert_eq!(leftovers(&Value::Null, &wanted), None);
    }
}
