//! How many objects there are in which phase: counted as they change, so that a scrape only reads numbers.

use std::collections::HashMap;

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

/// Phases of objects that the controllers do not speak of in a status.
const UNREADABLE: &str = "InvalidObject";
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

/// Counts the objects of a kind by phase while their changes pass. `phase` tells it from a status.
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
    let mut tally = Tally::new(metrics.gauge(&K::kind(&()), text, "phase")?);
    let objects = objects.store();
    Ok(changes.inspect(move |change| {
        let Ok(object) = change else { return };
        let name = ObjectRef::from_obj(object);
        let phase = objects.get(&name).map(|object| phase_label(&object, phase));
        tally.set((name.namespace, name.name), phase);
    }))
}

/// Namespace and name.
type Name = (Option<String>, String);

/// Each object's phase, and how many there are of each.
struct Tally {
    phases: HashMap<Name, &'static str>,
    gauge: IntGaugeVec,
}

impl Tally {
    fn new(gauge: IntGaugeVec) -> Self {
        // From zero on, so that the first one is an increase.
        for phase in PHASES {
            gauge.with_label_values(&[phase]);
        }
        Self { phases: HashMap::new(), gauge }
    }

    /// An object is in this phase now, or gone.
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
    // One that is too large to be held is decoded by its reconcile, which tells in its status.
    if !object.is_large() && object.decode().is_err() {
        return UNREADABLE;
    }
    let managed = object.annotation(labels::MANAGED).map(|value| (labels::MANAGED.to_owned(), value));
    let metadata =
        ObjectMeta { annotations: managed.map(|managed| [managed].into()), ..ObjectMeta::default() };
    if object.meta().deletion_timestamp.is_some() {
        Phase::Deleting.as_str()
    } else if labels::is_managed(&metadata) {
        object.status().map_or(Phase::Pending, phase).as_str()
    } else {
        UNMANAGED
    }
}

/// The phase of a component, as its status tells it.
pub(crate) fn of_component(status: &str) -> Phase {
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        phase: Phase,
    }
    serde_json::from_str::<Status>(status).map(|status| status.phase).unwrap_or_default()
}

/// The phase of a mesh: its condition `Ready` in the words that components use.
pub(crate) fn of_mesh(status: &str) -> Phase {
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
    fn a_mesh_stands_as_its_condition_says() {
        for (ready, phase) in [
            (None, "Pending"),
            (Some(("True", "ComponentsReady")), "Ready"),
            (Some(("False", "ComponentsNotReady")), "Progressing"),
            (Some(("False", "ComponentsDegraded")), "Degraded"),
            (Some(("False", "ApplyFailed")), "Degraded"),
            (Some(("False", "Invalid")), "Invalid"),
            (Some(("False", "SomethingNew")), "Progressing"),
        ] {
            assert_eq!(phase_label(&mesh(&json!({}), ready), of_mesh), phase, "{ready:?}");
        }
        let going = json!({ "deletionTimestamp": "2020-01-01T00:00:00Z" });
        assert_eq!(phase_label(&mesh(&going, Some(("True", "ComponentsReady"))), of_mesh), "Deleting");
        let others = json!({ "annotations": { labels::MANAGED: "false" } });
        assert_eq!(phase_label(&mesh(&others, Some(("True", "ComponentsReady"))), of_mesh), "Unmanaged");
    }

    #[test]
    fn what_cannot_be_read_is_counted_as_that() {
        let function: Compact<Function> = serde_json::from_value(json!({
            "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "Function",
            "metadata": { "name": "f" }, "spec": { "replicas": "three" },
        }))
        .unwrap();
        assert_eq!(phase_label(&function, of_component), "InvalidObject");
    }

    #[test]
    fn s18_phases_are_counted_as_objects_change() {
        let options = prometheus::Opts::new("objects", "Objects.");
        let gauge = IntGaugeVec::new(options, &["phase"]).unwrap();
        let mut tally = Tally::new(gauge.clone());
        let name = |name: &str| (Some("n".to_owned()), name.to_owned());
        tally.set(name("a"), Some("Pending"));
        tally.set(name("b"), Some("Pending"));
        tally.set(name("a"), Some("Ready"));
        tally.set(name("a"), Some("Ready"));
        tally.set(name("c"), None);
        let counts = || ["Pending", "Ready", "Invalid"].map(|phase| gauge.with_label_values(&[phase]).get());
        assert_eq!(counts(), [1, 1, 0]);
        tally.set(name("b"), None);
        assert_eq!(counts(), [0, 1, 0]);
    }
}
