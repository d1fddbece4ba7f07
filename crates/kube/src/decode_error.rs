//! Decode errors that name fields and positions and never quote content, which may be a secret.

use function_mesh_api::complexity;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::value_path;

/// Longest field path in a message, in bytes.
const MAX_FIELD_LEN: usize = 120;

/// Why an object cannot be decoded.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(String);

impl DecodeError {
    /// The category and position of a JSON error.
    pub fn from_json(error: &serde_json::Error) -> Self {
        Self(format!("{} at {}", category(error), position(error)))
    }

    /// An error in a streamed list.
    pub(crate) fn in_list(category: &str, byte: usize) -> Self {
        Self(format!("{category} at byte {byte}"))
    }

    /// The object has no name or no namespace.
    pub fn unnamed() -> Self {
        Self("object has no name or no namespace".to_owned())
    }

    pub(crate) fn too_large() -> Self {
        Self("object exceeds the size limit of the API server".to_owned())
    }

    pub(crate) fn not_cached() -> Self {
        Self("object is too large for the cache".to_owned())
    }
}

/// Decodes an object.
pub(crate) fn decode<K: DeserializeOwned>(json: &str) -> Result<K, DecodeError> {
    complexity::check(json.as_bytes()).map_err(|error| DecodeError(error.to_string()))?;
    serde_json::from_str(json).map_err(|error| {
        // The object itself decodes.
        if error.to_string().starts_with("trailing characters") {
            return DecodeError("invalid JSON after the object".to_owned());
        }
        let field = value_path::of_error(json, &error);
        match &*function_mesh_api::printable(crate::events::truncate(&field, MAX_FIELD_LEN)) {
            "" => DecodeError::from_json(&error),
            field => DecodeError(format!("{field}: {} at {}", category(&error), position(&error))),
        }
    })
}

fn position(error: &serde_json::Error) -> String {
    format!("line {} column {}", error.line(), error.column())
}

/// The category of a JSON error: serde's own message quotes the value.
fn category(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Io => "failed to read".to_owned(),
        Category::Eof => "unexpected end of JSON".to_owned(),
        Category::Syntax if error.to_string().starts_with("recursion limit") => {
            "nested more than 128 levels deep".to_owned()
        }
        Category::Syntax => "invalid JSON".to_owned(),
        Category::Data => {
            missing_field(&error.to_string()).unwrap_or_else(|| "wrong type or value".to_owned())
        }
    }
}

/// The name of a missing field is safe to quote: it comes from our types, not from the object.
fn missing_field(message: &str) -> Option<String> {
    let (field, _) = message.strip_prefix("missing field `")?.split_once('`')?;
    let is_name = !field.is_empty() && field.chars().all(|letter| letter.is_ascii_alphanumeric());
    is_name.then(|| format!("required field {field} is missing"))
}

/// The message of a client error, without content of a response that cannot be decoded.
pub fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::SerdeError(error) => {
            format!("failed to decode the response: {}", DecodeError::from_json(error))
        }
        kube::Error::FromUtf8(_) => "response is not valid UTF-8".to_owned(),
        error => error.to_string(),
    }
}
