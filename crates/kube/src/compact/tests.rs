//! Any JSON object is accepted, and decode errors quote no content.

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::*;

fn compact(object: &Value) -> Compact<Service> {
    Compact::from_json(&object.to_string()).expect("an object")
}

fn deep(levels: usize) -> String {
    format!("{}1{}", "{\"a\":[".repeat(levels), "]}".repeat(levels))
}

#[test]
fn decodes_objects_without_managed_fields() {
    let cached = compact(&json!({
        "metadata": { "name": "s", "namespace": "n", "labels": { "a": "b" }, "managedFields": [{ "manager": "m" }] },
        "spec": { "clusterIP": "None" },
    }));
    assert_eq!((cached.name_any().as_str(), cached.namespace().as_deref()), ("s", Some("n")));
    let service = cached.decode().expect("a Service");
    assert_eq!(service.metadata.labels.as_ref().map(|labels| labels["a"].as_str()), Some("b"));
    assert_eq!(service.metadata.managed_fields, None);
    assert_eq!(service.spec.and_then(|spec| spec.cluster_ip).as_deref(), Some("None"));
}

#[test]
fn prunes_managed_fields_of_any_depth_and_position() {
    let deep = deep(100_000);
    for (metadata, kept) in [
        (format!(r#""managedFields":{deep},"name":"s""#), r#""name":"s""#),
        (format!(r#""name":"s","managedFields":{deep}"#), r#""name":"s""#),
        (format!(r#""name":"s" , "managed\u0046ields" : {deep} , "uid":"u""#), r#""name":"s" , "uid":"u""#),
        (format!(r#""managedFields":{deep},"managedFields":[]"#), ""),
        (
            format!(r#""managedFields":[],"name":"s","managedFields":{deep},"managedFields":1,"uid":"u""#),
            r#""name":"s","uid":"u""#,
        ),
        ("\"name\":\"s\"".to_owned(), r#""name":"s""#),
    ] {
        let json = format!(r#"{{"spec":{{}},"metadata":{{{metadata}}},"status":{{"managedFields":1}}}}"#);
        let cached = Compact::<Service>::from_json(&json).expect("an object");
        let expected = format!(r#"{{"spec":{{}},"metadata":{{{kept}}},"status":{{"managedFields":1}}}}"#);
        assert_eq!(cached.json().as_deref(), Some(expected.as_str()));
        assert!(cached.decode().is_ok(), "{kept}");
    }
}

#[test]
fn deep_nesting_fails_at_decode_only() {
    let deep = deep(100_000);
    for json in [
        format!(r#"{{"metadata":{{"name":"s","annotations":{deep}}}}}"#),
        format!(r#"{{"metadata":{{"name":"s"}},"spec":{deep}}}"#),
        format!(
            r#"{{"metadata":{{"name":"s","finalizers":{deep},"ownerReferences":[{deep}],"generation":{deep}}}}}"#
        ),
    ] {
        let cached = Compact::<Service>::from_json(&json).expect("an object");
        assert_eq!(cached.metadata.name.as_deref(), Some("s"));
        let error = cached.decode().expect_err("no Service").to_string();
        assert!(error.len() < 300, "{error}");
    }
    let json = format!(r#"{{"metadata":{{"name":"s"}},"spec":{{}},"more":{deep}}}"#);
    let error = Compact::<Service>::from_json(&json).expect("an object").decode().expect_err("too deep");
    assert!(error.to_string().contains("64 levels"), "{error}");
}

#[test]
fn errors_quote_field_and_position_but_no_content() {
    for (object, expected) in [
        (
            json!({ "metadata": { "name": "s" }, "spec": "SECRET" }),
            "spec: wrong type or value at line 1 column",
        ),
        (
            json!({ "metadata": { "name": "s" }, "spec": { "ports": [{ "port": "SECRET" }] } }),
            "spec.ports[0].port: wrong",
        ),
        (json!({ "metadata": { "name": ["SECRET"] } }), "metadata.name: wrong type"),
        (
            json!({ "metadata": { "name": "s", "deletionTimestamp": "SECRET" } }),
            "metadata.deletionTimestamp: wrong",
        ),
    ] {
        let error = compact(&object).decode().expect_err("no Service").to_string();
        assert!(error.starts_with(expected) && !error.contains("SECRET"), "{error}");
    }
    let error = Compact::<Service>::from_json("{\"SECRET\": SECRET}").expect_err("no JSON").to_string();
    assert!(error.contains("invalid JSON at line 1") && !error.contains("SECRET"), "{error}");
    let error = kube::Error::SerdeError(serde_json::from_str::<i32>("\"SECRET\"").unwrap_err());
    assert!(!crate::decode_error::message(&error).contains("SECRET"));
}

#[test]
fn item_requires_a_named_object() {
    let memory = Memory::default();
    for json in ["", "3", "null", "[]", "{", "{}", "{}x", "{\"metadata\":{}}", r#"{"metadata":{"name":"s"}}"#]
    {
        assert!(<Compact<Service> as Item>::from_json(json, &memory).is_err(), "{json}");
    }
    let named = r#"{"metadata":{"name":"s","namespace":"n"},"spec":3}"#;
    assert!(<Compact<Service> as Item>::from_json(named, &memory).is_ok());
}

#[test]
fn unusual_strings_are_preserved() {
    let object = json!({ "metadata": { "name": "s", "annotations": { "a": "\u{0}\u{7f}\u{2028}\u{1f680}\\\"", "": "" } } });
    assert_eq!(compact(&object).json(), Some(object.to_string()));
    // A lone surrogate is not a valid string: it fails at decode only.
    let cached = Compact::<Service>::from_json(r#"{"metadata":{"name":"s","annotations":{"a":"\ud800"}}}"#);
    assert!(cached.expect("an object").decode().is_err());
}

#[test]
fn large_object_keeps_metadata_and_status_only() {
    let budget = CacheBudget::default();
    let object = json!({
        "metadata": { "name": "s", "annotations": { "a": "x" }, "finalizers": vec!["f".repeat(300); 4000] },
        "spec": "x".repeat(1_400_000), "status": { "phase": "Ready" },
    });
    let cached = Compact::<Service>::for_cache(&object.to_string(), &budget).expect("an object");
    assert!(cached.is_large() && cached.json().is_none() && cached.cost() > 1_400_000);
    assert_eq!(cached.status().as_deref(), Some(r#"{"phase":"Ready"}"#));
    assert_eq!(cached.annotation("a").as_deref(), Some("x"));
    assert_eq!(cached.metadata.finalizers.as_ref().map(Vec::len), Some(16));
    assert_eq!(finalizers(&object.to_string()).map(|all| all.len()), Some(4000));
    let small = json!({ "metadata": { "name": "s" } }).to_string();
    assert!(Compact::<Service>::for_cache(&small, &budget).is_ok_and(|small| !small.is_large()));
}

#[test]
fn undecodable_managed_fields_are_ignored() {
    let entry = |fields: &str| {
        format!(r#"{{"metadata":{{"managedFields":[{{"manager":"m","fieldsV1":{fields}}}]}}}}"#)
    };
    assert_eq!(managed_fields(&entry("{}")).map(|all| all.len()), Some(1));
    assert_eq!(managed_fields(&entry(&deep(200))), None);
    assert_eq!(managed_fields("{}"), None);
}

mod random {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let key = prop_oneof![
            Just("managedFields".to_owned()),
            Just("metadata".to_owned()),
            Just("name".to_owned()),
            ".{0,4}",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 2000 }))]

        #[test]
        fn any_object_round_trips_without_managed_fields(object in value(), metadata in value(), pretty: bool) {
            let mut object = object;
            if let Some(object) = object.as_object_mut() {
                object.insert("metadata".to_owned(), metadata);
            }
            let json = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) };
            let cached = Compact::<Value>::from_json(&json.expect("JSON"));
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("managedFields");
            }
            match cached {
                Ok(cached) => prop_assert_eq!(cached.decode().expect("JSON"), object),
                Err(_) => prop_assert!(!object.is_object()),
            }
        }

        #[test]
        fn any_text_is_accepted_or_rejected(text in ".{0,64}", cut in 0_usize..40) {
            _ = Compact::<Service>::from_json(&text).map(|object| object.decode());
            let json = r#"{"metadata":{"name":"s","managedFields":[{}],"uid":"u"},"spec":{}}"#;
            let torn = format!("{}{text}{}", &json[..cut], &json[cut..]);
            _ = Compact::<Service>::from_json(&torn).map(|object| object.decode());
        }
    }
}
