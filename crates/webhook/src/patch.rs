//! The smallest change that completes an object.
//!
//! An object is written by its author, who will compare it with a file, apply it again, or find it in a diff.
//! So little is changed: what defaulting adds or replaces, and what the schema refuses although its meaning is
//! clear, which is a fraction for a quantity (`cpu: 0.5`), and null in most places. Everything else stays as it
//! was written: fields that we do not know, the order of lists, and the user's own configuration, down to the
//! last digit of a number, since a patch does not even mention it.
//!
//! Three texts are walked side by side, one level at a time: the object as it was written, as it was read, and as it
//! became complete. The patch is written as text, too.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use function_mesh_api::validate::{FieldPath, Violation};
use serde_json::{Number, Value};

use crate::Admitted;
use crate::review::Outline;
use crate::same::{Items, Members, same_text, scalar};

/// Largest patch. One that completes a mesh of two thousand components takes less than half.
const MAX_PATCH: usize = 4 * 1024 * 1024;

/// An object that was completed.
#[derive(Debug)]
pub(crate) struct Completed<K> {
    pub(crate) object: K,
    /// What completes it, in base64. None when nothing is missing.
    pub(crate) patch: Option<String>,
}

/// Completes an object of this kind. Fails when it cannot be read as one.
pub(crate) fn complete<K: Admitted>(raw: &str) -> Result<Completed<K>, Violation> {
    let (object, patch) = completed::<K>(raw)?;
    Ok(Completed { object, patch: patch.map(|patch| STANDARD.encode(patch)) })
}

/// What completes an object of this kind, as the text of a JSON patch. Fails when it cannot be read as one.
pub fn completion<K: Admitted>(raw: &str) -> Result<String, Violation> {
    completed::<K>(raw).map(|(_, patch)| patch.unwrap_or_else(|| "[]".to_owned()))
}

fn completed<K: Admitted>(raw: &str) -> Result<(K, Option<String>), Violation> {
    let mut object: K = function_mesh_api::parse_text(raw)?;
    let read = text(&object)?;
    object.complete();
    let patch = patch(raw, &read, &text(&object)?)?;
    Ok((object, patch))
}

fn text<K: Admitted>(object: &K) -> Result<String, Violation> {
    serde_json::to_string(object).map_err(|error| fault(error.to_string()))
}

fn fault(message: String) -> Violation {
    Violation { field: FieldPath::root("spec"), message }
}

/// The change to the specification of `raw`, given how it was `read` and what became of that by defaulting.
fn patch(raw: &str, read: &str, complete: &str) -> Result<Option<String>, Violation> {
    fn spec<'a>(text: &'a str) -> Option<&'a str> {
        serde_json::from_str::<Outline<'a>>(text).ok()?.spec.map(serde_json::value::RawValue::get)
    }
    let mut writer = Writer::default();
    if let (true, Some(complete)) = (raw.trim_start().starts_with('{'), spec(complete)) {
        // As a null, which `spec` takes for absent, it must be replaced, not added to.
        let written = Members::of(raw).and_then(|members| members.get("spec"));
        writer.member("spec", written, spec(read), complete);
    }
    if writer.is_full {
        return Err(fault(format!(
            "completing the object takes a patch of more than {MAX_PATCH} bytes; leave out nulls, and split the object"
        )));
    }
    Ok((!writer.patch.is_empty()).then(|| format!("[{}]", writer.patch)))
}

#[derive(Default)]
struct Writer {
    /// Where the writer is, as a JSON pointer.
    at: String,
    patch: String,
    is_full: bool,
}

impl Writer {
    fn write(&mut self, operation: &str, value: Option<&str>) {
        // Each operation names its whole path, so a long one repeated is a large patch.
        if self.patch.len() + 2 * self.at.len() + value.map_or(0, str::len) > MAX_PATCH {
            self.is_full = true;
            return;
        }
        let separator = if self.patch.is_empty() { "" } else { "," };
        let path = Value::String(self.at.clone());
        self.patch.push_str(separator);
        // Writing to a text does not fail.
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

    /// A field that the complete object has.
    fn member(&mut self, name: &str, raw: Option<&str>, read: Option<&str>, complete: &str) {
        let is_read = read.is_some_and(|read| same_text(read, complete));
        self.inside(name, |here| match raw {
            // What reading alone brings forth, such as an empty text for a required field, is no default.
            // The schema is to say that it is missing.
            None if is_read => {}
            None => here.write("add", Some(complete)),
            Some("null") if complete == "null" => {}
            Some("null") if is_read => here.write("remove", None),
            Some("null") => here.write("replace", Some(complete)),
            Some(raw) => here.value(raw, read.unwrap_or("null"), complete),
        });
    }

    fn value(&mut self, raw: &str, read: &str, complete: &str) {
        if raw == complete || read == complete && is_settled(raw) {
            return;
        }
        let kind = |text: &str| text.as_bytes().first().copied();
        match (kind(raw), kind(read), kind(complete)) {
            (Some(b'{'), Some(b'{'), Some(b'{')) => self.object(raw, read, complete),
            (Some(b'['), Some(b'['), Some(b'[')) => self.array(raw, read, complete),
            // A whole number is a quantity to the schema too; changing `cpu: 1` would only set the object apart
            // from its author's file, for ever.
            (Some(b'-' | b'0'..=b'9'), Some(b'"'), Some(b'"')) if is_fraction(raw) => {
                self.write("replace", Some(complete));
            }
            _ if same_text(read, complete) || same_text(raw, complete) => {}
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

    /// Items are found by their place, for which nulls do not count: reading drops them.
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
        // From the end, so that no removal moves what another one means.
        for (index, _) in nulls.into_iter().rev() {
            self.inside(&index.to_string(), |here| here.write("remove", None));
        }
    }
}

/// Whether nothing is in it that reading changes: then it need not be looked into where nothing was completed.
fn is_settled(raw: &str) -> bool {
    !raw.contains("null") && !has_fraction(raw)
}

/// Whether a point or an exponent follows a digit, which is so in every fraction (and in some texts).
fn has_fraction(raw: &str) -> bool {
    raw.as_bytes().windows(2).any(|pair| matches!(pair, [b'0'..=b'9', b'.' | b'e' | b'E']))
        || raw.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 18)
}

fn is_fraction(raw: &str) -> bool {
    scalar(raw).as_ref().and_then(Value::as_number).is_some_and(Number::is_f64)
}
