//! Admission reviews through the whole router.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use function_mesh_webhook::{Action, AppState, Endpoint, Limits, Metrics, router};
use http_body_util::BodyExt;
use json_patch::Patch;
use prometheus::{Registry, TextEncoder};
use serde_json::{Value, json};
use tower::ServiceExt;

/// A review with fields in the order of the API server.
const RECORDED: &str = include_str!("../reviews/create-function.json");
const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

fn webhook() -> Router {
    router(AppState::new(Metrics::new(&Registry::new()).unwrap(), Limits::default()))
}

fn recorded() -> Value {
    serde_json::from_str(RECORDED).unwrap()
}

/// The recorded review with this kind and spec.
fn review_of(kind: &str, spec: &Value) -> Value {
    let mut review = recorded();
    review["request"]["kind"]["kind"] = kind.into();
    review["request"]["object"]["kind"] = kind.into();
    review["request"]["object"]["spec"] = spec.clone();
    review
}

/// The recorded review as an update of a spec.
fn update(old: &Value, new: &Value) -> Value {
    let mut review = review_of("Function", new);
    review["request"]["operation"] = "UPDATE".into();
    review["request"]["oldObject"] = review["request"]["object"].clone();
    review["request"]["oldObject"]["spec"] = old.clone();
    review
}

async fn post(router: Router, path: &str, body: impl Into<Body>) -> Value {
    let request = Request::post(path).body(body.into()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "the HTTP status is always 200");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(review["kind"], "AdmissionReview");
    assert!(review.get("request").is_none());
    review
}

async fn ask(action: Action, kind: &str, review: &Value) -> Value {
    let path = format!("/{action}-compute-functionmesh-io-v1alpha1-{kind}");
    let review = post(webhook(), &path, review.to_string()).await;
    assert_eq!(review["response"]["uid"], UID);
    review["response"].clone()
}

fn patch_of(response: &Value) -> Patch {
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = STANDARD.decode(response["patch"].as_str().expect("base64")).unwrap();
    serde_json::from_slice(&patch).unwrap()
}

fn invalid() -> Value {
    json!({ "className": "C", "python": { "py": "" }, "output": { "topic": "a/b" }, "replicas": -1 })
}

#[tokio::test]
async fn defaults_change_nothing_else() {
    let review = recorded();
    let response = ask(Action::Mutate, "function", &review).await;
    assert_eq!(response["allowed"], true);
    let mut object = review["request"]["object"].clone();
    json_patch::patch(&mut object, &patch_of(&response)).unwrap();
    let mut expected = review["request"]["object"].clone();
    let spec = &mut expected["spec"];
    for (field, value) in [
        ("autoAck", json!(true)),
        ("clusterName", json!("kubernetes")),
        ("forwardSourceMessageProperty", json!(true)),
        ("maxPendingAsyncRequests", json!(1000)),
        ("name", json!("shout")),
        ("namespace", json!("default")),
        ("processingGuarantee", json!("atleast_once")),
        ("replicas", json!(1)),
        ("tenant", json!("public")),
    ] {
        spec[field] = value;
    }
    spec["input"]["typeClassName"] = "[B".into();
    spec["output"]["typeClassName"] = "[B".into();
    assert_eq!(object, expected);
    assert_eq!(ask(Action::Validate, "function", &json!(review)).await["allowed"], true);
}

#[tokio::test]
async fn all_violations_are_reported_at_once() {
    let response = ask(Action::Validate, "function", &review_of("Function", &invalid())).await;
    assert_eq!(response["allowed"], false);
    let status = &response["status"];
    assert_eq!((&status["code"], &status["reason"]), (&json!(422), &json!("Invalid")));
    assert_eq!(status["status"], "Failure");
    let message = status["message"].as_str().unwrap();
    let details = &status["details"];
    assert_eq!(details["kind"], "Function");
    assert_eq!(details["group"], "compute.functionmesh.io");
    assert_eq!(details["name"], "shout");
    let causes = details["causes"].as_array().unwrap();
    assert!(
        message.starts_with(&format!("Function \"shout\" has {} violations:\n", causes.len())),
        "{message}"
    );
    for cause in causes {
        let line = format!("{}: {}", cause["field"].as_str().unwrap(), cause["message"].as_str().unwrap());
        assert!(message.lines().any(|found| found == line), "{line} is not in {message}");
        assert_eq!(cause["reason"], "FieldValueInvalid");
    }
    let fields: Vec<_> = causes.iter().filter_map(|cause| cause["field"].as_str()).collect();
    for field in ["spec.python.py", "spec.output.topic", "spec.replicas", "spec.pulsar"] {
        assert!(fields.iter().any(|found| found.starts_with(field)), "{field} is not in {fields:?}");
    }
}

/// The CEL rules of the API server run between both webhooks, and would hide the other violations.
#[tokio::test]
async fn mutating_webhook_denies_invalid_objects_too() {
    let review = review_of("Function", &invalid());
    let denied = ask(Action::Mutate, "function", &review).await;
    assert_eq!(denied, ask(Action::Validate, "function", &review).await);
    assert_eq!(denied["allowed"], false);
}

#[tokio::test]
async fn every_kind_is_defaulted_and_validated() {
    let function = recorded()["request"]["object"]["spec"].clone();
    let mut part = function.clone();
    part["name"] = "part".into();
    part.as_object_mut().unwrap().remove("minReplicas");
    let mesh = json!({ "functions": [part], "sinks": null });
    let response = ask(Action::Mutate, "functionmesh", &review_of("FunctionMesh", &mesh)).await;
    let operations = serde_json::to_value(patch_of(&response)).unwrap();
    let changed: Vec<_> =
        operations.as_array().unwrap().iter().map(|op| op["path"].as_str().unwrap()).collect();
    let expected = ["/spec/functions/0/minReplicas", "/spec/sinks"];
    assert_eq!(changed, expected);
    let denied = json!({ "functions": [{ "name": "part" }] });
    for (kind, good, bad) in [
        ("FunctionMesh", mesh, denied),
        ("BackendConfig", json!({ "env": { "A": "b" } }), json!({ "env": { "A=": "b" } })),
        (
            "Source",
            json!({ "className": "C", "java": { "jar": "c.nar" }, "sourceConfig": {}, "pulsar": { "pulsarConfig": "p" } }),
            json!({}),
        ),
        (
            "Sink",
            json!({
                "className": "C", "java": { "jar": "c.nar" }, "sinkConfig": {}, "pulsar": { "pulsarConfig": "p" },
                "input": { "topics": ["t"] },
            }),
            json!({}),
        ),
    ] {
        let path = kind.to_lowercase();
        assert_eq!(ask(Action::Mutate, &path, &review_of(kind, &good)).await["allowed"], true, "{kind}");
        let checked = ask(Action::Validate, &path, &review_of(kind, &good)).await;
        assert_eq!(checked["allowed"], true, "{kind}: {checked}");
        let denied = ask(Action::Validate, &path, &review_of(kind, &bad)).await;
        assert_eq!((&denied["allowed"], &denied["status"]["code"]), (&json!(false), &json!(422)), "{kind}");
        assert_eq!(denied["status"]["details"]["kind"], kind);
    }
}

#[tokio::test]
async fn lints_are_warnings() {
    let config = json!({ "pod": { "sidecars": [{ "name": "s" }] } });
    let response = ask(Action::Validate, "backendconfig", &review_of("BackendConfig", &config)).await;
    assert_eq!(response["allowed"], true);
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("spec.pod.sidecars: ignored in a BackendConfig"), "{warning}");
}

#[tokio::test]
async fn undecodable_objects_are_denied_when_validating() {
    let review = review_of("Function", &json!({ "replicas": "three" }));
    let mutated = ask(Action::Mutate, "function", &review).await;
    assert_eq!(mutated["allowed"], true);
    assert!(mutated.get("patch").is_none());
    assert!(mutated["warnings"][0].as_str().unwrap().starts_with("spec.replicas: invalid type"));
    let denied = ask(Action::Validate, "function", &review).await;
    assert_eq!(denied["allowed"], false);
    assert_eq!(denied["status"]["code"], 422);
    assert_eq!(denied["status"]["details"]["causes"][0]["field"], "spec.replicas");
    assert!(denied["status"]["message"].as_str().unwrap().starts_with("spec.replicas: invalid type"));
}

#[tokio::test]
async fn updates_with_unchanged_spec_are_exempt() {
    let mut labelled = update(&invalid(), &invalid());
    labelled["request"]["object"]["metadata"]["labels"] = json!({ "a": "b" });
    let mut deleted = update(&invalid(), &json!({}));
    deleted["request"]["object"]["metadata"]["deletionTimestamp"] = "2026-11-22T10:00:00Z".into();
    let mut removed = review_of("Function", &invalid());
    removed["request"]["operation"] = "DELETE".into();
    removed["request"]["oldObject"] = removed["request"]["object"].take();
    let mut scaled = update(&json!({}), &invalid());
    scaled["request"]["subResource"] = "scale".into();
    for review in [labelled, deleted, removed, scaled] {
        for action in [Action::Mutate, Action::Validate] {
            let response = ask(action, "function", &review).await;
            assert_eq!(response["allowed"], true, "{review}");
            assert!(response.get("patch").is_none());
        }
    }
    let changed = ask(Action::Validate, "function", &update(&json!({}), &invalid())).await;
    assert_eq!((&changed["allowed"], &changed["status"]["code"]), (&json!(false), &json!(422)));
}

/// Ratcheting: pre-existing violations become warnings, new ones are denied.
#[tokio::test]
async fn pre_existing_violations_are_warnings() {
    let mut changed = invalid();
    changed["className"] = "Other".into();
    let response = ask(Action::Validate, "function", &update(&invalid(), &changed)).await;
    assert_eq!(response["allowed"], true, "{response}");
    let warnings: Vec<_> =
        response["warnings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for field in ["spec.python.py", "spec.output.topic", "spec.replicas", "spec.pulsar"] {
        let found = warnings.iter().find(|warning| warning.starts_with(field));
        let found = found.unwrap_or_else(|| panic!("{field} is not in {warnings:?}"));
        assert!(found.ends_with("(pre-existing violation; not enforced)"), "{found}");
    }
    changed["deadLetterTopic"] = "dead".into();
    let response = ask(Action::Validate, "function", &update(&invalid(), &changed)).await;
    assert_eq!(response["allowed"], false);
    let causes = response["status"]["details"]["causes"].as_array().unwrap();
    let fields: Vec<_> = causes.iter().map(|cause| cause["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["spec.maxMessageRetry"]);
    // An object that could not be decoded before may still not be decodable.
    let undecodable = json!({ "replicas": "three" });
    let mut changed = undecodable.clone();
    changed["className"] = "C".into();
    let response = ask(Action::Validate, "function", &update(&undecodable, &changed)).await;
    assert_eq!(response["allowed"], true, "{response}");
}

#[tokio::test]
async fn dry_run_and_generate_name_are_supported() {
    let mut review = recorded();
    review["request"]["dryRun"] = true.into();
    review["request"].as_object_mut().unwrap().remove("name");
    let metadata = review["request"]["object"]["metadata"].as_object_mut().unwrap();
    metadata.remove("name");
    metadata.insert("generateName".to_owned(), "shout-".into());
    let patched = ask(Action::Mutate, "function", &review).await;
    let operations = serde_json::to_string(&patch_of(&patched)).unwrap();
    assert!(!operations.contains("\"/spec/name\""), "the name is not known yet: {operations}");
    assert_eq!(ask(Action::Validate, "function", &review).await["allowed"], true);
    review["request"]["object"]["spec"] = invalid();
    let denied = ask(Action::Validate, "function", &review).await;
    assert_eq!(denied["status"]["details"]["name"], "shout-");
}

#[tokio::test]
async fn wrong_path_is_denied_with_a_hint() {
    for action in [Action::Mutate, Action::Validate] {
        let response = ask(action, "sink", &recorded()).await;
        assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(400)));
        let message = response["status"]["message"].as_str().unwrap();
        let expected = "this path admits Sink of compute.functionmesh.io/v1alpha1, got Function of";
        assert!(message.starts_with(expected), "{message}");
    }
    let mut nothing = recorded();
    nothing["request"]["object"] = Value::Null;
    let response = ask(Action::Validate, "function", &nothing).await;
    assert_eq!(response["status"]["message"], "the CREATE request has no object");
    assert_eq!(response["status"]["code"], 400);
}

#[tokio::test]
async fn malformed_reviews_get_a_review() {
    let cut = RECORDED.split_at(RECORDED.len() / 2).0.to_owned();
    let mut other = recorded();
    other["apiVersion"] = "v1".into();
    other["kind"] = "Pod".into();
    let no_request = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview" });
    let mut no_operation = recorded();
    no_operation["request"].as_object_mut().unwrap().remove("operation");
    for (body, uid, message) in [
        (String::new(), "", "invalid admission review: EOF"),
        ("[1,2]".to_owned(), "", "invalid admission review: "),
        (cut, UID, "invalid admission review: EOF"),
        (no_operation.to_string(), UID, "invalid admission review: missing field `operation`"),
        (
            other.to_string(),
            UID,
            "expected an AdmissionReview of admission.k8s.io/v1 or admission.k8s.io/v1beta1, got a \"Pod\" of \"v1\"",
        ),
        (no_request.to_string(), "", "invalid admission review: no request"),
        (
            format!(r#"{{"request":{{"uid":"{UID}","object":{{"spec":{}"#, "[".repeat(100_000)),
            UID,
            "invalid admission review: EOF",
        ),
    ] {
        for action in ["mutate", "validate"] {
            let path = format!("/{action}-compute-functionmesh-io-v1alpha1-function");
            let review = post(webhook(), &path, body.clone()).await;
            let response = &review["response"];
            assert_eq!((&response["uid"], &response["allowed"]), (&json!(uid), &json!(false)));
            assert_eq!(response["status"]["code"], 400);
            let found = response["status"]["message"].as_str().unwrap();
            assert!(found.starts_with(message), "{found} does not start with {message}");
        }
    }
}

#[tokio::test]
async fn v1beta1_reviews_get_v1beta1_responses() {
    let mut review = recorded();
    review["apiVersion"] = "admission.k8s.io/v1beta1".into();
    let path = "/validate-compute-functionmesh-io-v1alpha1-function";
    let answer = post(webhook(), path, review.to_string()).await;
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1beta1");
    assert_eq!(answer["response"]["allowed"], true);
}

#[tokio::test]
async fn body_size_is_limited() {
    let limits = Limits { body: 4096, ..Limits::default() };
    let mut review = recorded();
    review["request"]["object"]["spec"]["funcConfig"]["long"] = "x".repeat(8192).into();
    let path = "/validate-compute-functionmesh-io-v1alpha1-function";
    let registry = Registry::new();
    let answer =
        post(router(AppState::new(Metrics::new(&registry).unwrap(), limits)), path, review.to_string()).await;
    assert_eq!(answer["response"]["status"]["code"], 413);
    assert_eq!(answer["response"]["status"]["message"], "admission review too large: more than 4096 bytes");
    assert_eq!(answer["response"]["allowed"], false);
    let page = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let line = "function_mesh_admission_decisions_total{kind=\"Function\",operation=\"unknown\",\
                outcome=\"malformed\",webhook=\"validate\"} 1";
    assert!(page.contains(line), "{page}");
}

#[tokio::test]
async fn slow_clients_time_out_and_block_no_others() {
    let limits = Limits { deadline: Duration::from_millis(200), concurrency: 1, ..Limits::default() };
    let router = router(AppState::new(Metrics::new(&Registry::new()).unwrap(), limits));
    let path = "/validate-compute-functionmesh-io-v1alpha1-function";
    let beginning = RECORDED.split_at(300).0.to_owned();
    let endless = futures::StreamExt::chain(
        futures::stream::iter([Ok::<_, std::io::Error>(beginning)]),
        futures::stream::pending(),
    );
    let slow = tokio::spawn(post(router.clone(), path, Body::from_stream(endless)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let other = post(router, path, recorded().to_string()).await;
    assert_eq!(other["response"]["allowed"], true, "the other request is decided");
    let answer = slow.await.unwrap();
    assert_eq!(answer["response"]["uid"], UID);
    assert_eq!(
        (&answer["response"]["allowed"], &answer["response"]["status"]["code"]),
        (&json!(false), &json!(504))
    );
    assert!(answer["response"]["status"]["message"].as_str().unwrap().contains("no decision within 200ms"));
}

#[tokio::test]
async fn decisions_are_counted_for_every_endpoint() {
    let registry = Registry::new();
    let router = router(AppState::new(Metrics::new(&registry).unwrap(), Limits::default()));
    for endpoint in Endpoint::all() {
        for action in [Action::Mutate, Action::Validate] {
            post(router.clone(), &endpoint.path(action), recorded().to_string()).await;
        }
    }
    let page = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    for line in [
        "decisions_total{kind=\"Function\",operation=\"CREATE\",outcome=\"patched\",webhook=\"mutate\"} 1",
        "decisions_total{kind=\"Function\",operation=\"CREATE\",outcome=\"allowed\",webhook=\"validate\"} 1",
        "decisions_total{kind=\"Sink\",operation=\"CREATE\",outcome=\"malformed\",webhook=\"validate\"} 1",
        "duration_seconds_count{webhook=\"mutate\"} 5",
    ] {
        assert!(page.contains(&format!("function_mesh_admission_{line}")), "{line} is not in {page}");
    }
}
