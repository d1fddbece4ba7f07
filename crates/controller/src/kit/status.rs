//! Writing a status: one patch, of the status alone.

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

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
    match api.patch_status(&name, &params, &Patch::Apply(body)).await {
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

/// With a UID in the patch the API server answers "conflict" when the object is gone.
fn is_gone(status: &kube::core::Status) -> bool {
    status.message.contains("uid mismatch")
}
