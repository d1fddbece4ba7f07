//! The controller of Functions, Sources and Sinks: one implementation for the three kinds.
//!
//! ```text
//! validate ──> observe ──> plan ──────────> apply ──> report
//!   api          all reads   pure: renders     writes    status and Events, on every path
//! ```
//!
//! If nothing has changed that the first four stages read, the reconcile goes from `settled` to the report.

mod apply;
mod cleanup_jobs;
mod cleanup_pods;
mod cleanup_step;
mod delete;
mod finalizer;
mod immutable;
mod observe;
mod outdated_traffic;
mod peers;
mod pending_change;
mod plan;
mod pod_counts;
pub(crate) mod pod_failures;
mod pod_spec_hash;
pub(crate) mod pods;
mod previous_pods;
mod reconcile_delete;
mod recreate;
mod rejected_pods;
mod report;
mod rollout;
mod settled;
mod standard_conditions;
mod status;
mod subscription_history;
mod summary;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use function_mesh_api::conditions::Reason;
use function_mesh_api::types::ComponentStatus;
use function_mesh_api::validate::valid_component;
use function_mesh_api::{Component, Role, Spec as _, labels};
use function_mesh_workloads::{check_arguments, names, render_live};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Resource, ResourceExt};

use crate::context::Shared;
use crate::error::{Error, GC_RECHECK};
use crate::reconciler::{Reconciler, RunResult, Text, key_of, report_undecodable};
use crate::runtime::workers::Action;
use crate::traffic::board::Rollout;
use crate::traffic::{TrafficState, observer_off};
use function_mesh_kube::apply::ChildApplier;
use function_mesh_kube::cache::Cache;
use function_mesh_kube::compact::Compact;
use function_mesh_kube::decode_error::DecodeError;

pub use peers::Peers;
pub use pod_failures::PodFailures;
use reconcile_delete::{reconcile_delete, release_undecodable};
pub use recreate::Recreate;
pub use rejected_pods::RejectedPods;
use rollout::Decided;
pub use rollout::{AppliedRollout, RolloutReport, Rollouts};
use settled::Inputs;
pub use settled::SettledComponents;
pub use status::{Applied, Observation, Outcome, status_of};
pub use summary::{JobSummary, PodSummary};

/// The dependencies of the controller of one kind of component.
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
    /// Clean-up Jobs of components of this kind.
    pub jobs: Cache<JobSummary>,
    /// All components, of every kind.
    pub peers: Peers,
}

impl Context {
    /// Whether all caches of a namespace have synced; see [`Cache::has_synced_for`]. Otherwise existing children would
    /// look missing.
    pub async fn has_synced(&self, namespace: &str) -> bool {
        self.stateful_sets.has_synced_for(namespace).await
            && self.services.has_synced_for(namespace).await
            && self.autoscalers.has_synced_for(namespace).await
            && self.pods.has_synced_for(namespace).await
            && self.jobs.has_synced_for(namespace).await
            && self.shared.have_backends_synced(namespace).await
    }

    /// The memory that a reconcile takes, in bytes, including children that are too large for the cache.
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
        self.context.has_synced(namespace).await
    }

    fn cost(&self, object: &Compact<C>) -> usize {
        self.context.cost(object)
    }

    async fn run(&self, component: &mut C, text: Text) -> RunResult<Outcome> {
        let result = if component.meta().deletion_timestamp.is_some() {
            reconcile_delete(component, &self.context).await
        } else if labels::is_managed(component.meta()) {
            reconcile_spec(component, text, &self.context).await
        } else {
            return RunResult::Skipped;
        };
        match result {
            Ok((Some(outcome), action)) => RunResult::Report(outcome, action),
            Ok((None, action)) => RunResult::Unreported(Ok(action)),
            Err(error) => RunResult::Report(Outcome::Failed(error), Action::await_change()),
        }
    }

    fn error(outcome: &Outcome) -> Option<&Error> {
        match outcome {
            Outcome::Failed(error) => Some(error),
            Outcome::Applied(_) | Outcome::Waiting(_) | Outcome::Deleting(_) => None,
        }
    }

    async fn report(&self, component: &C, outcome: &Outcome) -> Result<Option<Duration>, kube::Error> {
        report::report(component, outcome, self.shared()).await
    }

    async fn undecodable(&self, error: DecodeError, object: &Compact<C>) -> Result<(), Error> {
        if object.meta().deletion_timestamp.is_some() {
            return release_undecodable(object, &self.context).await;
        }
        let status = |before: Option<&ComponentStatus>, error| {
            let now = Time(jiff::Timestamp::now());
            status_of(before, object.meta().generation, &Outcome::Failed(error), &now)
        };
        report_undecodable(self, object, Error::Undecodable(error), status).await;
        Ok(())
    }
}

/// The outcome to report, if there is an object to report on, and when to reconcile again.
type ReconcileResult = (Option<Outcome>, Action);

async fn reconcile_spec<C: Component>(
    component: &C,
    text: Text,
    context: &Context,
) -> Result<ReconcileResult, Error> {
    let Judged { result, decided } = match observed(component, text, None, context).await? {
        Step::Observed(observation) => diagnosed(*observation, component, context).await,
        Step::Waiting(result) => return Ok(result),
    };
    if decided.is_none() {
        return Ok(result);
    }
    // A decision about the rollout is planned and written like a change of the spec.
    context.shared.settled.forget(&key(component));
    Ok(match observed(component, text, decided, context).await? {
        Step::Observed(observation) => diagnosed(*observation, component, context).await.result,
        Step::Waiting(result) => result,
    })
}

/// The children after they were observed and applied.
enum Step {
    Observed(Box<Observation>),
    /// They cannot be applied yet.
    Waiting(ReconcileResult),
}

/// Observes, plans and applies, unless nothing has changed. `decided` is what a decision about the rollout changes.
async fn observed<C: Component>(
    component: &C,
    text: Text,
    decided: Option<Decided>,
    context: &Context,
) -> Result<Step, Error> {
    let namespace = component.namespace().unwrap_or_default();
    let inputs = Inputs::cached(component, text.content, context);
    if decided.is_none()
        && let Some(observation) = settled::recall(component, &inputs, context).await?
    {
        return Ok(Step::Observed(Box::new(observation)));
    }
    let validate = || {
        context.shared.protected.check(Some(&namespace))?;
        valid_component(component.clone()).map(Box::new)
    };
    // An invalid component costs no request.
    let valid = context.shared.compute.run(&namespace, text.cost, validate).await.map_err(Error::Invalid)?;
    let observed = observe::observe(component, decided, context).await?;
    let plan = || {
        let (backends, live) = (observed.backends.as_backends(), observed.stateful_set.as_deref());
        let workload = render_live(&valid, backends, &context.shared.settings, live);
        check_arguments(&workload.stateful_set)?;
        Ok(plan::plan(component, &valid, workload, &observed))
    };
    let plan = context.shared.compute.run(&namespace, text.cost, plan).await.map_err(Error::Invalid)?;
    if !observed.previous_jobs.is_empty() {
        let waiting_for = stop_previous_jobs(component, &observed.previous_jobs, context).await?;
        return Ok(waiting(waiting_for));
    }
    if let Some(pod) = observed.previous_pods.first() {
        let waiting_for =
            format!("waiting for pod {pod}, which cleans up for a previous object of this name, to end");
        return Ok(waiting(waiting_for));
    }
    // Boxed, since the future has all children by value.
    let (applied, written) = match Box::pin(apply::apply(component, plan, context)).await {
        Err(error) if error.is_pending_gc() => {
            return Ok(waiting(error.to_string()));
        }
        result => result?,
    };
    let observation = Observation::of(applied, observed.revisions);
    settled::record(component, inputs, written, &observation, context);
    Ok(Step::Observed(Box::new(observation)))
}

fn waiting(waiting_for: String) -> Step {
    Step::Waiting((Some(Outcome::Waiting(waiting_for)), Action::requeue(GC_RECHECK)))
}

/// The result of a reconcile, and what the plan must have after a decision about the rollout, if that changes.
struct Judged {
    result: ReconcileResult,
    decided: Option<Decided>,
}

/// The outcome with the problem of a pod, if there is one.
async fn diagnosed<C: Component>(mut observation: Observation, component: &C, context: &Context) -> Judged {
    let pods::Diagnosis { problem, updated, recheck_after } =
        pods::diagnose(&observation.applied, component, context).await;
    (observation.problem, observation.updated) = (problem, updated);
    let judgement = rollout::judge(&observation, component, context);
    let report = judgement.report.as_ref();
    observation.traffic = traffic(&observation.applied, report, component, context);
    let stall = observation.traffic.stall().map(|stall| stall.message.clone());
    observation.problem = observation.problem.or(stall);
    observation.rollout = judgement.report;
    if let Some(pod) = judgement.stuck {
        rollout::delete_stuck_pod(pod, component, &context.shared).await;
    }
    let stopped = observation.applied.recreate.as_ref().and_then(Recreate::recheck_after);
    let recheck_after = [recheck_after, judgement.recheck_after, stopped].into_iter().flatten().min();
    let action = recheck_after.map_or_else(Action::await_change, Action::requeue);
    Judged { result: (Some(Outcome::Applied(Box::new(observation))), action), decided: judgement.decided }
}

/// Leaves the pod counts for the observer, and takes its last report.
fn traffic<C: Component>(
    applied: &Applied,
    report: Option<&RolloutReport>,
    component: &C,
    context: &Context,
) -> TrafficState {
    let Some(board) = &context.shared.traffic else {
        let is_needed = component.spec().view().common.scaling.is_some();
        let before = component.status().and_then(|status| status.scaling.as_ref());
        let needed = is_needed.then(|| TrafficState::Needed(Box::new(observer_off(before))));
        return needed.unwrap_or_default();
    };
    let (key, uid) = (key(component), component.uid().unwrap_or_default());
    let status = applied.stateful_set.status.as_ref();
    let ready = status.and_then(|status| status.ready_replicas).unwrap_or_default();
    let revision = status.and_then(|status| status.update_revision.as_deref());
    let stopped = applied.stopped();
    let rollout = Rollout {
        revision,
        is_in_progress: report.is_some_and(RolloutReport::freezes_replicas)
            || stopped.is_some()
            || pod_counts::is_rolling_out(&applied.stateful_set),
        is_draining: stopped.is_some_and(Recreate::is_draining),
        canary_from: report.filter(|it| it.is_canary()).map(|_| canary_from(&applied.stateful_set)),
    };
    board.note(&key, &uid, (applied.wanted_in_the_end(), ready), rollout);
    let report = board.report(&key, &uid).map(Box::new);
    report.map_or(TrafficState::Pending, TrafficState::Reported)
}

/// The first pod with the newest revision.
fn canary_from(stateful_set: &StatefulSet) -> u64 {
    let strategy = stateful_set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    let partition = strategy.and_then(|strategy| strategy.rolling_update.as_ref()?.partition);
    partition.and_then(|partition| u64::try_from(partition).ok()).unwrap_or_default()
}

/// Deletes the clean-up Jobs of previous objects of this name. Returns a message about the Jobs that still terminate.
async fn stop_previous_jobs<C: Component>(
    component: &C,
    jobs: &[Job],
    context: &Context,
) -> Result<String, Error> {
    let namespace = component.namespace().unwrap_or_default();
    let uid = component.uid().unwrap_or_default();
    cleanup_jobs::stop(jobs, &children(context, &namespace, &uid)).await?;
    let names = jobs.iter().map(ResourceExt::name_any).collect::<Vec<_>>().join(", ");
    let note = format!(
        "deleted Job {names} of a previous object of this name; subscriptions that it did not delete remain in Pulsar"
    );
    let regarding = component.object_ref(&());
    context.shared.events.publish(&regarding, false, Reason::CleanupCancelled, "CleanUp", &note).await;
    Ok(format!("waiting for Job {names} of a previous object of this name to terminate"))
}

fn children<'a>(context: &'a Context, namespace: &'a str, owner: &'a str) -> ChildApplier<'a> {
    let Shared { client, rewrites, echoes, .. } = &*context.shared;
    ChildApplier { client, namespace, owner, manager: labels::managers::WORKLOAD, rewrites, echoes }
}

/// Prefix of the keys of components of a kind.
pub(crate) const fn prefix<C: Component>() -> &'static str {
    match C::ROLE {
        Role::Function => "function/",
        Role::Source => "source/",
        Role::Sink => "sink/",
    }
}

fn key<C: Component>(component: &C) -> String {
    let metadata = component.meta();
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    key_of(prefix::<C>(), namespace, metadata.name.as_deref().unwrap_or_default())
}
