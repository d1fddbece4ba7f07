//! What the operator set before and no longer wants. The API server keeps a record of it: of each field
//! manager the fields that it applied last.

use function_mesh_api::labels;
use function_mesh_workloads::diff::{Difference, Path, Step};
use serde_json::{Map, Value};

/// What server-side apply by this manager takes away from an object when it is applied as wanted.
pub(super) fn no_longer_applied(wanted: &Value, live: &Value, manager: &str) -> Vec<Difference> {
    let records = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let mut found = Vec::new();
    for record in records.into_iter().flatten() {
        let is_its = record.get("manager").and_then(Value::as_str) == Some(manager)
            && record.get("operation").and_then(Value::as_str) == Some("Apply")
            && record.get("subresource").is_none();
        if let Some(fields) = record.get("fieldsV1").and_then(Value::as_object).filter(|_| is_its) {
            walk(fields, &Path::default(), Some(wanted), live, &mut found);
        }
    }
    // The operator's own mark is not part of what it renders.
    found.retain(
        |difference| !matches!(difference.path.0.last(), Some(Step::Field(name)) if name == labels::APPLIED_HASH),
    );
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
            // A mark on the whole says that the whole was applied; without it only parts were.
            (None, Some(within)) if !within.contains_key(".") => walk(within, &path, None, there, found),
            (None, _) => {
                found.push(Difference { path, live: Some(there.clone()), wanted: None });
            }
        }
    }
}

/// One step down by a key of the record: where it leads, what is there, and what is wanted there. None where
/// nothing is any more.
fn step<'a>(
    key: &str,
    wanted: Option<&'a Value>,
    live: &'a Value,
) -> Option<(Step, &'a Value, Option<&'a Value>)> {
    let (mark, rest) = key.split_once(':')?;
    match mark {
        "f" => {
            let there = live.get(rest)?;
            Some((Step::Field(rest.to_owned()), there, wanted.and_then(|wanted| wanted.get(rest))))
        }
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).ok()?;
            let place = live.as_array()?.iter().position(|item| is_called(item, &keys))?;
            let there = live.get(place)?;
            let ours =
                wanted.and_then(Value::as_array).and_then(|all| all.iter().find(|it| is_called(it, &keys)));
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

/// Whether an item goes by these keys. What it leaves out the API server has filled in.
fn is_called(item: &Value, keys: &Map<String, Value>) -> bool {
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
    fn fields_that_are_no_longer_wanted_are_found_and_those_of_others_are_not() {
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
}
