//! Redacts passwords, tokens and keys in configuration, commands, variables and messages.
//!
//! A value is redacted if its key or the name of its variable is that of a secret. References to Secrets are not. In
//! plain text, secrets are recognized by their usual formats.
//!
//! The command line, statuses and termination messages all use this module.

mod scan;

use serde_json::Value;

use crate::diff::{Path, Step};

/// Replaces redacted values.
pub const HIDDEN: &str = "(hidden)";

/// Parts of names of secrets, in lowercase without punctuation.
const SECRET: [&str; 22] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "token",
    "secret",
    "credential",
    "apikey",
    "accesskey",
    "accountkey",
    "privatekey",
    "encryptionkey",
    "decryptionkey",
    "signingkey",
    "sharedkey",
    "storagekey",
    "masterkey",
    "authparam",
    "authenticationparam",
    "authorization",
    "signature",
    "jaas",
];

/// Complete names of secrets, too short to match as parts of other names.
const SECRET_WHOLE: [&str; 10] =
    ["pass", "pw", "auth", "sig", "sas", "psk", "creds", "cookie", "setcookie", "bearer"];

/// Names of references to secrets or of their providers, which are not secret.
const REFERENCES: [&str; 14] = [
    "secretref",
    "secretkeyref",
    "secretname",
    "keysecretname",
    "certsecretname",
    "secretsmap",
    "secretsprovider",
    "authsecret",
    "tlssecret",
    "imagepullsecrets",
    "serviceaccounttoken",
    "automountserviceaccounttoken",
    "valuefrom",
    "cleanupauthconfig",
];

/// Classification of a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Name {
    /// The value is secret with all its contents.
    Secret,
    /// The value is secret if it is a string; the fields of an object are classified by name.
    SecretText,
    /// The value refers to a secret.
    Reference,
    /// The value is not secret by its name.
    Plain,
}

impl Name {
    fn classify(name: &str) -> Self {
        // Topics are keys too, with arbitrary names.
        if name.contains("://") {
            return Self::Plain;
        }
        let letters = name.chars().filter(char::is_ascii_alphanumeric);
        let name: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
        let is_whole = |whole: &&str| *whole == name;
        if REFERENCES.iter().any(is_whole) {
            Self::Reference
        } else if SECRET.iter().any(|part| name.contains(part)) || name.starts_with("private") {
            Self::Secret
        } else if SECRET_WHOLE.iter().any(is_whole) || name.ends_with("pass") && !name.ends_with("bypass") {
            Self::SecretText
        } else {
            Self::Plain
        }
    }

    fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::SecretText)
    }
}

/// Redacts the value at a path.
#[must_use]
pub fn value_at(path: &Path, value: &Value) -> Value {
    let names = path.0.iter().filter_map(|step| match step {
        Step::Field(name) | Step::Item(name) => Some(name.as_str()),
        Step::Index(_) => None,
    });
    let mut is_secret = false;
    let mut in_volumes = false;
    let mut last = Name::Plain;
    for name in names {
        last = Name::classify(name);
        if last == Name::Reference || (in_volumes && name == "secret") {
            return redact(value, Some(false));
        }
        in_volumes |= matches!(name, "volumes" | "sources");
        is_secret |= last == Name::Secret;
    }
    if is_secret {
        return redact(value, Some(true));
    }
    redact_field(last, false, value)
}

/// Redacts a value.
#[must_use]
pub fn value(value: &Value) -> Value {
    redact(value, None)
}

/// Redacts a text: JSON by its keys, other text by the usual formats of secrets.
#[must_use]
pub fn text(text: &str) -> String {
    if text.trim_start().starts_with(['{', '['])
        && let Ok(value @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text)
    {
        return redact(&value, None).to_string();
    }
    scan::text(text)
}

/// Redacts a text and removes the queries of URLs, since their signatures can have any name.
#[must_use]
pub fn message(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        let (address, behind) = after.split_at(end);
        let address = address.split(['?', '#']).next().unwrap_or(address);
        let user = scan::user(address).unwrap_or_default();
        shown.push_str(address.get(user..).unwrap_or_default());
        rest = behind;
    }
    shown.push_str(rest);
    self::text(&shown)
}

/// Redacts a value with its contents. `hidden` is the decision of an outer value, if any.
fn redact(value: &Value, hidden: Option<bool>) -> Value {
    match value {
        Value::Object(fields) => {
            // A variable or header: its name classifies its value.
            let named = fields.get("name").and_then(Value::as_str).map_or(Name::Plain, Name::classify);
            let shown = |(key, value): (&String, &Value)| {
                let shown = match hidden {
                    Some(_) => redact(value, hidden),
                    None => redact_field(Name::classify(key), named.is_secret() && key == "value", value),
                };
                (key.clone(), shown)
            };
            Value::Object(fields.iter().map(shown).collect())
        }
        Value::Array(items) => items.iter().map(|item| redact(item, hidden)).collect(),
        Value::String(_) | Value::Number(_) if hidden == Some(true) => Value::String(HIDDEN.to_owned()),
        Value::String(plain) if hidden.is_none() => Value::String(text(plain)),
        Value::String(plain) => Value::String(scan::text(plain)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn redact_field(name: Name, is_secret_variable: bool, value: &Value) -> Value {
    let is_text = |value: &Value| value.is_string() || value.is_number();
    match name {
        Name::Secret => redact(value, Some(true)),
        Name::Reference => redact(value, Some(false)),
        _ if is_secret_variable => redact(value, Some(true)),
        Name::SecretText if is_text(value) => Value::String(HIDDEN.to_owned()),
        Name::SecretText if value.as_array().is_some_and(|items| items.iter().all(is_text)) => {
            redact(value, Some(true))
        }
        Name::SecretText | Name::Plain => redact(value, None),
    }
}

#[cfg(test)]
mod tests;
