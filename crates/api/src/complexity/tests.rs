use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The weight of a parsed value, computed by recursion.
fn weight(value: &Value, key: Option<&str>, item: usize, path: &mut Vec<String>) -> usize {
    if path.as_slice() == ["metadata", "managedFields"] && (value.is_object() || value.is_array()) {
        return 0;
    }
    let named = |fields: &[(&[u8], usize)]| {
        key.map_or(MAP, |key| {
            // The raw key, with escapes.
            let written = serde_json::to_string(key).unwrap();
            weight_of(&written.as_bytes()[1..written.len() - 1], fields)
        })
    };
    match value {
        Value::Object(entries) => {
            let own = if key.is_some() { named(&MAPS) } else { item };
            let mut sum = own;
            for (key, value) in entries {
                path.push(key.clone());
                sum += SCALAR + weight(value, Some(key), MAP, path);
                path.pop();
            }
            sum
        }
        Value::Array(items) => {
            let item = named(&ITEMS);
            path.push("[]".to_owned());
            let sum = items.iter().map(|value| weight(value, None, item, path)).sum::<usize>();
            path.pop();
            LIST + sum
        }
        _ => SCALAR,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Object(entries) => 1 + entries.values().map(depth).max().unwrap_or(0),
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn values() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        "[ab\"\\\\\n{}:,é]{0,4}",
        Just("functions".to_owned()),
        Just("sourceSpecs".to_owned()),
        Just("volumes".to_owned()),
        Just("metadata".to_owned()),
        Just("managedFields".to_owned()),
    ];
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a\"\\\\\\[\\]{}:, \n]{0,6}".prop_map(Value::from),
    ];
    scalar.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn weight_equals_recursive_weight(value in values()) {
        let expected = weight(&value, None, MAP, &mut Vec::new());
        prop_assert_eq!(weigh(value.to_string().as_bytes()), Ok(expected));
        prop_assert_eq!(weigh(serde_json::to_string_pretty(&value).unwrap().as_bytes()), Ok(expected));
    }

    #[test]
    fn depth_limit_equals_recursive_depth(value in values(), around in 55..64_usize) {
        let mut value = value;
        for _ in 0..around {
            value = json!([value]);
        }
        let refused = weigh(value.to_string().as_bytes()).is_err_and(|error| error.limit() == Limit::Depth);
        prop_assert_eq!(refused, depth(&value) > MAX_DEPTH);
    }

    #[test]
    fn any_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = weigh(&bytes);
    }

    #[test]
    fn invalid_json_does_not_panic(text in r#"[\[\]{}",:\\a0 ]{0,60}"#) {
        let _ = weigh(text.as_bytes());
        let _ = weigh(format!(r#"{{"metadata":{{"managedFields":{text}"#).as_bytes());
    }
}

#[test]
fn managed_fields_have_no_weight() {
    let deep = format!("{}{}", "{\"f:a\":".repeat(5000), "}".repeat(5000));
    let text = |value: &str| {
        format!(
            r#"{{"metadata":{{"name":"x","managedFields":[{{"fieldsV1":{value}}},"}}]"]}},"spec":{{"a":1}}}}"#
        )
    };
    assert_eq!(weigh(text(&deep).as_bytes()), weigh(text("{}").as_bytes()));
    // Only in metadata: elsewhere it is an ordinary field.
    assert!(check(format!(r#"{{"spec":{{"managedFields":{deep}}}}}"#).as_bytes()).is_err());
    assert!(check(format!(r#"{{"metadata":{{"x":{{"managedFields":{deep}}}}}}}"#).as_bytes()).is_err());
}

#[test]
fn error_names_limit_and_field() {
    let wide = format!(r#"{{"spec":{{"funcConfig":{{"a":[{}0]}}}}}}"#, r#"{"":0},"#.repeat(MAX_VALUES / 10));
    let error = check(wide.as_bytes()).unwrap_err();
    assert_eq!(error.limit(), Limit::Values);
    assert!(error.field().starts_with("spec.funcConfig.a["), "{error}");
    let message = error.to_string();
    assert!(
        message.starts_with(&format!("object has too many values: the limit of {MAX_VALUES} is exceeded at"))
    );

    let deep =
        format!(r#"{{"spec":{{"{}":{}{}}}}}"#, "k\u{202e}".repeat(4000), "[".repeat(500), "]".repeat(500));
    let error = check(deep.as_bytes()).unwrap_err();
    assert_eq!(error.limit(), Limit::Depth);
    assert!(error.to_string().len() < 400, "{error}");
    assert!(!error.to_string().contains('\u{202e}'), "{error}");
    assert!(error.to_string().contains("64 levels deep"), "{error}");
}

#[test]
fn keys_with_escapes_get_the_largest_weight() {
    let list = |key: &str| weigh(format!(r#"{{"{key}":[{{}}]}}"#).as_bytes()).unwrap();
    assert_eq!(list("f\\u0075nctions"), list("functions"));
    assert!(list("other") < list("functions"));
}

#[test]
fn two_thousand_ordinary_components_pass() {
    let function = |index: usize| {
        json!({
            "name": format!("function-{index}"), "className": "org.example.functions.Enrich", "replicas": 1,
            "maxReplicas": 1, "forwardSourceMessageProperty": true, "logTopic": "persistent://public/default/logs",
            "input": { "topics": [format!("topic-{index}")], "typeClassName": "java.lang.String" },
            "output": { "topic": format!("topic-{}", index + 1), "typeClassName": "java.lang.String" },
            "java": { "jar": "/pulsar/connectors/enrich.jar" }, "pulsar": { "pulsarConfig": "pulsar" },
            "resources": { "requests": { "cpu": "0.1", "memory": "1G" }, "limits": { "cpu": "0.2", "memory": "1G" } },
        })
    };
    let functions: Vec<_> = (0..2000).map(function).collect();
    let mesh =
        json!({ "kind": "FunctionMesh", "metadata": { "name": "m" }, "spec": { "functions": functions } });
    let text = mesh.to_string();
    let weight = weigh(text.as_bytes()).unwrap();
    assert!(text.len() > 900_000 && weight > MAX_VALUES / 2, "{} {weight}", text.len());
}
