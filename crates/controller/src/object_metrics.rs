//! Objects by kind and phase, counted on each change, so that a scrape does not decode objects.

use std::collections::HashMap;

use function_mesh_api::conditions::Reason;
use function_mesh_api::labels;
use function_mesh_api::types::Phase;
use futures::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use prometheus::IntGaugeVec;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::metrics::Metrics;
use function_mesh_kube::cache::Cache;
use function_mesh_kube::compact::Compact;

/// Label values for objects whose phase is not in their status.
const UNDECODABLE: &str = "InvalidObject";
const UNMANAGED: &str = "Unmanaged";

/// Counts the objects of a kind by phase, from the stream of their changes. `phase` reads it from a status.
pub(crate) fn count<K, E, S>(
    metrics: &Metrics,
    objects: &Cache<Compact<K>>,
    changes: S,
    phase: fn(&str) -> Phase,
) -> Result<impl Stream<Item = Result<Compact<K>, E>> + Send + use<K, E, S>, prometheus::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + 'static,
    S: Stream<Item = Result<Compact<K>, E>> + Send,
{
    let text = ("function_mesh_objects", "Objects by kind and phase.");
    let mut phases = PhaseCounts::new(metrics.gauge(&K::kind(&()), text, "phase")?);
    let objects = objects.store();
    Ok(changes.inspect(move |change| {
        let Ok(object) = change else { return };
        let name = ObjectRef::from_obj(object);
        let phase = objects.get(&name).map(|object| phase_label(&object, phase));
        phases.set((name.namespace, name.name), phase);
    }))
}

/// Namespace and name.
type Name = (Option<String>, String);

/// The phase of each object, and the gauge of objects by phase.
struct PhaseCounts {
    phases: HashMap<Name, &'static str>,
    gauge: IntGaugeVec,
}

impl PhaseCounts {
    fn new(gauge: IntGaugeVec) -> Self {
        // Initialises all phases to zero.
        for phase in Phase::ALL.map(Phase::as_str).into_iter().chain([UNDECODABLE, UNMANAGED]) {
            gauge.with_label_values(&[phase]);
        }
        Self { phases: HashMap::new(), gauge }
    }

    /// Sets the phase of an object; None if it was deleted.
    fn set(&mut self, name: Name, phase: Option<&'static str>) {
        let before = match phase {
            Some(phase) => self.phases.insert(name, phase),
            None => self.phases.remove(&name),
        };
        if let Some(before) = before {
            self.gauge.with_label_values(&[before]).dec();
        }
        if let Some(phase) = phase {
            self.gauge.with_label_values(&[phase]).inc();
        }
    }
}

fn phase_label<K: DeserializeOwned>(object: &Compact<K>, phase: fn(&str) -> Phase) -> &'static str
where
    Compact<K>: Resource,
{
    // An object that is too large for the cache is decoded by its reconcile, which reports errors in the status.
    if !object.is_large() && object.decode().is_err() {
        return UNDECODABLE;
    }
    let managed = object.annotation(labels::MANAGED).map(|value| (labels::MANAGED.to_owned(), value));
    let metadata =
        ObjectMeta { annotations: managed.map(|managed| [managed].into()), ..ObjectMeta::default() };
    if object.meta().deletion_timestamp.is_some() {
        Phase::Deleting.as_str()
    } else if labels::is_managed(&metadata) {
        object.status().as_deref().map_or(Phase::Pending, phase).as_str()
    } else {
        UNMANAGED
    }
}

/// The phase in the status of a component.
pub(crate) fn component_phase(status: &str) -> Phase {
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        phase: Phase,
    }
    serde_json::from_str::<Status>(status).map(|status| status.phase).unwrap_or_default()
}

/// The phase of a mesh, derived from its condition `Ready`.
pub(crate) fn mesh_phase(status: &str) -> Phase {
    #[derive(Deserialize)]
    struct Status {
        conditions: Vec<Condition>,
    }
    #[derive(Deserialize)]
    struct Condition {
        #[serde(rename = "type")]
        type_: String,
        status: String,
        reason: String,
    }
    let conditions =
        serde_json::from_str::<Status>(status).map(|status| status.conditions).unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
    let Some(ready) = ready else { return Phase::Pending };
    if ready.status == "True" {
        return Phase::Ready;
    }
    match Reason::ALL.iter().find(|reason| reason.as_str() == ready.reason) {
        Some(Reason::ValidationFailed | Reason::InvalidObject) => Phase::Invalid,
        Some(Reason::ApplyFailed | Reason::ComponentsDegraded) => Phase::Degraded,
        _ => Phase::Progressing,
    }
}

#[cfg(test)]
mod tests {
    use function_mesh_api::{Function, FunctionMesh};
    use serde_json::{Value, json};

    use super::*;

    fn mesh(metadata: &Value, ready: Option<(&str, &str)>) -> Compact<FunctionMesh> {
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
    fn mesh_phase_follows_the_ready_condition() {
        for (ready, phase) in [
            (None, "Pending"),
            (Some(("True", "ComponentsReady")), "Ready"),
            (Some(("False", "ComponentsNotReady")), "Progressing"),
            (Some(("False", "ComponentsDegraded")), "Degraded"),
            (Some(("False", "ApplyFailed")), "Degraded"),
            (Some(("False", "ValidationFailed")), "Invalid"),
            (Some(("False", "InvalidObject")), "Invalid"),
            (Some(("False", "SomethingNew")), "Progressing"),
        ] {
            assert_eq!(phase_label(&mesh(&json!({}), ready), mesh_phase), phase, "{ready:?}");
        }
        let deleting = json!({ "deletionTimestamp": "2020-01-01T00:00:00Z" });
        assert_eq!(phase_label(&mesh(&deleting, Some(("True", "ComponentsReady"))), mesh_phase), "Deleting");
        let others = json!({ "annotations": { labels::MANAGED: "false" } });
        assert_eq!(phase_label(&mesh(&others, Some(("True", "ComponentsReady"))), mesh_phase), "Unmanaged");
    }

    #[test]
    fn undecodable_object_has_its_own_phase() {
        let function: Compact<Function> = serde_json::from_value(json!({
            "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "Function",
            "metadata": { "name": "f" }, "spec": { "replicas": "three" },
        }))
        .unwrap();
        assert_eq!(phase_label(&function, component_phase), "InvalidObject");
    }

    #[test]
    fn phase_counts_follow_changes_and_deletions() {
        let options = prometheus::Opts::new("objects", "Objects.");
        let gauge = IntGaugeVec::new(options, &["phase"]).unwrap();
        let mut phases = PhaseCounts::new(gauge.clone());
        let name = |name: &str| (Some("n".to_owned()), name.to_owned());
        phases.set(name("a"), Some("Pending"));
        phases.set(name("b"), Some("Pending"));
        phases.set(name("a"), Some("Ready"));
        phases.set(name("a"), Some("Ready"));
        phases.set(name("c"), None);
        let counts = || ["Pending", "Ready", "Invalid"].map(|phase| gauge.with_label_values(&[phase]).get());
        assert_eq!(counts(), [1, 1, 0]);
        phases.set(name("b"), None);
        assert_eq!(counts(), [0, 1, 0]);
    }
}
