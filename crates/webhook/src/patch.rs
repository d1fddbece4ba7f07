//! The minimal JSON patch that applies defaults to an object.
//!
//! Users diff objects with files and apply them again, so the patch touches as little as possible: fields that
//! defaulting adds or replaces, and values that the schema rejects although their meaning is clear, which are fractions
//! as limits of a vertical autoscaler and most nulls. Everything else stays as written: amounts (`cpu: 0.5`), unknown
//! fields, the order of lists, and free-form configuration down to the last digit of a number, since the patch does not
//! mention it.
//!
//! Three texts are walked side by side, one level at a time: the object as written, as deserialized, and with defaults.
//! The patch is written as text too.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use function_mesh_api::validate::{FieldPath, Violation};
use serde_json::{Number, Value};

use crate::AdmissionKind;
use crate::json_eq::{Items, Members, json_eq, scalar};
use crate::review::PartialObject;

/// Largest patch. A mesh of two thousand components needs less than half.
const MAX_PATCH: usize = 4 * 1024 * 1024;

/// An object with defaults.
#[derive(Debug)]
pub(crate) struct Defaulted<K> {
    pub(crate) object: K,
    /// The JSON patch in base64; None when no default applies.
    pub(crate) patch: Option<String>,
}

/// Applies defaults to an object. Fails when it cannot be decoded as its kind.
pub(crate) fn apply_defaults<K: AdmissionKind>(raw: &str) -> Result<Defaulted<K>, Violation> {
    let (object, patch) = defaulted::<K>(raw)?;
    Ok(Defaulted { object, patch: patch.map(|patch| STANDARD.encode(patch)) })
}

/// The JSON patch that applies defaults to an object. Fails when it cannot be decoded as its kind.
pub fn defaulting_patch<K: AdmissionKind>(raw: &str) -> Result<String, Violation> {
    defaulted::<K>(raw).map(|(_, patch)| patch.unwrap_or_else(|| "[]".to_owned()))
}

fn defaulted<K: AdmissionKind>(raw: &str) -> Result<(K, Option<String>), Violation> {
    let mut object: K = function_mesh_api::parse_text(raw)?;
    let read = to_text(&object)?;
    object.apply_defaults();
    let patch = diff(raw, &read, &to_text(&object)?)?;
    Ok((object, patch))
}

fn to_text<K: AdmissionKind>(object: &K) -> Result<String, Violation> {
    serde_json::to_string(object).map_err(|error| violation(error.to_string()))
}

fn violation(message: String) -> Violation {
    Violation { field: FieldPath::root("spec"), message }
}

/// The patch to the spec of `raw`, given the object as deserialized (`read`) and with defaults (`complete`).
fn diff(raw: &str, read: &str, complete: &str) -> Result<Option<String>, Violation> {
    fn spec<'a>(text: &'a str) -> Option<&'a str> {
        serde_json::from_str::<PartialObject<'a>>(text).ok()?.spec.map(serde_json::value::RawValue::get)
    }
    let mut writer = Writer::default();
    if let (true, Some(complete)) = (raw.trim_start().starts_with('{'), spec(complete)) {
        // A null spec, which `spec` treats as absent, must be replaced, not extended.
        let written = Members::of(raw).and_then(|members| members.get("spec"));
        writer.member("spec", written, spec(read), complete);
    }
    if writer.is_full {
        return Err(violation(format!(
            "defaulting needs a patch of more than {MAX_PATCH} bytes; remove nulls, or split the object"
        )));
    }
    Ok((!writer.patch.is_empty()).then(|| format!("[{}]", writer.patch)))
}

#[derive(Default)]
struct Writer {
    /// Current position as a JSON pointer.
    at: String,
    patch: String,
    is_full: bool,
}

impl Writer {
    fn write(&mut self, operation: &str, value: Option<&str>) {
        // Each operation repeats the whole path, so long paths make a large patch.
        if self.patch.len() + 2 * self.at.len() + value.map_or(0, str::len) > MAX_PATCH {
            self.is_full = true;
            return;
        }
        let separator = if self.patch.is_empty() { "" } else { "," };
        let path = Value::String(self.at.clone());
        self.patch.push_str(separator);
        // Writing to a String does not fail.
        let _ = write!(self.patch, r#"{{"op":"{operation}","path":{path}"#);
        if let Some(value) = value {
            self.patch.push_str(r#","value":"#);
            self.patch.push_str(value);
        }
        self.patch.push('}');
    }

    fn inside(&mut self, token: &str, write: impl FnOnce(&mut Self)) {
        if self.is_full {
            return;
        }
        let before = self.at.len();
        self.at.push('/');
        self.at.push_str(&token.replace('~', "~0").replace('/', "~1"));
        write(self);
        self.at.truncate(before);
    }

    /// A field of the object with defaults.
    fn member(&mut self, name: &str, raw: Option<&str>, read: Option<&str>, complete: &str) {
        let is_read = read.is_some_and(|read| json_eq(read, complete));
        self.inside(name, |here| match raw {
            // Deserialization fills required fields with empty values. They are no defaults: the schema must report
            // the missing field.
            None if is_read => {}
            None => here.write("add", Some(complete)),
            Some("null") if complete == "null" => {}
            Some("null") if is_read => here.write("remove", None),
            Some("null") => here.write("replace", Some(complete)),
            Some(raw) => here.value(raw, read.unwrap_or("null"), complete),
        });
    }

    fn value(&mut self, raw: &str, read: &str, complete: &str) {
        if raw == complete || read == complete && is_unchanged_by_reading(raw) {
            return;
        }
        let kind = |text: &str| text.as_bytes().first().copied();
        match (kind(raw), kind(read), kind(complete)) {
            (Some(b'{'), Some(b'{'), Some(b'{')) => self.object(raw, read, complete),
            (Some(b'['), Some(b'['), Some(b'[')) => self.array(raw, read, complete),
            // The schema accepts numbers as quantities. Changing `cpu: 1` would only cause a permanent diff to the user's
            // file, and a conflict for another client that applies it. The limits of a vertical autoscaler are integers
            // or texts.
            (Some(b'-' | b'0'..=b'9'), Some(b'"'), Some(b'"')) if read == complete => {
                let is_limit = ["/minAllowed/", "/maxAllowed/"].iter().any(|part| self.at.contains(part));
                if is_limit && is_fraction(raw) {
                    self.write("replace", Some(complete));
                }
            }
            _ if json_eq(read, complete) || json_eq(raw, complete) => {}
            _ => self.write("replace", Some(complete)),
        }
    }

    fn object(&mut self, raw: &str, read: &str, complete: &str) {
        let (Some(raw), Some(read), Some(complete)) =
            (Members::of(raw), Members::of(read), Members::of(complete))
        else {
            return;
        };
        for (name, complete) in complete.iter() {
            self.member(name, raw.get(name), read.get(name), complete);
        }
        for (name, _) in raw.iter().filter(|(name, text)| *text == "null" && complete.get(name).is_none()) {
            self.inside(name, |here| here.write("remove", None));
        }
    }

    /// Items are matched by index, not counting nulls, which deserialization drops.
    fn array(&mut self, raw_text: &str, read_text: &str, complete_text: &str) {
        let (Some(Items(raw)), Some(Items(read)), Some(Items(complete))) =
            (Items::of(raw_text), Items::of(read_text), Items::of(complete_text))
        else {
            return;
        };
        if read.len() != complete.len() {
            return self.write("replace", Some(complete_text));
        }
        let (nulls, items): (Vec<_>, Vec<_>) =
            raw.into_iter().enumerate().partition(|(_, item)| *item == "null");
        if items.len() != read.len() {
            return;
        }
        for ((index, raw), (read, complete)) in items.into_iter().zip(read.iter().zip(&complete)) {
            self.inside(&index.to_string(), |here| here.value(raw, read, complete));
        }
        // From the end, so that removals do not shift the indices of later ones.
        for (index, _) in nulls.into_iter().rev() {
            self.inside(&index.to_string(), |here| here.write("remove", None));
        }
    }
}

/// Whether deserialization keeps this value as it is: it has no nulls and no fractions.
fn is_unchanged_by_reading(raw: &str) -> bool {
    !raw.contains("null") && !has_fraction(raw)
}

/// Whether a dot or an exponent follows a digit, which holds for all fractions and some strings.
fn has_fraction(raw: &str) -> bool {
    raw.as_bytes().windows(2).any(|pair| matches!(pair, [b'0'..=b'9', b'.' | b'e' | b'E']))
        || raw.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 18)
}

fn is_fraction(raw: &str) -> bool {
    scalar(raw).as_ref().and_then(Value::as_number).is_some_and(Number::is_f64)
}
