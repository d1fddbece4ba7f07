//! Conflicts between components of a mesh: equal identities in Pulsar and shared subscriptions.
//!
//! They are warnings only. Each role has its own objects and pods, so a mesh with a source and a sink of the same name
//! runs, and existing meshes do that. Two components can also share a subscription on purpose.

use std::collections::BTreeMap;

use crate::FunctionMesh;
use crate::budget::Budget;
use crate::component::{Common, Role};
use crate::names;

use super::collector::Collector;
use super::violation::FieldPath;

/// The identity of a component in Pulsar: tenant, namespace and name.
fn identity(common: &Common<'_>) -> String {
    let or = |text: Option<&str>, default: &str| {
        text.filter(|text| !text.is_empty()).unwrap_or(default).to_owned()
    };
    let (tenant, namespace) = (or(common.tenant, "public"), or(common.namespace, "default"));
    format!("{tenant}/{namespace}/{}", common.name.unwrap_or_default())
}

/// Warns of components with the same identity: they share metrics, state and the default subscription.
pub(super) fn identities(mesh: &FunctionMesh, path: &FieldPath, findings: &mut Collector) {
    let mut first: BTreeMap<String, Role> = BTreeMap::new();
    for (role, index, view) in mesh.spec.components() {
        let name = view.common.name.unwrap_or_default();
        if name.is_empty() {
            continue;
        }
        let identity = identity(&view.common);
        // Within one role, a duplicate name is a violation already.
        if let Some(other) = first.get(&identity).filter(|other| **other != role) {
            let message = format!(
                "a {other} of this mesh has the same identity {identity:?} in Pulsar; they share metrics, state and the default subscription"
            );
            findings.warn(path.field(role.mesh_field()).item(index, name).field("name"), message);
        }
        first.entry(identity).or_insert(role);
    }
}

/// Warns of components that share a subscription on a topic: each message is delivered to only one of them.
pub(super) fn subscriptions(
    mesh: &FunctionMesh,
    path: &FieldPath,
    budget: &mut Budget,
    findings: &mut Collector,
) {
    // Subscriptions are numbered, since their names can be long and each topic refers to one.
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    let mut readers: BTreeMap<(String, usize), (Role, usize)> = BTreeMap::new();
    for (role, index, view) in mesh.spec.components() {
        let (Some(consuming), Some(input)) = (view.consuming, view.input()) else { continue };
        let given = consuming.subscription_name.filter(|name| !name.is_empty());
        let subscription = given.map_or_else(|| identity(&view.common), str::to_owned);
        let next = names.len();
        let subscription = *names.entry(subscription).or_insert(next);
        for topic in input.all_topics() {
            if !budget.spend(topic.len()) {
                return;
            }
            let Ok(full) = names::TopicName::parse(topic) else { continue };
            let first = *readers.entry((full.to_string(), subscription)).or_insert((role, index));
            let (other, position) = first;
            // Within one role, a duplicate name is a violation already.
            let is_same_list = given.is_none() && other == role;
            if first != (role, index) && !is_same_list {
                let name = view.common.name.unwrap_or_default();
                let field = other.mesh_field();
                findings.warn(
                    path.field(role.mesh_field()).item(index, name).field("subscriptionName"),
                    format!(
                        "{field}[{position}] consumes {topic:?} with the same subscription; each message is delivered to only one of them"
                    ),
                );
            }
        }
    }
}
