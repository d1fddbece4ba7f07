//! Events: what happened to an object, where `kubectl describe` shows it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::core::request::Error as BuildError;
use kube::{Client, Resource};
use serde_json::json;

use super::answer::text;
use super::refusal::words;

/// Longest note that the API takes, in bytes.
const LONGEST_NOTE: usize = 1024;

/// How long the same news count as a repetition.
const SERIES: Duration = Duration::from_mins(6);

const CONTROLLER: &str = "functionmesh.io/controller";

/// Publishes events. Repetitions of one are counted, not repeated; one with another note is another event.
#[derive(Clone)]
pub struct Events {
    client: Client,
    instance: String,
    recent: Arc<Mutex<HashMap<News, Published>>>,
}

/// What makes two events the same.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct News {
    uid: Option<String>,
    reason: String,
    note: String,
}

#[derive(Clone, Debug)]
struct Published {
    name: String,
    count: i32,
    /// By a clock that nobody sets.
    last: Instant,
}

impl Events {
    /// Events of this controller.
    pub fn new(client: Client) -> Self {
        // A pod's name; other machines have a host name or none, and events need none.
        let instance = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
        Self { client, instance: instance.unwrap_or_else(|| CONTROLLER.to_owned()), recent: Arc::default() }
    }

    /// Publishes that an object is skipped, since it cannot be read.
    pub async fn unreadable(&self, regarding: &ObjectReference, fault: &str) {
        let note = format!("left as it is, since it cannot be read: {fault}");
        self.publish(regarding, false, "Unreadable", "Read", &note).await;
    }

    /// Publishes an event. It is a courtesy: a failure is logged, and nothing else suffers from it.
    pub async fn publish(
        &self,
        regarding: &ObjectReference,
        normal: bool,
        reason: &str,
        action: &str,
        note: &str,
    ) {
        let note = clip(note, LONGEST_NOTE);
        let namespace = regarding.namespace.as_deref().unwrap_or("default");
        let request = Request::new(Event::url_path(&(), Some(namespace)));
        let news = News { uid: regarding.uid.clone(), reason: reason.to_owned(), note: note.to_owned() };
        let now = Timestamp::now();
        let published = self.note(news, regarding.name.as_deref().unwrap_or(CONTROLLER), now);
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
                note: Some(note.to_owned()),
                reason: Some(reason.to_owned()),
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
            tracing::warn!(reason, error, "cannot publish an event");
        }
    }

    /// Notes that something is published, and says under which name and for which time in a row.
    fn note(&self, news: News, object: &str, now: Timestamp) -> Published {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|_, published| published.last.elapsed() < SERIES);
        let name = || format!("{object}.{:x}", now.as_nanosecond());
        let first = || Published { name: name(), count: 0, last: Instant::now() };
        let published = recent.entry(news).or_insert_with(first);
        published.count = published.count.saturating_add(1);
        published.last = Instant::now();
        published.clone()
    }
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
    fn a_text_is_cut_between_characters() {
        assert_eq!(clip("short", 10), "short");
        assert_eq!(clip("äöü", 3), "ä");
        assert_eq!(clip("äöü", 4), "äö");
        assert_eq!(clip("ä", 1), "");
    }
}
