//! CEL rules on a real API server without the webhook: it accepts the CRDs, rejects violations of the simple rules
//! with the message of the Rust rule, rejects nothing else, and ratchets stored objects.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;
use function_mesh_api::validate::rules;
use function_mesh_api::{Function, FunctionMesh, Role, Sink, Source, bounds, parse};
use function_mesh_testkit::{ControlPlane, PATIENCE, eventually};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::cases::{self, check, component};

fn mesh(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "FunctionMesh", "metadata": { "name": name },
        "spec": spec,
    })
}

/// A mesh with a component that has no name.
fn nameless(role: Role) -> Value {
    let component = cases::object(role.kind(), &json!({ "name": null }));
    mesh("m", &json!({ role.mesh_field(): [component["spec"]] }))
}

struct Server(Client);

/// Fields and messages of a rejection.
type Rejection = Vec<(String, String)>;

impl Server {
    fn api(&self, kind: &str) -> Api<DynamicObject> {
        let resource = match kind {
            "Function" => ApiResource::erase::<Function>(&()),
            "Source" => ApiResource::erase::<Source>(&()),
            "Sink" => ApiResource::erase::<Sink>(&()),
            _ => ApiResource::erase::<FunctionMesh>(&()),
        };
        Api::namespaced_with(self.0.clone(), "default", &resource)
    }

    async fn create(&self, object: &Value, dry_run: bool) -> Result<(), Rejection> {
        let kind = object["kind"].as_str().unwrap_or_default();
        let object: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
        let params = PostParams { dry_run, ..PostParams::default() };
        rejection(self.api(kind).create(&params, &object).await)
    }

    async fn merge(&self, object: &Value, change: &Value) -> Result<(), Rejection> {
        let (kind, name) = (object["kind"].as_str().unwrap_or_default(), object["metadata"]["name"].as_str());
        let api = self.api(kind);
        rejection(api.patch(name.unwrap_or_default(), &PatchParams::default(), &Patch::Merge(change)).await)
    }

    /// Waits until changed CRDs are in force: the API server takes them over a moment after it has stored them.
    async fn enforces(&self, bad: &[Value]) -> anyhow::Result<()> {
        for object in bad {
            let kind = &object["kind"];
            let rejected = async || {
                ensure!(self.create(object, true).await.is_err(), "{kind} has the rules of before");
                Ok(())
            };
            eventually(PATIENCE, rejected).await?;
        }
        Ok(())
    }
}

fn rejection<T>(answer: kube::Result<T>) -> Result<(), Rejection> {
    match answer {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => {
            let causes = status.details.clone().map(|details| details.causes).unwrap_or_default();
            assert!(!causes.is_empty(), "{status:?}");
            Err(causes.into_iter().map(|cause| (cause.field, cause.message)).collect())
        }
        Err(error) => panic!("{error}"),
    }
}

fn without_rules(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    fn strip(schema: &mut Value) {
        match schema {
            Value::Object(object) => {
                for rule in ["x-kubernetes-validations", "maxItems", "maxProperties", "maxLength"] {
                    object.remove(rule);
                }
                object.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut raw = serde_json::to_value(&definition.spec).expect("JSON");
    strip(&mut raw);
    definition.spec = serde_json::from_value(raw).expect("a CRD");
    definition
}

/// The Rust rules reject the same fields with the same messages as the API server.
fn assert_agrees(object: &Value, rejection: &Rejection) {
    let findings = check(object);
    let is_mesh = object["kind"] == "FunctionMesh";
    let reported =
        rejection.iter().filter(|(_, message)| !message.contains("some validation rules were not checked"));
    for (field, message) in reported {
        let field = field.trim_start_matches('.');
        let known = findings.violations.iter().any(|violation| {
            let at = violation.field.as_str();
            // The schema has other messages for its limits.
            let is_same = message.contains(&violation.message)
                || message.contains(" in body should ")
                || message.contains("Too long: ")
                || message.contains("Too many: ")
                || message.contains("should be a non-negative integer")
                || at == "metadata.name" && message.contains(rules::OBJECT_NAME)
                || message.contains("Required value")
                || message.contains("Duplicate value");
            is_same
                && (at == field
                    || message.contains(rules::OBJECT_NAME)
                    || is_mesh && at.starts_with(&format!("{field}["))
                    || at.starts_with(field))
        });
        assert!(known, "{field}: {message}\nis not in {findings:?}\nof {object}");
    }
}

#[tokio::test]
async fn api_server_enforces_cel_rules() -> anyhow::Result<()> {
    let plane = ControlPlane::start().await?;
    let server = Server(plane.client().await?);
    let definitions = function_mesh_api::crd::all()?;
    plane.install(&definitions.iter().cloned().map(without_rules).collect::<Vec<_>>()).await?;
    let old = old_objects();
    for object in &old {
        assert!(!check(object).violations.is_empty(), "{object}");
        server.create(object, false).await.expect("an API server without rules");
    }
    let large = too_large("old-large", "topics");
    server.create(&large, false).await.expect("an API server without limits");
    plane.install(&definitions).await?;
    let empty = Role::ALL.map(|role| cases::object(role.kind(), &json!({ "className": "" })));
    server.enforces(&[&empty[..], &[nameless(Role::Sink)]].concat()).await?;
    oversized_fields_are_rejected(&server, &large).await;
    known_violations_do_not_block_updates(&server, &old).await;
    component_rules_are_enforced(&server).await;
    mesh_rules_are_enforced(&server).await;
    rust_rules_reject_at_least_as_much(&server).await;
    scale_to_zero_with_autoscaler_is_rejected(&server).await;
    Ok(())
}

/// Objects that were stored before the CRDs had rules.
fn old_objects() -> Vec<Value> {
    let broken = json!({ "timeout": 5, "processingGuarantee": "effectively_once" });
    let mut sink = cases::object("Sink", &broken);
    sink["metadata"]["name"] = "a-name-of-more-than-forty-three-characters-long".into();
    let components = [component("Sink", "old", &broken), component("Sink", "fine", &json!({}))];
    vec![sink, mesh("old", &json!({ "sinks": components }))]
}

/// A Function with one item, entry or character too many in a field.
fn too_large(name: &str, field: &str) -> Value {
    let change = match field {
        "topics" => json!({ "input": { "topics": vec!["t"; bounds::MAX_ITEMS + 1], "typeClassName": "[B" } }),
        "secretsMap" => {
            let secret = json!({ "path": "s", "key": "k" });
            let all: BTreeMap<_, _> =
                (0..=bounds::MAX_PROPERTIES).map(|entry| (entry.to_string(), secret.clone())).collect();
            json!({ "secretsMap": all })
        }
        _ => json!({ "className": "C".repeat(bounds::MAX_LENGTH + 1) }),
    };
    let mut object = cases::object("Function", &change);
    object["metadata"]["name"] = name.into();
    object
}

async fn oversized_fields_are_rejected(server: &Server, old: &Value) {
    for name in ["topics", "secretsMap", "className"] {
        let rejected = server.create(&too_large("large", name), true).await.expect_err(name);
        assert!(rejected.iter().any(|(field, _)| field.ends_with(name)), "{rejected:?}");
    }
    let accepted = "a stored field may exceed the limit";
    server.merge(old, &json!({ "spec": { "className": "C" } })).await.expect(accepted);
}

async fn known_violations_do_not_block_updates(server: &Server, old: &[Value]) {
    let [sink, mesh] = old else { panic!("two objects") };
    let accepted = "a known violation does not block the update";
    server.merge(sink, &json!({ "spec": { "timeout": 6, "className": "C" } })).await.expect(accepted);
    server.merge(sink, &json!({ "metadata": { "finalizers": ["a.io/b"] } })).await.expect(accepted);
    let rejected = server.merge(sink, &json!({ "spec": { "className": "" } })).await.unwrap_err();
    assert_eq!(rejected[0].0, "spec.className");
    let mut sinks = mesh["spec"]["sinks"].clone();
    sinks[1]["className"] = "C".into();
    sinks.as_array_mut().expect("a list").reverse();
    server.merge(mesh, &json!({ "spec": { "sinks": sinks } })).await.expect(accepted);
    sinks[0]["className"] = "".into();
    let rejected = server.merge(mesh, &json!({ "spec": { "sinks": sinks } })).await.unwrap_err();
    assert!(
        rejected[0].1.contains("`className` of a sink: must be the class of the function or connector"),
        "{rejected:?}"
    );
    server.merge(sink, &json!({ "metadata": { "finalizers": null } })).await.expect(accepted);
}

async fn component_rules_are_enforced(server: &Server) {
    let mut seen = BTreeSet::new();
    for case in cases::all() {
        let (bad, good) = (cases::object(case.kind, &case.bad), cases::object(case.kind, &case.good));
        if let Err(rejection) = server.create(&bad, true).await {
            assert_agrees(&bad, &rejection);
            seen.extend(rejection.into_iter().map(|(field, message)| (case.kind, field, message)));
        }
        let accepted = server.create(&good, true).await;
        assert!(accepted.is_ok(), "{} of {}: {}: {accepted:?}", case.rule, case.kind, case.good);
    }
    for (rule, role) in rules::ALL.iter().flat_map(|rule| rule.roles.iter().map(move |role| (rule, role))) {
        let is_seen = seen.iter().any(|(kind, field, message)| {
            *kind == role.kind() && field == &format!("spec.{}", rule.field) && message.contains(rule.message)
        });
        assert!(is_seen, "no case violates the rule on {} of a {role}: {}", rule.field, rule.message);
    }
    assert!(seen.iter().any(|(_, _, message)| message.contains(rules::OBJECT_NAME)));
}

async fn mesh_rules_are_enforced(server: &Server) {
    let mut seen = BTreeSet::new();
    for role in Role::ALL {
        let object = nameless(role);
        let rejection = server.create(&object, true).await.expect_err("it has no name");
        assert_agrees(&object, &rejection);
        assert!(rejection[0].1.contains("each component of a mesh requires a name"), "{rejection:?}");
    }
    for case in cases::all() {
        let list = format!("{}s", case.kind.to_lowercase());
        let fine = component(case.kind, "fine", &json!({}));
        let of = |change| mesh("m", &json!({ &list: [fine, component(case.kind, "it", change)] }));
        let bad = of(&case.bad);
        if let Err(rejection) = server.create(&bad, true).await {
            assert_agrees(&bad, &rejection);
            seen.extend(rejection);
        }
        let accepted = server.create(&of(&case.good), true).await;
        assert!(accepted.is_ok(), "{} of {}: {}: {accepted:?}", case.rule, case.kind, case.good);
    }
    for (rule, role) in rules::ALL.iter().flat_map(|rule| rule.roles.iter().map(move |role| (rule, role))) {
        let text = format!("`{}` of a {role}: {}", rule.field, rule.message);
        let is_seen = seen.iter().any(|(field, message)| {
            field == &format!("spec.{}", role.mesh_field()) && message.contains(&text)
        });
        assert!(is_seen, "no mesh violates the rule on {} of a {role}: {}", rule.field, rule.message);
    }
}

/// Objects with any number of violations: the Rust rules reject everything that the API server rejects.
async fn rust_rules_reject_at_least_as_much(server: &Server) {
    let mut runner = TestRunner::deterministic();
    let (mut rejected, mut accepted) = (0, 0);
    for kind in ["Function", "Sink", "Source"] {
        let changes: Vec<_> = cases::all()
            .into_iter()
            .filter(|case| case.kind == kind)
            .flat_map(|case| [case.bad, case.good.clone(), case.good])
            .collect();
        let several = prop::sample::subsequence(changes, 1..=4);
        for _ in 0..150 {
            let mut object = cases::base(kind);
            for change in several.new_tree(&mut runner).expect("a value").current() {
                let mut other = cases::object(kind, &change);
                cases::merge(&mut other["metadata"], &object["metadata"]);
                let mut change = change;
                change.as_object_mut().map(|change| change.remove("metadata.name"));
                cases::merge(&mut object["spec"], &change);
            }
            match server.create(&object, true).await {
                Err(rejection) => {
                    rejected += 1;
                    assert_agrees(&object, &rejection);
                }
                Ok(()) => accepted += 1,
            }
        }
    }
    assert!(rejected > 50 && accepted > 50, "{rejected} rejected, {accepted} accepted");
    // Null means absent, and the rules hold with and without the webhook's defaults.
    let nulls = json!({
        "python": null, "golang": null, "genericRuntime": null, "maxReplicas": null, "replicas": null,
        "timeout": null, "deadLetterTopic": null, "windowConfig": null, "statefulConfig": null, "pod": null,
    });
    let mut object = cases::base("Function");
    for (key, value) in nulls.as_object().expect("an object") {
        object["spec"][key] = value.clone();
    }
    server.create(&object, true).await.expect("null is absent");
    let mut function: Function = parse(object).expect("a function");
    function.set_defaults();
    server.create(&serde_json::to_value(&function).expect("JSON"), true).await.expect("a complete object");
}

async fn scale_to_zero_with_autoscaler_is_rejected(server: &Server) {
    for (name, most, is_rejected) in [("fixed", Value::Null, false), ("scaled", json!(3), true)] {
        let mut object = cases::object("Function", &json!({ "maxReplicas": most, "replicas": 1 }));
        object["metadata"]["name"] = name.into();
        server.create(&object, false).await.expect("an object");
        let zero = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
        let answer = server.api("Function").patch_scale(name, &PatchParams::default(), &zero).await;
        assert_eq!(answer.is_err(), is_rejected, "{name}: {answer:?}");
        // An autoscaler can exceed its range for a moment after a change of the limits.
        let five = Patch::Merge(json!({ "spec": { "replicas": 5 } }));
        server.api("Function").patch_scale(name, &PatchParams::default(), &five).await.expect("it scales");
    }
}
