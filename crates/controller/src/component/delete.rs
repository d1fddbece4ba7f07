//! Deletes a component: observes its state, and executes the step from `cleanup_step.rs`.

use std::time::Duration;

use function_mesh_api::conditions::Reason;
use function_mesh_api::types::Subscription;
use function_mesh_api::validate::{Valid, valid_component};
use function_mesh_api::{Component, Role, labels};
use function_mesh_workloads::subscriptions::{Targets, subscriptions, union};
use function_mesh_workloads::{cleanup_job, is_cleanup_wanted, names};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;

use super::cleanup_jobs::{self, Found};
use super::cleanup_pods::{self, ContainerEnd};
use super::cleanup_step::{CleanupJob, CleanupState, CleanupStep, Plan, Pods, next_step};
use super::{Context, finalizer, rejected_pods, subscription_history};
use crate::error::Error;
use function_mesh_kube::apply::{ChildApplier, ChildError, controller_of, is_owned_by};
use function_mesh_kube::events::truncate;

/// Kubernetes' finalizer of `kubectl delete --cascade=orphan`.
const ORPHAN_FINALIZER: &str = "orphan";
/// Attempts to remove the finalizer from an object that changes in between.
const MAX_ATTEMPTS: u32 = 4;

/// The progress of a deletion.
#[derive(Debug)]
pub(super) enum Progress {
    /// Our finalizer is removed.
    Released,
    /// The deletion waits for this.
    Waiting(String),
    /// The pods terminate; the status has their retired subscriptions.
    Terminating(Vec<Subscription>),
}

/// The observed state, and what is needed to execute the next step.
struct Observed<C> {
    state: CleanupState,
    valid: Option<Valid<C>>,
    targets: Targets,
    users: Vec<String>,
    stateful_set: Option<StatefulSet>,
    job: Option<Box<Job>>,
    /// Why the API server rejects the pods of the Job.
    rejection: Option<String>,
}

/// Executes the next step of a deletion. `component` must be the newest version: the cache may be stale.
pub(super) async fn run_next_step<C: Component>(component: &C, context: &Context) -> Result<Progress, Error> {
    let namespace = component.namespace().unwrap_or_default();
    let uid = component.uid().unwrap_or_default();
    let children = super::children(context, &namespace, &uid);
    let waited = context.shared.cleanup_clock.elapsed(&super::key(component));
    let limit = Duration::from_secs(context.shared.settings.cleanup_deadline.unsigned_abs());
    let end = End { component, children: &children, context };
    let observed = match end.observe(waited, limit).await {
        Ok(observed) => observed,
        // After the deadline an error ends the clean-up with a warning, since its result is unknown.
        Err(error) if waited > limit && !error.is_conflict() => {
            return end.abandon_cleanup(&error.to_string()).await;
        }
        Err(error) => return Err(error.into()),
    };
    end.execute(observed, waited > limit).await
}

struct End<'a, C> {
    component: &'a C,
    children: &'a ChildApplier<'a>,
    context: &'a Context,
}

impl<C: Component> End<'_, C> {
    async fn observe(&self, waited: Duration, limit: Duration) -> Result<Observed<C>, ChildError> {
        let (component, meta) = (self.component, self.component.meta());
        let is_orphaning = component.finalizers().iter().any(|name| name == ORPHAN_FINALIZER);
        let mut observed = Observed {
            state: CleanupState {
                has_finalizer: finalizer::has_finalizer(meta),
                skips_cleanup: is_orphaning || !labels::is_managed(meta),
                plan: Plan::Remove,
                pods: Pods::Deleted,
                job: CleanupJob::Missing,
                is_past_deadline: waited > limit,
                is_job_stalled: waited > limit * 3,
            },
            valid: None,
            targets: Targets::default(),
            users: Vec::new(),
            stateful_set: None,
            job: None,
            rejection: None,
        };
        if !observed.state.has_finalizer || observed.state.skips_cleanup {
            return Ok(observed);
        }
        match valid_component(component.clone()) {
            Ok(valid) => observed.valid = Some(valid),
            Err(violations) => {
                let cause = format!("cannot determine subscriptions to delete: {violations}");
                observed.state.plan = Plan::Unknown(cause);
                return Ok(observed);
            }
        }
        observed.stateful_set = self.stateful_set().await?;
        observed.state.pods = self.pods(observed.stateful_set.as_ref());
        self.plan(&mut observed).await;
        match cleanup_jobs::find(component, self.children).await? {
            Found::Missing => {}
            Found::Foreign(cause) => observed.state.job = CleanupJob::Foreign(cause),
            Found::Ours(job) => {
                let mut end = cleanup_jobs::end_of(&job);
                let mut is_stuck = false;
                if end.is_none() {
                    let pods = cleanup_pods::list(&job, self.children).await?;
                    let ended = cleanup_pods::container_end(&pods);
                    is_stuck = ended == Some(ContainerEnd::Failed);
                    end = cleanup_jobs::end_of_container(&job, ended);
                    observed.rejection = self.rejection(&job, &pods).await;
                }
                observed.state.job = CleanupJob::Ours {
                    end,
                    is_deleted: job.metadata.deletion_timestamp.is_some(),
                    is_outdated: self.is_outdated(&job, &observed).await?,
                    is_stuck,
                };
                observed.job = Some(job);
            }
        }
        Ok(observed)
    }

    /// Plans to delete all subscriptions that its pods ever created, except those that other components use.
    async fn plan(&self, observed: &mut Observed<C>) {
        let Some(valid) = &observed.valid else { return };
        if !is_cleanup_wanted(valid) {
            observed.state.plan = Plan::NotWanted;
            return;
        }
        let all = union(&subscriptions(&**valid), &self.retired(observed.stateful_set.as_ref()));
        let peers = &self.context.peers;
        let mut targets = Targets::all(all);
        let users =
            peers.exclude_shared(C::ROLE, self.children.owner, &mut targets, &self.context.shared).await;
        observed.targets = targets;
        let Some(users) = users else {
            observed.state.plan = Plan::PeersUnknown;
            return;
        };
        observed.users = users;
        if observed.targets.remove.is_empty() {
            observed.state.plan = Plan::AllShared;
        }
    }

    /// Retired subscriptions, from the status and from the StatefulSet if it exists.
    fn retired(&self, live: Option<&StatefulSet>) -> Vec<Subscription> {
        let status = self.component.status().map(|status| status.retired_subscriptions.clone());
        union(&status.unwrap_or_default(), &live.map(subscription_history::read).unwrap_or_default())
    }

    async fn stateful_set(&self) -> Result<Option<StatefulSet>, ChildError> {
        // Not from the cache: with a stale one, the pods of a new StatefulSet would keep consuming.
        self.children.read(&names::stateful_set(&self.component.name_any(), C::ROLE)).await
    }

    fn pods(&self, live: Option<&StatefulSet>) -> Pods {
        let Some(live) = live else { return Pods::Deleted };
        if controller_of(live).is_none() && labels::annotation(&live.metadata, labels::APPLIED_HASH).is_some()
        {
            return Pods::Orphaned;
        }
        if !is_owned_by(live, self.children.owner) {
            return Pods::Deleted;
        }
        if live.metadata.deletion_timestamp.is_some() { Pods::Terminating } else { Pods::Running }
    }

    /// Whether a running Job would delete a subscription that another component uses by now.
    async fn is_outdated(&self, job: &Job, observed: &Observed<C>) -> Result<bool, ChildError> {
        if observed.users.is_empty() {
            return Ok(false);
        }
        let wanted = self.job(observed).await?.map(|wanted| arguments(&wanted));
        Ok(observed.state.plan == Plan::AllShared || wanted.is_some_and(|wanted| wanted != arguments(job)))
    }

    async fn job(&self, observed: &Observed<C>) -> Result<Option<Job>, ChildError> {
        let shared = &self.context.shared;
        let backends =
            shared.resolve_backends(self.children.namespace).await.map_err(|source| ChildError::Api {
                verb: "read",
                kind: "BackendConfig".to_owned(),
                name: String::new(),
                source: Box::new(source),
            })?;
        let job = |valid| cleanup_job(valid, backends.as_backends(), &shared.settings, &observed.targets);
        Ok(observed.valid.as_ref().map(job))
    }

    async fn execute(&self, observed: Observed<C>, is_past_deadline: bool) -> Result<Progress, Error> {
        let waiting = |what: &str| Ok(Progress::Waiting(what.to_owned()));
        match next_step(&observed.state) {
            CleanupStep::Nothing => Ok(Progress::Released),
            CleanupStep::RemoveFinalizer => self.release().await,
            CleanupStep::Wait(what) => waiting(what),
            CleanupStep::WaitForJob => {
                let what = format!("removing {}", subscription_list(C::ROLE, &observed.targets.remove));
                // The cause comes first: the list may be long.
                waiting(&observed.rejection.map_or(what.clone(), |cause| format!("{cause}; {what}")))
            }
            CleanupStep::StopPods => self.stop_pods(&observed).await,
            CleanupStep::CancelJob(what) => {
                if let Some(job) = &observed.job {
                    self.children.delete_with_preconditions(&**job, &DeleteParams::foreground()).await?;
                }
                waiting(what)
            }
            CleanupStep::CreateJob => self.create_job(&observed, is_past_deadline).await,
            CleanupStep::Succeed => self.succeed(&observed).await,
            CleanupStep::KeepAll => {
                self.record_shared(&observed).await;
                self.release().await
            }
            CleanupStep::Abandon(cause) => {
                let cause = match &observed.job {
                    Some(job) => self.reason(job).await.unwrap_or(cause),
                    None => cause,
                };
                self.record_shared(&observed).await;
                let remaining = subscription_list(C::ROLE, &observed.targets.remove);
                self.record_event(false, Reason::CleanupFailed, &not_deleted(&remaining, &cause)).await;
                self.release().await
            }
        }
    }

    /// The StatefulSet has the subscriptions of its pods, so they are copied into the status before it is deleted.
    async fn stop_pods(&self, observed: &Observed<C>) -> Result<Progress, Error> {
        let Some(live) = &observed.stateful_set else { return Ok(Progress::Waiting(String::new())) };
        let retired =
            subscription_history::record_in_status(self.component, live, &self.context.shared).await?;
        self.children.delete_foreground(live).await?;
        self.context.shared.metrics.wrote("StatefulSet", "deleted");
        Ok(Progress::Terminating(retired))
    }

    async fn create_job(&self, observed: &Observed<C>, is_past_deadline: bool) -> Result<Progress, Error> {
        let remaining = subscription_list(C::ROLE, &observed.targets.remove);
        let Some(job) = self.job(observed).await? else { return Ok(Progress::Waiting(String::new())) };
        match self.children.create(&job).await {
            Ok(()) => Ok(Progress::Waiting(format!("removing {remaining}"))),
            Err(error) if is_namespace_terminating(&error) => {
                self.abandon_subscriptions(&remaining, "namespace is terminating; no Job can run in it").await
            }
            Err(error) if is_past_deadline => {
                self.abandon_subscriptions(&remaining, &error.to_string()).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes the Job before the finalizer is removed, so that no Job remains after a crash. After a crash in between,
    /// another Job has nothing to do.
    async fn succeed(&self, observed: &Observed<C>) -> Result<Progress, Error> {
        let note = format!("removed {}", subscription_list(C::ROLE, &observed.targets.remove));
        self.record_event(true, Reason::CleanupSucceeded, &note).await;
        self.record_shared(observed).await;
        if let Some(job) = &observed.job {
            self.children.delete_with_preconditions(&**job, &DeleteParams::background()).await?;
        }
        self.release().await
    }

    async fn record_shared(&self, observed: &Observed<C>) {
        let kept = union(&observed.targets.shared, &observed.targets.keep);
        if !observed.users.is_empty() {
            let kept = subscription_list(Role::Sink, &kept);
            let note = format!("kept {kept}: used by {}", observed.users.join(", "));
            self.record_event(true, Reason::CleanupSkipped, &note).await;
        }
    }

    /// Why the Job failed: the termination message of its last pod, or why it has no pods.
    async fn reason(&self, job: &Job) -> Option<String> {
        let pods = cleanup_pods::list(job, self.children).await.ok()?;
        match cleanup_pods::message(&pods) {
            Some(message) => Some(message),
            None => self.rejection(job, &pods).await,
        }
    }

    /// Why the API server rejects the pods of the Job, if it has none.
    async fn rejection(&self, job: &Job, pods: &[Pod]) -> Option<String> {
        if !pods.is_empty() {
            return None;
        }
        let children = self.children;
        let uid = job.metadata.uid.as_deref()?;
        let cause = rejected_pods::last_rejection(children.client, children.namespace, uid).await?;
        Some(format!("pods of Job {} are rejected: {}", job.name_any(), cleanup_pods::shown(&cause)))
    }

    async fn abandon_cleanup(&self, cause: &str) -> Result<Progress, Error> {
        let remaining = union(&subscriptions(self.component), &self.retired(None));
        self.abandon_subscriptions(&subscription_list(C::ROLE, &remaining), cause).await
    }

    async fn abandon_subscriptions(&self, remaining: &str, cause: &str) -> Result<Progress, Error> {
        self.record_event(false, Reason::CleanupFailed, &not_deleted(remaining, cause)).await;
        self.release().await
    }

    /// Removes the finalizer. Retries conflicts, since the clean-up is complete.
    async fn release(&self) -> Result<Progress, Error> {
        let mut meta = self.component.meta().clone();
        let mut attempts = 1;
        loop {
            match finalizer::release::<C>(&meta, &self.context.shared.client).await {
                Err(error) if error.is_conflict() && attempts < MAX_ATTEMPTS => attempts += 1,
                result => break result?,
            }
            let newer = self.children.read::<C>(&self.component.name_any()).await?;
            let Some(newer) = newer.filter(|newer| newer.uid() == meta.uid) else { break };
            meta = newer.meta().clone();
        }
        self.context.shared.cleanup_clock.forget(&super::key(self.component));
        Ok(Progress::Released)
    }

    async fn record_event(&self, normal: bool, reason: Reason, note: &str) {
        let component = self.component;
        tracing::info!(
            kind = C::ROLE.kind(),
            namespace = component.namespace(),
            name = component.name_any(),
            %reason,
            note,
            "deletion"
        );
        self.context.shared.events.publish(&component.object_ref(&()), normal, reason, "CleanUp", note).await;
    }
}

/// A list of subscriptions for messages. The topic of a batch source is deleted with its subscription.
fn subscription_list(role: Role, subscriptions: &[Subscription]) -> String {
    let line = |it: &Subscription| match role {
        Role::Source => format!("{it}, topic {}", it.topic),
        Role::Function | Role::Sink => it.to_string(),
    };
    subscriptions.iter().map(line).collect::<Vec<_>>().join(", ")
}

fn not_deleted(remaining: &str, cause: &str) -> String {
    if remaining.is_empty() {
        return format!("subscriptions not deleted: {cause}");
    }
    // Truncates the list, so that the cause fits into the note.
    format!("subscriptions not deleted: {}; {cause}", truncate(remaining, 600))
}

/// The arguments of a Job's container: what it deletes.
fn arguments(job: &Job) -> Option<Vec<String>> {
    let pod = job.spec.as_ref()?.template.spec.as_ref()?;
    Some(pod.containers.first()?.command.as_ref()?.iter().skip(4).cloned().collect())
}

/// Whether nothing can be created in the namespace because it is terminating.
fn is_namespace_terminating(error: &ChildError) -> bool {
    let causes = error.status().and_then(|status| status.details.as_ref()).map(|details| &details.causes);
    causes.is_some_and(|causes| causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
}
