//! Generates the CustomResourceDefinitions.
//!
//! Derives the schemas from the types, then finalizes them: removes the documentation of embedded Kubernetes types
//! (with it the FunctionMesh CRD exceeds the size limit of a request), sets list map keys for server-side apply, accepts
//! fractions as quantities, adds size limits and CEL rules, and defaults `spec` to an empty object.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::bounds::add_limits;
use crate::component::Role;
use crate::names::MAX_COMPONENT_NAME;
use crate::validate::rules;
use crate::{BackendConfig, Function, FunctionMesh, Sink, Source};

/// Fields of Kubernetes types, which `kubectl explain pod.spec` documents.
const EMBEDDED: [&str; 14] = [
    "affinity",
    "autoScalingBehavior",
    "autoScalingMetrics",
    "env",
    "imagePullSecrets",
    "initContainers",
    "resources",
    "securityContext",
    "sidecars",
    "startupProbe",
    "tolerations",
    "volumeClaimTemplates",
    "volumeMounts",
    "volumes",
];

/// Lists that become list maps keyed by `name`, so that several field managers can own items.
const LIST_MAP_KEYS: [&str; 3] = ["initContainers", "sidecars", "volumes"];

/// All CRDs, in the order to apply them. The error is that of JSON conversion, which the types exclude.
pub fn all() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    [BackendConfig::crd(), Function::crd(), Source::crd(), Sink::crd(), FunctionMesh::crd()]
        .into_iter()
        .map(finalize)
        .collect()
}

/// The schema of each kind, generated at its first use: the schemas are large.
static SCHEMAS: [(&str, LazyLock<Value>); 5] = [
    ("BackendConfig", LazyLock::new(|| generate_schema(BackendConfig::crd()))),
    ("Function", LazyLock::new(|| generate_schema(Function::crd()))),
    ("Source", LazyLock::new(|| generate_schema(Source::crd()))),
    ("Sink", LazyLock::new(|| generate_schema(Sink::crd()))),
    ("FunctionMesh", LazyLock::new(|| generate_schema(FunctionMesh::crd()))),
];

/// The OpenAPI schema of a kind; None for a kind of another project.
pub fn schema(kind: &str) -> Option<&'static Value> {
    SCHEMAS.iter().find(|(known, _)| *known == kind).map(|(_, schema)| &**schema)
}

/// The tests of the CRDs fail when one cannot be generated.
fn generate_schema(crd: CustomResourceDefinition) -> Value {
    let version = finalize(crd).ok().and_then(|crd| crd.spec.versions.into_iter().next());
    let schema = version.and_then(|version| version.schema?.open_api_v3_schema);
    serde_json::to_value(schema).unwrap_or_default()
}

fn finalize(crd: CustomResourceDefinition) -> Result<CustomResourceDefinition, serde_json::Error> {
    let kind = crd.spec.names.kind.clone();
    let mut raw = serde_json::to_value(crd)?;
    let versions = raw.pointer_mut("/spec/versions").and_then(Value::as_array_mut);
    for version in versions.into_iter().flatten() {
        let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") else { continue };
        prune_schema(schema);
        accept_fractions("", schema);
        if let Some(root) = schema.as_object_mut() {
            root.remove("required");
        }
        if let Some(spec) = schema.pointer_mut("/properties/spec").and_then(Value::as_object_mut) {
            spec.insert("default".to_owned(), json!({}));
        }
        if let Some(spec) = schema.pointer_mut("/properties/spec") {
            add_limits(spec, &|field| EMBEDDED.contains(&field));
        }
        match Role::ALL.into_iter().find(|role| role.kind() == kind) {
            Some(role) => add_component_rules(schema, role),
            None if kind == "FunctionMesh" => add_mesh_rules(schema),
            None => {}
        }
    }
    serde_json::from_value(raw)
}

/// Adds the CEL rules of a component, with ratcheting as in [`crate::validate::ratchet`]: an update may keep a
/// violation. The name is immutable, so it needs no ratcheting on update. The rules are at the root of the schema,
/// since at `spec` they would also apply to its default.
fn add_component_rules(schema: &mut Value, role: Role) {
    let name = json!({
        "rule": format!("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{{0,{}}}[a-z0-9])?$') || oldSelf.hasValue()",
            MAX_COMPONENT_NAME - 2),
        "message": rules::OBJECT_NAME,
        "reason": "FieldValueInvalid",
        "optionalOldSelf": true,
    });
    let rules = rules::ALL.iter().filter(|rule| rule.roles.contains(&role)).map(|rule| {
        json!({
            "rule": format!(
                "({}) || (oldSelf.hasValue() && !({}))",
                rule.cel_for("self.spec"),
                rule.cel_for("oldSelf.value().spec")
            ),
            "message": rule.message,
            "fieldPath": format!(".spec.{}", rule.field),
            "reason": "FieldValueInvalid",
            "optionalOldSelf": true,
        })
    });
    let all: Vec<_> = std::iter::once(name).chain(rules).collect();
    insert(schema, "x-kubernetes-validations", json!(all));
}

/// Adds the CEL rules of the components of a mesh. A rule on an item cannot access its old value, so the rules are on
/// the lists. They cannot name the component: the cost estimate excludes names without a length limit. Each rule
/// exists twice, for create and for update. On update it compares with the old list as a whole; the webhook compares
/// each component.
fn add_mesh_rules(schema: &mut Value) {
    for role in Role::ALL {
        let Some(list) = schema.pointer_mut(&format!("/properties/spec/properties/{}", role.mesh_field()))
        else {
            continue;
        };
        // The API server needs the limit for its cost estimate.
        insert(list, "maxItems", json!(rules::MAX_COMPONENTS));
        let rules = std::iter::once(&rules::NO_NAME).chain(rules::ALL);
        let both = rules.filter(|rule| rule.roles.contains(&role)).flat_map(|rule| {
            let holds = rule.cel_for("c");
            let message = format!("`{}` of a {role}: {}", rule.field, rule.message);
            [
                json!({
                    "rule": format!("oldSelf.hasValue() || self.all(c, {holds})"),
                    "message": message,
                    "reason": "FieldValueInvalid",
                    "optionalOldSelf": true,
                }),
                json!({
                    "rule": format!("self.all(c, {holds}) || !oldSelf.all(c, {holds})"),
                    "message": message,
                    "reason": "FieldValueInvalid",
                }),
            ]
        });
        let all: Vec<_> = both.collect();
        insert(list, "x-kubernetes-validations", json!(all));
    }
}

/// Accepts fractions as quantities (`cpu: 0.25`), as Kubernetes does for its own kinds. A CRD has no type for that:
/// `x-kubernetes-int-or-string` rejects them, and a webhook that wrote them as text would cause a conflict for each
/// client that applies the same manifest. The type of the field rejects what is no quantity.
fn accept_fractions(name: &str, schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    // Ports, the limits of a vertical autoscaler and the pods of a step have no fractions.
    if object.contains_key("x-kubernetes-int-or-string")
        && !["port", "minAllowed", "maxAllowed", "replicas"].contains(&name)
    {
        object.retain(|key, _| key == "description" || key == "nullable");
        object.insert("x-kubernetes-preserve-unknown-fields".to_owned(), json!(true));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(inner) {
            accept_fractions(name, inner);
        }
    }
    for (name, property) in object.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten()
    {
        accept_fractions(name, property);
    }
}

fn insert(schema: &mut Value, key: &str, value: Value) {
    if let Some(object) = schema.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

fn prune_schema(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    // An empty default is noise, and makes a required field look optional.
    if matches!(object.get("default"), Some(Value::Null)) || object.get("default") == Some(&json!("")) {
        object.remove("default");
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for (name, property) in properties.iter_mut() {
            // A stored null breaks the scale subresource and is not defaulted.
            if matches!(name.as_str(), "replicas" | "minReplicas")
                && let Some(property) = property.as_object_mut()
            {
                property.remove("nullable");
            }
            if EMBEDDED.contains(&name.as_str()) {
                prune_embedded(name, property);
            } else {
                prune_schema(property);
            }
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(inner) {
            prune_schema(inner);
        }
    }
}

fn prune_embedded(name: &str, property: &mut Value) {
    let Some(object) = property.as_object_mut() else { return };
    let description = object.remove("description");
    for inner in object.values_mut() {
        drop_descriptions(inner);
    }
    object.extend(description.map(|text| ("description".to_owned(), text)));
    if LIST_MAP_KEYS.contains(&name) {
        object.insert("x-kubernetes-list-type".to_owned(), json!("map"));
        object.insert("x-kubernetes-list-map-keys".to_owned(), json!(["name"]));
    }
}

fn drop_descriptions(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("description").is_some_and(Value::is_string) {
                object.remove("description");
            }
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            for (key, inner) in object.iter_mut() {
                match inner {
                    // The keys are field names, and a field can be named "description".
                    Value::Object(fields) if key == "properties" => drop_field_descriptions(fields),
                    inner => drop_descriptions(inner),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(drop_descriptions),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn drop_field_descriptions(fields: &mut Map<String, Value>) {
    fields.values_mut().for_each(drop_descriptions);
}
