//! The controller of Functions, Sources and Sinks: one driver for the three.
//!
//! ```text
//! observe ──> validate ──> render ──> apply ──> report
//!    caches     api        workloads    writes     status and events, on every path
//! ```

mod apply;
mod observe;
mod pods;
mod report;
mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use function_mesh_api::validate::{Violations, valid_component};
use function_mesh_api::{Component, labels};
use function_mesh_workloads::render;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};

use crate::context::Shared;
use crate::kit::cache::{Cache, Guarded};
use crate::kit::children::ChildError;

pub use status::{Children, Outcome, Seen, status_of};

/// How long until a component that is not ready is looked at again: pods say why they wait only in their own
/// status, which is not watched.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What the controller of one kind of component has to hand.
pub struct Context {
    /// What all controllers share.
    pub shared: Arc<Shared>,
    /// StatefulSets of components of this kind.
    pub stateful_sets: Cache<StatefulSet>,
    /// Services of components of this kind.
    pub services: Cache<Service>,
    /// Autoscalers of components of this kind.
    pub autoscalers: Cache<HorizontalPodAutoscaler>,
}

impl Context {
    /// Waits until all caches are full: else it would look as if children or defaults were missing. False when
    /// the program ends before.
    pub async fn is_complete(&self) -> bool {
        self.stateful_sets.is_filled().await
            && self.services.is_filled().await
            && self.autoscalers.is_filled().await
            && self.shared.backends.is_filled().await
    }
}

/// Why a reconcile came to no end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule is broken. Nothing was changed.
    #[error("{0}")]
    Invalid(Violations),
    /// A child could not be written.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// The pods could not be read.
    #[error("cannot list the pods: {0}")]
    Pods(#[source] Box<kube::Error>),
    /// The status could not be written.
    #[error("cannot write the status: {0}")]
    Report(#[source] Box<kube::Error>),
}

impl Error {
    /// Whether trying again can help without a change of the object.
    fn is_final(&self) -> bool {
        matches!(self, Self::Invalid(_))
    }
}

/// Brings the cluster in line with one component, and its status in line with the cluster.
pub async fn reconcile<C: Component>(
    object: Arc<Guarded<C>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    if !context.is_complete().await {
        return Ok(Action::await_change());
    }
    if !context.shared.turn.is_now().await {
        return Ok(Action::requeue(Duration::ZERO));
    }
    let started = Instant::now();
    let kind = C::ROLE.kind();
    let component = match &object.0 {
        Ok(component) => component,
        Err(fault) => {
            tracing::warn!(kind, namespace = fault.metadata.namespace, name = fault.metadata.name, %fault, "cannot be read; skipped");
            context.shared.events.unreadable(&object.object_ref(&()), &fault.error).await;
            context.shared.metrics.reconciled(kind, "unreadable", started);
            return Ok(Action::await_change());
        }
    };
    if !labels::is_managed(component.meta()) || component.meta().deletion_timestamp.is_some() {
        // Children of a deleted component go with it: they name it as their owner.
        context.shared.backoff.forget(&key(component));
        return Ok(Action::await_change());
    }
    let outcome = bring_in_line(component, &context).await;
    let result =
        report::report(component, &outcome, &context.shared).await.map_err(|e| Error::Report(Box::new(e)));
    let label = if outcome.is_ok() && result.is_ok() { "done" } else { "failed" };
    context.shared.metrics.reconciled(kind, label, started);
    result?;
    match outcome {
        Ok(seen) => {
            context.shared.backoff.forget(&key(component));
            Ok(if seen.is_settled() { Action::await_change() } else { Action::requeue(LOOK_AGAIN) })
        }
        Err(error) if error.is_final() => Ok(Action::await_change()),
        Err(error) => Err(error),
    }
}

async fn bring_in_line<C: Component>(component: &C, context: &Context) -> Result<Seen, Error> {
    let observed = observe::observe(component, context);
    let valid = valid_component(component.clone()).map_err(Error::Invalid)?;
    let workload = render(&valid, observed.backends.as_backends(), &context.shared.settings);
    let revisions = observed.revisions.clone();
    let children = apply::apply(&valid, workload, observed, context).await?;
    let trouble = pods::look(&children, component, context).await?;
    Ok(Seen { children, trouble, revisions })
}

/// How long an object waits after a failure.
pub fn on_error<C: Component>(object: &Guarded<C>, error: &Error, context: &Context) -> Action {
    let DeserializeGuard(Ok(component)) = object else { return Action::await_change() };
    let wait = context.shared.backoff.failed(&key(component));
    tracing::warn!(
        kind = C::ROLE.kind(),
        namespace = component.namespace(),
        name = component.name_any(),
        %error,
        retry_in = ?wait,
        "reconcile failed"
    );
    Action::requeue(wait)
}

fn key<C: Component>(component: &C) -> String {
    format!("{}/{}", C::ROLE, ObjectRef::<C>::from_obj(component))
}
