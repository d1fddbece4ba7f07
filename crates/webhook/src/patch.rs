//! The smallest change that completes an object.
//!
//! An object is written by its author, who will compare it with a file, apply it again, or find it in a diff.
//! So little is changed: what defaulting adds or replaces, and what the schema refuses although its meaning is
//! clear, which is a fraction for a quantity (`cpu: 0.5`), and null in most places. Everything else stays as it
//! was written: fields that we do not know, the order of lists, and the user's own configuration, down to the
//! last digit of a number, since a patch does not even mention it.

use function_mesh_api::validate::Violation;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation};
use serde_json::{Map, Value};

use crate::Admitted;

/// What completes an object of this kind. Fails when the object cannot be read as one.
pub fn completion<K: Admitted>(raw: &Value) -> Result<Patch, Violation> {
    let mut typed: K = function_mesh_api::parse(raw.clone())?;
    let read = value(&typed)?;
    typed.complete();
    Ok(patch(raw, &read, &value(&typed)?))
}

fn value<K: Admitted>(object: &K) -> Result<Value, Violation> {
    let field = || function_mesh_api::validate::FieldPath::root("spec");
    serde_json::to_value(object).map_err(|error| Violation { field: field(), message: error.to_string() })
}

/// The change to the specification of `raw`, given how it was `read` and what became of that by defaulting.
pub fn patch(raw: &Value, read: &Value, complete: &Value) -> Patch {
    let mut writer = Writer::default();
    if let (Some(raw), Some(complete)) = (raw.as_object(), complete.get("spec")) {
        writer.member("spec", raw.get("spec"), read.get("spec"), complete);
    }
    Patch(writer.operations)
}

#[derive(Default)]
struct Writer {
    at: PointerBuf,
    operations: Vec<PatchOperation>,
}

impl Writer {
    fn add(&mut self, value: Value) {
        self.operations.push(PatchOperation::Add(AddOperation { path: self.at.clone(), value }));
    }

    fn replace(&mut self, value: Value) {
        self.operations.push(PatchOperation::Replace(ReplaceOperation { path: self.at.clone(), value }));
    }

    fn remove(&mut self) {
        self.operations.push(PatchOperation::Remove(RemoveOperation { path: self.at.clone() }));
    }

    fn inside(&mut self, token: &str, write: impl FnOnce(&mut Self)) {
        self.at.push_back(token);
        write(self);
        self.at.pop_back();
    }

    /// A field that the complete object has.
    fn member(&mut self, name: &str, raw: Option<&Value>, read: Option<&Value>, complete: &Value) {
        self.inside(name, |here| match raw {
            // What reading alone brings forth, such as an empty text for a required field, is no default.
            // The schema is to say that it is missing.
            None if read == Some(complete) => {}
            None => here.add(complete.clone()),
            Some(Value::Null) if complete.is_null() => {}
            Some(Value::Null) if read == Some(complete) => here.remove(),
            Some(Value::Null) => here.replace(complete.clone()),
            Some(raw) => here.value(raw, read.unwrap_or(&Value::Null), complete),
        });
    }

    fn value(&mut self, raw: &Value, read: &Value, complete: &Value) {
        match (raw, read, complete) {
            _ if raw == complete => {}
            (Value::Object(raw), Value::Object(read), Value::Object(complete)) => {
                self.object(raw, read, complete);
            }
            (Value::Array(raw), Value::Array(read), Value::Array(complete))
                if read.len() == complete.len() =>
            {
                self.array(raw, read, complete);
            }
            // A whole number is a quantity to the schema too; changing `cpu: 1` would only set the object apart
            // from its author's file, for ever.
            (Value::Number(number), Value::String(_), Value::String(_)) if number.is_f64() => {
                self.replace(complete.clone());
            }
            _ if read == complete => {}
            _ => self.replace(complete.clone()),
        }
    }

    fn object(&mut self, raw: &Map<String, Value>, read: &Map<String, Value>, complete: &Map<String, Value>) {
        for (name, complete) in complete {
            self.member(name, raw.get(name), read.get(name), complete);
        }
        let nulls = raw.iter().filter(|(name, value)| value.is_null() && !complete.contains_key(*name));
        for (name, _) in nulls {
            self.inside(name, Self::remove);
        }
    }

    /// Items are found by their place, for which nulls do not count: reading drops them.
    fn array(&mut self, raw: &[Value], read: &[Value], complete: &[Value]) {
        let (nulls, items): (Vec<_>, Vec<_>) = raw.iter().enumerate().partition(|(_, item)| item.is_null());
        if items.len() != read.len() {
            return;
        }
        for ((index, raw), (read, complete)) in items.into_iter().zip(read.iter().zip(complete)) {
            self.inside(&index.to_string(), |here| here.value(raw, read, complete));
        }
        // From the end, so that no removal moves what another one means.
        for (index, _) in nulls.into_iter().rev() {
            self.inside(&index.to_string(), Self::remove);
        }
    }
}
