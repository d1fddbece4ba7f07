//! Asks the pods of components for their metrics.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use function_mesh_observer::{Cause, Monotonic, PodObservation, PodStats};
use function_mesh_rollout::Counters;

use super::observed::Observed;
use super::{Message, Observer, fetch};

/// Time between two requests to a pod.
const INTERVAL: Duration = Duration::from_secs(20);
/// Least time between the first two.
const FIRST_INTERVAL: Duration = Duration::from_secs(5);
/// Time between two requests to a pod of a component with a canary, whose steps may be short.
const CANARY_INTERVAL: Duration = Duration::from_secs(5);
/// Requests under way to pods.
const MAX_IN_FLIGHT: usize = 32;
/// Pods of a component that are asked.
const MAX_PODS: usize = 16;

impl Observer {
    /// Asks the pods that are due, the most overdue ones first, as many as the limit allows.
    pub(super) fn ask_pods(&mut self, now: Monotonic) {
        let board = Arc::clone(&self.board);
        // A canary that began since does not wait for the end of a longer interval.
        let is_due = |key: &str, observed: &Observed| {
            observed.pods_due.is_none_or(|due| {
                let is_later = due.since(now) > CANARY_INTERVAL;
                due <= now || is_later && board.canary_from(key, &observed.uid).is_some()
            })
        };
        let mut due: Vec<_> =
            self.components.iter_mut().filter(|(key, component)| is_due(key, component)).collect();
        due.sort_by_key(|(_, component)| component.pods_due);
        self.pods_postponed = false;
        for (key, component) in due {
            if self.pods_in_flight >= MAX_IN_FLIGHT {
                self.pods_postponed = true;
                return;
            }
            let workload = self.board.workload(key, &component.uid).filter(|workload| workload.ready > 0);
            let wanted = workload.map_or(0, |workload| workload.wanted);
            let kind = self.kinds.get(component.kind);
            let pods = kind.map(|kind| kind.pods(&component.namespace, &component.name, wanted));
            let ready = pods.unwrap_or_default().into_iter().filter(|pod| pod.is_ready);
            let ready: Vec<_> = ready.filter_map(|pod| Some((pod.ordinal, pod.uid, pod.address?))).collect();
            let is_partial = ready.len() > MAX_PODS;
            let canary_from = self.board.canary_from(key, &component.uid);
            let ready = asked(ready, canary_from, |(ordinal, ..)| *ordinal);
            let uids: Vec<_> = ready.iter().map(|(_, uid, _)| uid.as_str()).collect();
            self.board.keep_pods(key, &component.uid, &uids);
            let interval = if canary_from.is_some() { CANARY_INTERVAL } else { interval(key, component) };
            component.pods_due = (!ready.is_empty()).then(|| now.after(interval));
            component.pods.retain(|own, _| ready.iter().any(|(ordinal, ..)| ordinal == own));
            if is_partial {
                // The sum over some pods is no sum over all.
                let rest = PodObservation { ordinal: u64::MAX, at: now, stats: Err(Cause::TooLarge) };
                component.pods.insert(u64::MAX, rest);
            }
            for (ordinal, pod, address) in ready {
                self.pods_in_flight += 1;
                let (client, results) = (self.client.clone(), self.results.0.clone());
                let (metrics, key) = (Arc::clone(&self.metrics), key.clone());
                tokio::spawn(async move {
                    let result = fetch::ask_pod(&client, address, &metrics).await;
                    let message = Message::Pod { key, ordinal, pod, at: now, result };
                    _ = results.send(message).await;
                });
            }
        }
    }

    pub(super) fn take_pod(
        &mut self,
        key: &str,
        (ordinal, pod): (u64, String),
        at: Monotonic,
        stats: Result<PodStats, Cause>,
    ) {
        if let Some(component) = self.components.get_mut(key) {
            self.board.note_pod(key, &component.uid, pod, at, stats.as_ref().ok().map(counters));
            component.pods.insert(ordinal, PodObservation { ordinal, at, stats });
        }
    }
}

/// The pods to ask: the first ones, and with a canary as many of its pods as of others, if there are enough.
fn asked<T>(mut ready: Vec<T>, canary_from: Option<u64>, ordinal: impl Fn(&T) -> u64) -> Vec<T> {
    if ready.len() <= MAX_PODS {
        return ready;
    }
    if let Some(from) = canary_from {
        let others = ready.iter().filter(|pod| ordinal(pod) < from).count();
        let canaries = ready.len() - others;
        let kept = others.min((MAX_PODS / 2).max(MAX_PODS.saturating_sub(canaries)));
        ready.drain(kept..others);
    }
    ready.truncate(MAX_PODS);
    ready
}

/// What the judgement of a canary reads.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "such times are no times")]
fn counters(stats: &PodStats) -> Counters {
    let whole =
        |milliseconds: f64| (milliseconds.is_finite() && milliseconds >= 0.0).then_some(milliseconds as u64);
    Counters {
        received: stats.received.known(),
        processed: stats.processed.known(),
        exceptions: stats.exceptions.known(),
        latency_ms: stats.latency_sum.known().and_then(whole),
        calls: stats.latency_count.known(),
    }
}

/// Time until the next request. A rate needs two answers, so that the second request comes early, at different times for
/// different components; pods that did not answer are asked less often.
fn interval(key: &str, component: &Observed) -> Duration {
    let has_failed = !component.pods.is_empty() && component.pods.values().all(|pod| pod.stats.is_err());
    match component.pods_due {
        None => FIRST_INTERVAL + offset(key),
        Some(_) if has_failed => 6 * INTERVAL,
        Some(_) => INTERVAL,
    }
}

/// The rest of the first interval, by the hash of the component.
fn offset(key: &str) -> Duration {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let per_mille = u32::try_from(hasher.finish() % 1000).unwrap_or_default();
    INTERVAL.saturating_sub(FIRST_INTERVAL) / 1000 * per_mille
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_a_canary_and_others_are_asked() {
        let found = |pods: u64, from| asked((0..pods).collect(), from, |pod| *pod);
        assert_eq!(found(16, Some(15)).len(), 16);
        assert_eq!(found(20, None), (0..16).collect::<Vec<_>>());
        assert_eq!(found(20, Some(19)), (0..15).chain([19]).collect::<Vec<_>>());
        assert_eq!(found(40, Some(20)), (0..8).chain(20..28).collect::<Vec<_>>());
        assert_eq!(found(20, Some(2)), (0..16).collect::<Vec<_>>());
        assert_eq!(found(20, Some(90)), (0..16).collect::<Vec<_>>());
    }
}
