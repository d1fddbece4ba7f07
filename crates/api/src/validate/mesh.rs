//! The rules of a mesh: each component by its own, and all of them together.

use std::collections::BTreeSet;

use kube::ResourceExt;

use crate::FunctionMesh;
use crate::budget::Budget;
use crate::component::{Role, Spec};
use crate::names;

use super::collector::Collector;
use super::scaling::Lifecycle;
use super::violation::FieldPath;
use super::{component, conflicts, lints, rules};

pub(super) fn check(mesh: &FunctionMesh, findings: &mut Collector) {
    let name = mesh.name_any();
    let lists = FieldPath::root("spec");
    list(&name, &lists, mesh.spec.functions.as_deref(), findings);
    list(&name, &lists, mesh.spec.sources.as_deref(), findings);
    list(&name, &lists, mesh.spec.sinks.as_deref(), findings);
    // All of these give advice, and compare components with one another; nobody reads it about so many.
    if findings.wants_advice() && mesh.spec.components().count() <= Role::ALL.len() * rules::MAX_COMPONENTS {
        let mut budget = Budget::default();
        conflicts::identities(mesh, &lists, findings);
        conflicts::subscriptions(mesh, &lists, &mut budget, findings);
        lints::check(mesh, &lists, &mut budget, findings);
        if budget.is_spent() {
            let message =
                "the mesh is too large to look for all slips; topics were compared in part, or not at all";
            findings.warn(lists, message);
        }
    }
}

fn list<S: Spec>(mesh: &str, path: &FieldPath, specs: Option<&[S]>, findings: &mut Collector) {
    let mut taken = BTreeSet::new();
    let specs = specs.unwrap_or_default();
    if specs.len() > rules::MAX_COMPONENTS {
        let message = format!("has {} items, at most {} are possible", specs.len(), rules::MAX_COMPONENTS);
        findings.deny(path.field(S::ROLE.mesh_field()), message);
        return;
    }
    for (index, spec) in specs.iter().enumerate() {
        let name = spec.view().common.name.unwrap_or_default().to_owned();
        let at = path.field(S::ROLE.mesh_field()).item(index, &name);
        name_of_component(mesh, &at, &name, findings);
        if !name.is_empty() && !taken.insert(name.clone()) {
            let message =
                format!("{name:?} is the name of an earlier {} already; each needs its own", S::ROLE);
            findings.deny(at.field("name"), message);
        }
        let mut complete = spec.clone();
        complete.set_mesh_defaults();
        complete.set_defaults("");
        component::check(&at, &complete, Lifecycle::New, findings);
    }
}

/// A component's object is called `<mesh>-<name>`: that must be a name, and short enough for its children.
fn name_of_component(mesh: &str, at: &FieldPath, name: &str, findings: &mut Collector) {
    if name.is_empty() {
        findings.deny_rule(at, &rules::NO_NAME);
    } else if let Some(fault) = names::component_name_fault(name) {
        findings.deny(at.field("name"), fault);
    } else if let Some(fault) = names::component_name_fault(&format!("{mesh}-{name}")) {
        findings.deny(at.field("name"), format!("together with the mesh's name: {fault}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::budget::MAX_STEPS;
    use crate::validate::{
        MAX_FINDINGS, Scope, check_mesh, check_mesh_for, check_mesh_update, mesh_violations, valid_mesh,
    };

    #[allow(clippy::needless_pass_by_value, reason = "fixtures read better so")]
    fn mesh(functions: Vec<Value>, sinks: Vec<Value>) -> (FunctionMesh, usize) {
        let object =
            json!({ "metadata": { "name": "m" }, "spec": { "functions": functions, "sinks": sinks } });
        let size = object.to_string().len();
        (crate::parse(object).unwrap(), size)
    }

    fn function(name: &str, reads: &Value, writes: &str) -> Value {
        json!({
            "name": name, "className": "C", "java": { "jar": "/x.jar" }, "pulsar": { "pulsarConfig": "c" },
            "input": reads, "output": { "topic": writes },
        })
    }

    fn sink(name: &str, reads: &Value) -> Value {
        json!({
            "name": name, "className": "C", "java": { "jar": "/x.jar" }, "pulsar": { "pulsarConfig": "c" },
            "input": reads, "sinkConfig": {},
        })
    }

    /// Meshes that cost most to give advice on, of about this many components.
    fn hostile(count: usize) -> Vec<(&'static str, FunctionMesh, usize)> {
        let topics = |name: &str| json!({ "topics": [name] });
        let written = |each: &dyn Fn(usize) -> String| -> Vec<Value> {
            (0..count).map(|index| function(&format!("f{index}"), &topics("in"), &each(index))).collect()
        };
        let read = |each: &dyn Fn(usize) -> Value| -> Vec<Value> {
            (0..count).map(|index| sink(&format!("s{index}"), &each(index))).collect()
        };
        let long = |index: usize| format!("{}{index:05}", "a".repeat(195));
        let letters = |index: usize| format!("{}{}", "k".repeat(690 - index % 7), "xyzw".repeat(index % 9));
        let state = |index: usize| json!({ "topicPattern": format!("public/default/(?:a?){{1900}}x{}", "y".repeat(index)) });
        let dense = |index: usize| json!({ "topicPattern": format!("public/default/(?:[a-c]|a|b){{90}}{}", "z?".repeat(index)) });
        let all =
            |index: usize| json!({ "topicPattern": format!("public/default/.*{}", "a?".repeat(index)) });
        let specs: serde_json::Map<_, _> =
            (0..count * 20).map(|index| (format!("t{index}"), json!({ "isRegexPattern": true }))).collect();
        let one =
            |index: usize| format!("{}{}{}", "k".repeat(index % 600), "xy", "k".repeat(600 - index % 600));
        [
            ("large patterns", mesh(written(&long), read(&state))),
            ("dear patterns", mesh(written(&long), read(&dense))),
            ("patterns that match all", mesh(written(&long), read(&all))),
            ("one topic for all", mesh(written(&|_| "all".to_owned()), read(&|_| topics("all")))),
            (
                "long names, nearly one",
                mesh(written(&letters), read(&|index| topics(&(letters(index) + "q")))),
            ),
            ("the same without a letter", mesh(written(&one), read(&|index| topics(&one(index + 1))))),
            (
                "many patterns in one component",
                mesh(vec![], vec![sink("s", &json!({ "sourceSpecs": specs }))]),
            ),
        ]
        .map(|(what, (mesh, size))| (what, mesh, size))
        .into()
    }

    #[test]
    fn advice_takes_no_more_steps_than_its_budget() {
        for (what, mesh, size) in hostile(300) {
            let mut budget = Budget::default();
            let mut findings = Collector::new(Scope::RulesAndWarnings);
            let path = FieldPath::root("spec");
            conflicts::subscriptions(&mesh, &path, &mut budget, &mut findings);
            lints::check(&mesh, &path, &mut budget, &mut findings);
            assert!(budget.taken() <= MAX_STEPS, "{what}: {}", budget.taken());
            let has_patterns = what.contains("patterns");
            // Without patterns: so many steps for each byte, or the budget was spent on names that are nearly one.
            assert!(
                has_patterns || budget.is_spent() || budget.taken() < 20 * size,
                "{what}: {} {size}",
                budget.taken()
            );
            let all = check_mesh(&mesh);
            assert!(all.warnings.len() <= MAX_FINDINGS + 1, "{what}");
            let says_so = all
                .warnings
                .iter()
                .any(|warning| warning.message.contains("too large to look for all slips"));
            assert_eq!(says_so, budget.is_spent() && all.warnings.len() <= MAX_FINDINGS, "{what}");
        }
    }

    #[test]
    fn advice_is_not_computed_for_rules_alone() {
        for (what, mesh, _) in hostile(30) {
            assert_eq!(check_mesh_for(&mesh, Scope::Rules).warnings, [], "{what}");
            assert_eq!(
                check_mesh_for(&mesh, Scope::Rules).violations,
                check_mesh(&mesh).violations,
                "{what}"
            );
            assert_eq!(valid_mesh(mesh.clone()).is_ok(), check_mesh(&mesh).violations.is_empty(), "{what}");
        }
    }

    #[test]
    fn at_most_a_hundred_violations_are_listed_and_the_others_counted() {
        let broken: Vec<_> =
            (0..250).map(|index| sink(&format!("s{index}"), &json!({ "topics": ["a/b"] }))).collect();
        let findings = check_mesh(&mesh(vec![], broken).0);
        assert_eq!(findings.violations.len(), MAX_FINDINGS + 1);
        let last = findings.violations.last().unwrap().to_string();
        assert_eq!(last, "spec: 150 more violations; only the first 100 are listed");
        let long = "x/".repeat(500_000);
        let findings = check_mesh(&mesh(vec![], vec![sink(&long, &json!({ "topics": [long] }))]).0);
        assert!(!findings.violations.is_empty());
        let words = findings.into_result().unwrap_err().to_string();
        assert!(words.len() < 3000, "{}", words.len());
    }

    #[test]
    fn a_change_is_judged_by_all_violations_and_not_by_those_listed() {
        let of = |from: usize, to: usize| {
            let sinks =
                (from..to).map(|index| sink(&format!("s{index}"), &json!({ "topics": ["a/b"] }))).collect();
            mesh(vec![], sinks).0
        };
        let judge = |old, new| check_mesh_update(&new, mesh_violations(&old), Scope::RulesAndWarnings);
        // The first of 250 is mended: the hundred and first comes into the list, and is as old as the others.
        assert_eq!(judge(of(0, 250), of(1, 250)).violations, []);
        let judged = judge(of(0, 250), of(0, 251));
        assert_eq!(judged.violations.len(), 1);
        assert_eq!(judged.violations[0].field.as_str(), "spec.sinks[250].input.topics[0]");
        assert_eq!(judge(of(0, 1), of(0, 251)).violations.len(), MAX_FINDINGS + 1);
    }
}
