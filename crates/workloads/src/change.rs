//! A change of a pod template as text: one line for each field, without values that may contain secrets.

use function_mesh_api::printable;
use serde_json::Value;

use crate::diff::{Difference, Step};
use crate::redact;

/// Longest value in a line, in bytes.
const MAX_VALUE_LEN: usize = 120;
/// Fields whose values may contain secrets: commands and variables contain configuration, headers of probes and hooks
/// may contain credentials.
const SENSITIVE_FIELDS: [&str; 5] = ["command", "args", "env", "annotations", "httpHeaders"];

/// Describes a difference in a line: what the live value becomes.
pub fn line(difference: &Difference) -> String {
    let Difference { path, live, wanted } = difference;
    let is_sensitive = path
        .0
        .iter()
        .any(|step| matches!(step, Step::Field(name) if SENSITIVE_FIELDS.contains(&name.as_str())));
    let text = |value: &Option<Value>| {
        let value = value.as_ref().map(|value| redact::value_at(path, &redact_fields(value)).to_string());
        value.map_or_else(|| "nothing".to_owned(), |value| truncate(&value, MAX_VALUE_LEN).to_owned())
    };
    let line = if is_sensitive {
        format!("{path}: changes")
    } else {
        format!("{path}: {} becomes {}", text(live), text(wanted))
    };
    printable(&line).into_owned()
}

/// A value with redacted fields: the change may be a whole container or probe.
fn redact_fields(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                let is_sensitive = SENSITIVE_FIELDS.contains(&name.as_str());
                let value = if is_sensitive {
                    Value::String(redact::HIDDEN.to_owned())
                } else {
                    redact_fields(value)
                };
                (name.clone(), value)
            };
            Value::Object(fields.iter().map(field).collect())
        }
        Value::Array(items) => items.iter().map(redact_fields).collect(),
        other => other.clone(),
    }
}

/// The beginning of a text, at most this many bytes.
fn truncate(text: &str, max_len: usize) -> &str {
    text.get(..text.floor_char_boundary(max_len.min(text.len()))).unwrap_or_default()
}
