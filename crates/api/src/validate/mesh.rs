//! The rules of a mesh: each component by its own, and all of them together.

use std::collections::BTreeSet;

use kube::ResourceExt;

use crate::FunctionMesh;
use crate::component::{Role, Spec};

use super::scaling::Age;
use super::{FieldPath, Findings, component, grammar, rules, sharing, slips};

pub(super) fn check(mesh: &FunctionMesh, findings: &mut Findings) {
    let name = mesh.name_any();
    let lists = FieldPath::root("spec");
    list(&name, &lists, mesh.spec.functions.as_deref(), findings);
    list(&name, &lists, mesh.spec.sources.as_deref(), findings);
    list(&name, &lists, mesh.spec.sinks.as_deref(), findings);
    // Each of these compares components with one another; nobody reads what they say of so many.
    if mesh.spec.components().count() <= Role::ALL.len() * rules::MAX_COMPONENTS {
        sharing::identities(mesh, &lists, findings);
        sharing::subscriptions(mesh, &lists, findings);
        slips::check(mesh, &lists, findings);
    }
}

fn list<S: Spec>(mesh: &str, path: &FieldPath, specs: Option<&[S]>, findings: &mut Findings) {
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
        complete.set_defaults("");
        component::check(&at, &complete, Age::New, findings);
    }
}

/// A component's object is called `<mesh>-<name>`: that must be a name, and short enough for its children.
fn name_of_component(mesh: &str, at: &FieldPath, name: &str, findings: &mut Findings) {
    if name.is_empty() {
        findings.deny_rule(at, &rules::NO_NAME);
    } else if let Some(fault) = grammar::component_name_fault(name) {
        findings.deny(at.field("name"), fault);
    } else if let Some(fault) = grammar::component_name_fault(&format!("{mesh}-{name}")) {
        findings.deny(at.field("name"), format!("together with the mesh's name: {fault}"));
    }
}
