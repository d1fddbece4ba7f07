//! One reconcile of a component that is being deleted.

use function_mesh_api::Component;
use function_mesh_api::conditions::Reason;
use function_mesh_api::validate::Violations;
use function_mesh_kube::compact::{Compact, finalizers};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};

use super::delete::{self, Progress};
use super::status::Outcome;
use super::{Context, ReconcileResult, children, cleanup_step, finalizer};
use crate::error::{Error, RECHECK};
use crate::runtime::workers::Action;

/// The garbage collector deletes the children of a component by their owner references. The clean-up of subscriptions
/// comes first; it is decided on the newest version of the component, since it cannot be undone.
pub(super) async fn reconcile_delete<C: Component>(
    component: &mut C,
    context: &Context,
) -> Result<ReconcileResult, Error> {
    if let Err(violations) = context.shared.protected.check(component.namespace().as_deref()) {
        return delete_in_protected_namespace(&*component, &violations, context).await;
    }
    if finalizer::has_finalizer(component.meta()) {
        let namespace = component.namespace().unwrap_or_default();
        let newest = children(context, &namespace, "").read::<C>(&component.name_any()).await?;
        match newest.filter(|newest| newest.meta().uid == component.meta().uid) {
            Some(newest) => *component = newest,
            None => return Ok((None, Action::await_change())),
        }
    }
    Ok(match delete::run_next_step(component, context).await? {
        Progress::Released => (None, Action::await_change()),
        Progress::Waiting(what) => (Some(Outcome::Deleting(what)), Action::requeue(RECHECK)),
        Progress::Terminating(retired) => {
            component.status_mut().get_or_insert_default().retired_subscriptions = retired;
            (Some(Outcome::Deleting(cleanup_step::WAITING_FOR_PODS.to_owned())), Action::requeue(RECHECK))
        }
    })
}

/// Deletes a component in a protected namespace without a clean-up: the operator runs no Job there.
async fn delete_in_protected_namespace<C: Component>(
    component: &C,
    violations: &Violations,
    context: &Context,
) -> Result<ReconcileResult, Error> {
    if finalizer::has_finalizer(component.meta()) {
        let note = format!("subscriptions not deleted: {violations}");
        let regarding = component.object_ref(&());
        context.shared.events.publish(&regarding, false, Reason::CleanupFailed, "CleanUp", &note).await;
        finalizer::release::<C>(component.meta(), &context.shared.client).await?;
    }
    Ok((None, Action::await_change()))
}

/// Removes the finalizer of an object that is being deleted and cannot be decoded, without a clean-up.
pub(super) async fn release_undecodable<C: Component>(
    object: &Compact<C>,
    context: &Context,
) -> Result<(), Error> {
    let json = object.json().unwrap_or_default();
    if finalizer::has_finalizer(object.meta()) {
        let note = "subscriptions not deleted: object cannot be decoded";
        let regarding = object.object_ref(&());
        context.shared.events.publish(&regarding, false, Reason::CleanupFailed, "CleanUp", note).await;
        let metadata = ObjectMeta { finalizers: finalizers(&json), ..object.meta().clone() };
        finalizer::release::<C>(&metadata, &context.shared.client).await?;
    }
    Ok(())
}
