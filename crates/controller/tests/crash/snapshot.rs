//! Snapshots of a namespace without values that vary between runs, and their differences.

use std::collections::BTreeMap;

use function_mesh_api::{Function, FunctionMesh, Sink, Source, labels};
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Service;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

/// Status fields that are times, versions or names of revisions.
const PASSING: [&str; 15] = [
    "globalBackendConfigRevision",
    "namespacedBackendConfigRevision",
    "lastTransitionTime",
    "lastUpdateTime",
    "lastProbeTime",
    "startTime",
    "completionTime",
    "gapSeconds",
    "currentRevision",
    "updateRevision",
    "collisionCount",
    "goodRevision",
    "failedRevision",
    "revision",
    "since",
];

/// Differences shown of one comparison.
const MAX_DIFFERENCES: usize = 6;

/// Characters shown in front of the first difference of a text.
const WINDOW: usize = 40;

/// The objects of a namespace, by kind and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) objects: BTreeMap<String, Value>,
    /// Pending changes, as text.
    pub(crate) unsettled: Vec<String>,
}

fn kinds() -> [ApiResource; 8] {
    [
        ApiResource::erase::<FunctionMesh>(&()),
        ApiResource::erase::<Function>(&()),
        ApiResource::erase::<Source>(&()),
        ApiResource::erase::<Sink>(&()),
        ApiResource::erase::<StatefulSet>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<HorizontalPodAutoscaler>(&()),
        ApiResource::erase::<Job>(&()),
    ]
}

impl Snapshot {
    pub(crate) async fn take(client: &Client, namespace: &str) -> anyhow::Result<Self> {
        let kinds = kinds();
        let lists = kinds.iter().map(async |kind| {
            let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, kind);
            let list = api.list(&ListParams::default()).await?;
            anyhow::Ok(list.items.into_iter().map(|item| (kind.kind.clone(), item)).collect::<Vec<_>>())
        });
        let all: Vec<_> = try_join_all(lists).await?.into_iter().flatten().collect();
        let names: BTreeMap<_, _> = all
            .iter()
            .map(|(kind, item)| (item.uid().unwrap_or_default(), format!("{kind} {}", item.name_any())))
            .collect();
        let mut snapshot = Self::default();
        for (kind, item) in &all {
            let name = format!("{kind} {}", item.name_any());
            let value = normalised(kind, item, &names, namespace);
            snapshot.unsettled.extend(unsettled(kind, &value).map(|why| format!("{name} {why}")));
            snapshot.objects.insert(name, value);
        }
        Ok(snapshot)
    }

    /// Differences from `self`, as text; empty if there are none.
    pub(crate) fn differences(&self, found: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for (name, wanted) in &self.objects {
            match found.objects.get(name) {
                None => differences.push(format!("{name} is missing")),
                Some(found) => compare(name, wanted, found, &mut differences),
            }
        }
        for (name, value) in &found.objects {
            if !self.objects.contains_key(name) {
                differences
                    .push(format!("{name} is there and should not be; its owners: {}", value["owners"]));
            }
        }
        let more = differences.len().saturating_sub(MAX_DIFFERENCES);
        differences.truncate(MAX_DIFFERENCES);
        if more > 0 {
            differences.push(format!("and {more} more"));
        }
        differences
    }
}

fn normalised(
    kind: &str,
    object: &DynamicObject,
    names: &BTreeMap<String, String>,
    namespace: &str,
) -> Value {
    let meta = &object.metadata;
    let owners: Vec<_> = object
        .owner_references()
        .iter()
        .map(|owner| {
            let (kind, name) = (&owner.kind, &owner.name);
            let controls = if owner.controller == Some(true) { ", which controls it" } else { "" };
            // By UID: an object of the same name may be another one.
            let known = names.get(&owner.uid).map(|name| format!("{name}{controls}"));
            known.unwrap_or_else(|| format!("{kind} {name}, which is deleted"))
        })
        .collect();
    let annotations: BTreeMap<_, _> = object
        .annotations()
        .iter()
        // Hashes that depend on the namespace and the owner's UID, and times.
        .map(|(key, value)| {
            let varies = [labels::APPLIED_HASH, labels::TEMPLATE_HASH, labels::RECREATE];
            let value = if key == labels::ROLLOUT { recorded(value) } else { value.clone() };
            (key, if varies.contains(&key.as_str()) { "…".to_owned() } else { value })
        })
        .collect();
    // The HPA controller reports missing metrics with varying times.
    let mut status =
        if kind == "HorizontalPodAutoscaler" { Value::Null } else { object.data["status"].clone() };
    make_timeless(&mut status, meta.generation);
    let mut labels = object.labels().clone();
    let mut spec = object.data["spec"].clone();
    if kind == "Job" {
        // The UID of a component that is deleted by the end.
        labels.remove(labels::OWNER);
        let of_pods = spec.pointer_mut("/template/metadata/labels").and_then(Value::as_object_mut);
        _ = of_pods.map(|of_pods| of_pods.remove(labels::OWNER));
    }
    let mut value = json!({
        "labels": labels, "annotations": annotations, "finalizers": object.finalizers(),
        "owners": owners, "isDeleted": meta.deletion_timestamp.is_some(),
        "spec": spec, "status": status,
    });
    make_nameless(&mut value, names, namespace);
    value
}

fn make_timeless(value: &mut Value, generation: Option<i64>) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !PASSING.contains(&name.as_str()));
            for (name, field) in fields {
                if name == "observedGeneration" {
                    let is_current = field.as_i64() == generation;
                    *field = json!(if is_current { "current" } else { "behind" });
                }
                make_timeless(field, generation);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| make_timeless(item, generation)),
        _ => {}
    }
}

fn make_nameless(value: &mut Value, names: &BTreeMap<String, String>, namespace: &str) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(|field| make_nameless(field, names, namespace));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| make_nameless(item, names, namespace)),
        Value::String(text) => {
            // An unknown UID is not normalised, so it is a difference.
            for (uid, name) in names.iter().filter(|(uid, _)| text.contains(uid.as_str())).collect::<Vec<_>>()
            {
                *text = text.replace(uid, &format!("[UID of {name}]"));
            }
            *text = without_reason(&text.replace(namespace, "NAMESPACE"));
        }
        _ => {}
    }
}

/// What is recorded of a rollout, without times and names of revisions.
fn recorded(text: &str) -> String {
    let mut record: Value = serde_json::from_str(text).unwrap_or_default();
    record["since"] = Value::Null;
    for revision in ["good", "before"] {
        record[revision] = json!(record[revision].is_string());
    }
    if let Some(canary) = record["canary"].as_object_mut() {
        canary.remove("since");
    }
    if let Some(failed) = record["failed"].as_object_mut() {
        failed.retain(|field, _| field == "generation" || field == "by");
    }
    record.to_string()
}

/// A text without the reason of a failed rollout, which depends on when it is seen. Revisions follow it.
fn without_reason(text: &str) -> String {
    const REASON: &str = "no progress within";
    text.split_once(REASON).map_or_else(|| text.to_owned(), |(before, _)| format!("{before}{REASON}"))
}

/// The pending changes of a normalised object.
fn unsettled(kind: &str, value: &Value) -> Option<&'static str> {
    let status = &value["status"];
    let is_current = status["observedGeneration"] == "current";
    if value["isDeleted"] == true {
        return Some("is being deleted");
    }
    let mut owners = value["owners"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if owners.any(|owner| owner.ends_with("which is deleted")) {
        return Some("has a deleted owner");
    }
    match kind {
        "FunctionMesh" | "Function" | "Source" | "Sink" | "StatefulSet" if !is_current => {
            Some("has a status of an earlier generation")
        }
        "FunctionMesh" => {
            let mut conditions = status["conditions"].as_array().into_iter().flatten();
            (!conditions.any(|it| it["type"] == "Ready" && it["status"] == "True")).then_some("is not ready")
        }
        "Function" | "Source" | "Sink" => {
            let phase = status["phase"].as_str().unwrap_or_default();
            (!["Ready", "Suspended", "Paused", "RolledBack"].contains(&phase)).then_some("is not ready")
        }
        "StatefulSet" => {
            let number = |value: &Value| value.as_i64().unwrap_or_default();
            let is_ready = number(&status["readyReplicas"]) == number(&value["spec"]["replicas"])
                && number(&status["updatedReplicas"]) == number(&value["spec"]["replicas"]);
            (!is_ready).then_some("has pods that are not ready")
        }
        "Job" if status["succeeded"].is_null() && status["failed"].is_null() => Some("is running"),
        _ => None,
    }
}

fn compare(path: &str, wanted: &Value, found: &Value, differences: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (name, field) in wanted {
                compare(
                    &format!("{path}.{name}"),
                    field,
                    found.get(name).unwrap_or(&Value::Null),
                    differences,
                );
            }
            for (name, field) in found.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
                compare(&format!("{path}.{name}"), &Value::Null, field, differences);
            }
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            for (index, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                compare(&format!("{path}[{index}]"), wanted, found, differences);
            }
        }
        _ if wanted == found => {}
        _ => {
            let (wanted, found) = (wanted.to_string(), found.to_string());
            let same = wanted.bytes().zip(found.bytes()).take_while(|(a, b)| a == b).count();
            let (wanted, found) = (part(&wanted, same), part(&found, same));
            differences.push(format!("{path} is {found} and should be {wanted}"));
        }
    }
}

/// The part of a text around the first difference.
fn part(text: &str, same: usize) -> String {
    let text: String = text.chars().skip(same.saturating_sub(WINDOW)).take(4 * WINDOW).collect();
    if same > WINDOW { format!("…{text}") } else { text }
}
