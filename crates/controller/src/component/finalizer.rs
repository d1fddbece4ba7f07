//! The finalizer that blocks the deletion of a component until its subscriptions are deleted. Upstream's finalizer
//! counts too, and is replaced.

use function_mesh_api::{Component, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::core::{NamespaceResourceScope, Request};
use kube::{Client, Resource};
use serde_json::json;

use super::cleanup_jobs;
use crate::error::Error;
use function_mesh_kube::apply::ChildApplier;
use function_mesh_kube::request::send_for_text;

const ALL: [&str; 2] = [labels::CLEANUP_FINALIZER, labels::LEGACY_CLEANUP_FINALIZER];

/// Whether the object has our finalizer, or upstream's.
pub(super) fn has_finalizer(meta: &ObjectMeta) -> bool {
    meta.finalizers.iter().flatten().any(|name| ALL.contains(&name.as_str()))
}

/// The write of the finalizer of a live component.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// The finalizer is as wanted.
    None,
    /// Add or remove ours.
    Write { ours: Option<&'static str> },
    /// The same, replacing upstream's. Upstream creates a suspended clean-up Job together with the component.
    Replace { ours: Option<&'static str> },
}

/// Decides on the write: the finalizer is present if and only if a clean-up is wanted.
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

/// Removes the finalizer from a deleted object.
pub(super) async fn release<C>(meta: &ObjectMeta, client: &Client) -> Result<(), Error>
where
    C: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    write::<C>(meta, None, client).await
}

/// The resource version in the patch prevents overwriting a concurrent change of the finalizers.
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
    match send_for_text(client, request.patch(name, &params, &Patch::Merge(patch))).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(Error::Finalizer(Box::new(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_follows_present_and_wanted_finalizers() {
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
