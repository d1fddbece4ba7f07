//! Compares one object with its live object.

use function_mesh_api::{BackendConfig, Function, FunctionMesh, Sink, Source, labels, parse};
use function_mesh_workloads::diff::{
    Difference, Path, Step, all_differences, all_differences_of, differences, differences_of,
    exact_differences,
};
use serde_json::{Map, Value, json};

use super::{Against, Effect, FieldChange, manager, owned};
use crate::rendering::{Item, Origin};
use crate::shell_args;

/// Immutable fields of a StatefulSet, which the operator keeps.
const IMMUTABLE_FIELDS: [&str; 4] =
    ["selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"];

/// All changes of an object.
pub(super) fn field_changes(item: &Item, live: &Value, against: Against) -> Vec<FieldChange> {
    let kind = item.value.get("kind").and_then(Value::as_str).unwrap_or_default();
    let found = match (item.origin, against) {
        (Origin::User, _) => diff_manifest(&item.value, live, kind),
        (_, Against::Files) => all_differences(&item.value, live),
        (origin, Against::Cluster) => {
            let wanted = if kind == "StatefulSet" {
                with_immutable_fields(&item.value, live)
            } else {
                item.value.clone()
            };
            let mut found = differences(&wanted, live);
            // Defaults of the API server below a removed field come back, so only the field itself is a change.
            found.extend(owned::no_longer_applied(&wanted, live, manager(origin)));
            found.extend(immutable_differences(&item.value, live, kind));
            found
        }
    };
    let mut changes: Vec<FieldChange> = found
        .into_iter()
        .filter(|difference| !is_server_managed(&difference.path))
        .flat_map(split_command)
        .map(|difference| FieldChange { effect: effect(kind, &difference.path), difference })
        .collect();
    changes.sort_by(|one, other| one.difference.path.cmp(&other.difference.path));
    changes.dedup_by(|one, other| one.difference.path == other.difference.path);
    changes
}

/// Compares a manifest with its live object: the whole spec, both with defaults, and the labels and annotations that
/// the manifest has.
fn diff_manifest(wanted: &Value, live: &Value, kind: &str) -> Vec<Difference> {
    let spec = |object: &Value| json!({ "spec": object.get("spec") });
    let defaulted = with_defaults(live, kind).unwrap_or_else(|| live.clone());
    let mut found = all_differences_of(kind, &spec(wanted), &spec(&defaulted));
    let metadata = |object: &Value| {
        let part = |key: &str| object.pointer(&format!("/metadata/{key}")).cloned().unwrap_or(Value::Null);
        json!({ "metadata": { "labels": part("labels"), "annotations": part("annotations") } })
    };
    found.extend(differences_of(kind, &metadata(wanted), &metadata(live)));
    found
}

/// An object with the defaults of the webhook; None when it cannot be decoded.
fn with_defaults(object: &Value, kind: &str) -> Option<Value> {
    let mut object = object.clone();
    // The status is not compared, and does not have to be decodable.
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

/// A StatefulSet with the immutable fields of the live one. Pods must match the live selector, so the template gets
/// its labels.
fn with_immutable_fields(wanted: &Value, live: &Value) -> Value {
    let mut wanted = wanted.clone();
    let Some(theirs) = live.get("spec") else { return wanted };
    let selector = theirs.pointer("/selector/matchLabels").and_then(Value::as_object);
    let labels = wanted.pointer_mut("/spec/template/metadata/labels").and_then(Value::as_object_mut);
    if let (Some(selector), Some(labels)) = (selector, labels) {
        labels.extend(selector.clone());
    }
    if let Some(ours) = wanted.get_mut("spec").and_then(Value::as_object_mut) {
        for field in IMMUTABLE_FIELDS {
            match theirs.get(field) {
                Some(value) => ours.insert(field.to_owned(), value.clone()),
                None => ours.remove(field),
            };
        }
    }
    wanted
}

/// Changes of immutable fields.
fn immutable_differences(wanted: &Value, live: &Value, kind: &str) -> Vec<Difference> {
    if kind != "StatefulSet" {
        return Vec::new();
    }
    let only = |object: &Value| {
        let fields = IMMUTABLE_FIELDS.into_iter().filter_map(|field| {
            let value = object.get("spec")?.get(field)?;
            Some((field.to_owned(), value.clone()))
        });
        json!({ "spec": fields.collect::<Map<_, _>>() })
    };
    let mut found = differences_of(kind, &only(wanted), &only(live));
    // Removed claim templates stay too, with all defaults of the API server.
    let claims = |object: &Value| object.pointer("/spec/volumeClaimTemplates").cloned();
    if let (None, Some(live)) = (claims(wanted), claims(live).filter(|it| it != &json!([]))) {
        let path = Path(["spec", "volumeClaimTemplates"].map(|field| Step::Field(field.to_owned())).into());
        found.push(Difference { path, live: Some(live), wanted: None });
    }
    found
}

/// Whether the API server manages this field, or it only repeats others.
fn is_server_managed(path: &Path) -> bool {
    ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"]
        .into_iter()
        .any(|field| path.is_within(&["metadata", field]))
        || path.is_within(&["status"])
        // A change of the template is shown itself.
        || path.is_within(&["metadata", "annotations", labels::TEMPLATE_HASH])
}

fn effect(kind: &str, path: &Path) -> Effect {
    match kind {
        "StatefulSet" if path.is_within(&["spec", "template"]) => Effect::Restart,
        "StatefulSet" if IMMUTABLE_FIELDS.into_iter().any(|field| path.is_within(&["spec", field])) => {
            Effect::Immutable
        }
        "Service" if path.is_within(&["spec", "clusterIP"]) => Effect::Immutable,
        _ => Effect::Stay,
    }
}

/// Splits the difference of a command by option.
fn split_command(difference: Difference) -> Vec<Difference> {
    let Difference { path, live, wanted } = &difference;
    let is_script =
        matches!(path.0.as_slice(), [.., Step::Field(field), Step::Index(_)] if field == "command");
    let (true, Some(Value::String(old)), Some(Value::String(new))) = (is_script, live, wanted) else {
        return vec![difference];
    };
    let (old, new) = (shell_args::split(old), shell_args::split(new));
    let base = Path(path.0.iter().take(path.0.len() - 1).cloned().collect());
    let found = exact_differences(&Value::Object(new.clone()), &Value::Object(old.clone()));
    if found.is_empty() {
        let text = |text: &str| Some(Value::String(text.to_owned()));
        // The script is not shown: it may contain secrets that cannot be recognised by name.
        return vec![Difference {
            path: base,
            live: text("same arguments"),
            wanted: text("same arguments in another order or with other quotes"),
        }];
    }
    let within = |found: Difference| {
        let path = Path(base.0.iter().cloned().chain(found.path.0).collect());
        Difference { path, ..found }
    };
    found.into_iter().map(within).collect()
}
