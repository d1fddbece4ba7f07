//! Bodies of server-side apply, escaped for the API server's YAML parser.

use std::fmt::Write;

use kube::api::Patch;
use kube::core::request::Error;
use serde::Serialize;
use serde_json::value::RawValue;

/// The patch of a server-side apply. The API server parses it as YAML, which takes some characters for line breaks or
/// rejects them, even within quotes. Their JSON escapes mean the same to both parsers.
pub(crate) fn ssa_patch(body: &impl Serialize) -> Result<Patch<Box<RawValue>>, kube::Error> {
    let escaped =
        serde_json::to_string(body).map(|text| escape_line_breaks(&text)).and_then(RawValue::from_string);
    escaped.map(Patch::Apply).map_err(|error| kube::Error::BuildRequest(Error::SerializeBody(error)))
}

/// Outside of strings JSON allows none of these characters, so a replacement in the whole text is safe.
fn escape_line_breaks(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                _ = write!(escaped, "\\u{:04x}", u32::from(character));
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn escapes_yaml_line_breaks() {
        let body = json!({ "a\u{85} b": "c\u{2028} d\u{2029} e\u{7f}", "f": "\u{feff}\u{ffff} \\ \" Zürich \u{1f680}\n" });
        let Patch::Apply(written) = ssa_patch(&body).expect("valid JSON") else { panic!("another patch") };
        let expected = "{\"a\\u0085 b\":\"c\\u2028 d\\u2029 e\\u007f\",\"f\":\"\\ufeff\\uffff \\\\ \\\" Zürich \u{1f680}\\n\"}";
        assert_eq!(written.get(), expected);
        assert_eq!(serde_json::from_str::<Value>(written.get()).expect("valid JSON"), body);
    }
}
