//! The CustomResourceDefinitions, as a cluster gets them.
//!
//! The derived schemas are right in substance. What is left to do here is for the people who read them and
//! for the API server: documentation of embedded Kubernetes types is dropped (it would make the FunctionMesh
//! definition larger than a request may be), lists that people merge get their keys, and an absent
//! `spec` means an empty one.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::bounds::bound;
use crate::component::Role;
use crate::names::MAX_COMPONENT_NAME;
use crate::validate::rules;
use crate::{BackendConfig, Function, FunctionMesh, Sink, Source};

/// Fields whose type Kubernetes defines; `kubectl explain pod.spec` documents them.
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

/// Lists of which several managers may each own items, by the field that tells the items apart.
const LIST_MAP_KEYS: [&str; 3] = ["initContainers", "sidecars", "volumes"];

/// All definitions, in the order in which they are best applied.
pub fn all() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    [BackendConfig::crd(), Function::crd(), Source::crd(), Sink::crd(), FunctionMesh::crd()]
        .into_iter()
        .map(finalize)
        .collect()
}

fn finalize(crd: CustomResourceDefinition) -> Result<CustomResourceDefinition, serde_json::Error> {
    let kind = crd.spec.names.kind.clone();
    let mut raw = serde_json::to_value(crd)?;
    let versions = raw.pointer_mut("/spec/versions").and_then(Value::as_array_mut);
    for version in versions.into_iter().flatten() {
        let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") else { continue };
        prune_schema(schema);
        if let Some(root) = schema.as_object_mut() {
            root.remove("required");
        }
        if let Some(spec) = schema.pointer_mut("/properties/spec").and_then(Value::as_object_mut) {
            spec.insert("default".to_owned(), json!({}));
        }
        if let Some(spec) = schema.pointer_mut("/properties/spec") {
            bound(spec, &|field| EMBEDDED.contains(&field));
        }
        match Role::ALL.into_iter().find(|role| role.kind() == kind) {
            Some(role) => add_component_rules(schema, role),
            None if kind == "FunctionMesh" => add_mesh_rules(schema),
            None => {}
        }
    }
    serde_json::from_value(raw)
}

/// Gives the API server the simple rules of a component. It judges a change as [`crate::validate::ratchet`] does: what
/// was broken before is no reason to refuse. The name cannot change at all. The rules stand at the top, since at
/// the specification they would have to hold for its default, too.
fn add_component_rules(schema: &mut Value, role: Role) {
    let name = json!({
        "rule": format!("self.metadata.name.matches('^[a-z]([-a-z0-9]{{0,{}}}[a-z0-9])?$') || oldSelf.hasValue()",
            MAX_COMPONENT_NAME - 2),
        "message": rules::OBJECT_NAME,
        "reason": "FieldValueInvalid",
        "optionalOldSelf": true,
    });
    let rules = rules::ALL.iter().filter(|rule| rule.roles.contains(&role)).map(|rule| {
        json!({
            "rule": format!(
                "({}) || (oldSelf.hasValue() && !({}))",
                rule.about("self.spec"),
                rule.about("oldSelf.value().spec")
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

/// The same for the components of a mesh. A rule about an item of a list cannot see what the item was before, so
/// these are about the lists, and cannot say which component is meant: what they may cost is estimated, and a
/// name has no bounds there. Each rule comes twice, for a list that is new and for one that changes. Of that it
/// looks at the old list as a whole; the webhook looks at each component.
fn add_mesh_rules(schema: &mut Value) {
    for role in Role::ALL {
        let Some(list) = schema.pointer_mut(&format!("/properties/spec/properties/{}", role.mesh_field()))
        else {
            continue;
        };
        // The bound is for the estimate.
        insert(list, "maxItems", json!(rules::MAX_COMPONENTS));
        let rules = std::iter::once(&rules::NO_NAME).chain(rules::ALL);
        let both = rules.filter(|rule| rule.roles.contains(&role)).flat_map(|rule| {
            let holds = rule.about("c");
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

fn insert(schema: &mut Value, key: &str, value: Value) {
    if let Some(object) = schema.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

fn prune_schema(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    // A default of nothing says nothing, and would make a required field look given.
    if matches!(object.get("default"), Some(Value::Null)) || object.get("default") == Some(&json!("")) {
        object.remove("default");
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for (name, property) in properties.iter_mut() {
            // A null that is kept is no number to the scale subresource, and no absent value to a default.
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
                    // Here the keys are names of fields, of which one may be called "description".
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
