//! The rules that the definitions carry as CEL expressions.

use serde_json::Value;

use super::{Kind, words};

/// One rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Rule {
    /// The field at fault, from the object on.
    pub(super) field: String,
    /// What is wrong with it.
    pub(super) message: String,
    /// What holds of an object that is new.
    pub(super) expression: String,
}

/// All rules of a schema. One that comes a second time, for objects that change, counts once.
pub(super) fn of(schema: &Value) -> Vec<Rule> {
    let mut rules = Vec::new();
    collect(schema, "", &mut rules);
    rules
}

fn collect(schema: &Value, path: &str, rules: &mut Vec<Rule>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let message = words(&rule["message"]);
        let path = format!("{path}{}", words(&rule["fieldPath"]));
        // A rule about the object as a whole says in its message what it is about.
        let (field, message) = match message.split_once(": ") {
            Some((field, message)) if path.is_empty() => (field.to_owned(), message.to_owned()),
            _ => (path.trim_start_matches('.').to_owned(), message.to_owned()),
        };
        if !rules.iter().any(|known| known.field == field && known.message == message) {
            rules.push(Rule { field, message, expression: for_new(words(&rule["rule"])).to_owned() });
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        collect(property, &format!("{path}.{name}"), rules);
    }
    if schema["items"].is_object() {
        collect(&schema["items"], path, rules);
    }
}

/// What an expression demands of an object that is new; the rest of it lets pass what was broken before.
fn for_new(rule: &str) -> &str {
    if let Some((now, _)) = rule.split_once(") || (oldSelf.hasValue() && !(") {
        return now.strip_prefix('(').unwrap_or(now);
    }
    let rule = rule.trim_end_matches(" || oldSelf.hasValue()");
    rule.trim_start_matches("oldSelf.hasValue() || ")
}

/// The rules of a kind that do not just repeat, for a list of components, those of the components' own kinds.
pub(super) fn not_told(rules: &[Rule], kinds: &[Kind], all: &[Vec<Rule>]) -> Vec<Rule> {
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
    fn an_expression_is_told_as_for_new_objects() {
        assert_eq!(
            for_new("(has(self.a)) || (oldSelf.hasValue() && !(has(oldSelf.value().a)))"),
            "has(self.a)"
        );
        assert_eq!(for_new("self.a > 1 || oldSelf.hasValue()"), "self.a > 1");
        assert_eq!(for_new("oldSelf.hasValue() || self.all(c, has(c.a))"), "self.all(c, has(c.a))");
    }
}
