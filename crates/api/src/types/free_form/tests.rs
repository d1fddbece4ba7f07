use proptest::prelude::*;
use serde_json::json;

use super::*;

const DIGITS: &str =
    r#"{"b":[1.10,12345678901234567890123,1e3,-0],"a":{"z":null,"y":"\u00e9\n\"","y2":[[],{}]},"":0}"#;
const CANONICAL: &str = "{\"\":0,\"a\":{\"y\":\"é\\n\\\"\",\"y2\":[[],{}],\"z\":null},\"b\":[1.10,12345678901234567890123,1e3,-0]}";

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Holder {
    config: Option<FreeForm>,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Flat {
    #[serde(flatten)]
    inner: Holder,
}

#[test]
fn json_numbers_keep_their_digits() {
    let config: FreeForm = serde_json::from_str(DIGITS).unwrap();
    assert_eq!(config.canonical(), CANONICAL);
    assert_eq!(serde_json::to_string(&config).unwrap(), CANONICAL);
    let text = format!(r#"{{"config":{DIGITS}}}"#);
    let holder: Holder = serde_json::from_str(&text).unwrap();
    assert_eq!(holder.config.unwrap().canonical(), CANONICAL);
}

#[test]
fn deserializes_from_values_flattened_fields_and_yaml() {
    let value = json!({ "config": { "b": [1, 2.5, null, true], "a": { "x": "é" } } });
    let canonical = r#"{"a":{"x":"é"},"b":[1,2.5,null,true]}"#;
    let holders: [Holder; 4] = [
        serde_json::from_value(value.clone()).unwrap(),
        Holder::deserialize(&value).unwrap(),
        serde_json::from_value::<Flat>(value.clone()).unwrap().inner,
        serde_saphyr::from_str("config:\n  b: [1, 2.5, null, true]\n  a: {x: é}\n").unwrap(),
    ];
    for holder in holders {
        assert_eq!(holder.config.as_ref().unwrap().canonical(), canonical);
        assert_eq!(serde_json::to_value(Flat { inner: holder }).unwrap(), value);
    }
    let tracked: Holder = serde_path_to_error::deserialize(value).unwrap();
    assert_eq!(tracked.config.unwrap().canonical(), canonical);
}

#[test]
fn yaml_round_trip_keeps_values() {
    let holder: Holder = serde_json::from_str(r#"{"config":{"a":[1,"x"]}}"#).unwrap();
    let yaml = serde_saphyr::to_string(&holder).unwrap();
    assert_eq!(serde_saphyr::from_str::<Holder>(&yaml).unwrap(), holder, "{yaml}");
}

#[test]
fn only_objects_deserialize() {
    for text in ["[]", "1", "\"x\"", "true"] {
        let error = serde_json::from_str::<FreeForm>(text).unwrap_err().to_string();
        assert!(error.starts_with("expected a map, found "), "{error}");
    }
    assert_eq!(serde_json::from_str::<Holder>(r#"{"config":null}"#).unwrap().config, None);
}

#[test]
fn too_deep_nesting_is_rejected_in_every_format() {
    let deep =
        |levels: usize| format!(r#"{{"config":{{"a":{}{}}}}}"#, "[".repeat(levels), "]".repeat(levels));
    assert!(serde_json::from_str::<Holder>(&deep(60)).is_ok());
    for text in [deep(70), deep(100)] {
        let error = serde_json::from_str::<Holder>(&text).unwrap_err().to_string();
        assert!(error.contains("64 levels deep"), "{error}");
        let value: Value = serde_json::from_str(&text).unwrap();
        let error = serde_json::from_value::<Flat>(value).unwrap_err().to_string();
        assert!(error.contains("64 levels deep"), "{error}");
    }
}

#[test]
fn debug_output_omits_content() {
    let config: FreeForm = [("password".to_owned(), json!("canary"))].into();
    assert!(!format!("{config:?}").contains("canary"));
    assert!(FreeForm::new().is_empty() && !config.is_empty());
    assert_eq!(FreeForm::new().as_str(), "{}");
}

proptest! {
    #[test]
    fn canonical_text_equals_serde_json(entries in prop::collection::btree_map("[a-c\"\\\\é]{0,3}", values(), 0..5)) {
        let value = Value::Object(entries.into_iter().collect());
        let config: FreeForm = serde_json::from_str(&serde_json::to_string_pretty(&value).unwrap()).unwrap();
        prop_assert_eq!(config.canonical(), value.to_string());
        prop_assert_eq!(serde_json::to_value(&config).unwrap(), value.clone());
        prop_assert_eq!(serde_json::from_value::<FreeForm>(value).unwrap(), config);
    }
}

fn values() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // serde_json itself parses other fractions a digit off.
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
        "[a\"\\\\\né]{0,4}".prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c\n]{0,2}", inner, 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}
