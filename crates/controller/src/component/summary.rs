//! What is held of pods and clean-up Jobs: only what is looked at. What a pod is made of is never even decoded.
//!
//! Each field is read alone: one that has another form than it should counts as absent, and that is the matter of its
//! pod alone. Texts are cut, so that nobody fills the cache with a status.

use std::borrow::Cow;

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
use function_mesh_kube::events::clip;
use function_mesh_kube::list_watch::Item;
use function_mesh_kube::memory::Memory;
use function_mesh_kube::prune::{Lean, items};

/// Containers of a pod that are looked at.
const MOST_CONTAINERS: usize = 32;
/// Longest name or reason, and longest message.
const LONGEST_WORD: usize = 256;
const LONGEST_MESSAGE: usize = 4096;

/// A pod, as far as it is looked at.
#[derive(Clone, Debug)]
pub struct PodSummary {
    /// Name, namespace, version, whether it is deleted, and the label that names its component.
    pub(super) metadata: ObjectMeta,
    /// The condition that says whether it was given to a node.
    pub(super) scheduled: Option<Scheduled>,
    /// Its containers, those that prepare it first.
    pub(super) containers: Vec<Container>,
}

/// Whether a pod was given to a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Scheduled {
    #[serde(rename = "type", deserialize_with = "word")]
    type_: String,
    #[serde(deserialize_with = "word")]
    pub(super) status: String,
    #[serde(deserialize_with = "word")]
    pub(super) reason: String,
    #[serde(deserialize_with = "message")]
    pub(super) message: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) last_transition_time: Option<Timestamp>,
}

/// A container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Container {
    #[serde(deserialize_with = "word")]
    pub(super) name: String,
    #[serde(deserialize_with = "word")]
    pub(super) image: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) ready: bool,
    #[serde(deserialize_with = "lenient")]
    pub(super) restart_count: i32,
    #[serde(deserialize_with = "lenient")]
    pub(super) state: State,
    #[serde(deserialize_with = "lenient")]
    pub(super) last_state: State,
}

/// What a container does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct State {
    #[serde(deserialize_with = "lenient")]
    pub(super) waiting: Option<Waiting>,
    #[serde(deserialize_with = "lenient")]
    pub(super) running: Option<Running>,
    #[serde(deserialize_with = "lenient")]
    pub(super) terminated: Option<Terminated>,
}

/// Why a container does not run yet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Waiting {
    #[serde(deserialize_with = "word")]
    pub(super) reason: String,
    #[serde(deserialize_with = "message")]
    pub(super) message: String,
}

/// Since when a container runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Running {
    #[serde(deserialize_with = "lenient")]
    pub(super) started_at: Option<Timestamp>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Terminated {
    #[serde(deserialize_with = "lenient")]
    pub(super) exit_code: i32,
    #[serde(deserialize_with = "word")]
    pub(super) reason: String,
    #[serde(deserialize_with = "message")]
    pub(super) message: String,
}

/// A value of this form, or else the default.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    let json = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str::<Option<T>>(json.get()).ok().flatten().unwrap_or_default())
}

fn cut<'de, D: Deserializer<'de>>(deserializer: D, longest: usize) -> Result<String, D::Error> {
    lenient::<_, String>(deserializer).map(|text| clip(&text, longest).to_owned())
}

fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    cut(deserializer, LONGEST_WORD)
}

fn message<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    cut(deserializer, LONGEST_MESSAGE)
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status<'a> {
    #[serde(borrow)]
    conditions: Option<&'a RawValue>,
    #[serde(borrow)]
    init_container_statuses: Option<&'a RawValue>,
    #[serde(borrow)]
    container_statuses: Option<&'a RawValue>,
}

/// The items of a list that have this form.
fn list<T: DeserializeOwned>(json: Option<&RawValue>) -> impl Iterator<Item = T> {
    let items = json.map(|json| items(json.get())).unwrap_or_default();
    items.into_iter().filter_map(|item| serde_json::from_str(item).ok())
}

impl PodSummary {
    /// Takes a pod up.
    pub(crate) fn read(json: &str) -> Result<Self, DecodeError> {
        let lean = Lean::read(json).map_err(|error| DecodeError::of_json(&error))?;
        let status = function_mesh_kube::compact::status(json);
        let status = status.and_then(|status| serde_json::from_str::<Status<'_>>(status.get()).ok());
        let status = status.unwrap_or_default();
        let init = list(status.init_container_statuses).take(MOST_CONTAINERS);
        let containers = init.chain(list(status.container_statuses).take(MOST_CONTAINERS)).collect();
        let scheduled = list::<Scheduled>(status.conditions).find(|it| it.type_ == "PodScheduled");
        Ok(Self { metadata: metadata(&lean), scheduled, containers })
    }
}

/// What is held of the metadata of what belongs to a component.
fn metadata(lean: &Lean<'_>) -> ObjectMeta {
    let name = lean.label(labels::NAME).map(|name| (labels::NAME.to_owned(), name));
    ObjectMeta {
        name: lean.metadata.name.clone(),
        namespace: lean.metadata.namespace.clone(),
        resource_version: lean.metadata.resource_version.clone(),
        deletion_timestamp: lean.metadata.deletion_timestamp.clone(),
        labels: name.map(|name| [name].into()),
        ..ObjectMeta::default()
    }
}

impl Item for PodSummary {
    fn from_json(json: &str, _: &Memory) -> Result<Self, DecodeError> {
        Self::read(json)
            .and_then(|pod| if is_named(&pod.metadata) { Ok(pod) } else { Err(DecodeError::unnamed()) })
    }
}

/// A Job: that it changed, and whose it is.
#[derive(Clone, Debug)]
pub struct JobSummary {
    metadata: ObjectMeta,
}

impl Item for JobSummary {
    const METADATA: bool = true;

    fn from_json(json: &str, _: &Memory) -> Result<Self, DecodeError> {
        let lean = Lean::read(json).map_err(|error| DecodeError::of_json(&error))?;
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
    fn s1_what_cannot_be_read_of_a_pod_is_absent_and_the_rest_is_there() {
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
        let pod = PodSummary::read(&pod).expect("a pod");
        assert_eq!((pod.name_any().as_str(), pod.labels()[labels::NAME].as_str()), ("p", "f"));
        let scheduled = pod.scheduled.expect("the condition");
        assert_eq!((scheduled.reason.as_str(), scheduled.message.len()), ("", LONGEST_MESSAGE));
        assert_eq!(pod.containers.len(), 1);
        assert_eq!((pod.containers[0].name.as_str(), pod.containers[0].restart_count), ("c", 0));
        let ended = pod.containers[0].state.terminated.as_ref().expect("its end");
        assert_eq!(ended.exit_code, 7);
    }

    #[test]
    fn s3_a_pod_of_any_size_takes_little() {
        let container = json!({ "name": "x".repeat(2000), "image": "x".repeat(2000) });
        let pod = json!({ "metadata": { "name": "p", "namespace": "n" },
            "status": { "containerStatuses": vec![container; 300] } });
        let pod = PodSummary::read(&pod.to_string()).expect("a pod");
        let bytes: usize = pod.containers.iter().map(|it| it.name.len() + it.image.len()).sum();
        assert_eq!((pod.containers.len(), bytes), (MOST_CONTAINERS, 2 * MOST_CONTAINERS * LONGEST_WORD));
    }

    #[test]
    fn s1_an_item_without_a_name_is_none() {
        for json in ["{}", "[]", "3", "null", r#"{"metadata":null}"#, r#"{"metadata":{"name":3}}"#] {
            assert!(PodSummary::from_json(json, &Memory::default()).is_err(), "{json}");
            assert!(JobSummary::from_json(json, &Memory::default()).is_err(), "{json}");
        }
    }
}
