//! Offline is online: what the command line makes of a manifest is what it makes of the object that a real API server
//! makes of it.

use std::path::Path;

use clap::Parser;
use function_mesh_api::{Component, Function, FunctionMesh, Sink, Source, parse, schema_defaults};
use function_mesh_testkit::ControlPlane;
use kube::Client;
use kube::api::{Api, DynamicObject, PostParams};
use kube::discovery::ApiResource;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::cases;

/// Objects of each kind: valid changes of the tables, with every way to write replicas.
fn objects(kind: &'static str) -> impl Strategy<Value = Value> {
    let changes: Vec<_> = cases::all()
        .into_iter()
        .filter(|case| case.kind == kind && !case.good.to_string().contains("metadata.name"))
        .map(|case| case.good)
        .collect();
    let number = || prop_oneof![Just(None), Just(Some(Value::Null)), (1..4).prop_map(|it| Some(json!(it)))];
    let several = prop::sample::subsequence(changes, 0..=3);
    (several, number(), number(), number()).prop_map(move |(changes, replicas, min, max)| {
        let mut object = cases::base(kind);
        for change in changes {
            cases::merge(&mut object["spec"], &change);
        }
        for (field, number) in [("replicas", replicas), ("minReplicas", min), ("maxReplicas", max)] {
            let spec = object["spec"].as_object_mut().unwrap();
            spec.remove(field);
            spec.extend(number.map(|number| (field.to_owned(), number)));
        }
        object
    })
}

fn mesh(components: &[Value]) -> Value {
    let mut spec = json!({});
    for (index, component) in components.iter().enumerate() {
        let list = format!("{}s", component["kind"].as_str().unwrap().to_lowercase());
        let mut item = component["spec"].clone();
        item["name"] = format!("c{index}").into();
        match spec[&list].as_array_mut() {
            Some(items) => items.push(item),
            None => spec[&list] = json!([item]),
        }
    }
    json!({
        "apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "FunctionMesh", "metadata": { "name": "m" },
        "spec": spec,
    })
}

/// The object as the API server would store it, without a webhook; None if it rejects it.
async fn dry_run(client: &Client, object: &Value) -> Option<Value> {
    let resource = match object["kind"].as_str() {
        Some("Function") => ApiResource::erase::<Function>(&()),
        Some("Source") => ApiResource::erase::<Source>(&()),
        Some("Sink") => ApiResource::erase::<Sink>(&()),
        _ => ApiResource::erase::<FunctionMesh>(&()),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &resource);
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let object = serde_json::from_value(object.clone()).unwrap();
    match api.create(&params, &object).await {
        Ok(stored) => {
            let mut stored = serde_json::to_value(stored).unwrap();
            stored["metadata"] = json!({ "name": stored["metadata"]["name"], "namespace": "default" });
            Some(stored)
        }
        Err(kube::Error::Api(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

fn run(command: &[&str], object: &Value, folder: &Path) -> (kubectl_mesh::Outcome, String) {
    let file = folder.join("object.json");
    std::fs::write(&file, object.to_string()).unwrap();
    let arguments = ["kubectl-mesh"].iter().chain(command).copied();
    let arguments = arguments.chain(["-f", file.to_str().unwrap()]);
    let cli = kubectl_mesh::Cli::try_parse_from(arguments).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = kubectl_mesh::Streams { out: &mut out, err: &mut err, colour: false, terminal: false };
    let outcome = kubectl_mesh::run(&cli, &mut streams);
    (outcome, String::from_utf8([out, err].concat()).unwrap())
}

/// The object with the defaults of its schema, and with those of the webhook as well.
fn defaulted<C: Component>(object: &Value) -> [Value; 2] {
    let mut component: C = parse(object.clone()).unwrap();
    let before = serde_json::to_value(component.spec()).unwrap();
    let name = component.meta().name.clone().unwrap_or_default();
    function_mesh_api::SetDefaults::set_defaults(component.spec_mut(), &name);
    [before, serde_json::to_value(component.spec()).unwrap()]
}

fn of_kind(object: &Value) -> Vec<Value> {
    match object["kind"].as_str() {
        Some("Function") => defaulted::<Function>(object).into(),
        Some("Source") => defaulted::<Source>(object).into(),
        Some("Sink") => defaulted::<Sink>(object).into(),
        _ => {
            let mut mesh: FunctionMesh = parse(object.clone()).unwrap();
            let before = serde_json::to_value(&mesh.spec).unwrap();
            mesh.spec.set_defaults();
            vec![before, serde_json::to_value(&mesh.spec).unwrap()]
        }
    }
}

#[tokio::test]
async fn offline_is_online() -> anyhow::Result<()> {
    let plane = ControlPlane::shared().await?;
    let client = plane.client().await?;
    let folder = tempfile::tempdir()?;
    let mut runner = TestRunner::deterministic();
    let mut seen = 0;
    let kinds = ["Function", "Source", "Sink"];
    for round in 0..COUNT {
        let mut generated = Vec::new();
        for kind in kinds {
            generated.push(objects(kind).new_tree(&mut runner).expect("a value").current());
        }
        if round % 4 == 0 {
            generated.push(mesh(&generated));
        }
        for object in generated {
            let Some(stored) = dry_run(&client, &object).await else { continue };
            seen += 1;
            let mut offline = object.clone();
            schema_defaults::apply(object["kind"].as_str().unwrap(), &mut offline);
            assert_eq!(of_kind(&offline), of_kind(&stored), "{object}");
            for command in [&["render", "-o", "json"][..], &["validate"]] {
                let (outcome, text) = run(command, &object, folder.path());
                let (outcome_online, online) = run(command, &stored, folder.path());
                // Locations differ with the text of the object.
                let is_same = outcome == outcome_online && (command[0] == "validate" || text == online);
                assert!(is_same, "{command:?} of {object}\n{text}\nof {stored}\n{online}");
            }
        }
    }
    assert!(seen > COUNT, "the API server accepted only {seen} objects");
    Ok(())
}

/// Objects of each kind; a CI run may take more.
const COUNT: usize = 40;

#[tokio::test]
async fn manifests_of_the_repository_are_the_same_online() -> anyhow::Result<()> {
    let plane = ControlPlane::shared().await?;
    let client = plane.client().await?;
    let folder = tempfile::tempdir()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for file in ["tests/public-cases", "tests/worker-service"].map(|it| root.join(it)) {
        for entry in std::fs::read_dir(file)? {
            let path = entry?.path();
            let text = std::fs::read_to_string(&path)?;
            let (documents, error) = kubectl_mesh::input::parse(kubectl_mesh::input::Source {
                name: path.display().to_string(),
                text,
            });
            assert!(error.is_none(), "{error:?}");
            for document in documents.iter().filter(|document| document.is_mesh_kind()) {
                let mut object = document.node.to_value();
                if let Some(metadata) = object["metadata"].as_object_mut() {
                    metadata.remove("ownerReferences");
                    metadata.insert("namespace".to_owned(), "default".into());
                }
                // The API server rejects the subject of the case.
                let Some(stored) = dry_run(&client, &object).await else {
                    let (outcome, _) = run(&["validate"], &object, folder.path());
                    assert_ne!(outcome, kubectl_mesh::Outcome::Success, "{}", path.display());
                    continue;
                };
                seen += 1;
                let command = ["render", "-o", "json"];
                let (offline, online) = (
                    run(&command, &object, folder.path()),
                    run(&command, &without_labels_lost(stored, &object), folder.path()),
                );
                assert_eq!(offline, online, "{}", path.display());
            }
        }
    }
    assert!(seen >= 6, "{seen}");
    Ok(())
}

/// The stored object with the labels and annotations that the comparison of metadata left out.
fn without_labels_lost(mut stored: Value, object: &Value) -> Value {
    stored["metadata"] = object["metadata"].clone();
    stored
}

/// A map in YAML: keys of every type, some twice, and merge keys at any place. Not a number or boolean and a string of
/// the same text: kubectl takes either, at random.
fn yaml_map() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "a", "\"a\"", "b", "1", "0x1", "yes", "True", "on", "\"on\"", "017", "15", "0x1F", "1.50", "1_000",
        "1000", "A", "\"\"", "''",
    ]);
    let value = prop::sample::select(vec![
        "x",
        "1",
        "1.0",
        "0.5",
        "yes",
        "~",
        "",
        "017",
        "1e3",
        "\"q\"",
        "[1, no]",
        "{p: 1, p: 2}",
        "*x",
        "!!str 1",
        "2001-01-01",
        "1:30",
        "0o17",
        "9007199254740993",
        "\"\\u00e4\"",
        "'it''s'",
    ]);
    let field = prop_oneof![
        8 => (key, value).prop_map(|(key, value)| format!("  {key}: {value}\n")),
        1 => Just("  <<: *x\n".to_owned()),
        1 => Just("  <<: [*x, *y]\n".to_owned()),
    ];
    prop::collection::vec(field, 1..6).prop_map(|fields| fields.concat())
}

/// The map is read as by the real kubectl, and every key that is there twice is noticed.
#[tokio::test]
async fn maps_are_read_as_by_kubectl() -> anyhow::Result<()> {
    let plane = ControlPlane::shared().await?;
    let mut runner = TestRunner::deterministic();
    let head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: k}\nx: &x {a: 7, p: 1}\ny: &y {a: 8, b: 9}\ndata:\n";
    for _ in 0..60 {
        let text = format!("{head}{}", yaml_map().new_tree(&mut runner).expect("a value").current());
        let args = ["create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-"];
        let read: Value = serde_json::from_str(&plane.kubectl(&args, &text).await?)?;
        let loaded = kubectl_mesh::input::load(&text);
        assert!(loaded.error.is_none(), "{text}\n{:?}", loaded.error);
        let ours = loaded.documents[0].to_value();
        // Go writes whole numbers without a fraction.
        let plain =
            |value: &Value| value.to_string().replace(".0,", ",").replace(".0}", "}").replace(".0]", "]");
        assert_eq!(plain(&ours["data"]), plain(&read["data"]), "{text}");
    }
    Ok(())
}
