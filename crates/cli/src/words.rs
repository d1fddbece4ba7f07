//! Commands of containers taken apart, so that two of them can be compared option by option.
//!
//! A runner is started by one long line of shell. Options become fields, JSON among their values becomes JSON.

use serde_json::{Map, Value};

/// Longest word that stands for itself; longer ones are texts, which have a number instead.
const SHORT: usize = 80;

/// Replaces the commands of all containers within an object by what they say.
pub(crate) fn take_apart(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let is_container = fields.contains_key("name");
            for (key, value) in fields.iter_mut() {
                match value {
                    Value::Array(words) if is_container && key == "command" => {
                        if let Some(parts) = script(words).map(parts) {
                            *value = Value::Object(parts);
                        }
                    }
                    value => take_apart(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(take_apart),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The text that a shell is given, where a command is one.
fn script(command: &[Value]) -> Option<&str> {
    match command {
        [shell, flag, script] if flag == "-c" && shell.is_string() => script.as_str(),
        _ => None,
    }
}

/// What a line of shell says: `--option value` and `-Doption=value` by the option, other words by themselves.
pub(crate) fn parts(script: &str) -> Map<String, Value> {
    let mut parts = Map::new();
    let mut texts = 0;
    let mut words = split(script).into_iter().peekable();
    while let Some(word) = words.next() {
        let (name, value) = if is_option(&word) {
            match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), meaning(value)),
                None if word.starts_with("--") || word == "-cp" => {
                    let value = words.next_if(|next| !next.starts_with("--") && !is_operator(next));
                    (word, value.map_or(Value::Bool(true), |value| meaning(&value)))
                }
                None => (word, Value::Bool(true)),
            }
        } else if word.len() > SHORT || word.contains('\n') {
            texts += 1;
            (format!("text {texts}"), meaning(&word))
        } else {
            (word.clone(), Value::String(word))
        };
        let mut key = name.clone();
        let mut again = 1;
        while parts.contains_key(&key) {
            again += 1;
            key = format!("{name} ({again})");
        }
        parts.insert(key, value);
    }
    parts
}

fn is_option(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-')
}

fn is_operator(word: &str) -> bool {
    matches!(word, "&&" | "||" | ";" | "|" | ">" | ">>" | "<")
}

/// JSON as JSON, anything else as text.
fn meaning(word: &str) -> Value {
    match serde_json::from_str(word) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
        _ => Value::String(word.to_owned()),
    }
}

/// The words of a line of shell, without their quotes. Variables and substitutions stay as they are written.
fn split(script: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = script.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => {
                let word = word.get_or_insert_default();
                word.extend(letters.by_ref().take_while(|letter| *letter != '\''));
            }
            '"' => {
                let word = word.get_or_insert_default();
                let mut is_escaped = false;
                for letter in letters.by_ref() {
                    match letter {
                        '"' if !is_escaped => break,
                        '\\' if !is_escaped => is_escaped = true,
                        letter => {
                            is_escaped = false;
                            word.push(letter);
                        }
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(letters.next()),
            letter if letter.is_whitespace() => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_command_is_told_by_its_options() {
        let line = r#"X=${Y##*-} && echo a="${X}" && exec java -cp a:"$(echo b*)" '-Dp=l/*' -XX:+UseG1GC Main --jar f.jar --id "${X}" --details '{"name":"it'"'"'s","n":1}' --flag --port 1 --port 2"#;
        let parts = Value::Object(parts(line));
        assert_eq!(parts["-cp"], "a:$(echo b*)");
        assert_eq!(parts["-Dp"], "l/*");
        assert_eq!(parts["-XX:+UseG1GC"], true);
        assert_eq!(parts["Main"], "Main");
        assert_eq!(parts["--id"], "${X}");
        assert_eq!(parts["--details"], json!({ "name": "it's", "n": 1 }));
        assert_eq!(parts["--flag"], true);
        assert_eq!((&parts["--port"], &parts["--port (2)"]), (&json!("1"), &json!("2")));
    }

    #[test]
    fn long_texts_are_numbered() {
        let parts = Value::Object(parts("printf %s '<a>\n</a>' > f"));
        assert_eq!(parts["text 1"], "<a>\n</a>");
    }

    #[test]
    fn only_commands_of_containers_are_taken_apart() {
        let mut value = json!({ "containers": [{ "name": "c", "command": ["sh", "-c", "run --a b"] },
            { "name": "d", "command": ["run", "x"] }], "command": ["sh", "-c", "x"] });
        take_apart(&mut value);
        assert_eq!(value["containers"][0]["command"], json!({ "run": "run", "--a": "b" }));
        assert_eq!(value["containers"][1]["command"], json!(["run", "x"]));
        assert_eq!(value["command"], json!(["sh", "-c", "x"]));
    }
}
