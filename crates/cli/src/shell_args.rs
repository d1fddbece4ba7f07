//! Splits container commands into arguments, so that two commands can be compared option by option.
//!
//! A runner is started by one long shell script. Options become fields, and JSON values are parsed.

use serde_json::{Map, Value};

/// Longest word that is its own key; longer ones are numbered.
const MAX_KEY: usize = 80;

/// Splits the commands of all containers within an object.
pub(crate) fn split_commands(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let is_container = fields.contains_key("name");
            for (key, value) in fields.iter_mut() {
                match value {
                    Value::Array(words) if is_container && key == "command" => {
                        if let Some(args) = script(words).map(split) {
                            *value = Value::Object(args);
                        }
                    }
                    value => split_commands(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(split_commands),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The script of a command of the form `sh -c SCRIPT`.
fn script(command: &[Value]) -> Option<&str> {
    match command {
        [shell, flag, script] if flag == "-c" && shell.is_string() => script.as_str(),
        _ => None,
    }
}

/// Splits a script: `--option value` and `-Doption=value` by option, other words by themselves.
pub(crate) fn split(script: &str) -> Map<String, Value> {
    let mut args = Map::new();
    let mut texts = 0;
    let mut words = tokenize(script).into_iter().peekable();
    while let Some(word) = words.next() {
        let (name, value) = if is_option(&word) {
            match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), parse_value(value)),
                None if word.starts_with("--") || word == "-cp" => {
                    let value = words.next_if(|next| !next.starts_with("--") && !is_operator(next));
                    (word, value.map_or(Value::Bool(true), |value| parse_value(&value)))
                }
                None => (word, Value::Bool(true)),
            }
        } else if word.len() > MAX_KEY || word.contains('\n') {
            texts += 1;
            (format!("text {texts}"), parse_value(&word))
        } else {
            (word.clone(), Value::String(word))
        };
        let mut key = name.clone();
        let mut count = 1;
        while args.contains_key(&key) {
            count += 1;
            key = format!("{name} ({count})");
        }
        args.insert(key, value);
    }
    args
}

fn is_option(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-')
}

fn is_operator(word: &str) -> bool {
    matches!(word, "&&" | "||" | ";" | "|" | ">" | ">>" | "<")
}

/// JSON objects and arrays as JSON, anything else as a string.
fn parse_value(word: &str) -> Value {
    match serde_json::from_str(word) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
        _ => Value::String(word.to_owned()),
    }
}

/// The words of a script without quotes. Variables and substitutions are not expanded.
fn tokenize(script: &str) -> Vec<String> {
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
    fn command_is_split_by_option() {
        let line = r#"X=${Y##*-} && echo a="${X}" && exec java -cp a:"$(echo b*)" '-Dp=l/*' -XX:+UseG1GC Main --jar f.jar --id "${X}" --details '{"name":"it'"'"'s","n":1}' --flag --port 1 --port 2"#;
        let args = Value::Object(split(line));
        assert_eq!(args["-cp"], "a:$(echo b*)");
        assert_eq!(args["-Dp"], "l/*");
        assert_eq!(args["-XX:+UseG1GC"], true);
        assert_eq!(args["Main"], "Main");
        assert_eq!(args["--id"], "${X}");
        assert_eq!(args["--details"], json!({ "name": "it's", "n": 1 }));
        assert_eq!(args["--flag"], true);
        assert_eq!((&args["--port"], &args["--port (2)"]), (&json!("1"), &json!("2")));
    }

    #[test]
    fn long_texts_are_numbered() {
        let args = Value::Object(split("printf %s '<a>\n</a>' > f"));
        assert_eq!(args["text 1"], "<a>\n</a>");
    }

    #[test]
    fn only_container_commands_are_split() {
        let mut value = json!({ "containers": [{ "name": "c", "command": ["sh", "-c", "run --a b"] },
            { "name": "d", "command": ["run", "x"] }], "command": ["sh", "-c", "x"] });
        split_commands(&mut value);
        assert_eq!(value["containers"][0]["command"], json!({ "run": "run", "--a": "b" }));
        assert_eq!(value["containers"][1]["command"], json!(["run", "x"]));
        assert_eq!(value["command"], json!(["sh", "-c", "x"]));
    }
}
