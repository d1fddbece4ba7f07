//! Events: what happened to an object, where `kubectl describe` shows it.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

/// Longest note that the API takes, in bytes.
const LONGEST_NOTE: usize = 1024;

/// Publishes events. Repetitions of one are counted, not repeated.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// Events of this controller.
    pub fn new(client: Client) -> Self {
        let reporter = Reporter {
            controller: "functionmesh.io/controller".to_owned(),
            // A pod's name; other machines have a host name or none, and events need none.
            instance: std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty()),
        };
        Self { recorder: Recorder::new(client, reporter) }
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
        let event = Event {
            type_: if normal { EventType::Normal } else { EventType::Warning },
            reason: reason.to_owned(),
            note: Some(clip(note, LONGEST_NOTE).to_owned()),
            action: action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, regarding).await {
            tracing::warn!(reason, %error, "cannot publish an event");
        }
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
