//! Writes objects as YAML or JSON.

use std::fmt::Write as _;
use std::io::{self, Write};

use clap::ValueEnum;
use function_mesh_api::is_printable;
use serde_json::{Value, json};

/// Output formats of objects.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

/// Why an object could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    #[error("{0}")]
    Stream(#[from] io::Error),
    #[error("{0}")]
    Yaml(#[from] serde_saphyr::SerializeError),
}

/// An object as YAML. Long lines are not folded, so that commands of containers can be copied.
pub(crate) fn yaml(object: &Value) -> Result<String, OutputError> {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    Ok(serde_saphyr::to_string_with_options(object, options)?)
}

/// An object as YAML with long texts folded.
pub(crate) fn yaml_prose(object: &Value) -> Result<String, OutputError> {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: 100 };
    Ok(serde_saphyr::to_string_with_options(object, options)?)
}

/// An object as indented JSON. Characters that are not printable are escaped, also those that JSON allows as they are.
pub(crate) fn json(object: &Value) -> String {
    let plain = format!("{object:#}\n");
    let is_plain = |letter: char| letter == '\n' || is_printable(letter);
    if plain.chars().all(is_plain) {
        return plain;
    }
    let mut text = String::with_capacity(plain.len());
    for letter in plain.chars() {
        if is_plain(letter) {
            text.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            let _ = write!(text, "\\u{unit:04x}");
        }
    }
    text
}

/// The same with sanitized texts, for YAML: of what is not printable it escapes only control characters.
#[cfg(feature = "cluster")]
pub(crate) fn sanitized(object: Value) -> Value {
    match object {
        Value::String(text) => Value::String(function_mesh_api::printable_lines(&text).into_owned()),
        Value::Array(items) => items.into_iter().map(sanitized).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, sanitized(value))).collect(),
        other => other,
    }
}

/// Writes an object.
pub(crate) fn write(out: &mut dyn Write, format: Format, object: &Value) -> Result<(), OutputError> {
    let text = match format {
        Format::Yaml => yaml(object)?,
        Format::Json => json(object),
    };
    Ok(out.write_all(text.as_bytes())?)
}

/// A v1 List of objects.
pub(crate) fn list(items: Vec<Value>) -> Value {
    let mut list = json!({ "apiVersion": "v1", "kind": "List" });
    if let Value::Object(fields) = &mut list {
        fields.insert("items".to_owned(), Value::Array(items));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s15_json_escapes_what_is_not_printable() {
        let object = json!({ "a": "ä\u{1b}\u{9b}2J\u{202e}\u{e0041}\n", "b": ["\u{7f}"] });
        let text = json(&object);
        assert!(text.chars().all(|letter| letter == '\n' || is_printable(letter)), "{text:?}");
        assert!(text.contains("ä") && text.contains("\\u202e\\udb40\\udc41\\n"), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), object);
    }
}
