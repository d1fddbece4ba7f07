//! Observes a component that is being deleted, and executes the step that `deletion.rs` decides on.

use std::time::Duration;

use function_mesh_api::conditions::Reason;
use function_mesh_api::types::Subscription;
use function_mesh_api::validate::{Valid, valid_component};
use function_mesh_api::{Component, Role, labels, printable};
use function_mesh_workloads::subscriptions::{Targets, subscriptions, union};
use function_mesh_workloads::{cleanup_job, is_cleanup_wanted, names, without_credentials};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;

use super::cleanup_jobs::{self, Found};
use super::deletion::{CleanupJob, CleanupState, CleanupStep, Plan, Pods, next_step};
use super::{Context, finalizer, subscribed};
use crate::error::Error;
use function_mesh_kube::apply::{ChildApplier, ChildError, controller_of, is_owned_by};
use function_mesh_kube::events::clip;

/// Finalizer of an object whose children are to outlive it: `kubectl delete --cascade=orphan`.
const ORPHAN: &str = "orphan";
/// Longest reason that a Job's pod gives, in bytes: an Event takes 1024 in all.
const LONGEST_REASON: usize = 700;
/// How often the finalizer is removed anew from an object that changes meanwhile.
const ATTEMPTS: u32 = 4;

/// How far the end has come.
#[derive(Debug)]
pub(super) enum Progress {
    /// Nothing of ours holds the object any more.
    Released,
    /// This has to happen first.
    Waiting(String),
    /// The pods were told to stop, and the status says now what they once subscribed to.
    Stopping(Vec<Subscription>),
}

/// What is there, and what it takes to act on it.
struct Observed<C> {
    state: CleanupState,
    valid: Option<Valid<C>>,
    targets: Targets,
    users: Vec<String>,
    stateful_set: Option<StatefulSet>,
    job: Option<Box<Job>>,
}

/// Takes the next step of the end of a component, as the API server holds it: what caches say may be late.
pub(super) async fn proceed<C: Component>(component: &C, context: &Context) -> Result<Progress, Error> {
    let namespace = component.namespace().unwrap_or_default();
    let uid = component.uid().unwrap_or_default();
    let children = ChildApplier {
        client: &context.shared.client,
        namespace: &namespace,
        owner: &uid,
        manager: labels::managers::WORKLOAD,
    };
    let waited = context.shared.cleanup_clock.elapsed(&super::key(component));
    let limit = Duration::from_secs(context.shared.settings.cleanup_deadline.unsigned_abs());
    let end = End { component, children: &children, context };
    let observed = match end.observe(waited, limit).await {
        Ok(observed) => observed,
        // It is told, not passed over: nobody knows what was done.
        Err(error) if waited > limit && !error.is_conflict() => return end.give_up(&error.to_string()).await,
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
        let is_orphaning = component.finalizers().iter().any(|name| name == ORPHAN);
        let mut observed = Observed {
            state: CleanupState {
                has_finalizer: finalizer::is_on(meta),
                is_left_alone: is_orphaning || !labels::is_managed(meta),
                plan: Plan::Remove,
                pods: Pods::Gone,
                job: CleanupJob::Missing,
                is_late: waited > limit,
                is_abandoned: waited > limit * 3,
            },
            valid: None,
            targets: Targets::default(),
            users: Vec::new(),
            stateful_set: None,
            job: None,
        };
        if !observed.state.has_finalizer || observed.state.is_left_alone {
            return Ok(observed);
        }
        match valid_component(component.clone()) {
            Ok(valid) => observed.valid = Some(valid),
            Err(violations) => {
                let why = format!("what to clean up cannot be determined: {violations}");
                observed.state.plan = Plan::Unknown(why);
                return Ok(observed);
            }
        }
        observed.stateful_set = self.stateful_set().await?;
        observed.state.pods = self.pods(observed.stateful_set.as_ref());
        self.plan(&mut observed).await;
        match cleanup_jobs::find(component, self.children).await? {
            Found::Missing => {}
            Found::Foreign(why) => observed.state.job = CleanupJob::Foreign(why),
            Found::Ours(job) => {
                observed.state.job = CleanupJob::Ours {
                    end: cleanup_jobs::end_of(&job),
                    is_deleted: job.metadata.deletion_timestamp.is_some(),
                    is_outdated: self.is_outdated(&job, &observed).await?,
                };
                observed.job = Some(job);
            }
        }
        Ok(observed)
    }

    /// Everything that its pods ever subscribed to and nobody else uses.
    async fn plan(&self, observed: &mut Observed<C>) {
        let Some(valid) = &observed.valid else { return };
        if !is_cleanup_wanted(valid) {
            observed.state.plan = Plan::Declined;
            return;
        }
        let all = union(&subscriptions(&**valid), &self.retired(observed.stateful_set.as_ref()));
        let peers = &self.context.peers;
        let mut targets = Targets::all(all);
        let left = peers.leave_shared(C::ROLE, self.children.owner, &mut targets, &self.context.shared).await;
        observed.targets = targets;
        let Some(users) = left else {
            observed.state.plan = Plan::Unclear;
            return;
        };
        observed.users = users;
        if observed.targets.remove.is_empty() {
            observed.state.plan = Plan::AllShared;
        }
    }

    /// Subscriptions of before, from the status and from the StatefulSet, for as long as there is one.
    fn retired(&self, live: Option<&StatefulSet>) -> Vec<Subscription> {
        let status = self.component.status().map(|status| status.retired_subscriptions.clone());
        union(&status.unwrap_or_default(), &live.map(subscribed::read).unwrap_or_default())
    }

    async fn stateful_set(&self) -> Result<Option<StatefulSet>, ChildError> {
        // Past the cache, which may be late: what was made a moment ago would go on consuming.
        self.children.read(&names::stateful_set(&self.component.name_any(), C::ROLE)).await
    }

    fn pods(&self, live: Option<&StatefulSet>) -> Pods {
        let Some(live) = live else { return Pods::Gone };
        if controller_of(live).is_none() && labels::annotation(&live.metadata, labels::APPLIED_HASH).is_some()
        {
            return Pods::Orphaned;
        }
        if !is_owned_by(live, self.children.owner) {
            return Pods::Gone;
        }
        if live.metadata.deletion_timestamp.is_some() { Pods::Stopping } else { Pods::Running }
    }

    /// Whether a Job at work would remove what another component uses by now.
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
            shared.backends_for(self.children.namespace).await.map_err(|source| ChildError::Api {
                verb: "read",
                kind: "BackendConfig".to_owned(),
                name: String::new(),
                source: Box::new(source),
            })?;
        let job = |valid| cleanup_job(valid, backends.as_backends(), &shared.settings, &observed.targets);
        Ok(observed.valid.as_ref().map(job))
    }

    async fn execute(&self, observed: Observed<C>, is_late: bool) -> Result<Progress, Error> {
        let waiting = |what: &str| Ok(Progress::Waiting(what.to_owned()));
        match next_step(&observed.state) {
            CleanupStep::Nothing => Ok(Progress::Released),
            CleanupStep::Release => self.release().await,
            CleanupStep::Wait(what) => waiting(what),
            CleanupStep::WaitForJob => {
                waiting(&format!("removing {}", text(C::ROLE, &observed.targets.remove)))
            }
            CleanupStep::StopPods => self.stop_pods(&observed).await,
            CleanupStep::CancelJob(what) => {
                if let Some(job) = &observed.job {
                    self.children.delete_with_preconditions(&**job, &DeleteParams::foreground()).await?;
                }
                waiting(what)
            }
            CleanupStep::CreateJob => self.create_job(&observed, is_late).await,
            CleanupStep::Succeed => self.succeed(&observed).await,
            CleanupStep::KeepAll => {
                self.record_shared(&observed).await;
                self.release().await
            }
            CleanupStep::GiveUp(why) => {
                let why = match &observed.job {
                    Some(job) => self.reason(job).await.unwrap_or(why),
                    None => why,
                };
                self.record_shared(&observed).await;
                let left = text(C::ROLE, &observed.targets.remove);
                self.record(false, Reason::CleanupFailed, &left_in_pulsar(&left, &why)).await;
                self.release().await
            }
        }
    }

    /// What the pods subscribed to is known from the StatefulSet, which goes now: it is noted in the status first.
    async fn stop_pods(&self, observed: &Observed<C>) -> Result<Progress, Error> {
        let Some(live) = &observed.stateful_set else { return Ok(Progress::Waiting(String::new())) };
        let retired = subscribed::note(self.component, live, &self.context.shared).await?;
        self.children.delete_foreground(live).await?;
        self.context.shared.metrics.wrote("StatefulSet", "deleted");
        Ok(Progress::Stopping(retired))
    }

    async fn create_job(&self, observed: &Observed<C>, is_late: bool) -> Result<Progress, Error> {
        let left = text(C::ROLE, &observed.targets.remove);
        let Some(job) = self.job(observed).await? else { return Ok(Progress::Waiting(String::new())) };
        match self.children.create(&job).await {
            Ok(()) => Ok(Progress::Waiting(format!("removing {left}"))),
            Err(error) if is_terminating(&error) => {
                self.give_up_on(&left, "the namespace is being deleted, no Job can run in it").await
            }
            Err(error) if is_late => self.give_up_on(&left, &error.to_string()).await,
            Err(error) => Err(error.into()),
        }
    }

    /// The Job goes before the finalizer, so that nothing is left of it whenever the controller ends. Should it end in
    /// between, another Job finds nothing to do.
    async fn succeed(&self, observed: &Observed<C>) -> Result<Progress, Error> {
        let note = format!("removed {}", text(C::ROLE, &observed.targets.remove));
        self.record(true, Reason::CleanupSucceeded, &note).await;
        self.record_shared(observed).await;
        if let Some(job) = &observed.job {
            self.children.delete_with_preconditions(&**job, &DeleteParams::background()).await?;
        }
        self.release().await
    }

    async fn record_shared(&self, observed: &Observed<C>) {
        let kept = union(&observed.targets.shared, &observed.targets.keep);
        if !observed.users.is_empty() {
            let note = format!("kept {}: {} uses it", text(Role::Sink, &kept), observed.users.join(", "));
            self.record(true, Reason::CleanupSkipped, &note).await;
        }
    }

    /// What the Job's last pod said: what is left, and why.
    async fn reason(&self, job: &Job) -> Option<String> {
        let selector = format!("job-name={}", job.name_any());
        let pods = self.children.list::<Pod>(&selector).await.ok()?;
        let said = pods.iter().filter_map(|pod| {
            let states = pod.status.as_ref()?.container_statuses.as_ref()?;
            let ended = states.iter().find(|it| it.name == "cleanup")?.state.as_ref()?.terminated.as_ref()?;
            let message = ended.message.as_deref().filter(|message| !message.trim().is_empty())?;
            Some((ended.finished_at.as_ref().map(|at| at.0), message))
        });
        let (_, message) = said.max_by_key(|(at, _)| *at)?;
        let message = without_credentials(message);
        Some(clip(&printable(&message), LONGEST_REASON).to_owned())
    }

    async fn give_up(&self, why: &str) -> Result<Progress, Error> {
        let left = union(&subscriptions(self.component), &self.retired(None));
        self.give_up_on(&text(C::ROLE, &left), why).await
    }

    async fn give_up_on(&self, left: &str, why: &str) -> Result<Progress, Error> {
        self.record(false, Reason::CleanupFailed, &left_in_pulsar(left, why)).await;
        self.release().await
    }

    /// Lets the object go. That it changed meanwhile does not matter: what there was to do is done.
    async fn release(&self) -> Result<Progress, Error> {
        let mut meta = self.component.meta().clone();
        let mut attempts = 1;
        loop {
            match finalizer::release::<C>(&meta, &self.context.shared.client).await {
                Err(error) if error.is_conflict() && attempts < ATTEMPTS => attempts += 1,
                result => break result?,
            }
            let newer = self.children.read::<C>(&self.component.name_any()).await?;
            let Some(newer) = newer.filter(|newer| newer.uid() == meta.uid) else { break };
            meta = newer.meta().clone();
        }
        self.context.shared.cleanup_clock.forget(&super::key(self.component));
        Ok(Progress::Released)
    }

    async fn record(&self, normal: bool, reason: Reason, note: &str) {
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

/// What is removed, in words. The topic of a batch source goes with its subscription.
fn text(role: Role, subscriptions: &[Subscription]) -> String {
    let text = |it: &Subscription| match role {
        Role::Source => format!("{it}, topic {}", it.topic),
        Role::Function | Role::Sink => it.to_string(),
    };
    subscriptions.iter().map(text).collect::<Vec<_>>().join(", ")
}

fn left_in_pulsar(left: &str, why: &str) -> String {
    // The reason is what people need; of a thousand subscriptions they need the first.
    let left = if left.is_empty() { "its subscriptions" } else { left };
    format!("left in Pulsar: {}; {why}", clip(left, 600))
}

/// What a Job removes, as its container is told.
fn arguments(job: &Job) -> Option<Vec<String>> {
    let pod = job.spec.as_ref()?.template.spec.as_ref()?;
    Some(pod.containers.first()?.command.as_ref()?.iter().skip(4).cloned().collect())
}

/// Whether nothing more can be made in the namespace.
fn is_terminating(error: &ChildError) -> bool {
    let causes = error.status().and_then(|status| status.details.as_ref()).map(|details| &details.causes);
    causes.is_some_and(|causes| causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
}
