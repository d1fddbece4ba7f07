//! What components of a mesh share and should not: a place in Pulsar, and subscriptions.
//!
//! All of it is warned of and nothing refused. The roles have each their own objects and pods, so a mesh with a
//! source and a sink of one name runs, and many do; and two components that take turns on one subscription are
//! what somebody may want.

use std::collections::BTreeMap;

use crate::FunctionMesh;
use crate::budget::Budget;
use crate::component::{Common, Role};
use crate::names;

use super::collector::Collector;
use super::violation::FieldPath;

/// Tenant, namespace and name: what Pulsar knows a component by.
fn identity(common: &Common<'_>) -> String {
    let or = |text: Option<&str>, default: &str| {
        text.filter(|text| !text.is_empty()).unwrap_or(default).to_owned()
    };
    let (tenant, namespace) = (or(common.tenant, "public"), or(common.namespace, "default"));
    format!("{tenant}/{namespace}/{}", common.name.unwrap_or_default())
}

/// Two components of one identity share metrics and state, and their default subscription.
pub(super) fn identities(mesh: &FunctionMesh, path: &FieldPath, findings: &mut Collector) {
    let mut first: BTreeMap<String, Role> = BTreeMap::new();
    for (role, index, view) in mesh.spec.components() {
        let name = view.common.name.unwrap_or_default();
        if name.is_empty() {
            continue;
        }
        let identity = identity(&view.common);
        // Within one list the name itself is refused.
        if let Some(other) = first.get(&identity).filter(|other| **other != role) {
            let message = format!(
                "a {other} of this mesh is {identity:?} in Pulsar too; their metrics and state are one, and so is their default subscription"
            );
            findings.warn(path.field(role.mesh_field()).item(index, name).field("name"), message);
        }
        first.entry(identity).or_insert(role);
    }
}

/// Two components that read a topic by the same subscription take messages from each other.
pub(super) fn subscriptions(
    mesh: &FunctionMesh,
    path: &FieldPath,
    budget: &mut Budget,
    findings: &mut Collector,
) {
    // By number: the name may be long, and stands beside each topic.
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
            let (other, place) = first;
            // Within one list the name itself is refused.
            let is_same_list = given.is_none() && other == role;
            if first != (role, index) && !is_same_list {
                let name = view.common.name.unwrap_or_default();
                let field = other.mesh_field();
                findings.warn(
                    path.field(role.mesh_field()).item(index, name).field("subscriptionName"),
                    format!(
                        "{field}[{place}] reads {topic:?} with the same subscription; each message reaches only one of them"
                    ),
                );
            }
        }
    }
}
