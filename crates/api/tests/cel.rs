//! What a real API server says by itself, with no webhook there: it takes the definitions, refuses what breaks a
//! simple rule with the words of the Rust rule, refuses nothing else, and lets old objects be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so when it fails")]

#[path = "cases/mod.rs"]
mod cases;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use function_mesh_api::validate::{Findings, check_component, check_mesh, rules};
use function_mesh_api::{Function, FunctionMesh, Role, Sink, Source, bounds, parse};
use function_mesh_testkit::ControlPlane;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, ResourceExt};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

fn check(object: &Value) -> Findings {
    match object["kind"].as_str() {
        Some("Function") => check_component(&parse::<Function>(object.clone()).expect("a function")),
        Some("Source") => check_component(&parse::<Source>(object.clone()).expect("a source")),
        Some("Sink") => check_component(&parse::<Sink>(object.clone()).expect("a sink")),
        _ => check_mesh(&parse::<FunctionMesh>(object.clone()).expect("a mesh")),
    }
}

fn mesh(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "FunctionMesh", "metadata": { "name": name },
        "spec": spec,
    })
}

fn part(kind: &str, name: &str, change: &Value) -> Value {
    let mut spec = cases::object(kind, change)["spec"].clone();
    spec["name"] = name.into();
    spec
}

struct Server(Client);

/// A refusal: fields and messages.
type Refusal = Vec<(String, String)>;

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

    async fn create(&self, object: &Value, dry_run: bool) -> Result<(), Refusal> {
        let kind = object["kind"].as_str().unwrap_or_default();
        let object: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
        let params = PostParams { dry_run, ..PostParams::default() };
        refusal(self.api(kind).create(&params, &object).await)
    }

    async fn merge(&self, object: &Value, change: &Value) -> Result<(), Refusal> {
        let (kind, name) = (object["kind"].as_str().unwrap_or_default(), object["metadata"]["name"].as_str());
        let api = self.api(kind);
        refusal(api.patch(name.unwrap_or_default(), &PatchParams::default(), &Patch::Merge(change)).await)
    }

    async fn install(&self, definitions: Vec<CustomResourceDefinition>) -> anyhow::Result<()> {
        let api = Api::<CustomResourceDefinition>::all(self.0.clone());
        for definition in definitions {
            let params = PatchParams::apply("test").force();
            api.patch(&definition.name_any(), &params, &Patch::Apply(&definition))
                .await
                .with_context(|| definition.name_any())?;
        }
        // A change of a definition takes a moment to take effect.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        Ok(())
    }
}

fn refusal<T>(answer: kube::Result<T>) -> Result<(), Refusal> {
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
    definition.spec = serde_json::from_value(raw).expect("a definition");
    definition
}

/// What the API server refuses is what the Rust rules refuse, in the same field and with the same words.
fn agrees(object: &Value, refusal: &Refusal) {
    let findings = check(object);
    let is_mesh = object["kind"] == "FunctionMesh";
    let told =
        refusal.iter().filter(|(_, message)| !message.contains("some validation rules were not checked"));
    for (field, message) in told {
        let field = field.trim_start_matches('.');
        let known = findings.violations.iter().any(|violation| {
            let at = violation.field.as_str();
            // For bounds the schema has words of its own.
            let says = message.contains(&violation.message)
                || message.contains(" in body should ")
                || message.contains("should be a non-negative integer")
                || at == "metadata.name" && message.contains(rules::OBJECT_NAME)
                || message.contains("Required value")
                || message.contains("Duplicate value");
            says && (at == field
                || message.contains(rules::OBJECT_NAME)
                || is_mesh && at.starts_with(&format!("{field}["))
                || at.starts_with(field))
        });
        assert!(known, "{field}: {message}\nis not in {findings:?}\nof {object}");
    }
}

#[tokio::test]
async fn the_api_server_keeps_the_simple_rules_by_itself() -> anyhow::Result<()> {
    let plane = ControlPlane::start().await?;
    let server = Server(plane.client().await?);
    let definitions = function_mesh_api::crd::all()?;
    server.install(definitions.iter().cloned().map(without_rules).collect()).await?;
    let old = old_objects();
    for object in &old {
        assert!(!check(object).violations.is_empty(), "{object}");
        server.create(object, false).await.expect("nothing refuses it yet");
    }
    let large = too_large("old-large", "topics");
    server.create(&large, false).await.expect("nothing bounds it yet");
    server.install(definitions).await?;
    what_is_too_large_is_refused(&server, &large).await;
    old_objects_can_be_changed_elsewhere(&server, &old).await;
    each_rule_is_kept(&server).await;
    each_rule_is_kept_in_a_mesh(&server).await;
    nothing_else_is_refused(&server).await;
    a_scale_to_zero_under_an_autoscaler_is_refused(&server).await;
    Ok(())
}

/// Objects as an installation of the original has them, stored before there were rules.
fn old_objects() -> Vec<Value> {
    let broken = json!({ "timeout": 5, "processingGuarantee": "effectively_once" });
    let mut sink = cases::object("Sink", &broken);
    sink["metadata"]["name"] = "a-name-of-more-than-forty-three-characters-long".into();
    let parts = [part("Sink", "old", &broken), part("Sink", "fine", &json!({}))];
    vec![sink, mesh("old", &json!({ "sinks": parts }))]
}

/// A Function with one item, entry or character too many.
fn too_large(name: &str, part_: &str) -> Value {
    let change = match part_ {
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

async fn what_is_too_large_is_refused(server: &Server, old: &Value) {
    for part_ in ["topics", "secretsMap", "className"] {
        let refused = server.create(&too_large("large", part_), true).await.expect_err(part_);
        assert!(refused.iter().any(|(field, _)| field.ends_with(part_)), "{refused:?}");
    }
    let accepted = "what was too large before is no reason to refuse";
    server.merge(old, &json!({ "spec": { "className": "C" } })).await.expect(accepted);
}

async fn old_objects_can_be_changed_elsewhere(server: &Server, old: &[Value]) {
    let [sink, mesh] = old else { panic!("two objects") };
    let accepted = "what was broken before is no reason to refuse";
    server.merge(sink, &json!({ "spec": { "timeout": 6, "className": "C" } })).await.expect(accepted);
    server.merge(sink, &json!({ "metadata": { "finalizers": ["a.io/b"] } })).await.expect(accepted);
    let refused = server.merge(sink, &json!({ "spec": { "className": "" } })).await.unwrap_err();
    assert_eq!(refused[0].0, "spec.className");
    let mut sinks = mesh["spec"]["sinks"].clone();
    sinks[1]["className"] = "C".into();
    sinks.as_array_mut().expect("a list").reverse();
    server.merge(mesh, &json!({ "spec": { "sinks": sinks } })).await.expect(accepted);
    sinks[0]["className"] = "".into();
    let refused = server.merge(mesh, &json!({ "spec": { "sinks": sinks } })).await.unwrap_err();
    assert!(refused[0].1.contains("`className` of a sink: must name the class that runs"), "{refused:?}");
    server.merge(sink, &json!({ "metadata": { "finalizers": null } })).await.expect(accepted);
}

async fn each_rule_is_kept(server: &Server) {
    let mut seen = BTreeSet::new();
    for case in cases::all() {
        let (bad, good) = (cases::object(case.kind, &case.bad), cases::object(case.kind, &case.good));
        if let Err(refusal) = server.create(&bad, true).await {
            agrees(&bad, &refusal);
            seen.extend(refusal.into_iter().map(|(field, message)| (case.kind, field, message)));
        }
        let accepted = server.create(&good, true).await;
        assert!(accepted.is_ok(), "{} of {}: {}: {accepted:?}", case.rule, case.kind, case.good);
    }
    for (rule, role) in rules::ALL.iter().flat_map(|rule| rule.roles.iter().map(move |role| (rule, role))) {
        let is_seen = seen.iter().any(|(kind, field, message)| {
            *kind == role.kind() && field == &format!("spec.{}", rule.field) && message.contains(rule.message)
        });
        assert!(is_seen, "no object breaks the rule about {} of a {role}: {}", rule.field, rule.message);
    }
    assert!(seen.iter().any(|(_, _, message)| message.contains(rules::OBJECT_NAME)));
}

async fn each_rule_is_kept_in_a_mesh(server: &Server) {
    let mut seen = BTreeSet::new();
    let unnamed = json!({ "name": null });
    for role in Role::ALL {
        let object = mesh("m", &json!({ role.mesh_field(): [cases::object(role.kind(), &unnamed)["spec"]] }));
        let refusal = server.create(&object, true).await.expect_err("it has no name");
        agrees(&object, &refusal);
        assert!(refusal[0].1.contains("each component of a mesh needs a name"), "{refusal:?}");
    }
    for case in cases::all() {
        let list = format!("{}s", case.kind.to_lowercase());
        let fine = part(case.kind, "fine", &json!({}));
        let of = |change| mesh("m", &json!({ &list: [fine, part(case.kind, "it", change)] }));
        let bad = of(&case.bad);
        if let Err(refusal) = server.create(&bad, true).await {
            agrees(&bad, &refusal);
            seen.extend(refusal);
        }
        let accepted = server.create(&of(&case.good), true).await;
        assert!(accepted.is_ok(), "{} of {}: {}: {accepted:?}", case.rule, case.kind, case.good);
    }
    for (rule, role) in rules::ALL.iter().flat_map(|rule| rule.roles.iter().map(move |role| (rule, role))) {
        let text = format!("`{}` of a {role}: {}", rule.field, rule.message);
        let is_seen = seen.iter().any(|(field, message)| {
            field == &format!("spec.{}", role.mesh_field()) && message.contains(&text)
        });
        assert!(is_seen, "no mesh breaks the rule about {} of a {role}: {}", rule.field, rule.message);
    }
}

/// Objects that break any number of rules, or none: what the API server refuses, the Rust rules refuse too.
async fn nothing_else_is_refused(server: &Server) {
    let mut runner = TestRunner::deterministic();
    let (mut refused, mut accepted) = (0, 0);
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
                Err(refusal) => {
                    refused += 1;
                    agrees(&object, &refusal);
                }
                Ok(()) => accepted += 1,
            }
        }
    }
    assert!(refused > 50 && accepted > 50, "{refused} refused, {accepted} accepted");
    // Null is absent, and defaults of the webhook may be there or not.
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

async fn a_scale_to_zero_under_an_autoscaler_is_refused(server: &Server) {
    for (name, most, is_refused) in [("fixed", Value::Null, false), ("scaled", json!(3), true)] {
        let mut object = cases::object("Function", &json!({ "maxReplicas": most, "replicas": 1 }));
        object["metadata"]["name"] = name.into();
        server.create(&object, false).await.expect("an object");
        let zero = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
        let answer = server.api("Function").patch_scale(name, &PatchParams::default(), &zero).await;
        assert_eq!(answer.is_err(), is_refused, "{name}: {answer:?}");
        // An autoscaler may be out of its range for a moment, when a limit was moved.
        let five = Patch::Merge(json!({ "spec": { "replicas": 5 } }));
        server.api("Function").patch_scale(name, &PatchParams::default(), &five).await.expect("it scales");
    }
}
