//! Events of the `events.k8s.io` API, as `kubectl describe` shows them. Not kube-runtime's `Recorder`: its series key
//! leaves the note out, so two different notes would count as one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use function_mesh_api::conditions::Reason;
use function_mesh_api::printable_lines;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::core::request::Error as BuildError;
use kube::{Client, Resource};
use serde_json::json;

use crate::api_error::message;
use crate::event_budget::EventBudget;
use crate::request::send_for_text;

/// Longest note that the API accepts, in bytes.
const MAX_NOTE_LEN: usize = 1024;

const CONTROLLER: &str = "functionmesh.io/controller";

/// Publishes Events. An Event that repeats increments the count of its series; another note starts another series. Each
/// object has a rate limit, see [`EventBudget`].
#[derive(Clone)]
pub struct Events {
    client: Client,
    instance: String,
    budget: Arc<Mutex<EventBudget>>,
}

impl Events {
    /// A publisher for this controller.
    pub fn new(client: Client) -> Self {
        // The name of the pod; outside of a pod HOSTNAME may be unset.
        let instance = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
        Self { client, instance: instance.unwrap_or_else(|| CONTROLLER.to_owned()), budget: Arc::default() }
    }

    /// Publishes that an object is skipped because it cannot be decoded.
    pub async fn publish_undecodable(&self, regarding: &ObjectReference, error: &str) {
        let note = format!("skipped: object cannot be decoded: {error}");
        self.publish(regarding, false, Reason::InvalidObject, "Read", &note).await;
    }

    /// Publishes an Event, best effort: a failure is logged and does not fail the reconcile.
    pub async fn publish(
        &self,
        regarding: &ObjectReference,
        normal: bool,
        reason: Reason,
        action: &str,
        note: &str,
    ) {
        let note = printable_message(note, MAX_NOTE_LEN);
        let namespace = regarding.namespace.as_deref().unwrap_or("default");
        let request = Request::new(Event::url_path(&(), Some(namespace)));
        let now = Timestamp::now();
        let name = regarding.name.as_deref().unwrap_or(CONTROLLER);
        let object = regarding.uid.clone().unwrap_or_else(|| format!("{namespace}/{name}"));
        let published = self.budget.lock().unwrap_or_else(PoisonError::into_inner).take(
            &object,
            (reason.as_str(), &note),
            Instant::now(),
            || format!("{name}.{:x}", now.as_nanosecond()),
        );
        let Some(published) = published else {
            tracing::debug!(namespace, name, %reason, "event dropped: rate limit of the object exceeded");
            return;
        };
        let request = if published.count > 1 {
            let series = json!({ "count": published.count, "lastObservedTime": MicroTime(now) });
            let patch = Patch::Merge(json!({ "series": series }));
            request.patch(&published.name, &PatchParams::default(), &patch)
        } else {
            let event = Event {
                action: Some(action.to_owned()),
                event_time: Some(MicroTime(now)),
                metadata: ObjectMeta {
                    name: Some(published.name),
                    namespace: Some(namespace.to_owned()),
                    ..ObjectMeta::default()
                },
                note: Some(note),
                reason: Some(reason.to_string()),
                regarding: Some(regarding.clone()),
                reporting_controller: Some(CONTROLLER.to_owned()),
                reporting_instance: Some(self.instance.clone()),
                type_: Some(if normal { "Normal" } else { "Warning" }.to_owned()),
                ..Event::default()
            };
            serde_json::to_vec(&event)
                .map_err(BuildError::SerializeBody)
                .and_then(|event| request.create(&PostParams::default(), event))
        };
        if let Err(error) = send_for_text(&self.client, request).await {
            let error = message(&error);
            tracing::warn!(%reason, error, "failed to publish event");
        }
    }
}

/// A text from the cluster, safe for terminals: without control characters, of at most `max_len` bytes.
pub fn printable_message(text: &str, max_len: usize) -> String {
    truncate(&printable_lines(truncate(text, max_len)), max_len).to_owned()
}

/// The first `max_len` bytes of a text, cut at a character boundary.
pub fn truncate(text: &str, max_len: usize) -> &str {
    if text.len() <= max_len {
        return text;
    }
    let end = (0..=max_len).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_message_has_no_control_characters() {
        assert_eq!(printable_message("a\u{1b}[2J\u{202e}b", 100), "a\u{fffd}[2J\u{fffd}b");
        assert_eq!(printable_message(&"\u{1b}".repeat(10), 7), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn truncate_cuts_at_character_boundaries() {
        assert_eq!(truncate("short", 10), "short");
        assert_eq!(truncate("äöü", 3), "ä");
        assert_eq!(truncate("äöü", 4), "äö");
        assert_eq!(truncate("ä", 1), "");
    }
}
