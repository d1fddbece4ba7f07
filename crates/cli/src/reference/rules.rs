//! The CEL rules of the CRDs.

use serde_json::Value;

use super::{Kind, text};

/// One rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Rule {
    /// Path of the field.
    pub(super) field: String,
    /// The message.
    pub(super) message: String,
    /// The expression for new objects.
    pub(super) expression: String,
}

/// All rules of a schema. A rule with a second form for updates counts once.
pub(super) fn of(schema: &Value) -> Vec<Rule> {
    let mut rules = Vec::new();
    collect(schema, "", &mut rules);
    rules
}

fn collect(schema: &Value, path: &str, rules: &mut Vec<Rule>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let message = text(&rule["message"]);
        let path = format!("{path}{}", text(&rule["fieldPath"]));
        // The message of a rule on the whole object starts with the field.
        let (field, message) = match message.split_once(": ") {
            Some((field, message)) if path.is_empty() => (field.to_owned(), message.to_owned()),
            _ => (path.trim_start_matches('.').to_owned(), message.to_owned()),
        };
        if !rules.iter().any(|known| known.field == field && known.message == message) {
            rules.push(Rule { field, message, expression: for_new(text(&rule["rule"])).to_owned() });
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        collect(property, &format!("{path}.{name}"), rules);
    }
    if schema["items"].is_object() {
        collect(&schema["items"], path, rules);
    }
}

/// The part of an expression for new objects, without the part for ratcheting.
fn for_new(rule: &str) -> &str {
    if let Some((now, _)) = rule.split_once(") || (oldSelf.hasValue() && !(") {
        return now.strip_prefix('(').unwrap_or(now);
    }
    let rule = rule.trim_end_matches(" || oldSelf.hasValue()");
    rule.trim_start_matches("oldSelf.hasValue() || ")
}

/// The rules of a kind without those that repeat the rules of its components' kinds.
pub(super) fn without_component_rules(rules: &[Rule], kinds: &[Kind], all: &[Vec<Rule>]) -> Vec<Rule> {
    let repeated = |rule: &Rule| {
        kinds.iter().zip(all).any(|(kind, own)| {
            own.iter().any(|own| {
                let field = own.field.trim_start_matches("spec.");
                rule.message == format!("`{field}` of a {}: {}", kind.name.to_lowercase(), own.message)
            })
        })
    };
    rules.iter().filter(|rule| !repeated(rule)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expression_for_new_objects_has_no_ratcheting() {
        assert_eq!(
            for_new("(has(self.a)) || (oldSelf.hasValue() && !(has(oldSelf.value().a)))"),
            "has(self.a)"
        );
        assert_eq!(for_new("self.a > 1 || oldSelf.hasValue()"), "self.a > 1");
        assert_eq!(for_new("oldSelf.hasValue() || self.all(c, has(c.a))"), "self.all(c, has(c.a))");
    }
}
