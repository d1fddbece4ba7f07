//! Pods that failed as a whole, such as an evicted one. The StatefulSet controller replaces such a pod within a second,
//! so the reason is remembered for a while: a component whose pod is evicted every minute is not ready in between.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use function_mesh_api::{Component, labels, printable};
use function_mesh_workloads::{names, redact};
use futures::{Stream, StreamExt};
use kube::ResourceExt;
use kube::runtime::watcher;

use super::summary::PodSummary;
use crate::context::Shared;
use crate::reconciler::key_of;

/// How long a failure is a problem after its pod was replaced.
const MEMORY: Duration = Duration::from_mins(2);
/// The same for a pod that fails now and then: twice the time between two failures, and at most this.
const MAX_MEMORY: Duration = Duration::from_mins(10);

/// The last failed pod of each component.
#[derive(Debug, Default)]
pub struct PodFailures(Mutex<HashMap<String, Failure>>);

#[derive(Debug)]
struct Failure {
    /// UID of the pod, which changes several times after it failed.
    uid: Option<String>,
    problem: String,
    count: u32,
    at: Instant,
    /// Time since the failure before.
    interval: Duration,
}

impl Failure {
    /// How much longer it is a problem.
    fn remaining(&self, now: Instant) -> Option<Duration> {
        let memory = (2 * self.interval).clamp(MEMORY, MAX_MEMORY);
        let remaining = memory.checked_sub(now.saturating_duration_since(self.at));
        remaining.filter(|remaining| !remaining.is_zero())
    }
}

impl PodFailures {
    fn record(&self, component: String, pod: &PodSummary, now: Instant) {
        let Some(failed) = &pod.failed else { return };
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = failures.get(&component).filter(|before| before.remaining(now).is_some());
        if before.is_some_and(|before| before.uid == pod.uid()) {
            return;
        }
        let (count, interval) = before.map_or((1, Duration::ZERO), |before| {
            (before.count.saturating_add(1), now.saturating_duration_since(before.at))
        });
        let message = if failed.message.is_empty() { "no message" } else { failed.message.trim() };
        // Messages of the kubelet are untrusted.
        let problem = format!("pod {} failed: {}: {message}", pod.name_any(), failed.reason);
        let problem = printable(&redact::text(&problem)).into_owned();
        failures.insert(component, Failure { uid: pod.uid(), problem, count, at: now, interval });
    }

    /// The problem of the last failed pod of a component, and for how long it is one.
    pub(super) fn problem(&self, component: &str, now: Instant) -> Option<(String, Duration)> {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = failures.get(component)?;
        let remaining = failure.remaining(now)?;
        let times = if failure.count > 1 { format!(", {} times", failure.count) } else { String::new() };
        Some((format!("{}{times}", failure.problem), remaining))
    }

    /// Forgets the failure of a component that is changed or deleted.
    pub fn forget(&self, component: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(component);
    }
}

/// Records failed pods of components, not those of their clean-up Jobs. Forwards the changes.
pub(crate) fn record<C: Component>(
    changes: impl Stream<Item = Result<PodSummary, watcher::Error>> + Send + 'static,
    shared: Arc<Shared>,
) -> impl Stream<Item = Result<PodSummary, watcher::Error>> + Send + 'static {
    changes.inspect(move |change| {
        let Ok(pod) = change else { return };
        let (name, namespace) = (pod.labels().get(labels::NAME), pod.namespace());
        let (Some(name), Some(namespace)) = (name, namespace) else { return };
        let pod_name = pod.name_any();
        let ordinal = pod_name
            .strip_prefix(&names::stateful_set(name, C::ROLE))
            .and_then(|rest| rest.strip_prefix('-'));
        if ordinal.is_some_and(|ordinal| ordinal.parse::<u32>().is_ok()) {
            let component = key_of(super::prefix::<C>(), &namespace, name);
            shared.pod_failures.record(component, pod, Instant::now());
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn evicted(uid: &str) -> PodSummary {
        let message = "Usage of EmptyDir volume \"tmp\" exceeds the limit \"5Mi\". ";
        let status = json!({ "phase": "Failed", "reason": "Evicted", "message": message });
        let pod = json!({ "metadata": { "name": "f-function-0", "uid": uid }, "status": status });
        PodSummary::parse(&pod.to_string()).expect("a pod")
    }

    #[test]
    fn failure_is_a_problem_for_a_while_after_the_pod_is_replaced() {
        let (failures, start) = (PodFailures::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        failures.record("f".to_owned(), &evicted("a"), at(0));
        let (problem, remaining) = failures.problem("f", at(30)).expect("a problem");
        assert_eq!(
            problem,
            "pod f-function-0 failed: Evicted: Usage of EmptyDir volume \"tmp\" exceeds the limit \"5Mi\"."
        );
        assert_eq!(remaining, Duration::from_secs(90));
        assert_eq!(failures.problem("f", at(120)), None);
        assert_eq!(failures.problem("g", at(0)), None);
        failures.forget("f");
        assert_eq!(failures.problem("f", at(1)), None);
    }

    /// Each is a pod that is evicted at this interval, in seconds: it is never without the problem in between.
    #[test]
    fn repeated_failures_are_remembered_in_between() {
        for interval in [10, 60, 100, 119] {
            let (failures, start) = (PodFailures::default(), Instant::now());
            for n in 0..20 {
                let now = start + Duration::from_secs(n * interval);
                assert_eq!(failures.problem("f", now).is_some(), n > 0, "{interval} s, {n}");
                failures.record("f".to_owned(), &evicted(&n.to_string()), now);
                // The same pod changes again.
                failures.record("f".to_owned(), &evicted(&n.to_string()), now + Duration::from_secs(1));
            }
            let now = start + Duration::from_secs(19 * interval);
            let (problem, remaining) = failures.problem("f", now).expect("a problem");
            assert!(problem.ends_with(", 20 times"), "{problem}");
            assert_eq!(remaining, Duration::from_secs((2 * interval).max(120)));
        }
    }

    #[test]
    fn running_pods_are_no_failures() {
        for status in
            [json!({ "phase": "Running" }), json!({ "phase": "Succeeded", "reason": "Completed" }), json!({})]
        {
            let pod = json!({ "metadata": { "name": "f-function-0" }, "status": status });
            let pod = PodSummary::parse(&pod.to_string()).expect("a pod");
            assert!(pod.failed.is_none(), "{status}");
        }
    }
}
