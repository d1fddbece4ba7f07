//! The requests of `shadow`: it creates, changes and deletes objects as they were read.

use function_mesh_actions::FIELD_MANAGER;
use function_mesh_api::Function;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use serde_json::Value;

use super::{Cluster, ClusterError};
use crate::Failure;
use crate::object_ref::ObjectRef;

impl Cluster {
    /// Creates a function, which must not exist.
    pub(crate) fn create_function(&self, object: &Value) -> Result<(), Failure> {
        let id = ObjectRef::of(object);
        let kind = ApiResource::erase::<Function>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &id.namespace, &kind);
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        match self.runtime.block_on(api.create(&params, &object)) {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                Err(Failure::Message(format!("function/{} exists; promote or discard it first", id.name)))
            }
            Err(source) => Err(ClusterError::Change { verb: "create", id, source: Box::new(source) }.into()),
        }
    }

    /// Applies a JSON patch, whose operations test what they rely on.
    pub(crate) fn patch_json(&self, id: &ObjectRef, operations: &Value) -> Result<(), Failure> {
        let Some(kind) = function_mesh_actions::resource(&id.kind) else {
            return Err(Failure::Message(format!("{} cannot be changed", id.kind)));
        };
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &id.namespace, &kind);
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Json::<()>(serde_json::from_value(operations.clone())?);
        self.runtime.block_on(api.patch(&id.name, &params, &patch)).map_err(|source| {
            ClusterError::Change { verb: "change", id: id.clone(), source: Box::new(source) }
        })?;
        Ok(())
    }

    /// Deletes the function that has this UID.
    pub(crate) fn delete_function(&self, id: &ObjectRef, uid: &str) -> Result<(), ClusterError> {
        let api: Api<Function> = Api::namespaced(self.client.clone(), &id.namespace);
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.runtime.block_on(api.delete(&id.name, &params)) {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(source) => {
                Err(ClusterError::Change { verb: "delete", id: id.clone(), source: Box::new(source) })
            }
        }
    }
}
