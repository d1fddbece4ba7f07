//! What server-side apply is told, in a form that arrives.

use std::fmt::Write;

use kube::api::Patch;
use kube::core::request::Error;
use serde::Serialize;
use serde_json::value::RawValue;

/// The patch of a server-side apply. The API server reads it as YAML, where some letters end a line or are not
/// allowed, between quotes too; JSON has a second way to write each of them, which means the same to both.
pub(crate) fn ssa_patch(body: &impl Serialize) -> Result<Patch<Box<RawValue>>, kube::Error> {
    let plain =
        serde_json::to_string(body).map(|text| escape_line_breaks(&text)).and_then(RawValue::from_string);
    plain.map(Patch::Apply).map_err(|error| kube::Error::BuildRequest(Error::SerializeBody(error)))
}

/// These letters occur inside of texts only: JSON allows them nowhere else.
fn escape_line_breaks(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                _ = write!(plain, "\\u{:04x}", u32::from(letter));
            }
            _ => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_yaml_takes_for_the_end_of_a_line_is_written_in_another_way() {
        let body = json!({ "a\u{85} b": "c\u{2028} d\u{2029} e\u{7f}", "f": "\u{feff}\u{ffff} \\ \" Zürich \u{1f680}\n" });
        let Patch::Apply(written) = ssa_patch(&body).expect("it is JSON") else { panic!("another patch") };
        let expected = "{\"a\\u0085 b\":\"c\\u2028 d\\u2029 e\\u007f\",\"f\":\"\\ufeff\\uffff \\\\ \\\" Zürich \u{1f680}\\n\"}";
        assert_eq!(written.get(), expected);
        assert_eq!(serde_json::from_str::<Value>(written.get()).expect("it is JSON still"), body);
    }
}
