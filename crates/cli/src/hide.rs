//! What is not for every eye: passwords and tokens that stand in configurations, commands and variables.
//!
//! Names tell: a value is hidden when its key, or the name of its variable, looks like that of a secret. What
//! only says where a secret is kept is shown.

use function_mesh_workloads::difference::{Path, Step};
use serde_json::Value;

/// Stands for what is hidden.
pub(crate) const HIDDEN: &str = "(hidden)";

/// What names of secrets have in them, in lower case and without marks.
const SECRET: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "token",
    "secret",
    "credential",
    "apikey",
    "accesskey",
    "privatekey",
    "authparam",
    "authenticationparam",
];

/// Names that look so and only say where a secret is, or what provides it.
const REFERENCES: [&str; 12] = [
    "secretref",
    "secretkeyref",
    "secretname",
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

/// A value as it may be shown that stands at this place.
pub(crate) fn safe(path: &Path, value: &Value) -> Value {
    let names = path.0.iter().filter_map(|step| match step {
        Step::Field(name) | Step::Item(name) => Some(name.as_str()),
        Step::Index(_) => None,
    });
    let mut is_secret = false;
    let mut in_volumes = false;
    for name in names {
        let is_reference = is_reference(name) || (in_volumes && name == "secret");
        in_volumes |= matches!(name, "volumes" | "sources");
        if is_reference {
            return within(value, Some(false));
        }
        is_secret |= is_secret_name(name);
    }
    within(value, is_secret.then_some(true))
}

/// `hidden` is what has been decided already for all that is within.
fn within(value: &Value, hidden: Option<bool>) -> Value {
    match value {
        Value::Object(fields) => {
            // A variable: its name tells what its value is.
            let is_variable = fields.get("name").and_then(Value::as_str).is_some_and(is_secret_name);
            let field = |(key, value): (&String, &Value)| {
                let decided = match hidden {
                    None if is_reference(key) => Some(false),
                    None if is_secret_name(key) || (is_variable && key == "value") => Some(true),
                    decided => decided,
                };
                (key.clone(), within(value, decided))
            };
            Value::Object(fields.iter().map(field).collect())
        }
        Value::Array(items) => items.iter().map(|item| within(item, hidden)).collect(),
        Value::String(_) | Value::Number(_) if hidden == Some(true) => Value::String(HIDDEN.to_owned()),
        Value::String(words) => Value::String(text(words)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

fn is_reference(name: &str) -> bool {
    REFERENCES.contains(&plain(name).as_str())
}

fn is_secret_name(name: &str) -> bool {
    // Topics are keys too, and called as people like.
    let name = if name.contains("://") { return false } else { plain(name) };
    !REFERENCES.contains(&name.as_str()) && SECRET.iter().any(|mark| name.contains(mark))
}

/// A text without the secrets in it: JSON by its keys, an address without its password, and what follows
/// `password=` or the like.
pub(crate) fn text(text: &str) -> String {
    if text.trim_start().starts_with(['{', '['])
        && let Ok(value @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text)
    {
        return within(&value, None).to_string();
    }
    let is_end =
        |letter: char| letter.is_whitespace() || matches!(letter, ',' | ';' | '&' | '"' | '\'' | '?');
    let mut shown = String::with_capacity(text.len());
    for piece in text.split_inclusive(is_end) {
        let (word, end) = match piece.char_indices().next_back().filter(|(_, last)| is_end(*last)) {
            Some((at, _)) => piece.split_at(at),
            None => (piece, ""),
        };
        shown.push_str(&self::word(word));
        shown.push_str(end);
    }
    shown
}

fn word(word: &str) -> String {
    if let Some((scheme, rest)) = word.split_once("://") {
        let (host, path) = rest.split_once('/').map_or((rest, String::new()), |(h, p)| (h, format!("/{p}")));
        return match host.rsplit_once('@') {
            Some((user, host)) if user.contains(':') => format!("{scheme}://{HIDDEN}@{host}{path}"),
            _ => word.to_owned(),
        };
    }
    let split = word.find(['=', ':']);
    match split.and_then(|at| Some((word.get(..at)?, word.get(at..=at)?, word.get(at + 1..)?))) {
        Some((name, mark, value)) if !value.is_empty() && is_secret_name(name) => {
            format!("{name}{mark}{HIDDEN}")
        }
        _ => word.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "JSON reads best where it is used")]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(fields: &[&str], value: Value) -> Value {
        let step = |name: &&str| match name.strip_prefix('*') {
            Some(item) => Step::Item(item.to_owned()),
            None => Step::Field((*name).to_owned()),
        };
        safe(&Path(fields.iter().map(step).collect()), &value)
    }

    #[test]
    fn secrets_are_hidden_by_the_names_of_their_keys_and_variables() {
        assert_eq!(at(&["spec", "sinkConfig", "dbPassword"], json!("x")), json!(HIDDEN));
        assert_eq!(at(&["env", "*API_TOKEN", "value"], json!("x")), json!(HIDDEN));
        assert_eq!(at(&["command", "--client_auth_params"], json!("token:x")), json!(HIDDEN));
        let whole = json!([{ "name": "DB_PASSWORD", "value": "x" }, { "name": "A", "value": "x" }]);
        let expected = json!([{ "name": "DB_PASSWORD", "value": HIDDEN }, { "name": "A", "value": "x" }]);
        assert_eq!(at(&["env"], whole), expected);
        let nested = json!({ "auth": { "clientSecret": "x", "id": 1 }, "credentials": { "a": ["b"] } });
        let expected =
            json!({ "auth": { "clientSecret": HIDDEN, "id": 1 }, "credentials": { "a": [HIDDEN] } });
        assert_eq!(at(&["config"], nested), expected);
    }

    #[test]
    fn where_a_secret_is_kept_is_no_secret() {
        for (path, value) in [
            (&["env", "*DB_PASSWORD", "valueFrom", "secretKeyRef", "name"][..], json!("db")),
            (&["secretsMap", "db-password"], json!({ "path": "db", "key": "password" })),
            (&["volumes", "*v", "secret", "secretName"], json!("s")),
            (&["spec", "pulsar", "authSecret"], json!("s")),
            (&["imagePullSecrets"], json!([{ "name": "s" }])),
        ] {
            assert_eq!(at(path, value.clone()), value);
        }
        let variable =
            json!({ "name": "DB_PASSWORD", "valueFrom": { "secretKeyRef": { "name": "a", "key": "b" } } });
        assert_eq!(at(&["env", "*X"], variable.clone()), variable);
    }

    #[test]
    fn secrets_within_texts_are_hidden() {
        assert_eq!(text("jdbc:x?user=u&password=p w"), "jdbc:x?user=u&password=(hidden) w");
        assert_eq!(text("pulsar://u:p@host:6650/x"), "pulsar://(hidden)@host:6650/x");
        assert_eq!(text("persistent://public/default/tokens"), "persistent://public/default/tokens");
        assert_eq!(text("token:abc"), "token:(hidden)");
        assert_eq!(text("-Ddb.password=a -Xmx1g"), "-Ddb.password=(hidden) -Xmx1g");
        assert_eq!(
            text(r#"{"configs":"{\"password\":\"p\"}"}"#),
            r#"{"configs":"{\"password\":\"(hidden)\"}"}"#
        );
        assert_eq!(text("org.example.TokenFilter"), "org.example.TokenFilter");
    }
}
