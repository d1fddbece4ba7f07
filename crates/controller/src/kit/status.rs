//! Writing a status: one patch, of the status alone; and where the original operator had written one, another that
//! takes away what it said besides.

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::applied::applied;

/// Writes a status. That the object is gone meanwhile is no failure.
pub async fn write_status<K, S>(
    client: &Client,
    object: &K,
    status: &S,
    manager: &str,
) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + std::fmt::Debug,
    S: Serialize + Sync,
{
    let name = object.name_any();
    let api = Api::<K>::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    // The UID keeps the status of an object from ending up on a newer one of the same name.
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": name, "uid": object.uid() },
        "status": status,
    });
    let params =
        PatchParams { field_manager: Some(manager.to_owned()), force: true, ..PatchParams::default() };
    let mut written = api.patch_status(&name, &params, &applied(&body)?).await;
    if let Ok(object) = &written
        && let Some(nothing) = leftovers(&part(object), &body["status"])
    {
        let patch = json!({ "metadata": { "uid": object.uid() }, "status": nothing });
        let params = PatchParams { force: false, ..params };
        written = api.patch_status(&name, &params, &Patch::Merge(patch)).await;
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

/// The status of an object, as JSON.
fn part<K: Serialize>(object: &K) -> Value {
    let mut object = serde_json::to_value(object).unwrap_or_default();
    object.get_mut("status").map(Value::take).unwrap_or_default()
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
