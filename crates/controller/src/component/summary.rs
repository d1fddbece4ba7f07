//! Summaries of pods and clean-up Jobs for the cache: only the fields that the controller reads. The spec of a pod is
//! never decoded.
//!
//! Each field is decoded separately; one of the wrong type is treated as absent and does not affect other pods. Texts
//! are truncated, so that a large status does not fill the cache.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use function_mesh_api::labels;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use function_mesh_kube::compact::is_named;
use function_mesh_kube::decode_error::DecodeError;
use function_mesh_kube::events::truncate;
use function_mesh_kube::list_watch::Item;
use function_mesh_kube::memory::Memory;
use function_mesh_kube::prune::{ObjectScan, items};

/// Label of a pod: the revision of its StatefulSet.
const REVISION: &str = "controller-revision-hash";
/// Containers of a pod that are kept.
const MAX_CONTAINERS: usize = 32;
/// Longest name or reason, and longest message, in bytes.
const MAX_STRING_LEN: usize = 256;
const MAX_MESSAGE_LEN: usize = 4096;

/// A summary of a pod.
#[derive(Clone, Debug)]
pub struct PodSummary {
    /// Name, namespace, UID, resource version, deletion timestamp, and the labels with the name of its component and the
    /// revision of its StatefulSet.
    pub(super) metadata: ObjectMeta,
    /// The condition `PodScheduled`.
    pub(super) scheduled: Option<Scheduled>,
    /// Why the pod failed as a whole.
    pub(super) failed: Option<Failed>,
    /// Its containers, init containers first.
    pub(super) containers: Vec<Container>,
    /// Its address.
    address: Option<IpAddr>,
    /// Whether the condition `Ready` holds.
    is_ready: bool,
    /// Time from its creation until it was ready.
    start: Option<Duration>,
    /// Since when the condition `Ready` holds.
    ready_since: Option<Timestamp>,
}

/// The condition `PodScheduled`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Scheduled {
    #[serde(rename = "type", deserialize_with = "short_string")]
    type_: String,
    #[serde(deserialize_with = "short_string")]
    pub(super) status: String,
    #[serde(deserialize_with = "short_string")]
    pub(super) reason: String,
    #[serde(deserialize_with = "message")]
    pub(super) message: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) last_transition_time: Option<Timestamp>,
}

/// Why a pod failed as a whole, such as an eviction: not because of its containers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Failed {
    pub(super) reason: String,
    pub(super) message: String,
}

/// The status of a container.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Container {
    #[serde(deserialize_with = "short_string")]
    pub(super) name: String,
    #[serde(deserialize_with = "short_string")]
    pub(super) image: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) ready: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) restart_count: i32,
    #[serde(deserialize_with = "or_default")]
    pub(super) state: State,
    #[serde(deserialize_with = "or_default")]
    pub(super) last_state: State,
}

/// The state of a container.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
pub(super) struct State {
    #[serde(deserialize_with = "or_default")]
    pub(super) waiting: Option<Waiting>,
    #[serde(deserialize_with = "or_default")]
    pub(super) running: Option<Running>,
    #[serde(deserialize_with = "or_default")]
    pub(super) terminated: Option<Terminated>,
}

/// Why a container is waiting.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
pub(super) struct Waiting {
    #[serde(deserialize_with = "short_string")]
    pub(super) reason: String,
    #[serde(deserialize_with = "message")]
    pub(super) message: String,
}

/// Since when a container is running.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Running {
    #[serde(deserialize_with = "or_default")]
    pub(super) started_at: Option<Timestamp>,
}

/// How a container terminated.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Terminated {
    #[serde(deserialize_with = "or_default")]
    pub(super) exit_code: i32,
    #[serde(deserialize_with = "short_string")]
    pub(super) reason: String,
    #[serde(deserialize_with = "message")]
    pub(super) message: String,
}

/// A value of this type, or the default.
fn or_default<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    let json = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str::<Option<T>>(json.get()).ok().flatten().unwrap_or_default())
}

fn truncated<'de, D: Deserializer<'de>>(deserializer: D, max_len: usize) -> Result<String, D::Error> {
    or_default::<_, String>(deserializer).map(|text| truncate(&text, max_len).to_owned())
}

fn short_string<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    truncated(deserializer, MAX_STRING_LEN)
}

fn message<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    truncated(deserializer, MAX_MESSAGE_LEN)
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status<'a> {
    #[serde(deserialize_with = "short_string")]
    phase: String,
    #[serde(deserialize_with = "short_string")]
    reason: String,
    #[serde(deserialize_with = "message")]
    message: String,
    #[serde(rename = "podIP", deserialize_with = "short_string")]
    pod_ip: String,
    #[serde(borrow)]
    conditions: Option<&'a RawValue>,
    #[serde(borrow)]
    init_container_statuses: Option<&'a RawValue>,
    #[serde(borrow)]
    container_statuses: Option<&'a RawValue>,
}

/// The items of a list that have this type.
fn list<T: DeserializeOwned>(json: Option<&RawValue>) -> impl Iterator<Item = T> {
    let items = json.map(|json| items(json.get())).unwrap_or_default();
    items.into_iter().filter_map(|item| serde_json::from_str(item).ok())
}

impl PodSummary {
    /// Summarizes a pod. Fails only if the text is not a JSON object.
    pub(crate) fn parse(json: &str) -> Result<Self, DecodeError> {
        let lean = ObjectScan::parse(json).map_err(|error| DecodeError::from_json(&error))?;
        let status = function_mesh_kube::compact::status(json);
        let status = status.and_then(|status| serde_json::from_str::<Status<'_>>(status.get()).ok());
        let status = status.unwrap_or_default();
        let init = list(status.init_container_statuses).take(MAX_CONTAINERS);
        let containers = init.chain(list(status.container_statuses).take(MAX_CONTAINERS)).collect();
        let conditions: Vec<Scheduled> = list(status.conditions).collect();
        let ready = conditions.iter().find(|it| it.type_ == "Ready" && it.status == "True");
        let (is_ready, since) = (ready.is_some(), ready.and_then(|it| it.last_transition_time));
        let start = since
            .zip(created(json))
            .and_then(|(since, created)| Duration::try_from(since.duration_since(created)).ok());
        let scheduled = conditions.into_iter().find(|it| it.type_ == "PodScheduled");
        let is_failed = status.phase == "Failed" && !status.reason.is_empty();
        let failed = is_failed.then_some(Failed { reason: status.reason, message: status.message });
        let address = status.pod_ip.parse().ok();
        let mut metadata = metadata(&lean);
        if let Some(revision) = lean.label(REVISION) {
            metadata.labels.get_or_insert_default().insert(REVISION.to_owned(), revision);
        }
        let ready_since = since;
        Ok(Self { metadata, scheduled, failed, containers, address, is_ready, start, ready_since })
    }

    /// The address of the pod, once it has one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// How long the pod took from its creation until it was ready. A pod that became ready again took longer.
    pub(crate) fn start(&self) -> Option<Duration> {
        self.start
    }

    /// Whether the pod is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Since when the pod is ready.
    pub(super) fn ready_since(&self) -> Option<Timestamp> {
        self.ready_since
    }

    /// The revision of its StatefulSet.
    pub(super) fn revision(&self) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(REVISION).map(String::as_str)
    }

    /// Whether its containers have started, without a restart.
    pub(super) fn has_started(&self) -> bool {
        let has_started = |it: &Container| {
            it.restart_count == 0 && (it.state.running.is_some() || it.state.terminated.is_some())
        };
        !self.containers.is_empty() && self.containers.iter().all(has_started)
    }
}

/// When an object was created.
fn created(json: &str) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        creation_timestamp: Timestamp,
    }
    serde_json::from_str::<Object>(json).ok().map(|object| object.metadata.creation_timestamp)
}

/// The metadata that are kept of a child.
fn metadata(lean: &ObjectScan<'_>) -> ObjectMeta {
    let name = lean.label(labels::NAME).map(|name| (labels::NAME.to_owned(), name));
    ObjectMeta {
        name: lean.metadata.name.clone(),
        uid: lean.metadata.uid.clone(),
        namespace: lean.metadata.namespace.clone(),
        resource_version: lean.metadata.resource_version.clone(),
        deletion_timestamp: lean.metadata.deletion_timestamp.clone(),
        labels: name.map(|name| [name].into()),
        ..ObjectMeta::default()
    }
}

impl Item for PodSummary {
    fn resource_version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }

    fn is_same_as(&self, before: &Self) -> bool {
        let of = |pod: &Self| ObjectMeta { resource_version: None, ..pod.metadata.clone() };
        self.scheduled == before.scheduled
            && self.failed == before.failed
            && self.containers == before.containers
            && self.address == before.address
            && self.is_ready == before.is_ready
            && self.start == before.start
            && self.ready_since == before.ready_since
            && of(self) == of(before)
    }

    fn from_json(json: &str, _: &Memory) -> Result<Self, DecodeError> {
        Self::parse(json)
            .and_then(|pod| if is_named(&pod.metadata) { Ok(pod) } else { Err(DecodeError::unnamed()) })
    }
}

/// A summary of a Job: its metadata.
#[derive(Clone, Debug)]
pub struct JobSummary {
    metadata: ObjectMeta,
}

impl Item for JobSummary {
    const METADATA: bool = true;

    fn resource_version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }

    fn from_json(json: &str, _: &Memory) -> Result<Self, DecodeError> {
        let lean = ObjectScan::parse(json).map_err(|error| DecodeError::from_json(&error))?;
        let job = Self { metadata: metadata(&lean) };
        if is_named(&job.metadata) { Ok(job) } else { Err(DecodeError::unnamed()) }
    }
}

macro_rules! resource {
    ($summary:ty, $kind:ty) => {
        impl Resource for $summary {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                <$kind>::kind(&())
            }
            fn group((): &()) -> Cow<'_, str> {
                <$kind>::group(&())
            }
            fn version((): &()) -> Cow<'_, str> {
                <$kind>::version(&())
            }
            fn plural((): &()) -> Cow<'_, str> {
                <$kind>::plural(&())
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(PodSummary, Pod);
resource!(JobSummary, Job);

#[cfg(test)]
mod tests {
    use kube::ResourceExt;
    use serde_json::json;

    use super::*;

    #[test]
    fn invalid_fields_of_a_pod_are_absent() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let pod = json!({
            "metadata": { "name": "p", "namespace": "n", "generation": "x", "labels": { labels::NAME: "f", "a": 3 },
                "annotations": "DEEP", "managedFields": "DEEP", "finalizers": 3 },
            "spec": "DEEP",
            "status": { "phase": 3, "conditions": ["DEEP", { "type": "PodScheduled", "status": "False", "reason": 7,
                    "message": "m".repeat(1_400_000), "lastTransitionTime": "yesterday", "more": "DEEP" }],
                "initContainerStatuses": { "a": "DEEP" },
                "containerStatuses": [3, { "name": "c", "image": null, "restartCount": "four",
                    "state": { "waiting": "DEEP", "terminated": { "exitCode": 7 } }, "lastState": "DEEP" }] },
        });
        let pod = pod.to_string().replace("\"DEEP\"", &deep);
        let pod = PodSummary::parse(&pod).expect("a pod");
        assert_eq!((pod.name_any().as_str(), pod.labels()[labels::NAME].as_str()), ("p", "f"));
        let scheduled = pod.scheduled.expect("the condition");
        assert_eq!((scheduled.reason.as_str(), scheduled.message.len()), ("", MAX_MESSAGE_LEN));
        assert_eq!(pod.containers.len(), 1);
        assert_eq!((pod.containers[0].name.as_str(), pod.containers[0].restart_count), ("c", 0));
        let terminated = pod.containers[0].state.terminated.as_ref().expect("a termination");
        assert_eq!(terminated.exit_code, 7);
    }

    #[test]
    fn summary_size_is_limited() {
        let container = json!({ "name": "x".repeat(2000), "image": "x".repeat(2000) });
        let pod = json!({ "metadata": { "name": "p", "namespace": "n" },
            "status": { "containerStatuses": vec![container; 300] } });
        let pod = PodSummary::parse(&pod.to_string()).expect("a pod");
        let bytes: usize = pod.containers.iter().map(|it| it.name.len() + it.image.len()).sum();
        assert_eq!((pod.containers.len(), bytes), (MAX_CONTAINERS, 2 * MAX_CONTAINERS * MAX_STRING_LEN));
    }

    #[test]
    fn item_requires_a_name() {
        for json in ["{}", "[]", "3", "null", r#"{"metadata":null}"#, r#"{"metadata":{"name":3}}"#] {
            assert!(PodSummary::from_json(json, &Memory::default()).is_err(), "{json}");
            assert!(JobSummary::from_json(json, &Memory::default()).is_err(), "{json}");
        }
    }
}
