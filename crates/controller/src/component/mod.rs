//! The controller of Functions, Sources and Sinks: one driver for the three.
//!
//! ```text
//! observe ──> validate ──> plan ──────────> apply ──> report
//!   all reads   api          pure: renders     writes    status and events, on every path
//! ```

mod apply;
mod cleanup_jobs;
mod delete;
mod deletion;
mod finalizer;
mod immutable;
mod observe;
mod pending;
mod plan;
pub(crate) mod pods;
mod report;
mod sharing;
mod specification;
mod status;
mod subscribed;
mod summary;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use function_mesh_api::conditions::Reason;
use function_mesh_api::validate::{Violations, valid_component};
use function_mesh_api::{Component, Role, labels};
use function_mesh_workloads::{check_arguments, names, render};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::context::Shared;
use crate::error::{Error, RECHECK, RECHECK_LEFT_OVER};
use crate::reconciler::{Reconciler, Round};
use crate::runtime::queue::Key;
use crate::runtime::workers::Action;
use function_mesh_kube::apply::ChildApplier;
use function_mesh_kube::cache::Cache;
use function_mesh_kube::compact::{Compact, finalizers};
use function_mesh_kube::decode_error::DecodeError;

use delete::Progress;
pub use sharing::Peers;
pub use status::{Applied, Outcome, Seen, status_of};
pub use summary::{JobSummary, PodSummary};

/// What the controller of one kind of component has to hand.
pub struct Context {
    /// What all controllers share.
    pub shared: Arc<Shared>,
    /// StatefulSets of components of this kind.
    pub stateful_sets: Cache<Compact<StatefulSet>>,
    /// Services of components of this kind.
    pub services: Cache<Compact<Service>>,
    /// Autoscalers of components of this kind.
    pub autoscalers: Cache<Compact<HorizontalPodAutoscaler>>,
    /// Pods of components of this kind.
    pub pods: Cache<PodSummary>,
    /// All components, of every kind.
    pub peers: Peers,
}

impl Context {
    /// Whether all caches are full of a namespace; see [`Cache::has_synced_for`]. Else it would look as if children
    /// or defaults were missing.
    pub async fn is_complete(&self, namespace: &str) -> bool {
        self.stateful_sets.has_synced_for(namespace).await
            && self.services.has_synced_for(namespace).await
            && self.autoscalers.has_synced_for(namespace).await
            && self.pods.has_synced_for(namespace).await
            && self.shared.has_backends(namespace).await
    }

    /// What work on a component costs: with those of its children that are too large to be held.
    fn cost<C: Component>(&self, object: &Compact<C>) -> usize {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        let workload = names::stateful_set(&object.name_any(), C::ROLE);
        let service = names::service(&object.name_any(), C::ROLE);
        object.cost()
            + self.stateful_sets.cost_of_large(&workload, namespace)
            + self.services.cost_of_large(&service, namespace)
            + self.autoscalers.cost_of_large(&workload, namespace)
    }
}

/// Reconciles components of one kind.
pub struct ComponentReconciler<C> {
    context: Arc<Context>,
    kind: PhantomData<fn() -> C>,
}

impl<C> ComponentReconciler<C> {
    /// A reconciler with this context.
    pub fn new(context: Arc<Context>) -> Self {
        Self { context, kind: PhantomData }
    }
}

impl<C: Component> Reconciler for ComponentReconciler<C> {
    type Object = C;
    type Outcome = Outcome;

    const KIND: &'static str = C::ROLE.kind();
    const PREFIX: &'static str = prefix::<C>();

    fn shared(&self) -> &Shared {
        &self.context.shared
    }

    async fn has_synced(&self, namespace: &str) -> bool {
        self.context.is_complete(namespace).await
    }

    fn cost(&self, object: &Compact<C>) -> usize {
        self.context.cost(object)
    }

    async fn run(&self, component: &mut C) -> Round<Outcome> {
        let result = if component.meta().deletion_timestamp.is_some() {
            reconcile_delete(component, &self.context).await
        } else if labels::is_managed(component.meta()) {
            reconcile_spec(component, &self.context).await
        } else {
            return Round::Skipped;
        };
        match result {
            Ok((Some(outcome), action)) => Round::Done(outcome, action),
            Ok((None, action)) => Round::Silent(Ok(action)),
            Err(error) => Round::Done(Outcome::Failed(error), Action::await_change()),
        }
    }

    fn error(outcome: &Outcome) -> Option<&Error> {
        match outcome {
            Outcome::Failed(error) => Some(error),
            Outcome::Applied(_) | Outcome::Waiting(_) | Outcome::Deleting(_) => None,
        }
    }

    fn into_error(outcome: Outcome) -> Option<Error> {
        match outcome {
            Outcome::Failed(error) => Some(error),
            Outcome::Applied(_) | Outcome::Waiting(_) | Outcome::Deleting(_) => None,
        }
    }

    async fn report(&self, component: &C, outcome: &Outcome) -> Result<Option<Duration>, kube::Error> {
        report::report(component, outcome, self.shared()).await
    }

    async fn undecodable(&self, fault: DecodeError, object: &Compact<C>) -> Result<(), Error> {
        undecodable(fault, object, &self.context).await
    }
}

/// What is to be reported, if anything is left to report on, and when to look again.
type Done = (Option<Outcome>, Action);

async fn reconcile_spec<C: Component>(component: &C, context: &Context) -> Result<Done, Error> {
    let namespace = component.namespace().unwrap_or_default();
    context.shared.protected.check(Some(&namespace)).map_err(Error::Invalid)?;
    let observed = observe::observe(component, context).await?;
    let plan = || {
        let valid = valid_component(component.clone())?;
        let workload = render(&valid, observed.backends.as_backends(), &context.shared.settings);
        check_arguments(&workload.stateful_set)?;
        Ok(plan::plan(component, &valid, workload, &observed))
    };
    let plan = context.shared.compute.run(&namespace, plan).await.map_err(Error::Invalid)?;
    if !observed.left_over_jobs.is_empty() {
        let waits_for = stop_left_over(component, &observed.left_over_jobs, context).await?;
        return Ok((Some(Outcome::Waiting(waits_for)), Action::requeue(RECHECK_LEFT_OVER)));
    }
    // Boxed, since it holds all children by value.
    let applied = match Box::pin(apply::apply(component, plan, context)).await {
        Err(error) if error.is_left_over() => {
            return Ok((Some(Outcome::Waiting(error.to_string())), Action::requeue(RECHECK_LEFT_OVER)));
        }
        result => result?,
    };
    let pods::Look { trouble, again } = pods::look(&applied, component, context);
    let action = again.map_or_else(Action::await_change, Action::requeue);
    Ok((Some(Outcome::Applied(Seen { applied, trouble, revisions: observed.revisions })), action))
}

/// Children of a deleted component go with it: they name it as their owner. What else is to be done comes first. It is
/// decided on the component as the API server has it, since a clean-up cannot be undone.
async fn reconcile_delete<C: Component>(component: &mut C, context: &Context) -> Result<Done, Error> {
    if let Err(violations) = context.shared.protected.check(component.namespace().as_deref()) {
        return end_unseen(&*component, &violations, context).await;
    }
    if finalizer::is_on(component.meta()) {
        let namespace = component.namespace().unwrap_or_default();
        let newest = children(context, &namespace, "").read::<C>(&component.name_any()).await?;
        match newest.filter(|newest| newest.meta().uid == component.meta().uid) {
            Some(newest) => *component = newest,
            None => return Ok((None, Action::await_change())),
        }
    }
    Ok(match delete::proceed(component, context).await? {
        Progress::Released => (None, Action::await_change()),
        Progress::Waiting(what) => (Some(Outcome::Deleting(what)), Action::requeue(RECHECK)),
        Progress::Stopping(retired) => {
            component.status_mut().get_or_insert_default().retired_subscriptions = retired;
            (Some(Outcome::Deleting(deletion::STOPS.to_owned())), Action::requeue(RECHECK))
        }
    })
}

/// Stops the clean-up of earlier objects of this name, and says what is still to stop of it.
async fn stop_left_over<C: Component>(
    component: &C,
    jobs: &[Job],
    context: &Context,
) -> Result<String, Error> {
    let namespace = component.namespace().unwrap_or_default();
    let uid = component.uid().unwrap_or_default();
    cleanup_jobs::stop(jobs, &children(context, &namespace, &uid)).await?;
    let names = jobs.iter().map(ResourceExt::name_any).collect::<Vec<_>>().join(", ");
    let note = format!(
        "stopped Job {names}, which cleaned up after an earlier object of this name; what it did not remove is left in Pulsar"
    );
    let regarding = component.object_ref(&());
    context.shared.events.publish(&regarding, false, Reason::CleanupCancelled, "CleanUp", &note).await;
    Ok(format!("waiting for Job {names} of an earlier object of this name to stop"))
}

fn children<'a>(context: &'a Context, namespace: &'a str, owner: &'a str) -> ChildApplier<'a> {
    ChildApplier { client: &context.shared.client, namespace, owner, manager: labels::managers::WORKLOAD }
}

/// The end of a component in a protected namespace: no Job runs there for it, as no pod does.
async fn end_unseen<C: Component>(
    component: &C,
    violations: &Violations,
    context: &Context,
) -> Result<Done, Error> {
    if finalizer::is_on(component.meta()) {
        let note = format!("left in Pulsar: its subscriptions: {violations}");
        let regarding = component.object_ref(&());
        context.shared.events.publish(&regarding, false, Reason::CleanupFailed, "CleanUp", &note).await;
        finalizer::release::<C>(component.meta(), &context.shared.client).await?;
    }
    Ok((None, Action::await_change()))
}

/// An object that cannot be decoded is left alone, unless it waits to be deleted. Its status says why.
async fn undecodable<C: Component>(
    fault: DecodeError,
    object: &Compact<C>,
    context: &Context,
) -> Result<(), Error> {
    let json = object.json().unwrap_or_default();
    if object.meta().deletion_timestamp.is_none() {
        report::report_undecodable(object, json, Error::Undecodable(fault), &context.shared).await;
    } else if finalizer::is_on(object.meta()) {
        let note = "left in Pulsar: its subscriptions, since the object cannot be read";
        let regarding = object.object_ref(&());
        context.shared.events.publish(&regarding, false, Reason::CleanupFailed, "CleanUp", note).await;
        let metadata = ObjectMeta { finalizers: finalizers(json), ..object.meta().clone() };
        finalizer::release::<C>(&metadata, &context.shared.client).await?;
    }
    Ok(())
}

/// What the names of components begin with where failures are counted.
pub(crate) const fn prefix<C: Component>() -> &'static str {
    match C::ROLE {
        Role::Function => "function/",
        Role::Source => "source/",
        Role::Sink => "sink/",
    }
}

/// The name of an object where failures are counted.
pub(crate) fn key_of(prefix: &str, object: &Key) -> String {
    format!("{prefix}{}/{}", object.namespace, object.name)
}

fn key<C: Component>(component: &C) -> String {
    key_of_meta::<C>(component.meta())
}

fn key_of_meta<C: Component>(metadata: &ObjectMeta) -> String {
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    format!("{}{namespace}/{}", prefix::<C>(), metadata.name.as_deref().unwrap_or_default())
}
