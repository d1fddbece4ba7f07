//! The finalizer that keeps a deleted component until its subscriptions are removed. The name that the
//! original operator used counts as well, and is replaced.

use function_mesh_api::{Component, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::core::{NamespaceResourceScope, Request};
use kube::{Client, Resource};
use serde_json::json;

use super::{Context, Error, cleanup_jobs};
use crate::kit::answer::text;
use crate::kit::children::Children;

const ALL: [&str; 2] = [labels::CLEANUP_FINALIZER, labels::LEGACY_CLEANUP_FINALIZER];

/// Whether the object waits for a clean-up when it is deleted.
pub(super) fn is_on(meta: &ObjectMeta) -> bool {
    meta.finalizers.iter().flatten().any(|name| ALL.contains(&name.as_str()))
}

/// Sees to it that the finalizer is there when a clean-up is wanted, and only then. It has to be there before
/// the first pod is, since that one subscribes.
pub(super) async fn align<C: Component>(
    component: &C,
    is_wanted: bool,
    children: &Children<'_>,
    context: &Context,
) -> Result<(), Error> {
    let meta = component.meta();
    let has = |name: &str| meta.finalizers.iter().flatten().any(|it| it == name);
    let is_legacy = has(labels::LEGACY_CLEANUP_FINALIZER);
    if is_wanted == has(labels::CLEANUP_FINALIZER) && !is_legacy {
        return Ok(());
    }
    if is_legacy {
        // The original operator made the Job together with the component and left it asleep for all of its life.
        cleanup_jobs::find(component, children).await?;
    }
    let wanted = is_wanted.then_some(labels::CLEANUP_FINALIZER);
    write::<C>(meta, wanted, &context.shared.client).await
}

/// Lets a deleted object go.
pub(super) async fn release<C>(meta: &ObjectMeta, client: &Client) -> Result<(), Error>
where
    C: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    write::<C>(meta, None, client).await
}

/// The version in it keeps the patch from undoing what somebody else did to the list meanwhile.
async fn write<C>(meta: &ObjectMeta, ours: Option<&str>, client: &Client) -> Result<(), Error>
where
    C: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let others = meta.finalizers.iter().flatten().map(String::as_str).filter(|name| !ALL.contains(name));
    let finalizers: Vec<_> = others.chain(ours).collect();
    let patch = json!({ "metadata": { "resourceVersion": meta.resource_version, "finalizers": finalizers } });
    let params =
        PatchParams { field_manager: Some(labels::managers::FINALIZER.to_owned()), ..PatchParams::default() };
    let request = Request::new(C::url_path(&(), meta.namespace.as_deref()));
    let name = meta.name.as_deref().unwrap_or_default();
    match text(client, request.patch(name, &params, &Patch::Merge(patch))).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(Error::Finalizer(Box::new(error))),
    }
}
