//! Lists, changes and removes single values of an object by path.

use std::collections::BTreeSet;

use function_mesh_workloads::diff::{Path, Step};
use serde_json::Value;

/// All leaf values: path with list items by name, path with list items by index, and value. A list of scalars is one
/// value.
pub(super) fn leaves(object: &Value) -> Vec<(Path, Path, Value)> {
    let mut found = Vec::new();
    walk(object, &Path::default(), &Path::default(), &mut found);
    found
}

fn walk(value: &Value, named: &Path, numbered: &Path, found: &mut Vec<(Path, Path, Value)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let step = Step::Field(key.clone());
                walk(value, &named.then(step.clone()), &numbered.then(step), found);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            let labels: Vec<Option<&str>> = ["name", "mountPath"]
                .into_iter()
                .map(|key| items.iter().map(|item| item.get(key).and_then(Value::as_str)).collect())
                .find(|labels: &Vec<Option<&str>>| {
                    let mut seen = BTreeSet::new();
                    labels.iter().all(|name| name.is_some_and(|name| seen.insert(name)))
                })
                .unwrap_or_else(|| vec![None; items.len()]);
            for (index, (item, name)) in items.iter().zip(labels).enumerate() {
                let step = name.map_or(Step::Index(index), |name| Step::Item(name.to_owned()));
                walk(item, &named.then(step), &numbered.then(Step::Index(index)), found);
            }
        }
        Value::Null | Value::Object(_) => {}
        Value::Array(items) if items.is_empty() => {}
        value => found.push((named.clone(), numbered.clone(), value.clone())),
    }
}

/// The value at a path with list items by index.
pub(super) fn get<'a>(object: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, step| match step {
        Step::Field(name) => value.get(name),
        Step::Index(index) => value.get(index),
        Step::Item(_) => None,
    })
}

/// Sets or removes the value at a path; false when the path does not exist.
pub(super) fn set(object: &mut Value, path: &[Step], new: Option<Value>) -> bool {
    let Some((last, parents)) = path.split_last() else { return false };
    let holder = parents.iter().try_fold(object, |value, step| match step {
        Step::Field(name) => value.get_mut(name),
        Step::Index(index) => value.get_mut(index),
        Step::Item(_) => None,
    });
    match (holder, last, new) {
        (Some(Value::Object(fields)), Step::Field(name), Some(new)) => {
            fields.insert(name.clone(), new).is_some()
        }
        (Some(Value::Object(fields)), Step::Field(name), None) => fields.remove(name).is_some(),
        _ => false,
    }
}

/// Alternatives to a value, the most likely valid ones first.
pub(super) fn variants(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(flag) => vec![Value::Bool(!flag)],
        Value::Number(number) => {
            let whole = number.as_i64().map(|number| [number.saturating_add(1), number.saturating_sub(1)]);
            let whole = whole.into_iter().flatten().map(Value::from);
            let broken = number.as_f64().filter(|_| !number.is_i64()).map(|number| Value::from(number + 0.5));
            whole.chain(broken).collect()
        }
        Value::String(text) => {
            // Keep quantities valid: `1Gi` becomes `2Gi`.
            let digit = text.chars().next().and_then(|first| first.to_digit(10));
            let quantities = digit.into_iter().flat_map(|digit| {
                let rest = text.get(1..).unwrap_or_default();
                let others = [(digit + 1) % 10, (digit + 9) % 10].into_iter().filter(|other| *other > 0);
                others.map(|other| Value::String(format!("{other}{rest}"))).collect::<Vec<_>>()
            });
            quantities.chain([Value::String(format!("{text}x"))]).collect()
        }
        Value::Array(items) => {
            let Some((first, rest)) = items.split_first() else { return Vec::new() };
            let with = |first| Value::Array([first].into_iter().chain(rest.iter().cloned()).collect());
            variants(first).into_iter().map(with).collect()
        }
        Value::Null | Value::Object(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_listed_changed_and_removed() {
        let mut object =
            json!({ "a": { "b": [{ "name": "n", "v": 1 }] }, "list": ["x", "y"], "empty": {}, "no": null });
        let found = leaves(&object);
        let names: Vec<_> =
            found.iter().map(|(named, numbered, _)| (named.to_string(), numbered.to_string())).collect();
        let expected = [("a.b[n].name", "a.b[0].name"), ("a.b[n].v", "a.b[0].v"), ("list", "list")];
        assert_eq!(names, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert!(set(&mut object, &found[1].1.0, Some(json!(2))));
        assert_eq!(get(&object, &found[1].1.0), Some(&json!(2)));
        assert!(set(&mut object, &found[2].1.0, None));
        assert!(!set(&mut object, &found[2].1.0, None));
    }

    #[test]
    fn variants_of_quantities_are_quantities() {
        assert_eq!(variants(&json!("1Gi")), [json!("2Gi"), json!("1Gix")]);
        assert_eq!(variants(&json!(["a"])), [json!(["ax"])]);
        assert_eq!(variants(&json!(true)), [json!(false)]);
    }
}
