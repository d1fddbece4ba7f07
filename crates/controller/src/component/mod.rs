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

use std::sync::Arc;
use std::time::Duration;

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
use crate::kit::cache::{Cache, INCOMPLETE};
use crate::kit::children::{ChildError, Children};
use crate::kit::compact::{Compact, finalizers};
use crate::kit::controller::Action;
use crate::kit::position::{self, DecodeError};
use crate::kit::queue::Key;
use crate::metrics::Stage;

use delete::Progress;
pub use sharing::Peers;
pub use status::{Applied, Outcome, Seen, status_of};
pub use summary::{JobSummary, PodSummary};

/// How long until a deletion is looked at again when nothing happens meanwhile, so that it comes to its end.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// What tells the wait for a component's end from the wait for its status.
const END: &str = " (end)";
/// How long until what is left of an earlier object is looked at again.
const RECHECK_LEFT_OVER: Duration = Duration::from_secs(2);

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
    /// Whether all caches are full of a namespace; see [`Cache::is_ready_for`]. Else it would look as if children
    /// or defaults were missing.
    pub async fn is_complete(&self, namespace: &str) -> bool {
        self.stateful_sets.is_ready_for(namespace).await
            && self.services.is_ready_for(namespace).await
            && self.autoscalers.is_ready_for(namespace).await
            && self.pods.is_ready_for(namespace).await
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

/// Why a reconcile came to no end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule is broken. Nothing was changed.
    #[error("{0}")]
    Invalid(Violations),
    /// The object cannot be decoded. Nothing was changed.
    #[error("cannot decode the object: {0}")]
    Undecodable(DecodeError),
    /// Something that is needed could not be read.
    #[error("cannot read what the component depends on: {}", position::words(.0))]
    Observe(#[source] Box<kube::Error>),
    /// A child could not be written.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// The finalizer could not be written.
    #[error("cannot write the finalizer: {}", position::words(.0))]
    Finalizer(#[source] Box<kube::Error>),
    /// The status could not be written.
    #[error("cannot write the status: {}", position::words(.0))]
    Report(#[source] Box<kube::Error>),
}

impl Error {
    fn observe(error: kube::Error) -> Self {
        Self::Observe(Box::new(error))
    }

    fn stage(&self) -> Stage {
        match self {
            Self::Invalid(_) => Stage::Validate,
            Self::Undecodable(_) | Self::Observe(_) | Self::Child(ChildError::Undecodable { .. }) => {
                Stage::Observe
            }
            Self::Child(ChildError::Form { .. }) => Stage::Render,
            Self::Child(
                ChildError::Foreign { .. } | ChildError::LeftOver { .. } | ChildError::Api { .. },
            )
            | Self::Finalizer(_) => Stage::Apply,
            Self::Report(_) => Stage::Report,
        }
    }

    /// Whether trying again can help without a change of the object.
    fn is_final(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::Undecodable(_))
    }

    /// Whether it was only decided on a stale cache: there is nothing to report, and the next try knows better.
    fn is_conflict(&self) -> bool {
        match self {
            Self::Child(error) => error.is_conflict(),
            Self::Finalizer(error) => matches!(&**error, kube::Error::Api(status) if status.is_conflict()),
            Self::Invalid(_) | Self::Undecodable(_) | Self::Observe(_) | Self::Report(_) => false,
        }
    }
}

/// Brings the cluster in line with one component, and its status in line with the cluster.
pub async fn reconcile<C: Component>(
    object: Arc<Compact<C>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let namespace = object.namespace().unwrap_or_default();
    if !context.is_complete(&namespace).await {
        return Ok(Action::requeue(INCOMPLETE));
    }
    // Large objects are worked on a few at a time, and wait without a place of work.
    let Some(_room) = context.shared.memory.room(context.cost(&object)) else {
        return Ok(Action::requeue(room_retry()));
    };
    let kind = C::ROLE.kind();
    let work = context.shared.metrics.begin(kind);
    let whole = match context.shared.whole(&object).await {
        Ok(Some(whole)) => whole,
        Ok(None) => {
            work.skipped();
            return Ok(Action::await_change());
        }
        Err(error) => {
            let error = Error::observe(error);
            work.ended([error.stage()]);
            return Err(error);
        }
    };
    let decoded = context.shared.compute.run(&namespace, || whole.decode()).await;
    let component = match decoded {
        Ok(component) => Box::new(component),
        Err(fault) => {
            work.unreadable();
            return undecodable::<C>(fault, &whole, &context).await;
        }
    };
    drop(whole);
    let mut component = component;
    let is_deleted = component.meta().deletion_timestamp.is_some();
    if !is_deleted && !labels::is_managed(component.meta()) {
        context.shared.backoff.forget(&key(&*component));
        work.skipped();
        return Ok(Action::await_change());
    }
    let outcome = if is_deleted {
        reconcile_delete(&mut *component, &context).await
    } else {
        reconcile_spec(&*component, &context).await
    };
    let component = &*component;
    let (outcome, action) = match outcome {
        Ok(outcome) => outcome,
        Err(error) if error.is_conflict() => {
            work.late();
            return Ok(Action::requeue(context.shared.backoff.conflicted(&key(component))));
        }
        Err(error) => (Some(Outcome::Failed(error)), Action::await_change()),
    };
    let reported = match &outcome {
        Some(outcome) => report::report(component, outcome, &context.shared).await,
        None => Ok(None),
    };
    let reported = reported.map_err(|error| Error::Report(Box::new(error)));
    let failed = match &outcome {
        Some(Outcome::Failed(error)) => Some(error),
        _ => None,
    };
    work.ended([failed, reported.as_ref().err()].into_iter().flatten().map(Error::stage));
    let later = reported?;
    match outcome {
        Some(Outcome::Failed(error)) if !error.is_final() => Err(error),
        _ => {
            context.shared.backoff.forget(&key(component));
            Ok(later.map_or(action, Action::requeue))
        }
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
        Err(Error::Child(left @ ChildError::LeftOver { .. })) => {
            return Ok((Some(Outcome::Waiting(left.to_string())), Action::requeue(RECHECK_LEFT_OVER)));
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
        Progress::Waiting(what) => (Some(Outcome::Deleting(what)), Action::requeue(LOOK_AGAIN)),
        Progress::Stopping(retired) => {
            component.status_mut().get_or_insert_default().retired_subscriptions = retired;
            (Some(Outcome::Deleting(deletion::STOPS.to_owned())), Action::requeue(LOOK_AGAIN))
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
    context.shared.events.publish(&regarding, false, "CleanupCancelled", "CleanUp", &note).await;
    Ok(format!("waiting for Job {names} of an earlier object of this name to stop"))
}

fn children<'a>(context: &'a Context, namespace: &'a str, owner: &'a str) -> Children<'a> {
    Children { client: &context.shared.client, namespace, owner, manager: labels::managers::WORKLOAD }
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
        context.shared.events.publish(&regarding, false, "CleanupFailed", "CleanUp", &note).await;
        finalizer::release::<C>(component.meta(), &context.shared.client).await?;
    }
    Ok((None, Action::await_change()))
}

/// An object that cannot be decoded is left alone, unless it waits to be deleted. Its status says why.
async fn undecodable<C: Component>(
    fault: DecodeError,
    object: &Compact<C>,
    context: &Context,
) -> Result<Action, Error> {
    let (kind, regarding) = (C::ROLE.kind(), object.object_ref(&()));
    let (namespace, name) = (regarding.namespace.as_deref(), regarding.name.as_deref());
    tracing::warn!(kind, namespace, name, %fault, "cannot be decoded; skipped");
    context.shared.events.unreadable(&regarding, &fault.to_string()).await;
    let json = object.json().unwrap_or_default();
    if object.meta().deletion_timestamp.is_some() {
        if finalizer::is_on(object.meta()) {
            let note = "left in Pulsar: its subscriptions, since the object cannot be read";
            context.shared.events.publish(&regarding, false, "CleanupFailed", "CleanUp", note).await;
            let metadata = ObjectMeta { finalizers: finalizers(json), ..object.meta().clone() };
            finalizer::release::<C>(&metadata, &context.shared.client).await?;
        }
        return Ok(Action::await_change());
    }
    report::report_undecodable(object, json, Error::Undecodable(fault), &context.shared).await;
    Ok(Action::await_change())
}

/// How long until there may be room for a large object. Not the same for all that wait.
pub(crate) fn room_retry() -> Duration {
    let now = jiff::Timestamp::now().subsec_nanosecond().unsigned_abs();
    Duration::from_millis(200 + u64::from(now / 1000 % 300))
}

/// How long an object waits after a failure.
pub fn on_error<C: Component>(object: &Compact<C>, error: &Error, context: &Context) -> Action {
    let mut wait = context.shared.backoff.failed(&key_of_meta::<C>(object.meta()));
    if matches!(error, Error::Child(ChildError::Foreign { .. })) {
        // It may go at any time, and nobody tells: it need not have our labels.
        wait = wait.min(LOOK_AGAIN);
    }
    tracing::warn!(
        kind = C::ROLE.kind(),
        namespace = object.namespace(),
        name = object.name_any(),
        %error,
        retry_in = ?wait,
        "reconcile failed"
    );
    Action::requeue(wait)
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

/// The name under which the end of a component is waited for.
fn end_key<C: Component>(component: &C) -> String {
    end_key_of(&key(component))
}

/// The same by the name of the component.
pub(crate) fn end_key_of(key: &str) -> String {
    format!("{key}{END}")
}
