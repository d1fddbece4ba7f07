//! Diagnosis of the pods of a component: why it is not ready.

use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant};

use function_mesh_api::{Component, Role, labels, printable};
use function_mesh_workloads::{names, redact, without_credentials};
use futures::{Stream, StreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};

use super::Context;
use super::pod_counts::Pods;
use super::status::Applied;
use super::summary::{Container, PodSummary};
use function_mesh_kube::cache::{Cache, watch_error_message};
use function_mesh_kube::compact::Compact;

/// Pods that are inspected; one is usually enough for a diagnosis.
const MAX_PODS: u32 = 20;

/// How long a restarted container must run until it counts as healthy. There is no readiness probe, and a runner with a
/// start-up failure runs for a while before it exits.
const STABILITY_WINDOW: SignedDuration = SignedDuration::from_secs(30);
/// How long an unbound volume is not a problem: a pod is unschedulable while its volumes are provisioned.
const VOLUME_BINDING_GRACE: SignedDuration = SignedDuration::from_secs(10);

/// The result of a diagnosis.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Diagnosis {
    /// A problem of a pod that does not resolve with time.
    pub(super) problem: Option<String>,
    /// Pods with the newest revision, by their labels.
    pub(super) updated: i32,
    /// When to diagnose again, even without a watch event.
    pub(super) recheck_after: Option<Duration>,
}

impl Diagnosis {
    /// Diagnoses again after this time at the latest.
    fn recheck_within(&mut self, remaining: Duration) {
        self.recheck_after = Some(self.recheck_after.map_or(remaining, |after| after.min(remaining)));
    }
}

/// The components of pods or clean-up Jobs.
pub(crate) fn components_of<K: Resource, C: Component>(
    changes: impl Stream<Item = Result<K, watcher::Error>> + Send,
) -> impl Stream<Item = ObjectRef<Compact<C>>> + Send {
    changes.filter_map(|change| {
        let object = change
            .inspect_err(|error| tracing::warn!(error = watch_error_message(error), "watch failed; retrying"))
            .ok();
        ready(object.and_then(|object| {
            let name = object.meta().labels.as_ref()?.get(labels::NAME)?;
            Some(ObjectRef::new(name).within(object.meta().namespace.as_deref()?))
        }))
    })
}

/// Diagnoses the pods of a component.
pub(super) async fn diagnose<C: Component>(applied: &Applied, component: &C, context: &Context) -> Diagnosis {
    let (key, shared) = (super::key(component), &context.shared);
    let (namespace, name) = (component.namespace().unwrap_or_default(), component.name_any());
    let count = u32::try_from(applied.wanted()).unwrap_or_default().min(MAX_PODS);
    let pods: Vec<_> = pods_of::<C>(&context.pods, &namespace, &name, count).map(|(_, pod)| pod).collect();
    let mut diagnose = diagnose_pods(&pods, Timestamp::now());
    diagnose.updated = updated(&pods, &applied.stateful_set);
    // If all pods are ready, only a recent restart counts as a problem.
    if applied.are_ready() && diagnose.recheck_after.is_none() {
        diagnose.problem = None;
    }
    if applied.wanted() == 0 || applied.changes.contains_key("StatefulSet") {
        // Failures of earlier pods say nothing about new ones.
        shared.pod_failures.forget(&key);
    }
    if let Some((problem, remaining)) = shared.pod_failures.problem(&key, Instant::now()) {
        diagnose.problem = Some(problem);
        diagnose.recheck_within(remaining);
    }
    if !applied.has_missing_pods() {
        shared.missing_pods.forget(&key);
        return diagnose;
    }
    let waiting = shared.missing_pods.remaining(&key, &namespace, Instant::now());
    let (remaining, found) = if let Some(waiting) = waiting {
        waiting
    } else {
        let uid = applied.stateful_set.uid().unwrap_or_default();
        let found = shared.rejected_pods.last(&shared.client, &namespace, &uid).await;
        (shared.missing_pods.searched(&key, found.clone(), Instant::now()), found)
    };
    diagnose.recheck_within(remaining);
    diagnose.problem = found.map(|cause| format!("pod is not created: {cause}")).or(diagnose.problem);
    diagnose
}

/// The pods with the newest revision of their StatefulSet; 0 if it is unknown.
fn updated(pods: &[Arc<PodSummary>], stateful_set: &StatefulSet) -> i32 {
    let status = stateful_set.status.as_ref().filter(|_| Pods::of(stateful_set).is_current);
    let Some(newest) = status.and_then(|status| status.update_revision.as_deref()) else { return 0 };
    let is_updated =
        |pod: &&Arc<PodSummary>| pod.metadata.deletion_timestamp.is_none() && pod.revision() == Some(newest);
    i32::try_from(pods.iter().filter(is_updated).count()).unwrap_or(i32::MAX)
}

/// The pods of a StatefulSet, by ordinal: the pods of a clean-up Job have the same labels.
pub(crate) fn pods_of<C: Component>(
    pods: &Cache<PodSummary>,
    namespace: &str,
    name: &str,
    count: u32,
) -> impl Iterator<Item = (u32, Arc<PodSummary>)> {
    let set = names::stateful_set(name, C::ROLE);
    let find = move |ordinal| pods.get(&ObjectRef::new(&format!("{set}-{ordinal}")).within(namespace));
    (0..count).filter_map(move |ordinal| Some((ordinal, find(ordinal)?)))
}

/// The first problem, and the earliest time at which the diagnosis may change.
fn diagnose_pods(pods: &[Arc<PodSummary>], now: Timestamp) -> Diagnosis {
    let mut diagnose = Diagnosis::default();
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let found = unschedulable(pod, now);
        let found =
            found.into_iter().chain(pod.containers.iter().filter_map(|it| container_problem(it, now)));
        for (problem, remaining) in found {
            diagnose.recheck_after = [diagnose.recheck_after, remaining].into_iter().flatten().min();
            // Messages of the kubelet and of containers are untrusted.
            let problem = problem.map(|problem| {
                printable(&redact::text(&format!("pod {}: {problem}", pod.name_any()))).into_owned()
            });
            diagnose.problem = diagnose.problem.or(problem);
        }
    }
    diagnose
}

/// Whether a pod has a problem that does not resolve with time.
pub(super) fn has_problem(pod: &PodSummary, now: Timestamp) -> bool {
    let containers = pod.containers.iter().filter_map(|it| container_problem(it, now));
    unschedulable(pod, now).into_iter().chain(containers).any(|(problem, _)| problem.is_some())
}

/// A problem, if there is one, and the time until the diagnosis may change.
type Found = (Option<String>, Option<Duration>);

/// The rest of a period that started at `since`. None if `since` is in the future, which is clock skew.
fn remaining(since: Option<Timestamp>, pods_of: SignedDuration, now: Timestamp) -> Option<Duration> {
    let past = now.duration_since(since?);
    if past.is_negative() {
        return None;
    }
    Duration::try_from(pods_of - past).ok().filter(|remaining| !remaining.is_zero())
}

fn unschedulable(pod: &PodSummary, now: Timestamp) -> Option<Found> {
    let scheduled =
        pod.scheduled.as_ref().filter(|it| it.status == "False" && it.reason == "Unschedulable")?;
    let message = Some(scheduled.message.as_str()).filter(|message| !message.is_empty());
    let message = message.unwrap_or("no node fits");
    let remaining = remaining(scheduled.last_transition_time, VOLUME_BINDING_GRACE, now);
    if message.contains("PersistentVolumeClaim") && remaining.is_some() {
        return Some((None, remaining));
    }
    Some((Some(format!("unschedulable: {message}")), None))
}

fn container_problem(container: &Container, now: Timestamp) -> Option<Found> {
    let running = container.state.running.as_ref();
    let remaining = running.and_then(|running| remaining(running.started_at, STABILITY_WINDOW, now));
    if container.ready && remaining.is_none() {
        return None;
    }
    problem(container).map(|problem| (Some(problem), remaining))
}

fn problem(container: &Container) -> Option<String> {
    let name = &container.name;
    let waiting = container.state.waiting.clone().unwrap_or_default();
    let (reason, message) = (waiting.reason.as_str(), waiting.message.as_str());
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
            return Some(format!(
                "container {name} failed to pull image {:?}: {message}; check spec.image and pod.imagePullSecrets",
                container.image
            ));
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            return Some(format!("container {name} failed to start: {message}"));
        }
        _ => {}
    }
    let ended = container.state.terminated.as_ref();
    let exit = ended.or(container.last_state.terminated.as_ref())?;
    let termination_message = if is_own_container(name) { termination_message(&exit.message) } else { None };
    if ended.is_none() && container.restart_count == 0 {
        return None;
    }
    let restarts = match container.restart_count {
        0 => String::new(),
        1 => ", restarted once".to_owned(),
        count => format!(", restarted {count} times"),
    };
    Some(match (exit.exit_code, exit.reason.as_str()) {
        (_, "OOMKilled") => {
            format!("container {name} exceeded its memory limit{restarts}; raise resources.limits.memory")
        }
        (code, _) if let Some(message) = termination_message => {
            format!("container {name} exited with code {code}{restarts}: {message}")
        }
        // The runner exits with 0 on start-up failures.
        (0, _) if !is_init(reason) => {
            format!(
                "container {name} exited with code 0{restarts}: usually a runner start-up failure; see pod logs"
            )
        }
        (code, _) => format!("container {name} exited with code {code}{restarts}; see pod logs"),
    })
}

/// Whether we render this container. The termination messages of sidecars are not reported.
fn is_own_container(container: &str) -> bool {
    container == "downloader" || Role::ALL.iter().any(|role| container == format!("pulsar-{role}"))
}

/// The first line of a termination message, and the line that most likely has the cause.
fn termination_message(message: &str) -> Option<String> {
    const MAX_CHARS: usize = 400;
    let mut lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next()?;
    let rest: Vec<_> = lines.collect();
    let is_cause = |line: &&&str| ["ERROR", "rror:", "Reason:"].iter().any(|word| line.contains(word));
    let cause = rest.iter().rfind(is_cause).or(rest.last());
    let text = cause.map_or_else(|| first.to_owned(), |cause| format!("{first} {cause}"));
    Some(without_credentials(&text).chars().take(MAX_CHARS).collect())
}

/// Whether a waiting container is an init container: a successful one is not a problem.
fn is_init(waiting: &str) -> bool {
    waiting == "PodInitializing"
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "fixtures read better so")]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, status: serde_json::Value) -> PodSummary {
        let pod = json!({ "metadata": { "name": name }, "spec": { "containers": [] }, "status": status });
        PodSummary::parse(&pod.to_string()).expect("a pod")
    }

    fn container(fields: serde_json::Value) -> serde_json::Value {
        let mut container = json!({ "name": "pulsar-function", "image": "i", "imageID": "", "ready": false, "restartCount": 0 });
        if let (Some(container), Some(fields)) = (container.as_object_mut(), fields.as_object()) {
            container.extend(fields.clone());
        }
        json!({ "containerStatuses": [container] })
    }

    #[test]
    fn diagnoses_problems_by_pod() {
        for (status, part) in [
            (
                container(
                    json!({ "state": { "waiting": { "reason": "ImagePullBackOff", "message": "not found" } } }),
                ),
                "failed to pull image \"i\": not found; check spec.image and pod.imagePullSecrets",
            ),
            (
                container(
                    json!({ "state": { "waiting": { "reason": "CreateContainerConfigError", "message": "secret \"s\" not found" } } }),
                ),
                "failed to start: secret",
            ),
            (
                container(
                    json!({ "restartCount": 3, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                "lastState": { "terminated": { "exitCode": 1, "reason": "Error" } } }),
                ),
                "exited with code 1, restarted 3 times; see pod logs",
            ),
            (
                container(
                    json!({ "restartCount": 1, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                "lastState": { "terminated": { "exitCode": 0, "reason": "Completed" } } }),
                ),
                "exited with code 0, restarted once: usually a runner start-up failure",
            ),
            (
                container(
                    json!({ "restartCount": 1, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                "lastState": { "terminated": { "exitCode": 8, "message": "cannot download x:\nERROR\u{7} 404: http://me:pw@h/f?sig\n\nbye\n" } } }),
                ),
                "exited with code 8, restarted once: cannot download x: ERROR\u{fffd} 404: http://h/f",
            ),
            (
                container(json!({ "restartCount": 1, "state": { "running": {} },
                "lastState": { "terminated": { "exitCode": 137, "reason": "OOMKilled" } } })),
                "exceeded its memory limit, restarted once; raise",
            ),
            (
                json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes" }] }),
                "unschedulable: 0/1 nodes",
            ),
        ] {
            let found = diagnose_pods(&[Arc::new(pod("f-function-0", status.clone()))], Timestamp::now());
            let found = found.problem.unwrap_or_else(|| panic!("{status}"));
            assert!(found.starts_with("pod f-function-0: ") && found.contains(part), "{found}");
        }
    }

    #[test]
    fn starting_pods_are_not_a_problem() {
        for status in [
            json!({}),
            container(json!({ "state": { "waiting": { "reason": "ContainerCreating" } } })),
            container(json!({ "state": { "running": {} } })),
            container(json!({ "ready": true, "restartCount": 2, "state": { "running": {} },
                "lastState": { "terminated": { "exitCode": 1 } } })),
        ] {
            assert_eq!(diagnose_pods(&[Arc::new(pod("p", status))], Timestamp::now()), Diagnosis::default());
        }
    }

    #[test]
    fn terminating_pods_are_ignored() {
        let mut pod =
            pod("p", container(json!({ "restartCount": 3, "state": { "terminated": { "exitCode": 1 } } })));
        pod.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).ok();
        assert_eq!(diagnose_pods(&[Arc::new(pod)], Timestamp::now()), Diagnosis::default());
    }

    #[test]
    fn restarted_container_is_a_problem_until_stable() {
        let status = container(json!({ "ready": true, "restartCount": 2,
            "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
            "lastState": { "terminated": { "exitCode": 0 } } }));
        let pods = [Arc::new(pod("p", status))];
        let at = |second: i64| {
            let started: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
            diagnose_pods(&pods, started + SignedDuration::from_secs(second))
        };
        let early = at(10);
        assert!(
            early.problem.is_some_and(|problem| problem.contains("exited with code 0, restarted 2 times"))
        );
        assert_eq!(early.recheck_after, Some(Duration::from_secs(20)));
        // Clock skew does not extend the window.
        for steady in [at(30), at(3000), at(-60)] {
            assert_eq!(steady, Diagnosis::default());
        }
    }

    #[test]
    fn unbound_volume_is_a_problem_after_the_grace_period() {
        let status = json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "unbound PersistentVolumeClaims", "lastTransitionTime": "2026-01-01T00:00:00Z" }] });
        let pods = [Arc::new(pod("p", status))];
        let at = |second: i64| {
            let since: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
            diagnose_pods(&pods, since + SignedDuration::from_secs(second))
        };
        assert_eq!(
            at(1),
            Diagnosis { problem: None, updated: 0, recheck_after: Some(Duration::from_secs(9)) }
        );
        assert_eq!(at(10).problem.as_deref(), Some("pod p: unschedulable: unbound PersistentVolumeClaims"));
    }
}
