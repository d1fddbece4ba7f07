//! The finalizer that keeps a deleted component until its subscriptions are removed. The name that the
//! original operator used counts as well, and is replaced.

use function_mesh_api::{Component, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::core::{NamespaceResourceScope, Request};
use kube::{Client, Resource};
use serde_json::json;

use super::cleanup_jobs;
use crate::error::Error;
use function_mesh_kube::apply::ChildApplier;
use function_mesh_kube::request::text;

const ALL: [&str; 2] = [labels::CLEANUP_FINALIZER, labels::LEGACY_CLEANUP_FINALIZER];

/// Whether the object waits for a clean-up when it is deleted.
pub(super) fn is_on(meta: &ObjectMeta) -> bool {
    meta.finalizers.iter().flatten().any(|name| ALL.contains(&name.as_str()))
}

/// What to do about the finalizer of a live component.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// It is as wanted.
    None,
    /// Add or remove ours.
    Write { ours: Option<&'static str> },
    /// The same, in place of upstream's. Upstream made the clean-up Job together with the component, suspended.
    Replace { ours: Option<&'static str> },
}

/// Decides: the finalizer is there when a clean-up is wanted, and only then.
pub(super) fn step(meta: &ObjectMeta, is_wanted: bool) -> Step {
    let has = |name: &str| meta.finalizers.iter().flatten().any(|it| it == name);
    let ours = is_wanted.then_some(labels::CLEANUP_FINALIZER);
    if has(labels::LEGACY_CLEANUP_FINALIZER) {
        Step::Replace { ours }
    } else if is_wanted == has(labels::CLEANUP_FINALIZER) {
        Step::None
    } else {
        Step::Write { ours }
    }
}

/// Executes a step.
pub(super) async fn apply<C: Component>(
    step: Step,
    component: &C,
    children: &ChildApplier<'_>,
) -> Result<(), Error> {
    let ours = match step {
        Step::None => return Ok(()),
        Step::Write { ours } => ours,
        Step::Replace { ours } => {
            // This deletes upstream's suspended Job.
            cleanup_jobs::find(component, children).await?;
            ours
        }
    };
    write::<C>(component.meta(), ours, children.client).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decides_on_what_is_there_and_what_is_wanted() {
        let (new, old) = (labels::CLEANUP_FINALIZER, labels::LEGACY_CLEANUP_FINALIZER);
        for (there, is_wanted, expected) in [
            (&[][..], false, Step::None),
            (&[], true, Step::Write { ours: Some(new) }),
            (&[new], true, Step::None),
            (&[new], false, Step::Write { ours: None }),
            (&["a.io/b"], false, Step::None),
            (&[old], true, Step::Replace { ours: Some(new) }),
            (&[old, new], true, Step::Replace { ours: Some(new) }),
            (&[old], false, Step::Replace { ours: None }),
        ] {
            let finalizers = Some(there.iter().map(|name| (*name).to_owned()).collect());
            let meta = ObjectMeta { finalizers, ..ObjectMeta::default() };
            assert_eq!(step(&meta, is_wanted), expected, "{there:?}, wanted: {is_wanted}");
        }
    }
}
