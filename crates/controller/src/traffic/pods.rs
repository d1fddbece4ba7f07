//! Asks the pods of components for their metrics.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use function_mesh_observer::{Cause, Monotonic, PodObservation, PodStats};

use super::observed::Observed;
use super::{Message, Observer, fetch};

/// Time between two requests to a pod.
const INTERVAL: Duration = Duration::from_secs(20);
/// Requests under way to pods.
const MAX_IN_FLIGHT: usize = 32;
/// Pods of a component that are asked.
const MAX_PODS: usize = 16;

impl Observer {
    /// Asks the pods that are due, as many as the limit allows.
    pub(super) fn ask_pods(&mut self, now: Monotonic) {
        let mut due: Vec<_> = self.components.iter().filter(|(key, it)| is_due(key, it, now)).collect();
        // Those that have waited longest come first, so that pods without an answer cannot keep others waiting.
        due.sort_by_key(|(_, component)| component.pods_asked);
        let due: Vec<_> = due.into_iter().map(|(key, _)| key.clone()).collect();
        for key in &due {
            let Some(component) = self.components.get_mut(key) else { continue };
            if self.pods_in_flight >= MAX_IN_FLIGHT {
                break;
            }
            component.pods_asked = Some(now);
            let wanted = self.board.workload(key, &component.uid).map_or(0, |workload| workload.wanted);
            let kind = self.kinds.get(component.kind);
            let pods = kind.map(|kind| kind.pods(&component.namespace, &component.name, wanted));
            let mut ready: Vec<_> = pods.unwrap_or_default().into_iter().filter(|pod| pod.is_ready).collect();
            let is_partial = ready.len() > MAX_PODS;
            ready.truncate(MAX_PODS);
            component.pods.retain(|ordinal, _| ready.iter().any(|pod| pod.ordinal == *ordinal));
            if is_partial {
                // The sum over some pods is no sum over all.
                let rest = PodObservation { ordinal: u64::MAX, at: now, stats: Err(Cause::TooLarge) };
                component.pods.insert(u64::MAX, rest);
            }
            for pod in ready {
                let Some(address) = pod.address else { continue };
                self.pods_in_flight += 1;
                let (client, results) = (self.client.clone(), self.results.0.clone());
                let (metrics, key) = (Arc::clone(&self.metrics), key.clone());
                tokio::spawn(async move {
                    let result = fetch::ask_pod(&client, address, &metrics).await;
                    let message = Message::Pod { key, ordinal: pod.ordinal, at: now, result };
                    _ = results.send(message).await;
                });
            }
        }
    }

    pub(super) fn take_pod(
        &mut self,
        key: &str,
        ordinal: u64,
        at: Monotonic,
        stats: Result<PodStats, Cause>,
    ) {
        if let Some(component) = self.components.get_mut(key) {
            component.pods.insert(ordinal, PodObservation { ordinal, at, stats });
        }
    }
}

/// Whether it is time to ask the pods of a component. Pods that did not answer are asked less often.
fn is_due(key: &str, component: &Observed, now: Monotonic) -> bool {
    let has_failed = !component.pods.is_empty() && component.pods.values().all(|pod| pod.stats.is_err());
    let interval = if has_failed { 6 * INTERVAL } else { INTERVAL };
    match component.pods_asked {
        // At different times for different components.
        None => now.0.as_secs() % INTERVAL.as_secs() == offset(key),
        Some(asked) => now.since(asked) >= interval,
    }
}

fn offset(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish() % INTERVAL.as_secs()
}
