//! Which object is meant.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// Kind, namespace and name: what tells objects apart.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Id {
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Objects as they are somewhere: in a cluster, or as older files make them.
pub(crate) type Snapshot = BTreeMap<Id, Value>;

impl Id {
    pub(crate) fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(crate) fn of(object: &Value) -> Self {
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        Self::new(text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// Identity of an object that was created.
pub(crate) fn uid(object: &Value) -> Option<&str> {
    object.pointer("/metadata/uid").and_then(Value::as_str).filter(|uid| !uid.is_empty())
}

/// The object that controls another one: kind, name and identity.
pub(crate) fn controller(object: &Value) -> Option<(&str, &str, &str)> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
    let text = |key| owner.get(key).and_then(Value::as_str);
    Some((text("kind")?, text("name")?, text("uid")?))
}
