//! Lists whose items have names, each name once. Pure: no client.
//!
//! In a pod, of two variables of one name the later counts. Server-side apply refuses such a list, and it
//! comes about whenever a component overrides a default, so the later value takes the earlier one's place.

use std::collections::BTreeMap;

use serde_json::Value;

/// Lists in which server-side apply wants each item once, and the field that tells items apart.
const KEYED: [(&str, &str); 4] =
    [("env", "name"), ("imagePullSecrets", "name"), ("volumeMounts", "mountPath"), ("volumes", "name")];

/// Leaves one of each name: in the first one's place, since later items may refer to it, with the last one's
/// content.
pub(super) fn make_distinct(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (field, value) in object.iter_mut() {
                make_distinct(value);
                let key = KEYED.into_iter().find(|(list, _)| list == field);
                if let (Some((_, key)), Value::Array(items)) = (key, value) {
                    merge(items, key);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(make_distinct),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn merge(items: &mut Vec<Value>, key: &str) {
    let mut places = BTreeMap::new();
    let mut merged: Vec<Value> = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        let next = merged.len();
        let name = item.get(key).and_then(Value::as_str);
        let place = name.map_or(next, |name| *places.entry(name.to_owned()).or_insert(next));
        match merged.get_mut(place) {
            Some(earlier) => *earlier = item,
            None => merged.push(item),
        }
    }
    *items = merged;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_of_one_name_counts_and_stands_where_the_first_stood() {
        let mut value = json!({ "containers": [{ "env": [
            { "name": "A", "value": "1" }, { "name": "B", "value": "$(A)" },
            { "name": "A", "value": "2" }, { "name": "A", "value": "3" },
        ] }] });
        make_distinct(&mut value);
        let expected = json!([{ "name": "A", "value": "3" }, { "name": "B", "value": "$(A)" }]);
        assert_eq!(value["containers"][0]["env"], expected);
    }

    #[test]
    fn other_lists_stay_as_they_are() {
        let value = json!({ "command": ["a", "a"], "tolerations": [{ "key": "k" }, { "key": "k" }],
            "data": { "env": "text" }, "envFrom": [{ "prefix": "p" }, { "prefix": "p" }] });
        let mut same = value.clone();
        make_distinct(&mut same);
        assert_eq!(same, value);
    }
}
