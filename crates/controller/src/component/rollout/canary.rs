//! The canary of a component: what its pods consume, what they did, and what the status says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use function_mesh_api::conditions::Reason;
use function_mesh_api::types::{CanaryState, CanaryStatus, ComponentStatus, RolloutStatus};
use function_mesh_api::{Component, Spec as _};
use function_mesh_kube::apply::hash;
use function_mesh_rollout::analysis::Figures;
use function_mesh_rollout::canary::{Before, End, Observed, Plan, Record, Report};
use function_mesh_rollout::{Counters, Memory, Moment, Sample, total};
use function_mesh_workloads::subscriptions::subscriptions;
use k8s_openapi::api::apps::v1::{RollingUpdateStatefulSetStrategy, StatefulSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use serde_json::json;

use crate::component::pod_counts::Pods;
use crate::component::pods::pods_of;
use crate::component::summary::PodSummary;
use crate::component::{Context, key};

/// When a canary is judged again, even without a watch event: its figures come from the observer.
const RECHECK: Duration = Duration::from_secs(5);
/// The same for one that waits for messages or a person, which may last for days.
const RECHECK_WAITING: Duration = Duration::from_secs(20);
/// Why nothing is known of any pod.
const NOT_OBSERVED: &str = "the operator does not observe Pulsar; start the operator with --observe";

/// Identity of what the pods consume, and how: with another one, old and new pods cannot share the messages.
pub(super) fn consumes<C: Component>(component: &C) -> String {
    let view = component.spec().view();
    let order = view.consuming.map(|it| (it.retain_ordering, it.retain_key_ordering));
    let pulsar = view.common.pulsar.and_then(|pulsar| pulsar.pulsar_config.as_ref());
    hash(&json!([subscriptions(component), view.common.processing_guarantee, order, pulsar]))
}

/// What is known of the pods before a change: of those with the revision before, if another change is not complete.
pub(super) fn before<C: Component>(component: &C, live: &StatefulSet, context: &Context) -> Before<'static> {
    let counts = Pods::of(live);
    let current = live.status.as_ref().and_then(|status| status.current_revision.as_deref());
    let counters = counters(component, context).unwrap_or_default();
    let known: Vec<_> = pods(component, counts.wanted, context)
        .filter(|pod| current.is_none() || pod.revision() == current)
        .filter_map(|pod| counters.get(pod.metadata.uid.as_ref()?).copied().flatten())
        .collect();
    Before { consumes: None, has_pods: counts.wanted > 0 && counts.existing > 0, figures: total(&known) }
}

/// What is observed of a canary whose StatefulSet has this newest revision.
pub(super) fn observe<C: Component>(
    component: &C,
    (record, plan): (&Record, &Plan),
    (revision, wanted): (Option<&str>, u32),
    (memory, now): (&mut Memory, Moment),
    context: &Context,
) -> Option<Observed> {
    let counters = counters(component, context);
    let unknown = counters.is_none().then_some(NOT_OBSERVED);
    let counters = counters.unwrap_or_default();
    let sample = |pod: Arc<PodSummary>| {
        let restarts = pod.containers.iter().map(|it| u32::try_from(it.restart_count).unwrap_or_default());
        Some(Sample {
            uid: pod.metadata.uid.clone()?,
            is_canary: pod.revision() == revision,
            restarts: restarts.fold(0, u32::saturating_add),
            counters: counters.get(pod.metadata.uid.as_ref()?).copied().flatten(),
        })
    };
    let replicas = i32::try_from(wanted).unwrap_or(i32::MAX);
    let figures = match revision {
        Some(_) => {
            let samples: Vec<_> = pods(component, replicas, context).filter_map(sample).collect();
            memory.count(record.step, &samples, now)
        }
        None => (Figures::default(), None),
    };
    record.observed(plan, wanted, figures, unknown)
}

/// The pods that do not terminate.
fn pods<C: Component>(
    component: &C,
    wanted: i32,
    context: &Context,
) -> impl Iterator<Item = Arc<PodSummary>> {
    let (namespace, name) = (component.namespace().unwrap_or_default(), component.name_any());
    let wanted = u32::try_from(wanted).unwrap_or_default();
    let found: Vec<_> = pods_of::<C>(&context.pods, &namespace, &name, wanted).map(|(_, pod)| pod).collect();
    found.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none())
}

/// The last counters of pods, by UID. None if the operator does not observe Pulsar.
fn counters<C: Component>(component: &C, context: &Context) -> Option<HashMap<String, Option<Counters>>> {
    let board = context.shared.traffic.as_ref()?;
    Some(board.counters(&key(component), &component.uid().unwrap_or_default()))
}

/// Keeps the newest revision from the pods that it is not for.
pub(super) fn write_partition(wanted: &mut StatefulSet, record: &Record, plan: &Plan) {
    let Some(spec) = &mut wanted.spec else { return };
    let replicas = u32::try_from(spec.replicas.unwrap_or(1)).unwrap_or_default();
    let partition = replicas.saturating_sub(record.pods(plan, replicas));
    if partition > 0 {
        spec.update_strategy.get_or_insert_default().rolling_update =
            Some(RollingUpdateStatefulSetStrategy {
                partition: i32::try_from(partition).ok(),
                max_unavailable: None::<IntOrString>,
            });
    }
}

/// Where a canary is that has ended.
pub(super) fn ended(record: &Record, last: usize, replicas: u32) -> Report {
    let state = match record.end {
        Some(End::Promoted | End::ByHand) => CanaryState::Promoted,
        Some(End::Skipped) => CanaryState::Skipped,
        Some(End::Failed) => CanaryState::Failed,
        None => CanaryState::Progressing,
    };
    let message = record.message.clone().unwrap_or_default();
    let step = match state {
        CanaryState::Skipped => None,
        CanaryState::Promoted => Some(last),
        _ => Some(record.step.min(last)),
    };
    Report { state, step, last, pods: replicas, message }
}

/// The canary in a status.
pub(super) fn status(
    report: &Report,
    revision: Option<&str>,
    before: Option<&RolloutStatus>,
    now: &Time,
) -> CanaryStatus {
    let number = |index: usize| i32::try_from(index.saturating_add(1)).ok();
    let status = CanaryStatus {
        state: report.state,
        step: report.step.and_then(number),
        of: report.step.and_then(|_| number(report.last)),
        replicas: report.step.and_then(|_| i32::try_from(report.pods).ok()),
        revision: revision.filter(|it| !it.is_empty()).map(str::to_owned),
        message: Some(report.message.clone()),
        since: None,
    };
    let before = before.and_then(|before| before.canary.as_ref());
    let is_same = |before: &&CanaryStatus| (before.state, before.step) == (status.state, status.step);
    let since = before.filter(is_same).and_then(|before| before.since.clone());
    // The StatefulSet controller has yet to look at a change, which may be one of the partition or the replicas alone.
    let goes_on = |before: &&CanaryStatus| {
        before.state == status.state || is_open(before.state) && is_open(status.state)
    };
    let kept = || before.filter(goes_on).and_then(|before| before.revision.clone());
    let revision = status.revision.clone().or_else(kept);
    CanaryStatus { since: since.or_else(|| Some(now.clone())), revision, ..status }
}

/// When to judge a canary in this state again.
pub(super) fn recheck(state: CanaryState) -> Option<Duration> {
    let recheck = if state == CanaryState::Inconclusive { RECHECK_WAITING } else { RECHECK };
    is_open(state).then_some(recheck)
}

/// Whether a canary continues.
pub(super) fn is_open(state: CanaryState) -> bool {
    !matches!(state, CanaryState::Failed | CanaryState::Promoted | CanaryState::Skipped)
}

/// The Event of a canary whose status changed: whether it is Normal, its reason, and the note.
pub(in crate::component) fn event(
    before: Option<&ComponentStatus>,
    now: &ComponentStatus,
) -> Option<(bool, Reason, String)> {
    let of = |status: &ComponentStatus| status.rollout.as_ref().and_then(|rollout| rollout.canary.clone());
    let (before, now) = (before.and_then(of), of(now)?);
    // The StatefulSet controller has yet to name the revision.
    let revision = now.revision.as_deref()?;
    let same = before.filter(|before| before.revision.as_deref() == Some(revision));
    let was = |state| same.as_ref().is_some_and(|before| before.state == state);
    let message = now.message.as_deref().unwrap_or_default();
    let pods = now.replicas.unwrap_or_default();
    let noun = if pods == 1 { "pod" } else { "pods" };
    let place = match (now.step, now.of) {
        (Some(step), Some(of)) => format!("step {step} of {of}, {pods} {noun} with revision {revision}"),
        _ => format!("revision {revision}"),
    };
    let step = same.as_ref().and_then(|before| before.step);
    let (normal, reason, note) = match now.state {
        CanaryState::Progressing | CanaryState::Analyzing => {
            if same.is_none() || was(CanaryState::Failed) || was(CanaryState::Promoted) {
                (true, Reason::CanaryStarted, place)
            } else if step < now.step {
                (true, Reason::CanaryStepped, place)
            } else {
                return None;
            }
        }
        CanaryState::Inconclusive if was(now.state) && step == now.step => return None,
        state if state != CanaryState::Inconclusive && was(state) => return None,
        CanaryState::Inconclusive => (false, Reason::CanaryInconclusive, format!("{place}: {message}")),
        CanaryState::Failed => (false, Reason::CanaryFailed, format!("{place}: {message}")),
        CanaryState::Promoted => (true, Reason::CanaryPromoted, format!("revision {revision}: {message}")),
        CanaryState::Skipped => (true, Reason::CanarySkipped, format!("revision {revision}: {message}")),
    };
    Some((normal, reason, note))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: CanaryState, step: i32, revision: Option<&str>) -> ComponentStatus {
        let canary = CanaryStatus {
            state,
            step: Some(step),
            of: Some(3),
            replicas: Some(1),
            revision: revision.map(str::to_owned),
            message: Some("why".to_owned()),
            since: None,
        };
        let rollout = RolloutStatus { canary: Some(canary), ..RolloutStatus::default() };
        ComponentStatus { rollout: Some(rollout), ..ComponentStatus::default() }
    }

    #[test]
    fn a_partition_keeps_the_newest_revision_from_the_other_pods() {
        let policy = json!({ "canary": { "steps": [{ "replicas": "25%", "duration": "1m" }] } });
        let plan = Plan::of(Some(&serde_json::from_value(policy).expect("a rollout"))).expect("a plan");
        let partition = |record: &Record, replicas: i32| {
            let set = json!({ "metadata": {}, "spec": { "replicas": replicas, "selector": {}, "template": {},
                "serviceName": "f", "updateStrategy": { "type": "RollingUpdate" } } });
            let mut set: StatefulSet = serde_json::from_value(set).expect("a StatefulSet");
            let before = set.clone();
            write_partition(&mut set, record, &plan);
            let strategy = set.spec.clone().and_then(|spec| spec.update_strategy?.rolling_update);
            assert!(strategy.is_some() || set == before, "without a partition it stays as it is");
            strategy.and_then(|strategy| strategy.partition)
        };
        let of = |step, end| Record { step, end, ..Record::default() };
        for (record, replicas, expected) in [
            (of(0, None), 4, Some(3)),
            (of(0, Some(End::Failed)), 5, Some(3)),
            (of(0, None), 1, None),
            (of(0, None), 0, None),
            (of(1, None), 4, None),
            (of(0, Some(End::Promoted)), 4, None),
            (of(0, Some(End::ByHand)), 4, None),
            (of(0, Some(End::Skipped)), 4, None),
        ] {
            assert_eq!(partition(&record, replicas), expected, "{record:?} {replicas}");
        }
    }

    #[test]
    fn a_revision_that_is_not_named_yet_is_kept_while_the_canary_goes_on() {
        use CanaryState::{Analyzing, Failed, Progressing, Promoted};
        let report = |state| Report { state, step: Some(0), last: 2, pods: 1, message: String::new() };
        let now = Time(jiff::Timestamp::UNIX_EPOCH);
        for (before, state, named, expected) in [
            (Analyzing, Progressing, None, Some("f-1")),
            (Analyzing, Analyzing, None, Some("f-1")),
            (Analyzing, Progressing, Some("f-2"), Some("f-2")),
            (Promoted, Progressing, None, None),
            (Failed, Failed, None, Some("f-1")),
            (Promoted, Promoted, None, Some("f-1")),
        ] {
            let before = status(before, 1, Some("f-1")).rollout;
            let found = super::status(&report(state), named, before.as_ref(), &now);
            assert_eq!(found.revision.as_deref(), expected, "{before:?} {state:?} {named:?}");
        }
    }

    #[test]
    fn each_transition_is_an_event_once() {
        use CanaryState::{Analyzing, Failed, Inconclusive, Progressing, Promoted, Skipped};
        let absent = ComponentStatus::default();
        let of = |state, step| status(state, step, Some("f-2"));
        let other = |state| status(state, 1, Some("f-1"));
        let table = vec![
            (absent.clone(), of(Progressing, 1), Some(Reason::CanaryStarted)),
            (other(Promoted), status(Progressing, 1, None), None),
            (status(Progressing, 1, None), of(Progressing, 1), Some(Reason::CanaryStarted)),
            (other(Analyzing), of(Analyzing, 1), Some(Reason::CanaryStarted)),
            (of(Progressing, 1), of(Analyzing, 1), None),
            (of(Analyzing, 1), of(Progressing, 2), Some(Reason::CanaryStepped)),
            (of(Inconclusive, 1), of(Progressing, 2), Some(Reason::CanaryStepped)),
            (of(Analyzing, 1), of(Inconclusive, 1), Some(Reason::CanaryInconclusive)),
            (of(Inconclusive, 1), of(Inconclusive, 1), None),
            (of(Inconclusive, 1), of(Inconclusive, 2), Some(Reason::CanaryInconclusive)),
            (of(Inconclusive, 1), of(Analyzing, 1), None),
            (of(Analyzing, 1), of(Failed, 1), Some(Reason::CanaryFailed)),
            (of(Failed, 1), of(Failed, 1), None),
            (of(Failed, 1), of(Promoted, 3), Some(Reason::CanaryPromoted)),
            (of(Analyzing, 3), of(Promoted, 3), Some(Reason::CanaryPromoted)),
            (of(Promoted, 3), of(Promoted, 3), None),
            (other(Promoted), of(Skipped, 1), Some(Reason::CanarySkipped)),
            (of(Skipped, 1), of(Skipped, 1), None),
            (of(Promoted, 3), absent, None),
        ];
        for (before, now, expected) in table {
            let found = event(Some(&before), &now).map(|(_, reason, _)| reason);
            assert_eq!(found, expected, "{before:?} {now:?}");
        }
        let (normal, _, note) = event(None, &of(Failed, 1)).expect("an Event");
        assert_eq!((normal, note.as_str()), (false, "step 1 of 3, 1 pod with revision f-2: why"));
    }
}
