//! A document beside the schema of its kind: wrong types, unknown fields, missing ones.

use serde_json::Value;

use crate::input::{Document, Entry, Node, Tree};

use super::{Finding, Severity};

/// Fields of every object that the API server knows without a schema.
const ENVELOPE: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];

/// Everything in which a document differs from the schema of its kind.
pub(super) fn compare(document: &Document, schema: &Value) -> Vec<Finding> {
    let mut walk = Walk { text: &document.source.text, findings: Vec::new() };
    let Tree::Map(entries) = &document.node.tree else { return walk.findings };
    for entry in entries.iter().filter(|entry| !ENVELOPE.contains(&entry.key.as_str())) {
        match schema.get("properties").and_then(|fields| fields.get(&entry.key)) {
            Some(field) => walk.value(&entry.node, field, &entry.key, entry),
            None => walk.unknown(entry, &entry.key, schema),
        }
    }
    walk.findings
}

struct Walk<'a> {
    text: &'a str,
    findings: Vec<Finding>,
}

impl Walk<'_> {
    /// A value; `holder` is the entry that it is the value of, or stands in.
    fn value(&mut self, node: &Node, schema: &Value, path: &str, holder: &Entry) {
        // Null stands for absent everywhere.
        if node.is_null() {
            return;
        }
        if let Some(message) = self.wrong_type(node, schema) {
            self.fault(node, path, message, holder);
            return;
        }
        if let Some(message) = limits(node, schema) {
            self.fault(node, path, message, holder);
        }
        match &node.tree {
            Tree::Scalar(_) => {}
            Tree::List(items) => {
                let Some(schema) = schema.get("items") else { return };
                for (index, item) in items.iter().filter(|item| !item.is_null()).enumerate() {
                    self.value(item, schema, &format!("{path}[{index}]"), holder);
                }
            }
            Tree::Map(entries) => self.map(entries, schema, path, holder),
        }
    }

    fn map(&mut self, entries: &[Entry], schema: &Value, path: &str, holder: &Entry) {
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
        for needed in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            let Some(needed) = needed.as_str() else { continue };
            let is_given = entries.iter().any(|entry| entry.key == needed && !entry.node.is_null());
            if !is_given {
                self.findings.push(Finding {
                    severity: Severity::Error,
                    field: format!("{path}.{needed}"),
                    message: "is needed here and is missing".to_owned(),
                    at: entries.first().map_or(holder.key_at.clone(), |entry| entry.key_at.clone()),
                });
            }
        }
    }

    fn fault(&mut self, node: &Node, path: &str, message: String, holder: &Entry) {
        let at = match node.tree {
            Tree::Scalar(_) => node.at.clone(),
            Tree::List(_) | Tree::Map(_) => holder.key_at.clone(),
        };
        self.findings.push(Finding { severity: Severity::Error, field: path.to_owned(), message, at });
    }

    fn unknown(&mut self, entry: &Entry, path: &str, schema: &Value) {
        let known = schema.get("properties").and_then(Value::as_object);
        let closest = known
            .into_iter()
            .flat_map(|fields| fields.keys())
            .map(|name| (likeness(name, &entry.key), name))
            .filter(|(likeness, _)| *likeness > 0.6)
            .max_by(|one, other| one.0.total_cmp(&other.0));
        let advice = closest.map(|(_, name)| format!("; did you mean `{name}`?")).unwrap_or_default();
        self.findings.push(Finding {
            severity: Severity::Warning,
            field: path.to_owned(),
            message: format!("there is no such field, and the cluster drops it{advice}"),
            at: entry.key_at.clone(),
        });
    }

    /// What is wrong with the type of a value, and what to write instead.
    fn wrong_type(&self, node: &Node, schema: &Value) -> Option<String> {
        if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
            let fits = matches!(&node.tree, Tree::Scalar(Value::String(_) | Value::Number(_)));
            return (!fits).then(|| format!("must be a text or a number, and this is {}", what_is(node)));
        }
        let expected = schema.get("type").and_then(Value::as_str)?;
        let fits = match (expected, &node.tree) {
            ("object", Tree::Map(_))
            | ("array", Tree::List(_))
            | ("string", Tree::Scalar(Value::String(_)))
            | ("boolean", Tree::Scalar(Value::Bool(_)))
            | ("number", Tree::Scalar(Value::Number(_))) => true,
            ("integer", Tree::Scalar(Value::Number(number))) => {
                return self.wrong_integer(node, number, schema);
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
            "string" => "a text",
            "boolean" => "true or false",
            "number" => "a number",
            _ => "a whole number",
        };
        let advice = match (&node.tree, expected) {
            (Tree::Scalar(Value::Bool(_) | Value::Number(_)), "a text") => {
                format!("; put it in quotes: \"{}\"", self.written(node))
            }
            (Tree::Scalar(_), "a list") => format!("; write [{}]", self.written(node)),
            (Tree::Scalar(Value::String(text)), "a number" | "a whole number" | "true or false")
                if !matches!(crate::input::meaning(text), Value::String(_)) =>
            {
                "; take the quotes away".to_owned()
            }
            _ => String::new(),
        };
        Some(format!("must be {expected}, and this is {}{advice}", what_is(node)))
    }

    fn wrong_integer(&self, node: &Node, number: &serde_json::Number, schema: &Value) -> Option<String> {
        let Some(whole) = number.as_i64() else {
            return Some(format!("must be a whole number, and this is {}", self.written(node)));
        };
        let is_short = schema.get("format").and_then(Value::as_str) == Some("int32");
        (is_short && i32::try_from(whole).is_err()).then(|| format!("must be {} or less", i32::MAX))
    }

    /// A value in the words of its author.
    fn written(&self, node: &Node) -> String {
        let Tree::Scalar(value) = &node.tree else { return String::new() };
        match self.text.get(node.at.clone()) {
            Some(text) if !text.is_empty() && !text.contains('\n') => text.to_owned(),
            _ => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        }
    }
}

/// What is wrong with a value of the right type.
fn limits(node: &Node, schema: &Value) -> Option<String> {
    let Tree::Scalar(value) = &node.tree else { return None };
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let allowed: Vec<_> = allowed.iter().filter_map(Value::as_str).collect();
        return Some(format!("must be one of {}", allowed.join(", ")));
    }
    let least = schema.get("minimum").and_then(Value::as_f64);
    if let (Some(least), Some(number)) = (least, value.as_f64())
        && number < least
    {
        return Some(format!("must be {least} or more"));
    }
    let length = schema.get("minLength").and_then(Value::as_u64).unwrap_or_default();
    (length > 0 && value.as_str() == Some("")).then(|| "must not be empty".to_owned())
}

fn what_is(node: &Node) -> &'static str {
    match &node.tree {
        Tree::Map(_) => "a map",
        Tree::List(_) => "a list",
        Tree::Scalar(Value::Bool(_)) => "a boolean to YAML",
        Tree::Scalar(Value::Number(_)) => "a number",
        Tree::Scalar(_) => "a text",
    }
}

/// How alike two names are, from 0 to 1; capitals do not count.
fn likeness(one: &str, other: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(&one.to_lowercase(), &other.to_lowercase())
}
