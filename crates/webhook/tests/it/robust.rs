//! Every input gets a valid admission review in time.

use std::time::{Duration, Instant};

use axum::body::to_bytes;
use function_mesh_api::{BackendConfig, Function, FunctionMesh, Sink, Source};
use function_mesh_webhook::{Action, AdmissionKind, Outcome, decide, response};
use futures::FutureExt;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use serde_json::{Value, json};

const RECORDED: &str = include_str!("../reviews/create-function.json");
const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";
/// Below the decision timeout of four seconds.
const MAX_DURATION: Duration = Duration::from_secs(3);

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "UPDATE",
            "DELETE",
            "CONNECT",
            "Function",
            "FunctionMesh",
            "a/b",
            "effectively_once"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                places(inner, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                places(inner, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// Replaces or removes an arbitrary value.
fn change(review: &mut Value, index: prop::sample::Index, value: Option<Value>) {
    let mut all = Vec::new();
    places(review, "", &mut all);
    let place: &String = index.get(&all);
    match (value, place.rsplit_once('/')) {
        (Some(value), _) => {
            if let Some(place) = review.pointer_mut(place) {
                *place = value;
            }
        }
        (None, Some((parent, last))) => {
            if let Some(Value::Object(parent)) = review.pointer_mut(parent) {
                parent.remove(last);
            }
        }
        (None, None) => {}
    }
}

/// A create or update review of any kind, with some values replaced.
fn review() -> impl Strategy<Value = Value> {
    let kinds = ["Function", "Source", "Sink", "FunctionMesh", "BackendConfig"];
    let changes =
        prop::collection::vec((any::<prop::sample::Index>(), prop::option::weighted(0.8, any_json())), 0..4);
    (prop::sample::select(kinds.to_vec()), any::<bool>(), changes).prop_map(|(kind, is_update, changes)| {
        let mut review: Value = serde_json::from_str(RECORDED).unwrap();
        let request = &mut review["request"];
        request["kind"]["kind"] = kind.into();
        request["object"]["kind"] = kind.into();
        if kind == "FunctionMesh" {
            let spec = request["object"]["spec"].clone();
            request["object"]["spec"] = json!({ "functions": [spec], "sources": [spec], "sinks": [] });
        }
        if is_update {
            request["operation"] = "UPDATE".into();
            request["oldObject"] = request["object"].clone();
            request["object"]["spec"]["className"] = "other".into();
        }
        for (index, value) in changes {
            change(&mut review, index, value);
        }
        review
    })
}

fn answered<K: AdmissionKind>(action: Action, body: &[u8]) -> Result<(), TestCaseError> {
    let begun = Instant::now();
    let verdict = decide::<K>(action, body);
    prop_assert!(begun.elapsed() < MAX_DURATION, "it took {:?}", begun.elapsed());
    let (outcome, violations) = (verdict.outcome, verdict.violations);
    let response = response::into_http(&verdict.response);
    prop_assert!(response.status().is_success());
    let bytes =
        to_bytes(response.into_body(), usize::MAX).now_or_never().expect("it is there").expect("a body");
    let review: Value = serde_json::from_slice(&bytes).expect("JSON");
    prop_assert_eq!(&review["kind"], "AdmissionReview");
    let response = &review["response"];
    let is_allowed = response["allowed"].as_bool().expect("a decision");
    prop_assert!(response["uid"].is_string());
    match outcome {
        Outcome::Allowed | Outcome::Exempt | Outcome::Patched => prop_assert!(is_allowed && violations == 0),
        Outcome::Denied => {
            prop_assert!(!is_allowed && violations > 0);
            prop_assert_eq!(&response["status"]["code"], 422);
            prop_assert!(!response["status"]["message"].as_str().unwrap_or_default().is_empty());
        }
        Outcome::Malformed | Outcome::Overloaded => {
            prop_assert!(!is_allowed);
            prop_assert_eq!(&response["status"]["code"], 400);
        }
    }
    prop_assert_eq!(response.get("patch").is_some(), outcome == Outcome::Patched);
    for warning in response["warnings"].as_array().into_iter().flatten() {
        let warning = warning.as_str().expect("a text");
        prop_assert!(warning.chars().count() <= 256 && !warning.contains(char::is_control), "{}", warning);
    }
    Ok(())
}

fn everywhere(body: &[u8]) -> Result<(), TestCaseError> {
    for action in [Action::Mutate, Action::Validate] {
        answered::<Function>(action, body)?;
        answered::<Source>(action, body)?;
        answered::<Sink>(action, body)?;
        answered::<FunctionMesh>(action, body)?;
        answered::<BackendConfig>(action, body)?;
    }
    Ok(())
}

fn config() -> ProptestConfig {
    let kept = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig { failure_persistence: Some(Box::new(kept)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn bytes(body in prop::collection::vec(any::<u8>(), 0..200)) {
        everywhere(&body)?;
    }

    /// A valid review with some bytes changed or cut off.
    #[test]
    fn broken_reviews(cut in any::<prop::sample::Index>(), changed in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
        let mut body = RECORDED.as_bytes().to_vec();
        for (index, byte) in changed {
            let at = index.index(body.len());
            body[at] = byte;
        }
        everywhere(&body)?;
        body.truncate(cut.index(body.len()));
        everywhere(&body)?;
    }

    #[test]
    fn any_value(body in any_json()) {
        everywhere(body.to_string().as_bytes())?;
    }

    #[test]
    fn reviews(review in review()) {
        everywhere(review.to_string().as_bytes())?;
    }
}

/// Deeper and wider than the property tests: what tenants could send, and what only a pod in the network could.
#[test]
fn fuzz_every_body_gets_a_response() {
    let recorded: Value = serde_json::from_str(RECORDED).unwrap();
    let mut update = recorded.clone();
    update["request"]["operation"] = "UPDATE".into();
    update["request"]["oldObject"] = recorded["request"]["object"].clone();
    let mut mesh = recorded.clone();
    let spec = recorded["request"]["object"]["spec"].clone();
    mesh["request"]["object"]["spec"] =
        json!({ "functions": [spec, spec], "sources": [spec], "sinks": [spec] });
    let fuzz = function_mesh_testkit::Fuzz::new([recorded, update, mesh]).unwrap();
    let mut number = 0_usize;
    let report = fuzz.run(|body| {
        // One kind per input, for more inputs.
        number += 1;
        let action = if number.is_multiple_of(2) { Action::Mutate } else { Action::Validate };
        let answer = match number % 3 {
            0 => answered::<Function>(action, body),
            1 => answered::<FunctionMesh>(action, body),
            _ => answered::<Sink>(action, body),
        };
        answer.map_err(|error| anyhow::anyhow!("{error}"))
    });
    println!("{:?}", report.unwrap());
}

#[test]
fn recorded_review_is_allowed() {
    let verdict = decide::<Function>(Action::Validate, RECORDED.as_bytes());
    assert_eq!((verdict.outcome, verdict.response.uid.as_str()), (Outcome::Allowed, UID));
}
