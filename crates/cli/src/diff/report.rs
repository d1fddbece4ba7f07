//! Prints changes as text or as data.

use std::io::{self, Write};

use function_mesh_workloads::diff::{Path, Step, mask_free_form};
use function_mesh_workloads::redact::{self, HIDDEN};
use serde_json::{Value, json};

use super::{Change, Effect, Entry};
use crate::operator::OperatorSettings;
use crate::screen::{self, painted};
use crate::shell_args;

/// Longest value on a line.
const WIDTH: usize = 100;
/// Characters shown around the difference of two long texts.
const CONTEXT: usize = 24;

/// Which values are shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Values {
    /// The configuration of functions and connectors is redacted: its secrets cannot be recognised by name.
    Redacted,
    /// The configuration is shown. Values elsewhere that are named like secrets stay redacted.
    WithConfiguration,
}

/// The report as text.
pub(crate) fn text(
    out: &mut dyn Write,
    entries: &[Entry],
    values: Values,
    colour: bool,
    all: bool,
) -> io::Result<()> {
    for entry in entries.iter().filter(|entry| all || entry.change != Change::Unchanged) {
        let (mark, code) = match entry.change {
            Change::New => ('+', "32"),
            Change::Changed => ('~', "33"),
            Change::Unchanged => ('=', "2"),
            Change::Removed => ('-', "31"),
            Change::Foreign => ('!', "31"),
        };
        let said =
            entry.verdict.map(Effect::as_str).into_iter().chain(entry.notes.iter().map(String::as_str));
        let said: Vec<&str> = said.collect();
        let said = if said.is_empty() { String::new() } else { format!(": {}", said.join("; ")) };
        let title = format!("{mark} {} {}{said}", entry.id, entry.change.as_str());
        writeln!(out, "{}", painted(&title, code, colour))?;
        for field in &entry.fields {
            let path = &field.difference.path;
            let is_immutable = field.effect == Effect::Immutable && entry.verdict != Some(Effect::Immutable);
            let suffix = if is_immutable { "   (immutable)" } else { "" };
            screen::line(out, &format!("    {path}{suffix}"))?;
            let shown = |value| shown(&entry.id.kind, path, value, values);
            let old = field.difference.live.as_ref().map(shown);
            let new = field.difference.wanted.as_ref().map(shown);
            let (old, new) = match (old, new) {
                // Two redacted values differ, but look the same.
                (Some(old), Some(new)) if old == new => {
                    let full = |live| redact(&entry.id.kind, path, live, Values::WithConfiguration);
                    let can_be_shown = old == HIDDEN
                        && values == Values::Redacted
                        && field.difference.live.as_ref().is_some_and(|live| full(live) != HIDDEN);
                    let hint = if can_be_shown { "; --show-values shows it" } else { "" };
                    (Some(old), Some(format!("{new}, changed{hint}")))
                }
                (Some(old), Some(new)) if old.len() > WIDTH || new.len() > WIDTH => {
                    let (old, new) = focus(&old, &new);
                    (Some(old), Some(new))
                }
                sides => sides,
            };
            for (mark, code, side) in [('-', "31", old), ('+', "32", new)] {
                if let Some(side) = side {
                    writeln!(out, "      {}", painted(&format!("{mark} {}", short(&side)), code, colour))?;
                }
            }
        }
    }
    let count = |change| entries.iter().filter(|entry| entry.change == change).count();
    let foreign = count(Change::Foreign);
    let foreign = if foreign == 0 { String::new() } else { format!(", {foreign} foreign") };
    let restarts = entries.iter().filter(|entry| entry.verdict == Some(Effect::Restart)).count();
    writeln!(
        out,
        "{} new, {} changed, {} removed, {} unchanged{foreign}; pods of {restarts} StatefulSet{} restart",
        count(Change::New),
        count(Change::Changed),
        count(Change::Removed),
        count(Change::Unchanged),
        if restarts == 1 { "" } else { "s" },
    )
}

/// The report as data.
pub(crate) fn data(entries: &[Entry], values: Values, operator: &OperatorSettings) -> Value {
    let objects: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let side = |path: &Path, value: Option<&Value>| {
                value.map(|value| redact(&entry.id.kind, path, value, values))
            };
            let differences: Vec<Value> = entry
                .fields
                .iter()
                .map(|field| {
                    let path = &field.difference.path;
                    json!({
                        "path": path.to_string(),
                        "old": side(path, field.difference.live.as_ref()),
                        "new": side(path, field.difference.wanted.as_ref()),
                        "effect": field.effect.as_str(),
                    })
                })
                .collect();
            json!({
                "kind": entry.id.kind,
                "namespace": entry.id.namespace,
                "name": entry.id.name,
                "change": entry.change.as_str(),
                "verdict": entry.verdict.map(Effect::as_str),
                "notes": entry.notes,
                "differences": differences,
            })
        })
        .collect();
    json!({ "settings": operator.data(), "objects": objects })
}

/// A value without secrets. Commands are split first, so that their options have names.
fn redact(kind: &str, path: &Path, value: &Value, values: Values) -> Value {
    let mut redacted = mask_free_form(kind, path, value, HIDDEN);
    let is_configuration = redacted == HIDDEN || is_command_configuration(path);
    if values == Values::WithConfiguration && (redacted != *value || is_configuration) {
        return value.clone();
    }
    shell_args::split_commands(&mut redacted);
    if is_command_configuration(path) {
        return Value::String(HIDDEN.to_owned());
    }
    redact::value_at(path, &without_command_configuration(&redacted))
}

/// Keys of the configuration in commands of runners.
const CONFIGURATION_KEYS: [&str; 3] = ["userConfig", "configs", "config"];

/// Whether this is the configuration of a function or connector in a runner's command.
fn is_command_configuration(path: &Path) -> bool {
    let mut steps = path.0.iter().skip_while(|step| !matches!(step, Step::Field(name) if name == "command"));
    steps.any(|step| matches!(step, Step::Field(name) if CONFIGURATION_KEYS.contains(&name.as_str())))
}

/// Redacts the configuration in split commands.
fn without_command_configuration(value: &Value) -> Value {
    fn walk(value: &Value, in_command: bool) -> Value {
        match value {
            Value::Object(fields) => {
                let field = |(name, value): (&String, &Value)| {
                    let is_hidden =
                        in_command && CONFIGURATION_KEYS.contains(&name.as_str()) && !value.is_null();
                    let value = if is_hidden {
                        Value::String(HIDDEN.to_owned())
                    } else {
                        walk(value, in_command || (name == "command" && value.is_object()))
                    };
                    (name.clone(), value)
                };
                Value::Object(fields.iter().map(field).collect())
            }
            Value::Array(items) => items.iter().map(|item| walk(item, in_command)).collect(),
            other => other.clone(),
        }
    }
    walk(value, false)
}

/// A value on one line, without secrets.
fn shown(kind: &str, path: &Path, value: &Value, values: Values) -> String {
    match redact(kind, path, value, values) {
        Value::String(text) if !text.is_empty() && !text.contains('\n') && text.trim() == text => text,
        value => value.to_string(),
    }
}

fn short(text: &str) -> String {
    if text.chars().count() <= WIDTH {
        return text.to_owned();
    }
    let shown: String = text.chars().take(WIDTH - 1).collect();
    format!("{shown}…")
}

/// The differing parts of two long texts, with context.
fn focus(old: &str, new: &str) -> (String, String) {
    let (one, other): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
    let same = |(a, b): &(&char, &char)| a == b;
    let before = one.iter().zip(&other).take_while(same).count();
    let most = one.len().min(other.len()) - before;
    let after = one.iter().rev().zip(other.iter().rev()).take(most).take_while(same).count();
    let piece = |text: &[char]| {
        let start = before.saturating_sub(CONTEXT);
        let end = (text.len() - after + CONTEXT).min(text.len());
        let piece: String = text.get(start..end).unwrap_or_default().iter().collect();
        let (head, tail) = (if start > 0 { "…" } else { "" }, if end < text.len() { "…" } else { "" });
        format!("{head}{piece}{tail}")
    };
    (piece(&one), piece(&other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_to_the_difference() {
        let (old, new) =
            (format!("{}a{}", "x".repeat(200), "y".repeat(200)), "x".repeat(200) + &"y".repeat(200));
        let (old, new) = focus(&old, &new);
        assert_eq!(old, format!("…{}a{}…", "x".repeat(24), "y".repeat(24)));
        assert_eq!(new, format!("…{}{}…", "x".repeat(24), "y".repeat(24)));
        assert_eq!(focus("ab", "ab"), ("ab".to_owned(), "ab".to_owned()));
    }
}
