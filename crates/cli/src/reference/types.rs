//! The types of fields: names, constraints, and uses of shared types.

use std::collections::BTreeMap;

use function_mesh_api::bounds::{MAX_ITEMS, MAX_LENGTH, MAX_PROPERTIES};
use serde_json::Value;

use super::{code, link, text};

/// The reference of the Kubernetes version of the types in the CRDs.
const KUBERNETES: &str = "https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.33/";
const QUANTITY: &str =
    "[Quantity](https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/)";

/// One field of a type.
pub(super) struct Field {
    pub(super) name: String,
    /// A link, for types with a reference.
    pub(super) type_name: String,
    /// The constraints on values.
    pub(super) constraints: String,
    pub(super) is_required: bool,
    pub(super) default: String,
    pub(super) description: String,
}

/// A type of Function Mesh, described once.
pub(super) struct Shared {
    pub(super) description: String,
    pub(super) fields: Vec<Field>,
    /// The types and kinds that have fields of this type.
    pub(super) uses: Vec<(String, String)>,
}

/// All types of Function Mesh by name.
#[derive(Default)]
pub(super) struct Types(BTreeMap<String, Shared>);

impl Types {
    pub(super) fn by_name(&self) -> impl Iterator<Item = (&String, &Shared)> {
        self.0.iter()
    }

    /// Adds the types of a kind's spec and status.
    pub(super) fn add_kind(&mut self, schema: &Value, shape: &Value) {
        let kind = text(&shape["title"]).to_owned();
        for field in ["spec", "status"] {
            self.visit(
                &schema["properties"][field],
                &shape["properties"][field],
                shape,
                (kind.clone(), field.to_owned()),
            );
        }
    }

    fn visit(&mut self, schema: &Value, shape: &Value, root: &Value, used: (String, String)) {
        let (name, shape) = resolve(shape, root);
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                self.visit(&schema[inner], &shape[inner], root, used.clone());
            }
        }
        let Some(name) = name.filter(|name| is_ours(name)) else { return };
        let Some(properties) = properties(schema) else { return };
        if let Some(known) = self.0.get_mut(name) {
            if !known.uses.contains(&used) {
                known.uses.push(used);
            }
            return;
        }
        let fields = fields(schema, shape, root).collect();
        let description = text(&shape["description"]).to_owned();
        self.0.insert(name.to_owned(), Shared { description, fields, uses: vec![used] });
        for (field, property) in properties {
            self.visit(property, &shape["properties"][field], root, (name.to_owned(), field.clone()));
        }
    }
}

/// The fields of an object. `shape` is the same schema with references to types, `root` contains these types.
pub(super) fn fields<'a>(
    schema: &'a Value,
    shape: &'a Value,
    root: &'a Value,
) -> impl Iterator<Item = Field> + 'a {
    properties(schema).into_iter().flatten().map(move |(name, property)| {
        let (description, default) = without_default(text(&property["description"]));
        Field {
            name: name.clone(),
            type_name: type_name(property, &shape["properties"][name], root),
            constraints: constraints(property),
            is_required: schema["required"].as_array().is_some_and(|all| all.iter().any(|it| it == name)),
            default: match &property["default"] {
                Value::Null | Value::Object(_) => default,
                value => code(&value.to_string()),
            },
            description,
        }
    })
}

/// The properties of an object with known fields; empty for a type without fields.
fn properties(schema: &Value) -> Option<&serde_json::Map<String, Value>> {
    static NONE: std::sync::LazyLock<serde_json::Map<String, Value>> =
        std::sync::LazyLock::new(serde_json::Map::new);
    let is_free = schema.get("additionalProperties").is_some()
        || schema["x-kubernetes-preserve-unknown-fields"] == Value::Bool(true);
    match schema["properties"].as_object() {
        None if schema["type"] == "object" && !is_free => Some(&NONE),
        properties => properties,
    }
}

/// The name and schema of the type that a schema references.
fn resolve<'a>(shape: &'a Value, root: &'a Value) -> (Option<&'a str>, &'a Value) {
    // An optional field is `anyOf` its type and null.
    let alternatives = ["anyOf", "allOf", "oneOf"].into_iter().filter_map(|key| shape[key].as_array());
    let target = std::iter::once(shape)
        .chain(alternatives.flatten())
        .find_map(|shape| shape["$ref"].as_str()?.strip_prefix("#/$defs/"));
    match target {
        Some(name) => (Some(name), &root["$defs"][name]),
        None => (None, shape),
    }
}

fn is_ours(name: &str) -> bool {
    !name.starts_with("io.k8s.")
}

fn type_name(schema: &Value, shape: &Value, root: &Value) -> String {
    let (name, shape) = resolve(shape, root);
    if let Some(name) = name {
        if !is_ours(name) {
            return kubernetes_link(name);
        }
        if properties(schema).is_some() {
            return link(name);
        }
    }
    if schema["items"].is_object() {
        return format!("list of {}", type_name(&schema["items"], &shape["items"], root));
    }
    if schema["additionalProperties"].is_object() {
        let inner = type_name(&schema["additionalProperties"], &shape["additionalProperties"], root);
        return format!("map of string to {inner}");
    }
    match text(&schema["type"]) {
        "object" => "any object".to_owned(),
        "integer" if schema["format"] == "int64" => "integer, 64 bits".to_owned(),
        "string" if schema["format"] == "date-time" => "time".to_owned(),
        "" => "any value".to_owned(),
        simple => simple.to_owned(),
    }
}

/// A link to a Kubernetes type, from a name such as `io.k8s.api.core.v1.Volume`.
fn kubernetes_link(name: &str) -> String {
    let mut parts = name.rsplit('.');
    let (Some(kind), Some(version), Some(group)) = (parts.next(), parts.next(), parts.next()) else {
        return name.to_owned();
    };
    match kind {
        "Quantity" => QUANTITY.to_owned(),
        "IntOrString" => "integer or string".to_owned(),
        _ => format!("[{kind}]({KUBERNETES}#{}-{version}-{group})", kind.to_lowercase()),
    }
}

fn constraints(schema: &Value) -> String {
    let mut all = Vec::new();
    let choices: Vec<_> =
        schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).map(code).collect();
    if !choices.is_empty() {
        all.push(format!("one of {}", choices.join(", ")));
    }
    let bounds = [
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("minItems", "min. items:"),
        ("maxItems", "max. items:"),
        ("maxProperties", "max. entries:"),
        ("maxLength", "max. length:"),
    ];
    let general = [("maxItems", MAX_ITEMS), ("maxProperties", MAX_PROPERTIES), ("maxLength", MAX_LENGTH)];
    for (key, text) in bounds {
        // General bounds are listed once in the introduction.
        let is_general = general.iter().any(|(name, most)| *name == key && schema[key] == *most);
        if let Some(bound) = schema[key].as_f64().filter(|_| !is_general) {
            all.push(format!("{text} {bound}"));
        }
    }
    match schema["minLength"].as_u64() {
        Some(1) => all.push("not empty".to_owned()),
        Some(minimum) => all.push(format!("min. length: {minimum}")),
        None => {}
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        all.push(format!("matches {}", code(pattern)));
    }
    if schema["x-kubernetes-list-map-keys"].is_array() {
        all.push(format!("unique by {}", super::codes(&schema["x-kubernetes-list-map-keys"])));
    }
    all.join(", ")
}

/// Splits a description into the text without the default, and the default.
fn without_default(description: &str) -> (String, String) {
    const MARK: &str = "Defaults to ";
    let flat = description.replace('\n', " ");
    let Some((before, rest)) = flat.split_once(MARK) else { return (flat, String::new()) };
    // A dot within a name is not followed by a space.
    let (default, after) = rest.split_once(". ").unwrap_or((rest.trim_end_matches('.'), ""));
    (format!("{before}{after}").trim_end().to_owned(), default.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_is_split_from_the_description() {
        let of = |text| without_default(text);
        let pair = |text: &str, default: &str| (text.to_owned(), default.to_owned());
        assert_eq!(of("Pulsar tenant. Defaults to public."), pair("Pulsar tenant.", "public"));
        assert_eq!(of("Class.\nDefaults to `a.B`, or so. More."), pair("Class. More.", "`a.B`, or so"));
        assert_eq!(of("Nothing."), pair("Nothing.", ""));
    }

    #[test]
    fn kubernetes_types_are_linked() {
        assert_eq!(
            kubernetes_link("io.k8s.api.core.v1.Volume"),
            format!("[Volume]({KUBERNETES}#volume-v1-core)")
        );
        assert_eq!(
            kubernetes_link("io.k8s.apimachinery.pkg.apis.meta.v1.Condition"),
            format!("[Condition]({KUBERNETES}#condition-v1-meta)")
        );
    }
}
