//! The rules of a mesh: of each component, and across components.

use std::collections::BTreeSet;

use kube::ResourceExt;

use crate::FunctionMesh;
use crate::budget::Budget;
use crate::component::{Role, Spec};
use crate::names;

use super::collector::Collector;
use super::scaling::Lifecycle;
use super::violation::FieldPath;
use super::{component, conflicts, lints, message_scaling, rollout, rules};

pub(super) fn check(mesh: &FunctionMesh, findings: &mut Collector) {
    let name = mesh.name_any();
    let lists = FieldPath::root("spec");
    list(&name, &lists, mesh.spec.functions.as_deref(), findings);
    list(&name, &lists, mesh.spec.sources.as_deref(), findings);
    list(&name, &lists, mesh.spec.sinks.as_deref(), findings);
    message_scaling::check_mesh(&lists, mesh, findings);
    rollout::check_mesh(&lists, mesh, findings);
    // These compare components with each other and only warn, so huge meshes skip them.
    if findings.wants_warnings() && mesh.spec.components().count() <= Role::ALL.len() * rules::MAX_COMPONENTS
    {
        let mut budget = Budget::default();
        conflicts::identities(mesh, &lists, findings);
        conflicts::subscriptions(mesh, &lists, &mut budget, findings);
        lints::check(mesh, &lists, &mut budget, findings);
        if budget.is_spent() {
            let message = "the mesh is too large for all lints; some topics were not compared";
            findings.warn(lists, message);
        }
    }
}

fn list<S: Spec>(mesh: &str, path: &FieldPath, specs: Option<&[S]>, findings: &mut Collector) {
    let mut seen = BTreeSet::new();
    let specs = specs.unwrap_or_default();
    if specs.len() > rules::MAX_COMPONENTS {
        let message = format!("has {} items; the maximum is {}", specs.len(), rules::MAX_COMPONENTS);
        findings.deny(path.field(S::ROLE.mesh_field()), message);
        return;
    }
    for (index, spec) in specs.iter().enumerate() {
        let name = spec.view().common.name.unwrap_or_default().to_owned();
        let at = path.field(S::ROLE.mesh_field()).item(index, &name);
        name_of_component(mesh, &at, &name, findings);
        if !name.is_empty() && !seen.insert(name.clone()) {
            findings.deny(at.field("name"), format!("duplicate {} name {name:?}", S::ROLE));
        }
        let mut complete = spec.clone();
        complete.set_mesh_defaults();
        complete.set_defaults("");
        component::check(&at, &complete, Lifecycle::New, findings);
    }
}

/// The component object is named `<mesh>-<name>`, which must be a valid name, short enough for its children. The rule
/// is on the whole name: `2fa-check` is valid in a mesh `login`.
fn name_of_component(mesh: &str, at: &FieldPath, name: &str, findings: &mut Collector) {
    if name.is_empty() {
        findings.deny_rule(at, &rules::NO_NAME);
    } else if let Some(error) = names::component_name_error(&format!("{mesh}-{name}")) {
        findings.deny(at.field("name"), format!("the object name `<mesh>-<name>` is invalid: {error}"));
    } else if let Some(warning) = names::component_name_warning(mesh) {
        findings.warn(at.field("name"), format!("the object name `{mesh}-{name}` {warning}"));
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

    /// Meshes with the most expensive warnings, of about this many components.
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
            ("expensive patterns", mesh(written(&long), read(&dense))),
            ("patterns that match all topics", mesh(written(&long), read(&all))),
            ("a single topic", mesh(written(&|_| "all".to_owned()), read(&|_| topics("all")))),
            ("long, similar names", mesh(written(&letters), read(&|index| topics(&(letters(index) + "q"))))),
            ("similar names by deletion", mesh(written(&one), read(&|index| topics(&one(index + 1))))),
            (
                "many patterns in one component",
                mesh(vec![], vec![sink("s", &json!({ "sourceSpecs": specs }))]),
            ),
        ]
        .map(|(what, (mesh, size))| (what, mesh, size))
        .into()
    }

    #[test]
    fn warnings_stay_within_their_budget() {
        for (what, mesh, size) in hostile(300) {
            let mut budget = Budget::default();
            let mut findings = Collector::new(Scope::RulesAndWarnings);
            let path = FieldPath::root("spec");
            conflicts::subscriptions(&mesh, &path, &mut budget, &mut findings);
            lints::check(&mesh, &path, &mut budget, &mut findings);
            assert!(budget.taken() <= MAX_STEPS, "{what}: {}", budget.taken());
            let has_patterns = what.contains("patterns");
            // Without patterns, steps are linear in the size unless similar names exceed the budget.
            assert!(
                has_patterns || budget.is_spent() || budget.taken() < 20 * size,
                "{what}: {} {size}",
                budget.taken()
            );
            let all = check_mesh(&mesh);
            assert!(all.warnings.len() <= MAX_FINDINGS + 1, "{what}");
            let says_so =
                all.warnings.iter().any(|warning| warning.message.contains("too large for all lints"));
            assert_eq!(says_so, budget.is_spent() && all.warnings.len() <= MAX_FINDINGS, "{what}");
        }
    }

    #[test]
    fn scope_rules_computes_no_warnings() {
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
    fn lists_100_violations_and_counts_the_rest() {
        let broken: Vec<_> =
            (0..250).map(|index| sink(&format!("s{index}"), &json!({ "topics": ["a/b"] }))).collect();
        let findings = check_mesh(&mesh(vec![], broken).0);
        assert_eq!(findings.violations.len(), MAX_FINDINGS + 1);
        let last = findings.violations.last().unwrap().to_string();
        assert_eq!(last, "spec: 150 more violations; only the first 100 are listed");
        let long = "x/".repeat(500_000);
        let findings = check_mesh(&mesh(vec![], vec![sink(&long, &json!({ "topics": [long] }))]).0);
        assert!(!findings.violations.is_empty());
        let message = findings.into_result().unwrap_err().to_string();
        assert!(message.len() < 3000, "{}", message.len());
    }

    #[test]
    fn updates_compare_all_violations() {
        let of = |from: usize, to: usize| {
            let sinks =
                (from..to).map(|index| sink(&format!("s{index}"), &json!({ "topics": ["a/b"] }))).collect();
            mesh(vec![], sinks).0
        };
        let judge = |old, new| check_mesh_update(&new, mesh_violations(&old), Scope::RulesAndWarnings);
        // Fixing the first of 250 lists the 101st, which is known as well.
        assert_eq!(judge(of(0, 250), of(1, 250)).violations, []);
        let result = judge(of(0, 250), of(0, 251));
        assert_eq!(result.violations.len(), 1);
        assert_eq!(result.violations[0].field.as_str(), "spec.sinks[250].input.topics[0]");
        assert_eq!(judge(of(0, 1), of(0, 251)).violations.len(), MAX_FINDINGS + 1);
    }
}
