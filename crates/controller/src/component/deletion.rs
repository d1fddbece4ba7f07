//! The end of a component whose subscriptions are to be removed: first its pods, so that nobody consumes any
//! more, then a Job that removes the subscriptions, then the finalizer. Each step is taken from what is there,
//! so that it does not matter who took the one before.
//!
//! Everything else that belongs to the component is the garbage collector's, as soon as the finalizer is gone.

use std::time::Duration;

use function_mesh_api::validate::valid_component;
use function_mesh_api::{Component, labels};
use function_mesh_workloads::{Cleanup, cleanup, names};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use kube::api::DeleteParams;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};

use super::{Context, Error, finalizer};
use crate::kit::children::{ChildError, Children, controller_of, is_owned_by};

/// Finalizer of an object whose children are to outlive it: `kubectl delete --cascade=orphan`.
const ORPHAN: &str = "orphan";

/// How far the end has come.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing of ours holds the object any more.
    Released,
    /// This has to happen first.
    Waiting(String),
}

/// How a Job ended.
enum End {
    Succeeded,
    Failed(String),
}

/// Takes the next step.
pub(super) async fn proceed<C: Component>(component: &C, context: &Context) -> Result<Step, Error> {
    if !finalizer::is_on(component.meta()) {
        return Ok(Step::Released);
    }
    let uid = component.uid().unwrap_or_default();
    let is_orphaning = component.finalizers().iter().any(|name| name == ORPHAN);
    if is_orphaning || !labels::is_managed(component.meta()) {
        return release(component, context).await;
    }
    let namespace = component.namespace().unwrap_or_default();
    let children = Children {
        client: &context.shared.client,
        namespace: &namespace,
        owner: &uid,
        manager: labels::managers::WORKLOAD,
    };
    let backends = context.shared.backends_for(&namespace).await.map_err(Error::observe)?;
    let waited = context.shared.patience.waited_for(&super::end_key(component));
    let limit = Duration::from_secs(context.shared.settings.cleanup_deadline.unsigned_abs());
    let work = match valid_component(component.clone()) {
        Ok(valid) => {
            let asked = cleanup(&valid, backends.as_backends(), &context.shared.settings);
            let Some(work) = asked else {
                // The wish was taken back.
                return match call_off(component, &children).await {
                    Ok(true) if waited <= limit => {
                        Ok(Step::Waiting("waiting for its clean-up to stop".to_owned()))
                    }
                    Err(error) if waited <= limit => Err(error.into()),
                    Ok(_) | Err(_) => release(component, context).await,
                };
            };
            work
        }
        Err(violations) => {
            let why = format!("what to clean up cannot be told: {violations}");
            return give_up(component, "its subscriptions", &why, context).await;
        }
    };
    let pods = match stop_pods(component, &children, context).await {
        // Nothing holds a deletion up for longer than that.
        Err(_) if waited > limit => Pods::Gone,
        pods => pods?,
    };
    match pods {
        Pods::Outlive => return release(component, context).await,
        Pods::Stopping if waited <= limit => {
            return Ok(Step::Waiting("waiting for its pods to stop".to_owned()));
        }
        Pods::Stopping | Pods::Gone => {}
    }
    let why = match clean_up(component, &work, &children).await {
        Ok(Some(End::Succeeded)) => {
            let note = format!("removed {}", work.leftovers);
            tell(component, true, "CleanedUp", &note, context).await;
            return release(component, context).await;
        }
        Ok(Some(End::Failed(why))) => why,
        Err(error) if is_terminating(&error) => {
            "the namespace is being deleted, nothing can run in it".to_owned()
        }
        // The Job has a limit of its own. This one is for when it cannot be made, or nobody looks after it.
        Err(error) if waited > limit * 3 => error.to_string(),
        Ok(None) if waited > limit * 3 => "the Job came to no end".to_owned(),
        Ok(None) => return Ok(Step::Waiting(format!("removing {}", work.leftovers))),
        Err(error) => return Err(error.into()),
    };
    give_up(component, &work.leftovers, &why, context).await
}

/// What becomes of the pods.
enum Pods {
    Stopping,
    Gone,
    /// The garbage collector has taken the owner off them: they are to stay. It
    /// may be done before we see that it was asked to.
    Outlive,
}

/// Deletes the StatefulSet in such a way that it is gone when its pods are.
async fn stop_pods<C: Component>(
    component: &C,
    children: &Children<'_>,
    context: &Context,
) -> Result<Pods, ChildError> {
    let name = names::stateful_set(&component.name_any(), C::ROLE);
    let cached = context.stateful_sets.get(&ObjectRef::new(&name).within(children.namespace));
    if cached
        .is_some_and(|live| is_owned_by(&*live, children.owner) && live.meta().deletion_timestamp.is_some())
    {
        return Ok(Pods::Stopping);
    }
    // The cache may be late: what was made a moment ago would go on consuming.
    let Some(live) = children.read::<StatefulSet>(&name).await? else { return Ok(Pods::Gone) };
    if controller_of(&live).is_none() && labels::annotation(&live.metadata, labels::APPLIED).is_some() {
        return Ok(Pods::Outlive);
    }
    if !is_owned_by(&live, children.owner) {
        return Ok(Pods::Gone);
    }
    if live.metadata.deletion_timestamp.is_none() {
        children.delete_after_its_own(&live).await?;
        context.shared.metrics.wrote("StatefulSet", "deleted");
    }
    Ok(Pods::Stopping)
}

/// Sees to it that the Job is there, and says how it ended.
async fn clean_up<C: Component>(
    component: &C,
    work: &Cleanup,
    children: &Children<'_>,
) -> Result<Option<End>, ChildError> {
    let name = names::cleanup_job(&component.name_any(), C::ROLE);
    let Some(job) = children.read::<Job>(&name).await? else {
        children.create(&work.job).await?;
        return Ok(None);
    };
    let is_ending = job.metadata.deletion_timestamp.is_some();
    let owner = job.labels().get(labels::OWNER);
    if owner.is_none() {
        let kind = Job::kind(&()).into_owned();
        return Err(ChildError::Foreign { kind, name, owner: "it cleans up after nothing".to_owned() });
    }
    if finalizer::is_sleeping(&job, children.owner) {
        if !is_ending {
            children.delete_exactly(&job, &DeleteParams::background()).await?;
        }
        return Ok(None);
    }
    let end = end_of(&job);
    if owner.is_some_and(|owner| owner == children.owner) {
        return Ok(end);
    }
    // It cleans up after an earlier object of this name, and makes room when it is done.
    if end.is_some() && !is_ending {
        children.delete_exactly(&job, &DeleteParams::background()).await?;
    }
    Ok(None)
}

/// Ends a clean-up that is under way, and says whether it has still to stop: it would go on without the component, and
/// remove later what is to stay.
async fn call_off<C: Component>(component: &C, children: &Children<'_>) -> Result<bool, ChildError> {
    let name = names::cleanup_job(&component.name_any(), C::ROLE);
    let Some(job) = children.read::<Job>(&name).await? else { return Ok(false) };
    if job.labels().get(labels::OWNER).is_none_or(|owner| owner != children.owner) || end_of(&job).is_some() {
        return Ok(false);
    }
    if job.metadata.deletion_timestamp.is_none() {
        children.delete_exactly(&job, &DeleteParams::foreground()).await?;
    }
    Ok(true)
}

fn end_of(job: &Job) -> Option<End> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let holds = |type_: &str| conditions.iter().find(|it| it.type_ == type_ && it.status == "True");
    if holds("Complete").is_some() {
        return Some(End::Succeeded);
    }
    let failed = holds("Failed")?;
    let name = job.name_any();
    let message = failed.message.as_deref().unwrap_or("it failed");
    Some(End::Failed(format!("Job {name}: {message}; see the log of its pods")))
}

/// Whether nothing more can be made in the namespace.
fn is_terminating(error: &ChildError) -> bool {
    let causes = error.status().and_then(|status| status.details.as_ref()).map(|details| &details.causes);
    causes.is_some_and(|causes| causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
}

async fn give_up<C: Component>(
    component: &C,
    left: &str,
    why: &str,
    context: &Context,
) -> Result<Step, Error> {
    tell(component, false, "NotCleanedUp", &format!("left in Pulsar: {left}; {why}"), context).await;
    release(component, context).await
}

async fn release<C: Component>(component: &C, context: &Context) -> Result<Step, Error> {
    finalizer::release::<C>(component.meta(), &context.shared.client).await?;
    context.shared.patience.forget(&super::end_key(component));
    Ok(Step::Released)
}

async fn tell<C: Component>(component: &C, normal: bool, reason: &str, note: &str, context: &Context) {
    tracing::info!(
        kind = C::ROLE.kind(),
        namespace = component.namespace(),
        name = component.name_any(),
        reason,
        note,
        "deletion"
    );
    context.shared.events.publish(&component.object_ref(&()), normal, reason, "CleanUp", note).await;
}
