//! The manifests under `examples/`: they have no unknown fields and no violations, and a real API server accepts them
//! and the objects that they render to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use function_mesh_api::validate::{
    Findings, Valid, check_backend_config, check_component, check_mesh, valid_mesh,
};
use function_mesh_api::{BackendConfig, Component, Function, FunctionMesh, Sink, Source, parse};
use function_mesh_testkit::{ControlPlane, PATIENCE, eventually};
use function_mesh_workloads::diff::{dedup_keyed_lists, differences};
use function_mesh_workloads::{Backends, Settings, components};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, ValidationDirective};
use kube::{Api, Client};
use serde::Serialize;
use serde_json::{Value, json};

use crate::common;

/// Default name of the namespaced BackendConfig.
const NAMESPACED: &str = "backend-config";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// All manifests: file name and documents.
fn manifests() -> BTreeMap<String, Vec<Value>> {
    let files = fs::read_dir(folder()).expect("examples").map(|file| file.expect("a file").path());
    let manifests: BTreeMap<_, _> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("text");
            let documents = serde_saphyr::from_multiple(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.file_name().expect("a name").to_string_lossy().into_owned(), documents)
        })
        .collect();
    assert!(manifests.len() > 40, "{manifests:?}");
    manifests
}

fn kind(document: &Value) -> &str {
    document["kind"].as_str().expect("a kind")
}

/// Parses a document and asserts that its type knows every field.
fn read<K: serde::de::DeserializeOwned + Serialize>(file: &str, document: &Value) -> K {
    let object: K = parse(document.clone()).unwrap_or_else(|error| panic!("{file}: {error}"));
    let known = serde_json::to_value(&object).expect("JSON");
    let lost: Vec<_> = differences(document, &known).into_iter().map(|it| it.path.to_string()).collect();
    assert_eq!(lost, [""; 0], "{file} has unknown fields");
    object
}

fn clean(file: &str, findings: &Findings) {
    assert!(findings.violations.is_empty(), "{file}: {:?}", findings.violations);
    assert!(findings.warnings.is_empty(), "{file}: {:?}", findings.warnings);
}

/// The objects that the documents of a file render to: components of meshes, and children.
fn outcome(file: &str, documents: &[Value], settings: &Settings) -> Vec<Value> {
    let configs: Vec<BackendConfig> =
        documents.iter().filter(|it| kind(it) == "BackendConfig").map(|it| read(file, it)).collect();
    let find = |is_of_namespace: bool| {
        configs.iter().find(|it| (it.metadata.name.as_deref() == Some(NAMESPACED)) == is_of_namespace)
    };
    let backends = Backends { global: find(false), namespaced: find(true) };
    let mut all = Vec::new();
    for document in documents {
        match kind(document) {
            "Function" => all.extend(children::<Function>(file, document, backends, settings)),
            "Source" => all.extend(children::<Source>(file, document, backends, settings)),
            "Sink" => all.extend(children::<Sink>(file, document, backends, settings)),
            "BackendConfig" => {
                clean(file, &check_backend_config(&read::<BackendConfig>(file, document).spec));
            }
            "FunctionMesh" => all.extend(mesh_components(file, document, backends, settings)),
            _ => {}
        }
    }
    all
}

fn children<C: Component>(
    file: &str,
    document: &Value,
    backends: Backends<'_>,
    settings: &Settings,
) -> Vec<Value> {
    let object: C = read(file, document);
    clean(file, &check_component(&object));
    let component: Valid<C> = common::valid(document.clone());
    common::rendered(&component, backends, settings)
}

fn mesh_components(file: &str, document: &Value, backends: Backends<'_>, settings: &Settings) -> Vec<Value> {
    fn render_all<C: Component>(
        components: Vec<C>,
        file: &str,
        backends: Backends<'_>,
        settings: &Settings,
    ) -> Vec<Value> {
        let each = |component: C| {
            let component = serde_json::to_value(component).expect("JSON");
            let mut all = children::<C>(file, &component, backends, settings);
            all.push(component);
            all
        };
        components.into_iter().flat_map(each).collect()
    }
    let mesh: FunctionMesh = read(file, document);
    clean(file, &check_mesh(&mesh));
    let objects = components(&valid_mesh(mesh).expect("a valid mesh"));
    let mut all = render_all(objects.functions, file, backends, settings);
    all.extend(render_all(objects.sources, file, backends, settings));
    all.extend(render_all(objects.sinks, file, backends, settings));
    all
}

/// Settings of the operator that change what is rendered.
fn all_settings() -> [Settings; 2] {
    [Settings::default(), Settings { enable_init_containers: true, ..Settings::default() }]
}

#[test]
fn examples_are_valid_and_render() {
    for (file, documents) in manifests() {
        for settings in all_settings() {
            let is_only_config = documents.iter().all(|it| kind(it) == "BackendConfig");
            assert!(is_only_config || outcome(&file, &documents, &settings).len() >= 2, "{file}");
        }
        for document in &documents {
            assert_eq!(document["metadata"]["namespace"], "default", "{file}");
        }
    }
}

#[test]
fn index_lists_every_example_once() {
    let index = fs::read_to_string(folder().join("README.md")).expect("an index");
    let rows = || index.lines().filter_map(|line| line.strip_prefix("| ["));
    for file in manifests().keys() {
        let named = rows().filter(|row| row.starts_with(&format!("{file}]({file}) | "))).count();
        assert_eq!(named, 1, "{file}");
    }
    assert_eq!(rows().count(), manifests().len());
}

#[tokio::test]
async fn api_server_accepts_examples_and_children() -> anyhow::Result<()> {
    let client = ControlPlane::shared().await?.client().await?;
    install_vertical_autoscaler(&client).await?;
    let mut sent = 0;
    for (file, documents) in manifests() {
        let mut all = documents.clone();
        for settings in all_settings() {
            all.extend(outcome(&file, &documents, &settings));
        }
        for mut object in all {
            dedup_keyed_lists(&mut object);
            let name = format!("{file}: {} {}", kind(&object), object["metadata"]["name"]);
            let taken = dry_run(&client, &object).await.with_context(|| name.clone())?;
            let lost: Vec<_> = differences(&comparable(object), &taken)
                .into_iter()
                .map(|it| format!("{}: {:?} became {:?}", it.path, it.wanted, it.live))
                .collect();
            ensure!(lost.is_empty(), "{name}: {lost:#?}");
            sent += 1;
        }
    }
    ensure!(sent > 200, "only {sent} objects were sent");
    Ok(())
}

/// An object without fields that the API server converts.
fn comparable(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        // The API server returns it as `data`, in base64.
        fields.remove("stringData");
    }
    object
}

/// Applies an object as a dry run with strict field validation, and returns the result.
async fn dry_run(client: &Client, object: &Value) -> anyhow::Result<Value> {
    let object: DynamicObject = serde_json::from_value(object.clone())?;
    let types = object.types.clone().context("no kind")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(&types)?);
    let namespace = object.metadata.namespace.clone().context("no namespace")?;
    let name = object.metadata.name.clone().context("no name")?;
    let params = PatchParams {
        dry_run: true,
        force: true,
        field_manager: Some("examples".to_owned()),
        field_validation: Some(ValidationDirective::Strict),
    };
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource);
    Ok(serde_json::to_value(api.patch(&name, &params, &Patch::Apply(&object)).await?)?)
}

/// Installs a CRD of VerticalPodAutoscaler that is as strict as the real one.
async fn install_vertical_autoscaler(client: &Client) -> anyhow::Result<()> {
    let strings = |allowed: &[&str]| json!({ "type": "string", "enum": allowed });
    let quantities = json!({ "type": "object", "additionalProperties": {
        "anyOf": [{ "type": "integer" }, { "type": "string" }], "x-kubernetes-int-or-string": true,
        "pattern": "^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))))?$",
    } });
    let policy = json!({ "type": "object", "properties": {
        "containerName": { "type": "string" }, "mode": strings(&["Auto", "Off"]),
        "minAllowed": quantities, "maxAllowed": quantities,
        "controlledResources": { "type": "array", "items": { "type": "string" } },
        "controlledValues": strings(&["RequestsAndLimits", "RequestsOnly"]),
    } });
    let spec = json!({ "type": "object", "required": ["targetRef"], "properties": {
        "targetRef": { "type": "object", "required": ["kind", "name"], "properties": {
            "apiVersion": { "type": "string" }, "kind": { "type": "string" }, "name": { "type": "string" },
        } },
        "updatePolicy": { "type": "object", "properties": {
            "updateMode": strings(&["Off", "Initial", "Recreate", "Auto"]),
            "minReplicas": { "type": "integer", "format": "int32" },
        } },
        "resourcePolicy": { "type": "object", "properties": {
            "containerPolicies": { "type": "array", "items": policy },
        } },
    } });
    let definition: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "verticalpodautoscalers.autoscaling.k8s.io",
            "annotations": { "api-approved.kubernetes.io": "unapproved, for a test" },
        },
        "spec": {
            "group": "autoscaling.k8s.io", "scope": "Namespaced",
            "names": { "plural": "verticalpodautoscalers", "kind": "VerticalPodAutoscaler" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                "type": "object", "properties": { "spec": spec },
            } } }],
        },
    }))?;
    let gvk = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let api = Api::<DynamicObject>::all_with(client.clone(), &ApiResource::from_gvk(&gvk));
    let name = definition.metadata.name.clone().unwrap_or_default();
    api.patch(&name, &PatchParams::apply("examples").force(), &Patch::Apply(&definition)).await?;
    let sample = json!({
        "apiVersion": "autoscaling.k8s.io/v1", "kind": "VerticalPodAutoscaler",
        "metadata": { "name": "sample", "namespace": "default" },
        "spec": { "targetRef": { "kind": "StatefulSet", "name": "sample" } },
    });
    eventually(PATIENCE, async || dry_run(client, &sample).await.map(drop)).await
}
