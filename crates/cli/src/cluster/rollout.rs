//! The requests of `rollout`: revisions, and the annotations that it writes.

use std::fmt::Debug;

use function_mesh_api::labels;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Cluster, ClusterError, list_error, mesh_kinds};
use crate::object_ref::ObjectRef;

/// Field manager of what a user changes with this program.
pub(super) const FIELD_MANAGER: &str = "kubectl-mesh";

impl Cluster {
    /// Writes or removes an annotation of an object of a Function Mesh kind; None if the object does not exist.
    pub(crate) fn annotate(
        &self,
        id: &ObjectRef,
        key: &str,
        value: Option<&str>,
    ) -> Result<Option<()>, ClusterError> {
        let Some(kind) = mesh_kinds().into_iter().find(|kind| kind.kind == id.kind) else { return Ok(None) };
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &id.namespace, &kind);
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { key: value } } }));
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.runtime.block_on(api.patch(&id.name, &params, &patch)) {
            Ok(_) => Ok(Some(())),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            Err(source) => Err(ClusterError::Annotate { id: id.clone(), source: Box::new(source) }),
        }
    }

    /// A child of a component; None if it does not exist.
    pub(crate) fn child<K>(&self, namespace: &str, name: &str) -> Result<Option<K>, ClusterError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        self.runtime.block_on(api.get_opt(name)).map_err(|source| {
            let id = ObjectRef::new(&K::kind(&()), namespace, name);
            ClusterError::Get { id, source: Box::new(source) }
        })
    }

    /// The objects of a component that the object with this UID controls.
    pub(crate) fn owned<K>(
        &self,
        namespace: &str,
        component: &str,
        owner: &str,
    ) -> Result<Vec<K>, ClusterError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default().labels(&format!("{}={component}", labels::NAME));
        let kind = ApiResource::erase::<K>(&());
        let found = self.runtime.block_on(api.list(&params));
        let found = found.map_err(|source| list_error(&kind, Some(namespace), source))?;
        let is_owned = |object: &K| {
            object
                .meta()
                .owner_references
                .iter()
                .flatten()
                .any(|it| it.controller == Some(true) && it.uid == owner)
        };
        Ok(found.items.into_iter().filter(is_owned).collect())
    }
}
