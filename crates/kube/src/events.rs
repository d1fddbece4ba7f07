//! Events: what happened to an object, where `kubectl describe` shows it.

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

use crate::api_error::words;
use crate::event_budget::EventBudget;
use crate::request::text;

/// Longest note that the API takes, in bytes.
const LONGEST_NOTE: usize = 1024;

const CONTROLLER: &str = "functionmesh.io/controller";

/// Publishes events. Repetitions of one are counted, not repeated; one with another note is another event. Each object
/// has a budget, see [`EventBudget`].
#[derive(Clone)]
pub struct Events {
    client: Client,
    instance: String,
    budget: Arc<Mutex<EventBudget>>,
}

impl Events {
    /// Events of this controller.
    pub fn new(client: Client) -> Self {
        // A pod's name; other machines have a host name or none, and events need none.
        let instance = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
        Self { client, instance: instance.unwrap_or_else(|| CONTROLLER.to_owned()), budget: Arc::default() }
    }

    /// Publishes that an object is skipped, since it cannot be read.
    pub async fn unreadable(&self, regarding: &ObjectReference, fault: &str) {
        let note = format!("left as it is, since it cannot be read: {fault}");
        self.publish(regarding, false, Reason::InvalidObject, "Read", &note).await;
    }

    /// Publishes an event. It is a courtesy: a failure is logged, and nothing else suffers from it.
    pub async fn publish(
        &self,
        regarding: &ObjectReference,
        normal: bool,
        reason: Reason,
        action: &str,
        note: &str,
    ) {
        let note = for_people(note, LONGEST_NOTE);
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
            tracing::debug!(namespace, name, %reason, "event not published: the object's budget is spent");
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
        if let Err(error) = text(&self.client, request).await {
            let error = words(&error);
            tracing::warn!(%reason, error, "cannot publish an event");
        }
    }
}

/// A text of the cluster as people may see it: no character that steers a terminal, and no longer than that.
pub fn for_people(text: &str, longest: usize) -> String {
    clip(&printable_lines(clip(text, longest)), longest).to_owned()
}

/// The beginning of a text, cut between characters.
pub fn clip(text: &str, longest: usize) -> &str {
    if text.len() <= longest {
        return text;
    }
    let end = (0..=longest).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_see_steers_no_terminal() {
        assert_eq!(for_people("a\u{1b}[2J\u{202e}b", 100), "a\u{fffd}[2J\u{fffd}b");
        assert_eq!(for_people(&"\u{1b}".repeat(10), 7), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(clip("short", 10), "short");
        assert_eq!(clip("äöü", 3), "ä");
        assert_eq!(clip("äöü", 4), "äö");
        assert_eq!(clip("ä", 1), "");
    }
}
