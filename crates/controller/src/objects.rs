//! How many objects there are in which phase: counted in the caches, when somebody asks.

use std::collections::HashMap;

use function_mesh_api::types::Phase;
use function_mesh_api::{Component, FunctionMesh, labels};
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use prometheus::IntGaugeVec;
use serde::de::DeserializeOwned;

use crate::kit::cache::Cache;
use crate::kit::cached::Cached;
use crate::metrics::Metrics;

/// Phases of objects that the controllers do not speak of in a status.
const UNREADABLE: &str = "Unreadable";
const UNMANAGED: &str = "Unmanaged";

const PHASES: [&str; 10] = [
    Phase::Pending.as_str(),
    Phase::Progressing.as_str(),
    Phase::Ready.as_str(),
    Phase::Degraded.as_str(),
    Phase::Paused.as_str(),
    Phase::Suspended.as_str(),
    Phase::Deleting.as_str(),
    Phase::Invalid.as_str(),
    UNREADABLE,
    UNMANAGED,
];

/// Counts the objects of a kind by the phase that this function tells.
pub(crate) fn count<K>(
    metrics: &Metrics,
    objects: &Cache<Cached<K>>,
    phase: fn(&K) -> Phase,
) -> Result<(), prometheus::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + 'static,
{
    let objects = objects.clone();
    let text = ("function_mesh_objects", "Objects by kind and phase.");
    metrics.computed(&K::kind(&()), text, Some("phase"), move |gauge: &IntGaugeVec| {
        let mut counts: HashMap<_, i64> = PHASES.map(|phase| (phase, 0)).into();
        for object in objects.state() {
            *counts.entry(standing(&object, phase)).or_default() += 1;
        }
        for (phase, count) in counts {
            gauge.with_label_values(&[phase]).set(count);
        }
    })
}

fn standing<K: Resource + DeserializeOwned>(object: &Cached<K>, phase: fn(&K) -> Phase) -> &'static str {
    let Ok(object) = object.open() else { return UNREADABLE };
    if object.meta().deletion_timestamp.is_some() {
        Phase::Deleting.as_str()
    } else if labels::is_managed(object.meta()) {
        phase(&object).as_str()
    } else {
        UNMANAGED
    }
}

/// The phase of a component, as its status tells it.
pub(crate) fn of_component<C: Component>(component: &C) -> Phase {
    component.status().map_or(Phase::Pending, |status| status.phase)
}

/// The phase of a mesh: its condition `Ready` in the words that components use.
pub(crate) fn of_mesh(mesh: &FunctionMesh) -> Phase {
    let conditions = mesh.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
    match ready.map(|ready| (ready.status.as_str(), ready.reason.as_str())) {
        None => Phase::Pending,
        Some(("True", _)) => Phase::Ready,
        Some((_, "Invalid")) => Phase::Invalid,
        Some((_, "ApplyFailed" | "ComponentsDegraded")) => Phase::Degraded,
        Some(_) => Phase::Progressing,
    }
}

#[cfg(test)]
mod tests {
    use function_mesh_api::Function;
    use serde_json::{Value, json};

    use super::*;

    fn mesh(metadata: &Value, ready: Option<(&str, &str)>) -> Cached<FunctionMesh> {
        let conditions = ready.map(|(status, reason)| {
            json!([{ "type": "Ready", "status": status, "reason": reason, "message": "",
                     "lastTransitionTime": "2020-01-01T00:00:00Z" }])
        });
        let mesh = json!({
            "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "FunctionMesh", "metadata": metadata,
            "spec": {}, "status": { "conditions": conditions },
        });
        serde_json::from_value(mesh).unwrap()
    }

    #[test]
    fn a_mesh_stands_as_its_condition_says() {
        for (ready, phase) in [
            (None, "Pending"),
            (Some(("True", "AllReady")), "Ready"),
            (Some(("False", "ComponentsNotReady")), "Progressing"),
            (Some(("False", "ComponentsDegraded")), "Degraded"),
            (Some(("False", "ApplyFailed")), "Degraded"),
            (Some(("False", "Invalid")), "Invalid"),
            (Some(("False", "SomethingNew")), "Progressing"),
        ] {
            assert_eq!(standing(&mesh(&json!({}), ready), of_mesh), phase, "{ready:?}");
        }
        let going = json!({ "deletionTimestamp": "2020-01-01T00:00:00Z" });
        assert_eq!(standing(&mesh(&going, Some(("True", "AllReady"))), of_mesh), "Deleting");
        let others = json!({ "annotations": { labels::MANAGED: "false" } });
        assert_eq!(standing(&mesh(&others, Some(("True", "AllReady"))), of_mesh), "Unmanaged");
    }

    #[test]
    fn what_cannot_be_read_is_counted_as_that() {
        let function: Cached<Function> = serde_json::from_value(json!({
            "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "Function",
            "metadata": { "name": "f" }, "spec": { "replicas": "three" },
        }))
        .unwrap();
        assert_eq!(standing(&function, of_component), "Unreadable");
    }
}
