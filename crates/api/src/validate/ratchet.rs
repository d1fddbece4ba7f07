//! Rules for objects that were there before the rules.

use super::collector::{KnownViolations, let_pass};
use super::violation::{Findings, Violation};

/// Judges a change by what it makes worse. A rule that the object broke before as well, in the same field and
/// with the same words, is no reason to refuse: it becomes a warning. What is broken for the first time, or
/// once more than before, still is a violation. A component of a mesh is known by its name and any other item
/// of a list by its fault, so that moving one within its list changes nothing.
///
/// Findings list only the first [`super::MAX_FINDINGS`]. [`super::check_component_update`] and
/// [`super::check_mesh_update`] compare all of them.
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
    let mut judged = Findings { violations: Vec::new(), warnings: Vec::new() };
    for violation in new.violations {
        if known.take(&violation.field, &violation.message) {
            let message = let_pass(&violation.message);
            judged.warnings.push(Violation { field: violation.field, message });
        } else {
            judged.violations.push(violation);
        }
    }
    judged.warnings.extend(new.warnings);
    judged
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
    fn what_was_broken_before_becomes_a_warning_and_what_is_new_is_refused() {
        let old = findings(&[(spec().field("a"), "is wrong"), (spec().field("b"), "is wrong")]);
        let new = findings(&[(spec().field("b"), "is wrong"), (spec().field("c"), "is wrong")]);
        let judged = ratchet(&old, new);
        assert_eq!(judged.violations.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(), ["spec.c"]);
        let [warning] = judged.warnings.as_slice() else { panic!("{judged:?}") };
        assert_eq!(warning.to_string(), "spec.b: is wrong (let pass, since it was so before)");
    }

    #[test]
    fn another_fault_in_the_same_field_is_new() {
        let old = findings(&[(spec().field("a"), "\"x\" is wrong")]);
        let new = findings(&[(spec().field("a"), "\"y\" is wrong")]);
        assert_eq!(ratchet(&old, new.clone()), new);
    }

    #[test]
    fn components_are_known_by_name_and_not_by_place() {
        let fault = |index, name| (component(index, name).field("timeout"), "is wrong");
        let moved = ratchet(&findings(&[fault(0, "a")]), findings(&[fault(3, "a")]));
        assert_eq!(moved.violations, []);
        assert_eq!(moved.warnings[0].field.as_str(), "spec.functions[3].timeout");
        let other = ratchet(&findings(&[fault(0, "a")]), findings(&[fault(0, "b")]));
        assert_eq!(other.violations.len(), 1);
    }

    #[test]
    fn items_are_counted() {
        let fault = |index| (spec().field("input.topics").index(index), "\"a/b\" is no topic");
        assert_eq!(ratchet(&findings(&[fault(0)]), findings(&[fault(2)])).violations, []);
        let judged = ratchet(&findings(&[fault(0)]), findings(&[fault(0), fault(1)]));
        assert_eq!(judged.violations.len(), 1, "one of two is new");
    }

    #[test]
    fn nothing_broken_before_leaves_all_as_it_is() {
        let mut new = findings(&[(spec().field("a"), "is wrong")]);
        new.warnings.push(Violation { field: spec(), message: "is odd".to_owned() });
        assert_eq!(ratchet(&Findings::default(), new.clone()), new);
    }
}
