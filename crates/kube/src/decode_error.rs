//! Why something cannot be decoded, in words that quote nothing of it: fields and positions only.

use function_mesh_api::complexity;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// Longest path of a field that is quoted.
const LONGEST_FIELD: usize = 120;

/// Why an object cannot be decoded.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(String);

impl DecodeError {
    /// What is wrong with JSON, without a word of its content.
    pub fn of_json(error: &serde_json::Error) -> Self {
        Self(format!("{} at {}", fault(error), place(error)))
    }

    /// What is wrong with a list that arrives piece by piece.
    pub(crate) fn of_list(fault: &str, byte: usize) -> Self {
        Self(format!("{fault} at byte {byte}"))
    }

    /// The object has no name.
    pub fn unnamed() -> Self {
        Self("it has no name or no namespace".to_owned())
    }

    pub(crate) fn too_large() -> Self {
        Self("it is larger than any object that the API server stores".to_owned())
    }

    pub(crate) fn not_held() -> Self {
        Self("it is too large to be held in memory".to_owned())
    }
}

/// Decodes an object.
pub(crate) fn decode<K: DeserializeOwned>(json: &str) -> Result<K, DecodeError> {
    complexity::check(json.as_bytes()).map_err(|error| DecodeError(error.to_string()))?;
    serde_json::from_str(json).map_err(|_| {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        match serde_path_to_error::deserialize::<_, K>(&mut deserializer) {
            Err(error) => {
                let field = error.path().to_string();
                let error = error.into_inner();
                let field =
                    function_mesh_api::printable(crate::events::clip(&field, LONGEST_FIELD)).into_owned();
                match field.as_str() {
                    "." => DecodeError::of_json(&error),
                    field => DecodeError(format!("{field}: {} at {}", fault(&error), place(&error))),
                }
            }
            // What follows the object is wrong.
            Ok(_) => DecodeError("invalid JSON after the object".to_owned()),
        }
    })
}

fn place(error: &serde_json::Error) -> String {
    format!("line {} column {}", error.line(), error.column())
}

/// What is wrong. serde's own words quote the value.
fn fault(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Io => "reading failed".to_owned(),
        Category::Eof => "JSON ends early".to_owned(),
        Category::Syntax if error.to_string().starts_with("recursion limit") => {
            "more than 128 levels of lists and objects".to_owned()
        }
        Category::Syntax => "invalid JSON".to_owned(),
        Category::Data => missing(&error.to_string()).unwrap_or_else(|| "wrong type or value".to_owned()),
    }
}

/// A required field is named in our types, not in the object.
fn missing(words: &str) -> Option<String> {
    let (field, _) = words.strip_prefix("missing field `")?.split_once('`')?;
    let is_name = !field.is_empty() && field.chars().all(|letter| letter.is_ascii_alphanumeric());
    is_name.then(|| format!("required field {field} is missing"))
}

/// What a request failed of, without a word of an answer that could not be decoded.
pub fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::SerdeError(error) => {
            format!("cannot decode the answer: {}", DecodeError::of_json(error))
        }
        kube::Error::FromUtf8(_) => "the answer is not UTF-8".to_owned(),
        error => error.to_string(),
    }
}
