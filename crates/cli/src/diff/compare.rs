//! One object beside the one that is there.

use function_mesh_api::{BackendConfig, Function, FunctionMesh, Sink, Source, parse};
use function_mesh_workloads::diff::{
    Difference, Path, Step, all_differences, all_differences_of, differences, differences_of,
    exact_differences,
};
use serde_json::{Map, Value, json};

use super::{Against, Effect, Place, manager, owned};
use crate::rendering::{Item, Maker};
use crate::words;

/// Fields of a StatefulSet that Kubernetes lets nobody change, and that the operator keeps.
const KEPT: [&str; 4] = ["selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"];

/// Every place at which an object would change.
pub(super) fn places(item: &Item, live: &Value, against: Against) -> Vec<Place> {
    let kind = item.value.get("kind").and_then(Value::as_str).unwrap_or_default();
    let found = match (item.maker, against) {
        (Maker::Author, _) => authored(&item.value, live, kind),
        (_, Against::Files) => all_differences(&item.value, live),
        (maker, Against::Cluster) => {
            let wanted = if kind == "StatefulSet" { keeping(&item.value, live) } else { item.value.clone() };
            let mut found = differences(&wanted, live);
            // What the API server fills in under a field of ours is taken away with it only to come back.
            found.extend(owned::no_longer_applied(&wanted, live, manager(maker)));
            found.extend(kept(&item.value, live, kind));
            found
        }
    };
    let mut places: Vec<Place> = found
        .into_iter()
        .filter(|difference| !is_of_the_cluster(&difference.path))
        .flat_map(within_commands)
        .map(|difference| Place { effect: effect(kind, &difference.path), difference })
        .collect();
    places.sort_by(|one, other| one.difference.path.cmp(&other.difference.path));
    places.dedup_by(|one, other| one.difference.path == other.difference.path);
    places
}

/// What a person wrote, beside what is there: the specification in full, both completed with defaults, and of
/// labels and annotations those that the manifest has.
fn authored(wanted: &Value, live: &Value, kind: &str) -> Vec<Difference> {
    let specification = |object: &Value| json!({ "spec": object.get("spec") });
    let live_complete = complete(live, kind).unwrap_or_else(|| live.clone());
    let mut found = all_differences_of(kind, &specification(wanted), &specification(&live_complete));
    let marks = |object: &Value| {
        let part = |key: &str| object.pointer(&format!("/metadata/{key}")).cloned().unwrap_or(Value::Null);
        json!({ "metadata": { "labels": part("labels"), "annotations": part("annotations") } })
    };
    found.extend(differences_of(kind, &marks(wanted), &marks(live)));
    found
}

/// An object as the webhook completes it. None when it cannot be read.
fn complete(object: &Value, kind: &str) -> Option<Value> {
    let mut object = object.clone();
    // What a status holds is not compared, and need not be readable.
    object.as_object_mut()?.remove("status");
    match kind {
        "FunctionMesh" => {
            let mut mesh: FunctionMesh = parse(object).ok()?;
            mesh.spec.set_defaults();
            serde_json::to_value(mesh)
        }
        "Function" => {
            let mut function: Function = parse(object).ok()?;
            function.set_defaults();
            serde_json::to_value(function)
        }
        "Source" => {
            let mut source: Source = parse(object).ok()?;
            source.set_defaults();
            serde_json::to_value(source)
        }
        "Sink" => {
            let mut sink: Sink = parse(object).ok()?;
            sink.set_defaults();
            serde_json::to_value(sink)
        }
        _ => serde_json::to_value(parse::<BackendConfig>(object).ok()?),
    }
    .ok()
}

/// A StatefulSet with the fields that the operator keeps as they are. Pods must still be found by the selector,
/// so its labels go into them.
fn keeping(wanted: &Value, live: &Value) -> Value {
    let mut wanted = wanted.clone();
    let Some(theirs) = live.get("spec") else { return wanted };
    let selector = theirs.pointer("/selector/matchLabels").and_then(Value::as_object);
    let labels = wanted.pointer_mut("/spec/template/metadata/labels").and_then(Value::as_object_mut);
    if let (Some(selector), Some(labels)) = (selector, labels) {
        labels.extend(selector.clone());
    }
    if let Some(ours) = wanted.get_mut("spec").and_then(Value::as_object_mut) {
        for field in KEPT {
            match theirs.get(field) {
                Some(value) => ours.insert(field.to_owned(), value.clone()),
                None => ours.remove(field),
            };
        }
    }
    wanted
}

/// What is wanted otherwise and cannot be had.
fn kept(wanted: &Value, live: &Value, kind: &str) -> Vec<Difference> {
    if kind != "StatefulSet" {
        return Vec::new();
    }
    let only = |object: &Value| {
        let fields = KEPT.into_iter().filter_map(|field| {
            let value = object.get("spec")?.get(field)?;
            Some((field.to_owned(), value.clone()))
        });
        json!({ "spec": fields.collect::<Map<_, _>>() })
    };
    let mut found = differences_of(kind, &only(wanted), &only(live));
    // Claims that are not wanted any more stay too, whatever the API server added to them.
    let claims = |object: &Value| object.pointer("/spec/volumeClaimTemplates").cloned();
    if let (None, Some(live)) = (claims(wanted), claims(live).filter(|it| it != &json!([]))) {
        let path = Path(["spec", "volumeClaimTemplates"].map(|field| Step::Field(field.to_owned())).into());
        found.push(Difference { path, live: Some(live), wanted: None });
    }
    found
}

/// Fields that tell which object it is, and are no matter of its content.
fn is_of_the_cluster(path: &Path) -> bool {
    ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"]
        .into_iter()
        .any(|field| path.is_within(&["metadata", field]))
        || path.is_within(&["status"])
}

fn effect(kind: &str, path: &Path) -> Effect {
    match kind {
        "StatefulSet" if path.is_within(&["spec", "template"]) => Effect::Restart,
        "StatefulSet" if KEPT.into_iter().any(|field| path.is_within(&["spec", field])) => Effect::Kept,
        "Service" if path.is_within(&["spec", "clusterIP"]) => Effect::Kept,
        _ => Effect::Stay,
    }
}

/// A command that differs, told option by option.
fn within_commands(difference: Difference) -> Vec<Difference> {
    let Difference { path, live, wanted } = &difference;
    let is_script =
        matches!(path.0.as_slice(), [.., Step::Field(field), Step::Index(_)] if field == "command");
    let (true, Some(Value::String(old)), Some(Value::String(new))) = (is_script, live, wanted) else {
        return vec![difference];
    };
    let (old, new) = (words::parts(old), words::parts(new));
    let base = Path(path.0.iter().take(path.0.len() - 1).cloned().collect());
    let found = exact_differences(&Value::Object(new.clone()), &Value::Object(old.clone()));
    if found.is_empty() {
        let told = |text: &str| Some(Value::String(text.to_owned()));
        // Nothing of the line is shown: it may hold secrets that have no name to be found by.
        return vec![Difference {
            path: base,
            live: told("the same words"),
            wanted: told("the same words in another order or other quotes"),
        }];
    }
    let within = |found: Difference| {
        let path = Path(base.0.iter().cloned().chain(found.path.0).collect());
        Difference { path, ..found }
    };
    found.into_iter().map(within).collect()
}
