//! Validation ratcheting: an update may keep the violations of the stored object.

use super::collector::{KnownViolations, not_enforced};
use super::violation::{Findings, Violation};

/// Turns violations of the old object, with the same field and message, into warnings. New violations stay, as does one
/// that occurs more often than before. Components of a mesh are identified by name, other list items by message, so the
/// order of a list does not matter.
///
/// Findings contain only the first [`super::MAX_FINDINGS`] violations. [`super::check_component_update`] and
/// [`super::check_mesh_update`] compare all.
///
/// ```
/// # use function_mesh_api::{Sink, validate::{check_component, ratchet}};
/// let before = Sink::new("archive", serde_json::from_str(r#"{ "timeout": 5 }"#).expect("a spec"));
/// let mut after = before.clone();
/// after.spec.timeout = Some(6);
/// let findings = ratchet(&check_component(&before), check_component(&after));
/// assert!(findings.violations.is_empty());
/// assert!(!findings.warnings.is_empty());
/// ```
#[must_use]
pub fn ratchet(old: &Findings, new: Findings) -> Findings {
    let mut known = KnownViolations::default();
    for violation in &old.violations {
        known.add(&violation.field, &violation.message);
    }
    let mut result = Findings { violations: Vec::new(), warnings: Vec::new() };
    for violation in new.violations {
        if known.take(&violation.field, &violation.message) {
            let message = not_enforced(&violation.message);
            result.warnings.push(Violation { field: violation.field, message });
        } else {
            result.violations.push(violation);
        }
    }
    result.warnings.extend(new.warnings);
    result
}

#[cfg(test)]
mod tests {
    use super::super::violation::FieldPath;
    use super::*;

    fn findings(violations: &[(FieldPath, &str)]) -> Findings {
        let mut findings = Findings::default();
        for (field, message) in violations {
            findings.violations.push(Violation { field: field.clone(), message: (*message).to_owned() });
        }
        findings
    }

    fn spec() -> FieldPath {
        FieldPath::root("spec")
    }

    fn component(index: usize, name: &str) -> FieldPath {
        spec().field("functions").item(index, name)
    }

    #[test]
    fn known_violations_become_warnings() {
        let old = findings(&[(spec().field("a"), "is wrong"), (spec().field("b"), "is wrong")]);
        let new = findings(&[(spec().field("b"), "is wrong"), (spec().field("c"), "is wrong")]);
        let result = ratchet(&old, new);
        assert_eq!(result.violations.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(), ["spec.c"]);
        let [warning] = result.warnings.as_slice() else { panic!("{result:?}") };
        assert_eq!(warning.to_string(), "spec.b: is wrong (pre-existing violation; not enforced)");
    }

    #[test]
    fn another_message_in_the_same_field_is_new() {
        let old = findings(&[(spec().field("a"), "\"x\" is wrong")]);
        let new = findings(&[(spec().field("a"), "\"y\" is wrong")]);
        assert_eq!(ratchet(&old, new.clone()), new);
    }

    #[test]
    fn components_are_identified_by_name() {
        let error = |index, name| (component(index, name).field("timeout"), "is wrong");
        let moved = ratchet(&findings(&[error(0, "a")]), findings(&[error(3, "a")]));
        assert_eq!(moved.violations, []);
        assert_eq!(moved.warnings[0].field.as_str(), "spec.functions[3].timeout");
        let other = ratchet(&findings(&[error(0, "a")]), findings(&[error(0, "b")]));
        assert_eq!(other.violations.len(), 1);
    }

    #[test]
    fn list_items_are_counted() {
        let error = |index| (spec().field("input.topics").index(index), "\"a/b\" is wrong");
        assert_eq!(ratchet(&findings(&[error(0)]), findings(&[error(2)])).violations, []);
        let result = ratchet(&findings(&[error(0)]), findings(&[error(0), error(1)]));
        assert_eq!(result.violations.len(), 1, "one of two is new");
    }

    #[test]
    fn without_known_violations_nothing_changes() {
        let mut new = findings(&[(spec().field("a"), "is wrong")]);
        new.warnings.push(Violation { field: spec(), message: "is odd".to_owned() });
        assert_eq!(ratchet(&Findings::default(), new.clone()), new);
    }
}
