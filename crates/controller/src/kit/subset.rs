//! Whether an object already says all that is wanted of it. Pure: no client.
//!
//! The API server only ever adds to what it is given: defaults, metadata, a status. So what is wanted is
//! there when it is a part of what is live. Amounts are equal by value, and nothing is equal to empty.

use function_mesh_api::quantity;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Map, Value};

/// Fields whose values are amounts of resources, or maps of them.
const AMOUNTS: [&str; 8] =
    ["requests", "limits", "sizeLimit", "capacity", "minAllowed", "maxAllowed", "averageValue", "divisor"];

/// Fields by which the items of a list of objects are told apart, where they have one.
const KEYS: [&str; 2] = ["name", "mountPath"];

/// The first place at which `wanted` is not a part of `live`, as a path; None when all of it is there.
pub(crate) fn first_difference(wanted: &Value, live: &Value) -> Option<String> {
    difference(wanted, live, false).map(|path| path.trim_start_matches('.').to_owned())
}

fn difference(wanted: &Value, live: &Value, amount: bool) -> Option<String> {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => objects(wanted, live, amount),
        (Value::Array(wanted), Value::Array(live)) => lists(wanted, live, amount),
        _ if wanted == live || (amount && same_amount(wanted, live)) => None,
        _ => Some(String::new()),
    }
}

fn objects(wanted: &Map<String, Value>, live: &Map<String, Value>, amount: bool) -> Option<String> {
    wanted.iter().find_map(|(key, wanted)| {
        let amount = amount || AMOUNTS.contains(&key.as_str());
        let found = match live.get(key) {
            Some(live) => difference(wanted, live, amount),
            None if is_nothing(wanted) => None,
            None => Some(String::new()),
        };
        found.map(|rest| format!(".{key}{rest}"))
    })
}

fn lists(wanted: &[Value], live: &[Value], amount: bool) -> Option<String> {
    if let Some(key) = KEYS.into_iter().find(|key| tells_apart(wanted, key)) {
        let name = |item: &Value| item.get(key).cloned();
        return wanted.iter().find_map(|wanted| {
            let label = name(wanted).and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
            let found = live.iter().find(|live| name(live) == name(wanted));
            let found = found.map_or(Some(String::new()), |live| difference(wanted, live, amount));
            found.map(|rest| format!("[{label}]{rest}"))
        });
    }
    if wanted.len() != live.len() {
        return Some(String::new());
    }
    wanted.iter().zip(live).enumerate().find_map(|(index, (wanted, live))| {
        difference(wanted, live, amount).map(|rest| format!("[{index}]{rest}"))
    })
}

/// Whether every item has this field, each with a value of its own.
fn tells_apart(items: &[Value], key: &str) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    !items.is_empty()
        && items
            .iter()
            .all(|item| item.get(key).and_then(Value::as_str).is_some_and(|name| seen.insert(name)))
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(object) => object.values().all(is_nothing),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn same_amount(a: &Value, b: &Value) -> bool {
    let amount = |value: &Value| match value {
        Value::String(text) => quantity::value(&Quantity(text.clone())),
        Value::Number(number) => number.as_f64(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    amount(a).is_some() && amount(a) == amount(b)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_api_server_adds_is_no_difference() {
        let wanted =
            json!({ "spec": { "ports": [{ "name": "http", "port": 80 }], "selector": { "a": "b" } } });
        let live = json!({
            "metadata": { "uid": "u" },
            "spec": { "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }], "selector": { "a": "b" }, "type": "ClusterIP" },
            "status": {},
        });
        assert_eq!(first_difference(&wanted, &live), None);
    }

    #[test]
    fn amounts_are_equal_by_value_and_only_amounts_are() {
        let wanted = json!({ "resources": { "limits": { "cpu": "0.2", "memory": "1G" } } });
        let live = json!({ "resources": { "limits": { "cpu": "200m", "memory": "1000M" } } });
        assert_eq!(first_difference(&wanted, &live), None);
        let wanted = json!({ "env": [{ "name": "A", "value": "0.2" }] });
        let live = json!({ "env": [{ "name": "A", "value": "200m" }] });
        assert_eq!(first_difference(&wanted, &live).as_deref(), Some("env[A].value"));
    }

    #[test]
    fn nothing_equals_empty() {
        let wanted = json!({ "a": {}, "b": [], "c": { "d": null }, "e": "" });
        assert_eq!(first_difference(&wanted, &json!({})), None);
        assert_eq!(first_difference(&json!({ "a": false }), &json!({})).as_deref(), Some("a"));
    }

    #[test]
    fn items_that_others_added_to_a_named_list_are_theirs() {
        let wanted = json!({ "containers": [{ "name": "main", "image": "x" }] });
        let live = json!({ "containers": [{ "name": "proxy" }, { "name": "main", "image": "x" }] });
        assert_eq!(first_difference(&wanted, &live), None);
    }

    #[test]
    fn the_place_of_a_difference_is_told() {
        let wanted = json!({ "containers": [{ "name": "main", "command": ["a", "b"] }] });
        let live = json!({ "containers": [{ "name": "main", "command": ["a", "c"] }] });
        assert_eq!(first_difference(&wanted, &live).as_deref(), Some("containers[main].command[1]"));
        let live = json!({ "containers": [{ "name": "main", "command": ["a"] }] });
        assert_eq!(first_difference(&wanted, &live).as_deref(), Some("containers[main].command"));
    }

    #[test]
    fn repeated_names_are_compared_in_their_order() {
        let wanted = json!([{ "name": "A", "value": "1" }, { "name": "A", "value": "2" }]);
        assert_eq!(first_difference(&wanted, &wanted), None);
        let live = json!([{ "name": "A", "value": "2" }, { "name": "A", "value": "1" }]);
        assert_eq!(first_difference(&wanted, &live).as_deref(), Some("[0].value"));
    }
}
