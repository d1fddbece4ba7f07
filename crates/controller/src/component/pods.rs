//! Why a component is not ready, from its pods.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use function_mesh_api::{Component, Role, labels, printable};
use function_mesh_workloads::{names, redact, without_credentials};
use futures::{Stream, StreamExt};
use jiff::{SignedDuration, Timestamp};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};

use super::Context;
use super::status::Applied;
use super::summary::{Container, PodSummary};
use function_mesh_kube::cache::{Cache, words};
use function_mesh_kube::compact::Compact;

/// Pods looked at; one is enough to tell what is wrong.
const MOST_PODS: i32 = 20;

/// A container that was restarted has to run for so long before it is taken for healthy. There is no readiness
/// probe, and a runner that cannot be set up runs for a while before it gives up again.
const STEADY: SignedDuration = SignedDuration::from_secs(30);
/// A pod finds no node for a moment while its disks are made.
const NO_DISK: SignedDuration = SignedDuration::from_secs(10);

/// What was found in the pods.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Look {
    /// What keeps one of them from running and time alone will not mend.
    pub(super) trouble: Option<String>,
    /// When to look again, though nothing may change until then.
    pub(super) again: Option<Duration>,
}

/// The components that pods, or clean-up Jobs, are of.
pub(crate) fn components_of<K: Resource, C: Component>(
    changes: impl Stream<Item = Result<K, watcher::Error>> + Send,
) -> impl Stream<Item = ObjectRef<Compact<C>>> + Send {
    changes.filter_map(|change| {
        let object = change
            .inspect_err(|error| tracing::warn!(error = words(error), "watch failed; it is tried again"))
            .ok();
        ready(object.and_then(|object| {
            let name = object.meta().labels.as_ref()?.get(labels::NAME)?;
            Some(ObjectRef::new(name).within(object.meta().namespace.as_deref()?))
        }))
    })
}

/// Looks at a component's pods.
pub(super) fn look<C: Component>(applied: &Applied, component: &C, context: &Context) -> Look {
    let mut look = look_at(&of(&context.pods, component, applied.wanted()), Timestamp::now());
    // Of pods that are all ready nothing is wrong but what passes with time.
    if applied.are_ready() && look.again.is_none() {
        look.trouble = None;
    }
    look
}

/// The pods of a StatefulSet: they are numbered. A clean-up has the same labels, and another name.
fn of<C: Component>(pods: &Cache<PodSummary>, component: &C, count: i32) -> Vec<Arc<PodSummary>> {
    let set = names::stateful_set(&component.name_any(), C::ROLE);
    let namespace = component.namespace().unwrap_or_default();
    let find = |number| pods.get(&ObjectRef::new(&format!("{set}-{number}")).within(&namespace));
    (0..count.min(MOST_PODS)).filter_map(find).collect()
}

/// The first trouble, and the end of the first wait: after it there is more to tell.
fn look_at(pods: &[Arc<PodSummary>], now: Timestamp) -> Look {
    let mut look = Look::default();
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let found = unschedulable(pod, now);
        let found =
            found.into_iter().chain(pod.containers.iter().filter_map(|it| container_trouble(it, now)));
        for (trouble, left) in found {
            look.again = [look.again, left].into_iter().flatten().min();
            // Messages of the kubelet and of programs go to people as they come.
            let trouble = trouble.map(|trouble| {
                printable(&redact::text(&format!("pod {}: {trouble}", pod.name_any()))).into_owned()
            });
            look.trouble = look.trouble.or(trouble);
        }
    }
    look
}

/// What is wrong, if that can be told already, and how long it takes until something else may be told.
type Found = (Option<String>, Option<Duration>);

/// How much is left of a time that began then. A beginning in the future is another clock's.
fn left(since: Option<Timestamp>, of: SignedDuration, now: Timestamp) -> Option<Duration> {
    let past = now.duration_since(since?);
    if past.is_negative() {
        return None;
    }
    Duration::try_from(of - past).ok().filter(|left| !left.is_zero())
}

fn unschedulable(pod: &PodSummary, now: Timestamp) -> Option<Found> {
    let scheduled =
        pod.scheduled.as_ref().filter(|it| it.status == "False" && it.reason == "Unschedulable")?;
    let message = Some(scheduled.message.as_str()).filter(|message| !message.is_empty());
    let message = message.unwrap_or("no node takes it");
    let left = left(scheduled.last_transition_time, NO_DISK, now);
    if message.contains("PersistentVolumeClaim") && left.is_some() {
        return Some((None, left));
    }
    Some((Some(format!("cannot be scheduled: {message}")), None))
}

fn container_trouble(container: &Container, now: Timestamp) -> Option<Found> {
    let running = container.state.running.as_ref();
    let left = running.and_then(|running| left(running.started_at, STEADY, now));
    if container.ready && left.is_none() {
        return None;
    }
    trouble(container).map(|trouble| (Some(trouble), left))
}

fn trouble(container: &Container) -> Option<String> {
    let name = &container.name;
    let waiting = container.state.waiting.clone().unwrap_or_default();
    let (reason, message) = (waiting.reason.as_str(), waiting.message.as_str());
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
            return Some(format!("container {name} cannot get its image {:?}: {message}", container.image));
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            return Some(format!("container {name} cannot be started: {message}"));
        }
        _ => {}
    }
    let ended = container.state.terminated.as_ref();
    let exit = ended.or(container.last_state.terminated.as_ref())?;
    let last_words = if is_ours(name) { last_words(&exit.message) } else { None };
    if ended.is_none() && container.restart_count == 0 {
        return None;
    }
    let restarts = match container.restart_count {
        0 => String::new(),
        1 => ", restarted once".to_owned(),
        count => format!(", restarted {count} times"),
    };
    Some(match (exit.exit_code, exit.reason.as_str()) {
        (_, "OOMKilled") => format!("container {name} used more memory than its limit{restarts}"),
        (code, _) if let Some(words) = last_words => {
            format!("container {name} ended with exit code {code}{restarts}: {words}")
        }
        // The runner has no other way to say it.
        (0, _) if !is_init(reason) => {
            format!(
                "container {name} ended with exit code 0{restarts}: a runner does so when it cannot be set up, see its log"
            )
        }
        (code, _) => format!("container {name} ended with exit code {code}{restarts}, see its log"),
    })
}

/// Whether it is rendered by us. What others of a pod say last is their business.
fn is_ours(container: &str) -> bool {
    container == "downloader" || Role::ALL.iter().any(|role| container == format!("pulsar-{role}"))
}

/// What went wrong, as far as a container's last message tells: what it was about, and the line that is most likely the
/// reason.
fn last_words(message: &str) -> Option<String> {
    const MOST: usize = 400;
    let mut lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let about = lines.next()?;
    let rest: Vec<_> = lines.collect();
    let is_reason = |line: &&&str| ["ERROR", "rror:", "Reason:"].iter().any(|word| line.contains(word));
    let reason = rest.iter().rfind(is_reason).or(rest.last());
    let words = reason.map_or_else(|| about.to_owned(), |reason| format!("{about} {reason}"));
    Some(without_credentials(&words).chars().take(MOST).collect())
}

/// An init container that ended well does not wait for anything.
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
        PodSummary::read(&pod.to_string()).expect("a pod")
    }

    fn container(fields: serde_json::Value) -> serde_json::Value {
        let mut container = json!({ "name": "pulsar-function", "image": "i", "imageID": "", "ready": false, "restartCount": 0 });
        if let (Some(container), Some(fields)) = (container.as_object_mut(), fields.as_object()) {
            container.extend(fields.clone());
        }
        json!({ "containerStatuses": [container] })
    }

    #[test]
    fn each_trouble_is_told_with_its_pod() {
        for (status, part) in [
            (
                container(
                    json!({ "state": { "waiting": { "reason": "ImagePullBackOff", "message": "not found" } } }),
                ),
                "cannot get its image \"i\": not found",
            ),
            (
                container(
                    json!({ "state": { "waiting": { "reason": "CreateContainerConfigError", "message": "secret \"s\" not found" } } }),
                ),
                "cannot be started: secret",
            ),
            (
                container(
                    json!({ "restartCount": 3, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                "lastState": { "terminated": { "exitCode": 1, "reason": "Error" } } }),
                ),
                "exit code 1, restarted 3 times",
            ),
            (
                container(
                    json!({ "restartCount": 1, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                "lastState": { "terminated": { "exitCode": 0, "reason": "Completed" } } }),
                ),
                "exit code 0, restarted once: a runner does so",
            ),
            (
                container(
                    json!({ "restartCount": 1, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                "lastState": { "terminated": { "exitCode": 8, "message": "cannot download x:\nERROR\u{7} 404: http://me:pw@h/f?sig\n\nbye\n" } } }),
                ),
                "exit code 8, restarted once: cannot download x: ERROR\u{fffd} 404: http://h/f",
            ),
            (
                container(json!({ "restartCount": 1, "state": { "running": {} },
                "lastState": { "terminated": { "exitCode": 137, "reason": "OOMKilled" } } })),
                "more memory than its limit",
            ),
            (
                json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes" }] }),
                "cannot be scheduled: 0/1 nodes",
            ),
        ] {
            let found = look_at(&[Arc::new(pod("f-function-0", status.clone()))], Timestamp::now());
            let found = found.trouble.unwrap_or_else(|| panic!("{status}"));
            assert!(found.starts_with("pod f-function-0: ") && found.contains(part), "{found}");
        }
    }

    #[test]
    fn a_pod_that_merely_starts_is_no_trouble() {
        for status in [
            json!({}),
            container(json!({ "state": { "waiting": { "reason": "ContainerCreating" } } })),
            container(json!({ "state": { "running": {} } })),
            container(json!({ "ready": true, "restartCount": 2, "state": { "running": {} },
                "lastState": { "terminated": { "exitCode": 1 } } })),
        ] {
            assert_eq!(look_at(&[Arc::new(pod("p", status))], Timestamp::now()), Look::default());
        }
    }

    #[test]
    fn pods_on_their_way_out_do_not_count() {
        let mut pod =
            pod("p", container(json!({ "restartCount": 3, "state": { "terminated": { "exitCode": 1 } } })));
        pod.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).ok();
        assert_eq!(look_at(&[Arc::new(pod)], Timestamp::now()), Look::default());
    }

    #[test]
    fn a_restarted_container_is_in_trouble_until_it_has_run_for_a_while() {
        let status = container(json!({ "ready": true, "restartCount": 2,
            "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
            "lastState": { "terminated": { "exitCode": 0 } } }));
        let pods = [Arc::new(pod("p", status))];
        let at = |second: i64| {
            let started: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
            look_at(&pods, started + SignedDuration::from_secs(second))
        };
        let early = at(10);
        assert!(early.trouble.is_some_and(|trouble| trouble.contains("exit code 0, restarted 2 times")));
        assert_eq!(early.again, Some(Duration::from_secs(20)));
        // Another clock is no reason to wait for it.
        for steady in [at(30), at(3000), at(-60)] {
            assert_eq!(steady, Look::default());
        }
    }

    #[test]
    fn a_pod_without_its_disks_is_in_trouble_after_a_moment() {
        let status = json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "unbound PersistentVolumeClaims", "lastTransitionTime": "2026-01-01T00:00:00Z" }] });
        let pods = [Arc::new(pod("p", status))];
        let at = |second: i64| {
            let since: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
            look_at(&pods, since + SignedDuration::from_secs(second))
        };
        assert_eq!(at(1), Look { trouble: None, again: Some(Duration::from_secs(9)) });
        assert_eq!(
            at(10).trouble.as_deref(),
            Some("pod p: cannot be scheduled: unbound PersistentVolumeClaims")
        );
    }
}
