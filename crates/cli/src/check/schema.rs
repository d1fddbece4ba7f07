//! Validates a document against the schema of its kind: types, unknown fields and required fields.

use serde_json::Value;

use crate::input::{Document, Entry, Node, Tree};

use super::{Finding, Severity};

/// Fields of every object, which are not in the schema.
const COMMON_FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];

/// All violations of the schema.
pub(super) fn compare(document: &Document, schema: &Value) -> Vec<Finding> {
    let mut walk = Walk { text: &document.source.text, parents: Vec::new(), findings: Vec::new() };
    let Tree::Map(entries) = &document.node.tree else { return walk.findings };
    for entry in entries.iter().filter(|entry| !COMMON_FIELDS.contains(&entry.key.as_str())) {
        match schema.get("properties").and_then(|fields| fields.get(&entry.key)) {
            Some(field) => walk.value(&entry.node, field, &entry.key, entry),
            None => walk.unknown(entry, &entry.key, schema),
        }
    }
    walk.findings
}

struct Walk<'a> {
    text: &'a str,
    /// Path and schema of the maps around the current value, the outermost first.
    parents: Vec<(String, &'a Value)>,
    findings: Vec<Finding>,
}

impl<'a> Walk<'a> {
    /// Validates a value; `holder` is the map entry that contains it.
    fn value(&mut self, node: &Node, schema: &'a Value, path: &str, holder: &Entry) {
        // Null means absent.
        if node.is_null() {
            return;
        }
        if let Some(message) = self.type_error(node, schema) {
            self.error(node, path, message, holder);
            return;
        }
        if let Some(message) = constraint_error(node, schema) {
            self.error(node, path, message, holder);
        }
        match &node.tree {
            Tree::Scalar(_) => {}
            Tree::List(items) => {
                let Some(schema) = schema.get("items") else { return };
                for (index, item) in items.iter().filter(|item| !item.is_null()).enumerate() {
                    self.value(item, schema, &format!("{path}[{index}]"), holder);
                }
            }
            Tree::Map(entries) => {
                self.parents.push((path.to_owned(), schema));
                self.map(entries, schema, path, holder);
                self.parents.pop();
            }
        }
    }

    fn map(&mut self, entries: &[Entry], schema: &'a Value, path: &str, holder: &Entry) {
        let fields = schema.get("properties");
        let others = schema.get("additionalProperties");
        let is_open = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
            || others == Some(&Value::Bool(true))
            || (fields.is_none() && others.is_none());
        for entry in entries {
            if let Some(field) = fields.and_then(|fields| fields.get(&entry.key)) {
                self.value(&entry.node, field, &format!("{path}.{}", entry.key), entry);
            } else if let Some(other) = others.filter(|other| other.is_object()) {
                self.value(&entry.node, other, &format!("{path}[{:?}]", entry.key), entry);
            } else if !is_open {
                self.unknown(entry, &format!("{path}.{}", entry.key), schema);
            }
        }
        for required in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            let Some(required) = required.as_str() else { continue };
            let is_set = entries.iter().any(|entry| entry.key == required && !entry.node.is_null());
            if !is_set {
                self.findings.push(Finding {
                    severity: Severity::Error,
                    field: format!("{path}.{required}"),
                    message: "required field is missing".to_owned(),
                    at: entries.first().map_or(holder.key_at.clone(), |entry| entry.key_at.clone()),
                });
            }
        }
    }

    fn error(&mut self, node: &Node, path: &str, message: String, holder: &Entry) {
        let at = match node.tree {
            Tree::Scalar(_) => node.at.clone(),
            Tree::List(_) | Tree::Map(_) => holder.key_at.clone(),
        };
        self.findings.push(Finding { severity: Severity::Error, field: path.to_owned(), message, at });
    }

    fn unknown(&mut self, entry: &Entry, path: &str, schema: &Value) {
        let known = schema.get("properties").and_then(Value::as_object);
        if let Some(place) = self.place(&entry.key, schema, path) {
            self.findings.push(Finding {
                severity: Severity::Warning,
                field: path.to_owned(),
                message: format!("unknown field, dropped by the API server; write it as `{place}`"),
                at: entry.key_at.clone(),
            });
            return;
        }
        let closest = known
            .into_iter()
            .flat_map(|fields| fields.keys())
            .map(|name| (similarity(name, &entry.key), name))
            .filter(|(similarity, _)| *similarity > 0.6)
            .max_by(|one, other| one.0.total_cmp(&other.0));
        let advice = closest.map(|(_, name)| format!("; did you mean `{name}`?")).unwrap_or_default();
        self.findings.push(Finding {
            severity: Severity::Warning,
            field: path.to_owned(),
            message: format!("unknown field, dropped by the API server{advice}"),
            at: entry.key_at.clone(),
        });
    }

    /// Where a misplaced field belongs: in a map around it, or in one beside it, under the same name.
    fn place(&self, name: &str, schema: &Value, path: &str) -> Option<String> {
        fn fields(schema: &Value) -> Option<&serde_json::Map<String, Value>> {
            schema.get("properties").and_then(Value::as_object)
        }
        let has = |schema: &Value| fields(schema).is_some_and(|fields| fields.contains_key(name));
        let around = self.parents.iter().rev().skip(1).find(|(_, schema)| has(schema));
        let here = path.strip_suffix(name)?;
        let below = || {
            let holder = fields(schema)?.iter().find(|(_, inner)| has(inner)).map(|(field, _)| field)?;
            Some(format!("{here}{holder}.{name}"))
        };
        around.map(|(path, _)| format!("{path}.{name}")).or_else(below)
    }

    /// The error for a value of a wrong type, with a remedy.
    fn type_error(&self, node: &Node, schema: &Value) -> Option<String> {
        // A port, or a quantity, which has no type.
        let is_set = |key: &str| schema.get(key) == Some(&Value::Bool(true));
        let is_quantity = is_set("x-kubernetes-preserve-unknown-fields") && schema.get("type").is_none();
        if is_set("x-kubernetes-int-or-string") || is_quantity {
            let fits = matches!(&node.tree, Tree::Scalar(Value::String(_) | Value::Number(_)));
            return (!fits).then(|| format!("must be a string or a number, got {}", type_of(node)));
        }
        let expected = schema.get("type").and_then(Value::as_str)?;
        let fits = match (expected, &node.tree) {
            ("object", Tree::Map(_))
            | ("array", Tree::List(_))
            | ("string", Tree::Scalar(Value::String(_)))
            | ("boolean", Tree::Scalar(Value::Bool(_)))
            | ("number", Tree::Scalar(Value::Number(_))) => true,
            ("integer", Tree::Scalar(Value::Number(number))) => {
                return self.integer_error(node, number, schema);
            }
            ("object" | "array" | "string" | "boolean" | "number" | "integer", _) => false,
            _ => true,
        };
        if fits {
            return None;
        }
        let expected = match expected {
            "object" => "a map",
            "array" => "a list",
            "string" => "a string",
            "boolean" => "true or false",
            "number" => "a number",
            _ => "an integer",
        };
        let advice = match (&node.tree, expected) {
            (Tree::Scalar(Value::Bool(_) | Value::Number(_)), "a string") => {
                format!("; quote it: \"{}\"", self.source_text(node))
            }
            (Tree::Scalar(_), "a list") => format!("; use [{}]", self.source_text(node)),
            (Tree::Scalar(Value::String(text)), "a number" | "an integer" | "true or false")
                if !matches!(crate::input::resolve_scalar(text), Value::String(_)) =>
            {
                "; remove the quotes".to_owned()
            }
            _ => String::new(),
        };
        Some(format!("must be {expected}, got {}{advice}", type_of(node)))
    }

    fn integer_error(&self, node: &Node, number: &serde_json::Number, schema: &Value) -> Option<String> {
        let Some(whole) = number.as_i64() else {
            return Some(format!("must be an integer, got {}", self.source_text(node)));
        };
        let is_short = schema.get("format").and_then(Value::as_str) == Some("int32");
        (is_short && i32::try_from(whole).is_err()).then(|| format!("must be {} or less", i32::MAX))
    }

    /// The source text of a scalar.
    fn source_text(&self, node: &Node) -> String {
        let Tree::Scalar(value) = &node.tree else { return String::new() };
        match self.text.get(node.at.clone()) {
            Some(text) if !text.is_empty() && !text.contains('\n') => text.to_owned(),
            _ => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        }
    }
}

/// The error for a value that violates a constraint of its type.
fn constraint_error(node: &Node, schema: &Value) -> Option<String> {
    let Tree::Scalar(value) = &node.tree else { return None };
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let allowed: Vec<_> = allowed.iter().filter_map(Value::as_str).collect();
        return Some(format!("must be one of {}", allowed.join(", ")));
    }
    let minimum = schema.get("minimum").and_then(Value::as_f64);
    if let (Some(minimum), Some(number)) = (minimum, value.as_f64())
        && number < minimum
    {
        return Some(format!("must be {minimum} or more"));
    }
    let length = schema.get("minLength").and_then(Value::as_u64).unwrap_or_default();
    (length > 0 && value.as_str() == Some("")).then(|| "must not be empty".to_owned())
}

fn type_of(node: &Node) -> &'static str {
    match &node.tree {
        Tree::Map(_) => "a map",
        Tree::List(_) => "a list",
        Tree::Scalar(Value::Bool(_)) => "a boolean",
        Tree::Scalar(Value::Number(_)) => "a number",
        Tree::Scalar(_) => "a string",
    }
}

/// Similarity of two names from 0 to 1, ignoring case.
fn similarity(one: &str, other: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(&one.to_lowercase(), &other.to_lowercase())
}
