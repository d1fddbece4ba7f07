//! `rollout.strategy: Recreate`: from what is observed of a StatefulSet to the write of the next step, and what status and
//! Events say about it. The decision is that of [`function_mesh_rollout::recreate`].

mod step;

use std::time::Duration;

use function_mesh_api::conditions::Reason;
use function_mesh_api::labels;
use function_mesh_api::types::{RecreateStatus, RecreateStep, Rollout};
use function_mesh_api::{Component, Spec as _};
use function_mesh_kube::apply::ChildApplier;
use function_mesh_observer::Cause;
use function_mesh_rollout::recreate::{Observed, Pods, Record, Step, Subscription, Wait, decide};
use function_mesh_workloads::{has_same_template, has_template_of, names};
use humantime::format_duration;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::pod_counts::Pods as Counts;
use super::{Context, immutable, pending_change, pods, status};
use crate::error::Error;

pub(super) use step::{Stop, step};

/// Pods of a stopped StatefulSet that are named.
const MAX_PODS: u32 = 20;
/// When a stopped component is looked at again, even without a watch event.
const STOPPED_RECHECK: Duration = Duration::from_secs(5);

/// What was observed of a component with `strategy: Recreate` that has a StatefulSet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Facts {
    pub(super) pods: Pods,
    pub(super) subscription: Subscription,
    pub(super) record: Record,
    pub(super) now: Timestamp,
}

/// Where a component with `strategy: Recreate` is.
#[derive(Clone, Debug, PartialEq)]
pub struct Recreate {
    record: Record,
    /// What it waits for, while it is stopped.
    wait: Option<Wait>,
    /// Replicas that it will have again.
    wanted: i32,
    /// The Event of this step, if it is new.
    pub(super) event: Option<(Reason, String)>,
}

/// The next step of a component.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Write these fields of the StatefulSet, if there are some, and nothing else of it.
    Hold(Option<Value>, Recreate),
    /// Apply the StatefulSet with this record as annotation, if there is one.
    Apply(Option<String>, Recreate),
}

/// The pod template that is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Template {
    /// What is rendered from the spec.
    Rendered,
    /// The last good one, as the StatefulSet controller has kept it.
    RolledBack,
    /// The live one, since rollouts are paused.
    Deferred,
}

/// Whether a component has this strategy.
pub(super) fn is_strategy_of<C: Component>(component: &C) -> bool {
    component.spec().view().common.rollout.is_some_and(Rollout::recreates)
}

/// Observes the pods and the subscription of a component whose StatefulSet is `live`.
pub(super) async fn observe<C: Component>(
    component: &C,
    live: &StatefulSet,
    children: &ChildApplier<'_>,
    context: &Context,
) -> Result<Facts, Error> {
    let now = Timestamp::now();
    Ok(Facts {
        pods: observe_pods(component, live, children, context).await?,
        subscription: observe_subscription(component, context),
        record: read(live),
        now: Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now),
    })
}

/// The pods of a StatefulSet without replicas. That there is none is read from the API server, since the cache may be stale.
async fn observe_pods<C: Component>(
    component: &C,
    live: &StatefulSet,
    children: &ChildApplier<'_>,
    context: &Context,
) -> Result<Pods, Error> {
    let counts = Counts::of(live);
    if counts.wanted > 0 {
        return Ok(Pods::Unknown);
    }
    let (namespace, name) = (component.namespace().unwrap_or_default(), component.name_any());
    let names: Vec<_> = pods::pods_of::<C>(&context.pods, &namespace, &name, MAX_PODS)
        .map(|(_, pod)| pod.name_any())
        .collect();
    if !names.is_empty() {
        return Ok(Pods::Exist(names));
    }
    if !counts.is_current || counts.existing > 0 {
        return Ok(Pods::Unknown);
    }
    let Some(spec) = &live.spec else { return Ok(Pods::Unknown) };
    let listed = children.list::<Pod>(&status::selector_text(&spec.selector)).await?;
    let set = names::stateful_set(&name, C::ROLE);
    let names: Vec<_> =
        listed.iter().map(ResourceExt::name_any).filter(|name| is_pod_of(name, &set)).collect();
    Ok(if names.is_empty() { Pods::None } else { Pods::Exist(names) })
}

/// Whether a pod is one of a StatefulSet: the pods of a clean-up Job have the same labels.
fn is_pod_of(name: &str, set: &str) -> bool {
    let ordinal = name.strip_prefix(set).and_then(|rest| rest.strip_prefix('-'));
    ordinal.is_some_and(|ordinal| !ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit()))
}

fn observe_subscription<C: Component>(component: &C, context: &Context) -> Subscription {
    let is_consuming = component.spec().view().consuming.is_some();
    let Some(board) = context.shared.traffic.as_ref().filter(|_| is_consuming) else {
        return Subscription::NotObserved;
    };
    let (key, uid) = (super::key(component), component.uid().unwrap_or_default());
    board.subscription(&key, &uid).unwrap_or(Subscription::Unknown(Cause::NotAsked.description()))
}

/// The record of a StatefulSet. One that cannot be read counts as none.
fn read(live: &StatefulSet) -> Record {
    let text = labels::annotation(&live.metadata, labels::RECREATE);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Whether the first pod of a StatefulSet that is about to be applied is waited for.
pub(super) fn is_starting(wanted: &StatefulSet) -> bool {
    read(wanted).is_starting()
}

/// Decides the next step.
pub(super) fn next(facts: &Facts, wanted: &StatefulSet, live: &StatefulSet, template: Template) -> Next {
    let has_wanted_template = match template {
        Template::Deferred => true,
        Template::Rendered => has_template_of(live, wanted),
        // It was live before, with all defaults, and no hash identifies it.
        Template::RolledBack => has_same_template(live, wanted),
    };
    let (counts, replicas) = (Counts::of(live), Counts::of(wanted).wanted);
    let step = decide(&Observed {
        has_wanted_template,
        replicas: counts.wanted,
        wanted: replicas,
        pods: facts.pods.clone(),
        is_ready: counts.ready > 0,
        subscription: facts.subscription,
        record: facts.record.clone(),
        now: facts.now,
    });
    let rollout =
        labels::annotation(&wanted.metadata, labels::ROLLOUT).filter(|_| template == Template::RolledBack);
    let at = |record: Record, wait, event| Recreate { record, wait, wanted: replicas, event };
    match step {
        Step::Stop(record) => {
            let event = (Reason::RecreateStopping, stopping(wanted, live, counts.wanted));
            let part = stopped_part(live, rollout, &record);
            Next::Hold(Some(part), at(record, Some(Wait::Pods(Vec::new())), Some(event)))
        }
        Step::Wait(wait, record) => {
            let is_new = record != facts.record;
            let event = is_new.then(|| (Reason::RecreateDraining, format!("no pod is left; {wait}")));
            Next::Hold(is_new.then(|| stopped_part(live, rollout, &record)), at(record, Some(wait), event))
        }
        Step::Apply(record) => {
            let event = event_of(&facts.record, &record, facts, replicas);
            // A StatefulSet that was never stopped has no annotation, and one that was keeps it.
            let is_absent =
                record == Record::default() && labels::annotation(&live.metadata, labels::RECREATE).is_none();
            let text = serde_json::to_string(&record).ok().filter(|_| !is_absent);
            Next::Apply(text, at(record, None, event))
        }
    }
}

/// The fields of a stopped StatefulSet. All of them are in every write, since one that is left out would be removed.
fn stopped_part(live: &StatefulSet, rollout: Option<&str>, record: &Record) -> Value {
    let text = serde_json::to_string(record).unwrap_or_default();
    let mut part = json!({
        "metadata": { "annotations": { labels::RECREATE: text } },
        "spec": { "replicas": 0 },
    });
    // What failed, and is rolled back, must not be tried again.
    if let Some(rollout) = rollout {
        part["metadata"]["annotations"][labels::ROLLOUT] = rollout.into();
    }
    let policy = live.spec.as_ref().and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    // The pods come back: a stop must not delete their volumes.
    if policy.is_some_and(|policy| policy.when_scaled.as_deref() == Some("Delete")) {
        part["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({ "whenScaled": "Retain" });
    }
    part
}

fn stopping(wanted: &StatefulSet, live: &StatefulSet, replicas: i32) -> String {
    let mut kept = wanted.clone();
    immutable::keep(&mut kept, live);
    let change = pending_change::describe(&kept, live).unwrap_or_else(|| "their template changes".to_owned());
    let lines: Vec<_> = change.lines().collect();
    let more = match lines.len() {
        0 | 1 => String::new(),
        count => format!(", and {} more", count - 1),
    };
    format!("scaled to zero, from {replicas}, to recreate the pods: {}{more}", lines.first().unwrap_or(&""))
}

/// The Event of a record that differs from the one before.
fn event_of(before: &Record, now: &Record, facts: &Facts, wanted: i32) -> Option<(Reason, String)> {
    if now.is_starting() && !before.is_starting() {
        let noun = if wanted == 1 { "pod" } else { "pods" };
        let of_subscription = match facts.subscription {
            Subscription::Known { .. } => ", and nothing consumes the subscription".to_owned(),
            Subscription::Unknown(cause) => {
                format!(", and whether something consumes the subscription is unknown: {cause}")
            }
            Subscription::NotObserved => String::new(),
        };
        return Some((
            Reason::RecreateStarting,
            format!("no pod is left{of_subscription}; starting {wanted} {noun}"),
        ));
    }
    if before.ready_at.is_some() {
        return None;
    }
    let (gap, total) = (now.gap()?, now.total()?);
    let text = |duration: SignedDuration| format_duration(duration.unsigned_abs()).to_string();
    Some((
        Reason::Recreated,
        format!("the first pod is ready: {} without a pod, {} since the stop", text(gap), text(total)),
    ))
}

impl Recreate {
    /// What a stopped component waits for.
    pub(super) fn waiting_for(&self) -> Option<String> {
        self.wait.as_ref().map(ToString::to_string)
    }

    /// Whether the pods are stopped, and not yet started again.
    pub(super) fn is_stopped(&self) -> bool {
        self.wait.is_some()
    }

    /// Whether no pod is left, and the start waits for the subscription.
    pub(super) fn is_draining(&self) -> bool {
        self.wait.as_ref().is_some_and(|wait| !matches!(wait, Wait::Pods(_)))
    }

    /// Replicas that it will have again.
    pub(super) fn wanted(&self) -> i32 {
        self.wanted
    }

    /// When to look again, even without a watch event.
    pub(super) fn recheck_after(&self) -> Option<Duration> {
        self.is_stopped().then_some(STOPPED_RECHECK)
    }

    /// The same without an Event, for what is remembered.
    pub(super) fn without_event(&self) -> Self {
        Self { event: None, ..self.clone() }
    }

    /// What the status says; None if the pods were never recreated.
    pub(super) fn status(&self) -> Option<RecreateStatus> {
        let record = &self.record;
        let (step, since) = match &self.wait {
            Some(Wait::Pods(_)) => (RecreateStep::Stopping, record.stopped_at),
            Some(_) => (RecreateStep::Draining, record.gone_at),
            None if record.is_starting() => (RecreateStep::Starting, record.started_at),
            None => (RecreateStep::Complete, Some(record.ready_at?)),
        };
        // Kubernetes writes whole seconds.
        let since = since.and_then(|at| Timestamp::from_second(at.as_second()).ok()).map(Time);
        let gap_seconds = record.gap().map(|gap| (gap.as_secs_f64() * 10.0).round() / 10.0);
        Some(RecreateStatus { step, since, message: self.waiting_for(), gap_seconds })
    }
}

#[cfg(test)]
mod tests;
