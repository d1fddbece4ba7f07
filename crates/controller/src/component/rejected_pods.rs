//! Pods that the API server rejects: a quota, a limit range or a policy. There is no pod to diagnose, and only the
//! Events of the StatefulSet have the reason.

use function_mesh_api::printable;
use function_mesh_kube::request::send_for_text;
use function_mesh_workloads::redact;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::core::Request;
use kube::{Client, Resource};
use serde::Deserialize;

/// Most Events that are read of one object.
const MAX_EVENTS: u32 = 100;

/// An Event, without what is not read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Reported {
    reason: String,
    message: Option<String>,
    last_timestamp: Option<Timestamp>,
    event_time: Option<Timestamp>,
    metadata: Meta,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    creation_timestamp: Option<Timestamp>,
}

/// Why the API server rejected the last pod of a StatefulSet or Job with this UID, from its Events. None if it accepted
/// the last one, or if Events cannot be read.
pub(super) async fn last_rejection(client: &Client, namespace: &str, uid: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct List {
        items: Vec<Reported>,
    }
    let params = ListParams::default().fields(&format!("involvedObject.uid={uid}")).limit(MAX_EVENTS);
    let request = Request::new(Event::url_path(&(), Some(namespace))).list(&params);
    let listed = send_for_text(client, request).await;
    let listed =
        listed.inspect_err(|error| tracing::debug!(%error, namespace, "failed to list Events")).ok()?;
    let list: List = serde_json::from_str(&listed).ok()?;
    rejection(&list.items)
}

/// The message of the last Event about the creation of a pod, if that failed.
fn rejection(events: &[Reported]) -> Option<String> {
    let time =
        |event: &&Reported| event.last_timestamp.or(event.event_time).or(event.metadata.creation_timestamp);
    let of_pods =
        events.iter().filter(|it| ["FailedCreate", "SuccessfulCreate"].contains(&it.reason.as_str()));
    let last = of_pods.max_by_key(time).filter(|it| it.reason == "FailedCreate")?;
    let message = last.message.as_deref().unwrap_or_default();
    // A StatefulSet: "create Pod NAME in StatefulSet NAME failed error: REASON". A Job: "Error creating: REASON".
    let cause = match message.split_once(" failed error: ") {
        Some((_, cause)) => cause,
        None => message.strip_prefix("Error creating: ").unwrap_or(message),
    };
    Some(printable(&redact::text(cause)).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    const QUOTA: &str = "pods \"f-function-0\" is forbidden: exceeded quota: q, requested: pods=1";

    fn event(reason: &str, message: &str, second: i64) -> Value {
        let at = Timestamp::from_second(second).expect("a time").to_string();
        json!({ "reason": reason, "message": message, "lastTimestamp": at, "metadata": {} })
    }

    fn found(events: Value) -> Option<String> {
        rejection(&from_value::<Vec<Reported>>(events).expect("Events"))
    }

    #[test]
    fn the_last_event_about_a_creation_decides() {
        let failed = format!("create Pod f-function-0 in StatefulSet f-function failed error: {QUOTA}");
        let of_job = format!("Error creating: {QUOTA}");
        let rejected = Some(QUOTA.to_owned());
        for (events, expected) in [
            (json!([]), None),
            (json!([event("FailedCreate", &failed, 2)]), rejected.clone()),
            (json!([event("FailedCreate", &of_job, 2)]), rejected.clone()),
            (
                json!([event("FailedCreate", &failed, 2), event("SuccessfulCreate", "created", 1)]),
                rejected.clone(),
            ),
            (json!([event("FailedCreate", &failed, 2), event("SuccessfulDelete", "deleted", 3)]), rejected),
            (json!([event("FailedCreate", &failed, 2), event("SuccessfulCreate", "created", 3)]), None),
            (json!([event("RecreatingFailedPod", "again", 3)]), None),
        ] {
            assert_eq!(found(events.clone()), expected, "{events}");
        }
    }

    #[test]
    fn times_can_be_missing() {
        assert!(
            found(json!([{ "reason": "FailedCreate", "message": null, "lastTimestamp": null }])).is_some()
        );
    }
}
