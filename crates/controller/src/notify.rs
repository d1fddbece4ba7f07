//! Triggers reconciles of the objects that a changed one belongs to.

use function_mesh_api::{Component, FunctionMesh, labels};
use futures::Stream;
use futures::stream::StreamExt;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};

use crate::runtime::workers::Triggers;
use function_mesh_kube::apply::controller_of;
use function_mesh_kube::compact::Compact;

/// Triggers a reconcile of the component that the labels of an ownerless child name. Forwards the changes.
pub(crate) fn notify_of_orphans<K: Resource<DynamicType = ()> + 'static, C: Component>(
    changes: impl Stream<Item = Result<Compact<K>, watcher::Error>> + Send + 'static,
    components: Triggers<Compact<C>>,
) -> impl Stream<Item = Result<Compact<K>, watcher::Error>> + Send + 'static {
    changes.inspect(move |change| {
        if let Ok(child) = change
            && controller_of(child).is_none()
            && let Some(name) = child.label(labels::NAME)
        {
            components.change(&child.namespace().unwrap_or_default(), &name);
        }
    })
}

/// Triggers a reconcile of the owner mesh on each change of a component, deletions included: that of an ownerless one is
/// named by its label. Forwards the changes.
pub(crate) fn notify_owner_mesh<C: Component>(
    changes: impl Stream<Item = Result<Compact<C>, watcher::Error>> + Send + 'static,
    meshes: Triggers<Compact<FunctionMesh>>,
) -> impl Stream<Item = Result<Compact<C>, watcher::Error>> + Send + 'static {
    changes.inspect(move |change| {
        let Ok(object) = change else { return };
        let mesh = match controller_of(object) {
            Some(owner) if owner.kind == FunctionMesh::kind(&()) => Some(owner.name.clone()),
            Some(_) => None,
            None => object.label(labels::MESH),
        };
        if let Some(mesh) = mesh {
            meshes.change(&object.namespace().unwrap_or_default(), &mesh);
        }
    })
}
