//! The rules of a mesh: each component by its own, and all of them together.

use std::collections::BTreeMap;

use kube::ResourceExt;

use crate::FunctionMesh;
use crate::component::Spec;
use crate::topology::{Topology, Use};

use super::{FieldPath, Findings, component, grammar};

pub(super) fn check(mesh: &FunctionMesh, findings: &mut Findings) {
    let name = mesh.name_any();
    let lists = FieldPath::root("spec");
    list(&name, &lists, mesh.spec.functions.as_deref(), findings);
    list(&name, &lists, mesh.spec.sources.as_deref(), findings);
    list(&name, &lists, mesh.spec.sinks.as_deref(), findings);
    shared_subscriptions(mesh, &lists, findings);
    loose_ends(mesh, &lists, findings);
}

fn list<S: Spec>(mesh: &str, path: &FieldPath, specs: Option<&[S]>, findings: &mut Findings) {
    let mut first: BTreeMap<String, usize> = BTreeMap::new();
    for (index, spec) in specs.unwrap_or_default().iter().enumerate() {
        let at = path.field(S::ROLE.mesh_field()).index(index);
        let name = spec.view().common.name.unwrap_or_default().to_owned();
        name_of_component(mesh, &at.field("name"), &name, findings);
        if !name.is_empty()
            && let Some(earlier) = first.get(&name)
        {
            let taken = format!(
                "{name:?} is the name of {}[{earlier}] already; each needs its own",
                S::ROLE.mesh_field()
            );
            findings.deny(at.field("name"), taken);
        }
        first.entry(name).or_insert(index);
        let mut complete = spec.clone();
        complete.set_defaults("");
        component::check(&at, &complete, findings);
    }
}

/// A component's object is called `<mesh>-<name>`: that must be a name, and short enough for its children.
fn name_of_component(mesh: &str, at: &FieldPath, name: &str, findings: &mut Findings) {
    if name.is_empty() {
        findings.deny(at.clone(), "each component of a mesh needs a name");
    } else if let Some(fault) = grammar::component_name_fault(name) {
        findings.deny(at.clone(), fault);
    } else if let Some(fault) = grammar::component_name_fault(&format!("{mesh}-{name}")) {
        findings.deny(at.clone(), format!("together with the mesh's name: {fault}"));
    }
}

/// Two components that read a topic by the same subscription take messages from each other.
fn shared_subscriptions(mesh: &FunctionMesh, path: &FieldPath, findings: &mut Findings) {
    let mut subscriptions: BTreeMap<(String, String), String> = BTreeMap::new();
    for (role, index, view) in mesh.spec.components() {
        let (Some(consuming), Some(input)) = (view.consuming, view.input()) else { continue };
        let Some(subscription) = consuming.subscription_name.filter(|name| !name.is_empty()) else {
            continue;
        };
        let at = format!("{}[{index}]", role.mesh_field());
        for topic in input.all_topics() {
            let Ok(full) = grammar::TopicName::parse(topic) else { continue };
            let key = (full.to_string(), subscription.to_owned());
            if let Some(other) = subscriptions.get(&key).filter(|other| **other != at) {
                findings.warn(
                    path.field(&at).field("subscriptionName"),
                    format!("{other} reads {topic:?} with the same subscription; each message reaches only one of them"),
                );
            }
            subscriptions.entry(key).or_insert_with(|| at.clone());
        }
    }
}

/// What is legal and yet looks like a slip: types that differ along an edge, and a component that hangs
/// together with no other, most often by a misspelt topic.
fn loose_ends(mesh: &FunctionMesh, path: &FieldPath, findings: &mut Findings) {
    let topology = Topology::of(&mesh.spec);
    let views: Vec<_> = mesh.spec.components().collect();
    for feed in topology.feeds().iter().filter(|feed| feed.how == Use::Writes) {
        let (Some((_, _, writer)), Some((role, index, reader))) = (views.get(feed.from), views.get(feed.to))
        else {
            continue;
        };
        let written = writer.output().and_then(|output| output.type_class_name.as_deref());
        let read = reader.input().and_then(|input| input.type_class_name.as_deref());
        if let (Some(written), Some(read)) = (written, read)
            && written != read
        {
            let field = path.field(role.mesh_field()).index(*index).field("input.typeClassName");
            let writer = writer.common.name.unwrap_or_default();
            findings.warn(field, format!("reads {read}, and {writer:?} writes {written} to the same topic"));
        }
    }
    if topology.components().len() < 2 {
        return;
    }
    for component in topology.isolated() {
        let field = path.field(component.role.mesh_field()).index(component.index);
        findings.warn(field, format!("{:?} shares no topic with the rest of the mesh", component.name));
    }
}
