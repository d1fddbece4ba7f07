#![allow(clippy::needless_pass_by_value, reason = "JSON reads best where it is used")]

use serde_json::json;

use super::*;

fn layers(spec: Value) -> Layers {
    let mut spec = spec;
    for (key, value) in [
        ("className", json!("C")),
        ("input", json!({ "topics": ["in"] })),
        ("java", json!({ "jar": "f.jar" })),
        ("pulsar", json!({ "pulsarConfig": "p" })),
    ] {
        spec.as_object_mut().unwrap().entry(key).or_insert(value);
    }
    let object = json!({ "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "Function",
        "metadata": { "name": "f" }, "spec": spec });
    Layers {
        object,
        pick: Pick::Standalone(Role::Function),
        namespace: "n".to_owned(),
        uid: None,
        namespaced: None,
        global: None,
        settings: Settings::default(),
    }
}

fn backend(spec: Value) -> Value {
    json!({ "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "BackendConfig",
        "metadata": { "name": "b", "namespace": "n" }, "spec": spec })
}

/// The causes of the value at a path.
fn causes(layers: &Layers, kind: &str, path: &str) -> Vec<(Origin, String)> {
    let all = explain(layers).unwrap();
    let found = all.iter().find(|it| it.kind == kind && it.path.to_string() == path);
    let found = found.unwrap_or_else(|| panic!("no {kind} {path}"));
    found.causes.iter().map(|cause| (cause.origin, cause.field.clone())).collect()
}

fn first(layers: &Layers, path: &str) -> Option<(Origin, String)> {
    causes(layers, "StatefulSet", path).into_iter().next()
}

#[test]
fn higher_layers_override_lower_ones() {
    let grace = "spec.template.spec.terminationGracePeriodSeconds";
    let policy = json!({ "terminationGracePeriodSeconds": 5 });
    let mut all = layers(json!({ "pod": policy }));
    all.global = Some(backend(json!({ "pod": policy, "env": { "A": "1" } })));
    all.namespaced = Some(backend(json!({ "pod": policy })));
    let field = "spec.pod.terminationGracePeriodSeconds".to_owned();
    assert_eq!(first(&all, grace), Some((Origin::Component, field.clone())));
    all.object = layers(json!({})).object;
    assert_eq!(first(&all, grace), Some((Origin::Namespaced, field.clone())));
    all.namespaced = None;
    assert_eq!(first(&all, grace), Some((Origin::Global, field)));
    let env = "spec.template.spec.containers[pulsar-function].env[A]";
    for part in ["name", "value"] {
        let expected = Some((Origin::Global, "spec.env.A".to_owned()));
        assert_eq!(first(&all, &format!("{env}.{part}")), expected);
    }
}

#[test]
fn settings_differ_from_built_in_values() {
    let image = "spec.template.spec.containers[pulsar-function].image";
    let mut all = layers(json!({}));
    assert_eq!(first(&all, image), None);
    all.settings.runner_images.java = "own".to_owned();
    assert_eq!(first(&all, image), Some((Origin::Operator, "runnerImages.java".to_owned())));
    all.object = layers(json!({ "image": "own" })).object;
    assert_eq!(first(&all, image), Some((Origin::Component, "spec.image".to_owned())));
}

#[test]
fn derived_values_name_their_source() {
    let all =
        layers(json!({ "resources": { "requests": { "memory": "2Gi" } }, "output": { "topic": "out" } }));
    let limit = causes(&all, "Function", "spec.resources.limits.memory");
    assert_eq!(limit, [(Origin::Component, "spec.resources.requests.memory".to_owned())]);
    let topic = "spec.template.spec.containers[pulsar-function].command[\"--function_details\"].sink.topic";
    assert_eq!(first(&all, topic), Some((Origin::Component, "spec.output.topic".to_owned())));
}

#[test]
fn field_set_to_its_default_is_a_cause() {
    let all = layers(json!({ "processingGuarantee": "atleast_once", "autoAck": true }));
    for field in ["spec.processingGuarantee", "spec.autoAck"] {
        assert_eq!(causes(&all, "Function", field), [(Origin::Component, field.to_owned())]);
    }
    let explained = explain(&all).unwrap();
    let ack = explained.iter().find(|it| it.path.to_string() == "spec.autoAck").unwrap();
    assert!(ack.causes[0].is_default && ack.causes[0].is_equal);
}

#[test]
fn components_of_a_mesh_point_into_the_mesh() {
    let spec = layers(json!({ "name": "g", "replicas": 2 })).object["spec"].clone();
    let mut other = spec.clone();
    other["name"] = json!("h");
    let mut all = layers(json!({}));
    all.object = json!({ "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "FunctionMesh",
        "metadata": { "name": "m" }, "spec": { "functions": [other, spec] } });
    all.pick = Pick::InMesh(Role::Function, 1);
    let expected = Some((Origin::Component, "spec.functions[1].replicas".to_owned()));
    assert_eq!(first(&all, "spec.replicas"), expected);
    let name = causes(&all, "StatefulSet", "metadata.name");
    let expected = ["metadata.name", "spec.functions[1].name"].map(|it| (Origin::Component, it.to_owned()));
    assert_eq!(name, expected);
}

#[test]
fn invalid_components_are_not_explained() {
    let invalid = layers(json!({ "java": { "jar": "" }, "replicas": -1 }));
    assert!(explain(&invalid).is_err());
}
