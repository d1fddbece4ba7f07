//! Asks the pods of components for their metrics.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use function_mesh_observer::{Cause, Monotonic, PodObservation, PodStats};

use super::{Message, Observer, fetch};

/// Time between two requests to a pod.
const INTERVAL: Duration = Duration::from_secs(20);
/// Requests under way to pods.
const MAX_IN_FLIGHT: usize = 32;

impl Observer {
    /// Asks the pods that are due, as many as the limit allows.
    pub(super) fn ask_pods(&mut self, now: Monotonic) {
        for (key, component) in &mut self.components {
            let is_due = match component.pods_asked {
                // At different times for different components.
                None => now.0.as_secs() % INTERVAL.as_secs() == offset(key),
                Some(asked) => now.since(asked) >= INTERVAL,
            };
            if !is_due || self.pods_in_flight >= MAX_IN_FLIGHT {
                continue;
            }
            component.pods_asked = Some(now);
            let wanted = self.board.workload(key, &component.uid).map_or(0, |workload| workload.wanted);
            let kind = self.kinds.get(component.kind);
            let pods = kind.map(|kind| kind.pods(&component.namespace, &component.name, wanted));
            let ready: Vec<_> = pods.unwrap_or_default().into_iter().filter(|pod| pod.is_ready).collect();
            component.pods.retain(|ordinal, _| ready.iter().any(|pod| pod.ordinal == *ordinal));
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

fn offset(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish() % INTERVAL.as_secs()
}
