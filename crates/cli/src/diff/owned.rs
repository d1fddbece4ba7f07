//! Fields that the operator applied before and no longer renders, from managedFields.

use function_mesh_api::labels;
use function_mesh_workloads::diff::{Difference, Path, Step};
use serde_json::{Map, Value};

/// The fields that server-side apply by this manager would remove.
pub(super) fn no_longer_applied(wanted: &Value, live: &Value, manager: &str) -> Vec<Difference> {
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let mut found = Vec::new();
    for entry in entries.into_iter().flatten() {
        let is_applied_by_manager = entry.get("manager").and_then(Value::as_str) == Some(manager)
            && entry.get("operation").and_then(Value::as_str) == Some("Apply")
            && entry.get("subresource").is_none();
        let fields = entry.get("fieldsV1").and_then(Value::as_object);
        if let Some(fields) = fields.filter(|_| is_applied_by_manager) {
            walk(fields, &Path::default(), Some(wanted), live, &mut found);
        }
    }
    found.retain(|difference| {
        let last = difference.path.0.last();
        !matches!(last, Some(Step::Field(name)) if labels::RECORDS.contains(&name.as_str()))
    });
    found
}

fn walk(
    fields: &Map<String, Value>,
    path: &Path,
    wanted: Option<&Value>,
    live: &Value,
    found: &mut Vec<Difference>,
) {
    for (key, within) in fields {
        let Some((step, there, ours)) = step(key, wanted, live) else { continue };
        let path = path.then(step);
        let within = within.as_object().filter(|within| !within.is_empty());
        match (ours, within) {
            (Some(ours), Some(within)) => walk(within, &path, Some(ours), there, found),
            (Some(_), None) => {}
            // The key "." marks an item or map that was applied as a whole.
            (None, Some(within)) if !within.contains_key(".") => walk(within, &path, None, there, found),
            (None, _) => {
                found.push(Difference { path, live: Some(there.clone()), wanted: None });
            }
        }
    }
}

/// One step down by a key of fieldsV1: the step, the live value, and the wanted value. None when the live value is
/// gone.
fn step<'a>(
    key: &str,
    wanted: Option<&'a Value>,
    live: &'a Value,
) -> Option<(Step, &'a Value, Option<&'a Value>)> {
    let (prefix, rest) = key.split_once(':')?;
    match prefix {
        "f" => {
            let there = live.get(rest)?;
            Some((Step::Field(rest.to_owned()), there, wanted.and_then(|wanted| wanted.get(rest))))
        }
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).ok()?;
            let place = live.as_array()?.iter().position(|item| has_keys(item, &keys))?;
            let there = live.get(place)?;
            let ours =
                wanted.and_then(Value::as_array).and_then(|all| all.iter().find(|it| has_keys(it, &keys)));
            let name = there.get("name").and_then(Value::as_str);
            Some((name.map_or(Step::Index(place), |name| Step::Item(name.to_owned())), there, ours))
        }
        "v" => {
            let value: Value = serde_json::from_str(rest).ok()?;
            let place = live.as_array()?.iter().position(|item| *item == value)?;
            let ours = wanted.and_then(Value::as_array).and_then(|all| all.iter().find(|it| **it == value));
            Some((Step::Index(place), live.get(place)?, ours))
        }
        _ => None,
    }
}

/// Whether an item has these list-map keys. A key that it omits is a default of the API server.
fn has_keys(item: &Value, keys: &Map<String, Value>) -> bool {
    let mut agrees = false;
    for (key, value) in keys {
        match item.get(key) {
            Some(found) if found == value => agrees = true,
            Some(_) => return false,
            None => {}
        }
    }
    agrees
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn removed_fields_of_the_manager_are_found() {
        let live = json!({
            "metadata": {
                "labels": { "ours": "1", "gone": "1", "theirs": "1" },
                "annotations": { "compute.functionmesh.io/applied-hash": "x" },
                "managedFields": [{ "manager": "m", "operation": "Apply", "fieldsV1": {
                    "f:metadata": { "f:labels": { "f:ours": {}, "f:gone": {} },
                        "f:annotations": { "f:compute.functionmesh.io/applied-hash": {} } },
                    "f:spec": {
                        "f:ports": { "k:{\"port\":80,\"protocol\":\"TCP\"}": { ".": {}, "f:port": {} } },
                        "f:env": { "k:{\"name\":\"A\"}": { ".": {}, "f:name": {} }, "k:{\"name\":\"B\"}": { ".": {}, "f:name": {} } },
                        "f:grace": {}, "f:left": {},
                    },
                } }, { "manager": "other", "operation": "Apply", "fieldsV1": { "f:metadata": { "f:labels": { "f:theirs": {} } } } }],
            },
            "spec": { "ports": [{ "port": 80, "protocol": "TCP" }], "env": [{ "name": "A" }, { "name": "B" }], "grace": 5 },
        });
        let wanted = json!({ "metadata": { "labels": { "ours": "1" } },
            "spec": { "ports": [{ "port": 80 }], "env": [{ "name": "A" }] } });
        let found = no_longer_applied(&wanted, &live, "m");
        let mut places: Vec<_> = found.iter().map(|difference| difference.path.to_string()).collect();
        places.sort();
        assert_eq!(places, ["metadata.labels.gone", "spec.env[B]", "spec.grace"]);
        assert!(found.iter().all(|difference| difference.wanted.is_none() && difference.live.is_some()));
    }

    #[test]
    fn records_of_the_operator_are_no_fields_to_remove() {
        let names = [&labels::RECORDS[..], &["gone"]].concat();
        let annotations: Map<_, _> = names.iter().map(|name| ((*name).to_owned(), json!("x"))).collect();
        let owned: Map<_, _> = names.iter().map(|name| (format!("f:{name}"), json!({}))).collect();
        let live = json!({ "metadata": {
            "annotations": annotations,
            "managedFields": [{
                "manager": "m", "operation": "Apply",
                "fieldsV1": { "f:metadata": { "f:annotations": owned } },
            }],
        } });
        let found = no_longer_applied(&json!({ "metadata": {} }), &live, "m");
        let paths: Vec<String> = found.iter().map(|it| it.path.to_string()).collect();
        assert_eq!(paths, ["metadata.annotations.gone"]);
    }
}
