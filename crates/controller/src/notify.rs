//! Triggers reconciles of the objects that a changed one belongs to.

use std::future::ready;
use std::sync::Arc;

use function_mesh_api::{Component, FunctionMesh, labels};
use futures::Stream;
use futures::stream::StreamExt;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};

use crate::context::Shared;
use crate::runtime::workers::Triggers;
use function_mesh_kube::apply::controller_of;
use function_mesh_kube::compact::Compact;

/// The changes of children that reconciles of their components have not made themselves. Triggers a reconcile of the
/// component that the labels of an ownerless child name.
pub(crate) fn child_changes<K: Resource<DynamicType = ()> + Send + 'static, C: Component>(
    changes: impl Stream<Item = Result<Compact<K>, watcher::Error>> + Send + 'static,
    components: Triggers<Compact<C>>,
    shared: Arc<Shared>,
) -> impl Stream<Item = Result<Compact<K>, watcher::Error>> + Send + 'static {
    without_echoes(notify_of_orphans(changes, components), shared, uid_of_controller)
}

/// Triggers a reconcile of the component that the labels of an ownerless child name. Forwards the changes.
fn notify_of_orphans<K: Resource<DynamicType = ()> + 'static, C: Component>(
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

/// The changes without the echoes of what reconciles wrote for the object whose UID `owner` finds.
pub(crate) fn without_echoes<K: Resource<DynamicType = ()> + Send + 'static>(
    changes: impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
    shared: Arc<Shared>,
    owner: fn(&K) -> Option<&str>,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + 'static {
    changes.filter(move |change| {
        let is_echo = change.as_ref().is_ok_and(|object| is_echo(object, owner(object), &shared));
        ready(!is_echo)
    })
}

fn is_echo<K: Resource>(object: &K, owner: Option<&str>, shared: &Shared) -> bool {
    let version = object.meta().resource_version.as_deref();
    owner.zip(version).is_some_and(|(owner, version)| shared.echoes.is_echo(owner, version))
}

/// The UID of an object.
pub(crate) fn own_uid<K: Resource>(object: &K) -> Option<&str> {
    object.meta().uid.as_deref()
}

/// The UID of the controller of an object.
fn uid_of_controller<K: Resource>(object: &K) -> Option<&str> {
    controller_of(object).map(|owner| owner.uid.as_str())
}

/// Triggers a reconcile of the owner mesh on each change of a component that the mesh has not made itself, deletions
/// included: the mesh of an ownerless one is named by its label. Forwards the changes.
pub(crate) fn notify_owner_mesh<C: Component>(
    changes: impl Stream<Item = Result<Compact<C>, watcher::Error>> + Send + 'static,
    meshes: Triggers<Compact<FunctionMesh>>,
    shared: Arc<Shared>,
) -> impl Stream<Item = Result<Compact<C>, watcher::Error>> + Send + 'static {
    changes.inspect(move |change| {
        let Ok(object) = change else { return };
        if is_echo(object, uid_of_controller(object), &shared) {
            return;
        }
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
