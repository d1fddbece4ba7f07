//! Pods that the API server rejects: a quota, a limit range or a policy. There is no pod to diagnose, and only the
//! Events of the StatefulSet have the reason.
//!
//! For each list of an object's Events the API server reads all Events of the namespace. So the objects of a namespace share
//! a list of those whose pods are rejected, and only they ask for their own.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use function_mesh_api::printable;
use function_mesh_kube::request::send_for_text;
use function_mesh_workloads::redact;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::api::ListParams;
use kube::core::Request;
use kube::{Client, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Most Events that are read of one object.
const MAX_EVENTS: u32 = 100;
/// Most Events that are read of one namespace. With more of them, each object asks.
const MAX_REJECTIONS: u32 = 500;
/// How long the objects of a namespace share a list.
const SHARED: Duration = Duration::from_secs(5);

/// Objects with rejected pods, by namespace.
#[derive(Debug, Default)]
pub struct RejectedPods(Mutex<HashMap<String, Listed>>);

#[derive(Debug)]
struct Listed {
    at: Instant,
    rejected: Rejected,
}

/// The objects of a namespace with rejected pods.
#[derive(Debug)]
enum Rejected {
    /// Their UIDs.
    Of(HashSet<String>),
    TooMany,
}

impl RejectedPods {
    /// Why the API server rejected the last pod of a StatefulSet with this UID, as [`last_rejection`]. A rejection may be
    /// noticed some seconds late.
    pub(super) async fn last(&self, client: &Client, namespace: &str, uid: &str) -> Option<String> {
        let may_have = if let Some(known) = self.recall(namespace, uid, Instant::now()) {
            known
        } else {
            let rejected = list_rejected(client, namespace).await?;
            let may_have = rejected.may_contain(uid);
            self.remember(namespace, rejected, Instant::now());
            may_have
        };
        if may_have { last_rejection(client, namespace, uid).await } else { None }
    }

    /// Whether the object may have rejected pods. None if the list of its namespace is too old.
    fn recall(&self, namespace: &str, uid: &str, now: Instant) -> Option<bool> {
        let listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = listed.get(namespace).filter(|listed| listed.at + SHARED > now)?;
        Some(listed.rejected.may_contain(uid))
    }

    /// Keeps a list of a namespace, and drops old ones.
    fn remember(&self, namespace: &str, rejected: Rejected, now: Instant) {
        let mut listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listed.retain(|_, listed| listed.at + SHARED > now);
        listed.insert(namespace.to_owned(), Listed { at: now, rejected });
    }
}

impl Rejected {
    fn may_contain(&self, uid: &str) -> bool {
        match self {
            Self::Of(uids) => uids.contains(uid),
            Self::TooMany => true,
        }
    }
}

/// The objects of a namespace with rejected pods. None if Events cannot be read.
async fn list_rejected(client: &Client, namespace: &str) -> Option<Rejected> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Item {
        involved_object: Involved,
    }
    #[derive(Deserialize)]
    struct Involved {
        uid: Option<String>,
    }
    let list = list::<Item>(client, namespace, "reason=FailedCreate", MAX_REJECTIONS).await?;
    if list.metadata.continue_.is_some_and(|token| !token.is_empty()) {
        return Some(Rejected::TooMany);
    }
    Some(Rejected::Of(list.items.into_iter().filter_map(|item| item.involved_object.uid).collect()))
}

#[derive(Deserialize)]
struct List<T> {
    #[serde(default)]
    metadata: ListMeta,
    items: Vec<T>,
}

/// The Events of a namespace that fields select. None if they cannot be read.
async fn list<T: DeserializeOwned>(
    client: &Client,
    namespace: &str,
    fields: &str,
    limit: u32,
) -> Option<List<T>> {
    let params = ListParams::default().fields(fields).limit(limit);
    let request = Request::new(Event::url_path(&(), Some(namespace))).list(&params);
    let listed = send_for_text(client, request).await;
    let listed =
        listed.inspect_err(|error| tracing::debug!(%error, namespace, "failed to list Events")).ok()?;
    serde_json::from_str(&listed).ok()
}

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
    let list = list(client, namespace, &format!("involvedObject.uid={uid}"), MAX_EVENTS).await?;
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
    fn objects_of_a_namespace_share_a_list() {
        let (pods, start) = (RejectedPods::default(), Instant::now());
        assert_eq!(pods.recall("n", "a", start), None, "nothing is listed");
        pods.remember("n", Rejected::Of(["a".to_owned()].into()), start);
        assert_eq!((pods.recall("n", "a", start), pods.recall("n", "b", start)), (Some(true), Some(false)));
        assert_eq!((pods.recall("m", "a", start), pods.recall("n", "a", start + SHARED)), (None, None));
        pods.remember("m", Rejected::TooMany, start + SHARED);
        assert_eq!(pods.recall("m", "a", start + SHARED), Some(true), "too many to know");
        assert_eq!(pods.0.lock().unwrap().len(), 1, "old lists are dropped");
    }

    #[test]
    fn times_can_be_missing() {
        assert!(
            found(json!([{ "reason": "FailedCreate", "message": null, "lastTimestamp": null }])).is_some()
        );
    }
}
