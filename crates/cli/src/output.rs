//! Writes objects as YAML or JSON.

use std::io::{self, Write};

use clap::ValueEnum;
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

/// An object as indented JSON.
pub(crate) fn json(object: &Value) -> String {
    format!("{object:#}\n")
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
