//! Lints of a mesh: topic names that differ by a typo, type mismatches along an edge, and isolated components.
//!
//! An external input or output alone is not suspicious.

use std::collections::BTreeSet;

use crate::FunctionMesh;
use crate::budget::Budget;
use crate::component::SpecView;
use crate::names::TopicName;
use crate::topology::{Node, Topic, Topology, Usage};

use super::collector::Collector;
use super::typo_index::{TypoIndex, is_letter};
use super::violation::FieldPath;

/// Maximum warnings of each lint.
const MAX_WARNINGS: usize = 50;
/// Types of the Pulsar client that accept any schema.
const GENERIC_TYPES: [&str; 2] = [
    "org.apache.pulsar.client.api.schema.GenericRecord",
    "org.apache.pulsar.client.api.schema.GenericObject",
];
/// Minimum length of names: shorter ones differ by a letter on purpose.
const MIN_LENGTH: usize = 4;

pub(super) fn check(mesh: &FunctionMesh, path: &FieldPath, budget: &mut Budget, findings: &mut Collector) {
    let topology = Topology::within(&mesh.spec, budget);
    let views: Vec<_> = mesh.spec.components().map(|(_, _, view)| view).collect();
    types(&topology, &views, path, findings);
    // An incomplete graph says nothing about missing connections.
    if topology.components().len() < 2 || budget.is_spent() {
        return;
    }
    let reported = typos(&topology, path, budget, findings);
    for (position, component) in topology.isolated_positions() {
        if !reported.contains(&position) {
            let message = format!("no topic connects {:?} to another component of the mesh", component.name);
            findings.warn(at(path, component), message);
        }
    }
}

fn at(path: &FieldPath, component: &Node) -> FieldPath {
    path.field(component.role.mesh_field()).item(component.index, &component.name)
}

fn types(topology: &Topology, views: &[SpecView<'_>], path: &FieldPath, findings: &mut Collector) {
    let mut left = MAX_WARNINGS;
    for edge in topology.edges().iter().filter(|edge| edge.usage == Usage::Writes) {
        let (Some(writer), Some(reader)) = (views.get(edge.from), views.get(edge.to)) else { continue };
        let written = writer.output().and_then(|output| output.type_class_name.as_deref());
        let read = reader.input().and_then(|input| input.type_class_name.as_deref());
        let (Some(written), Some(read)) = (written, read) else { continue };
        let Some(component) = topology.components().get(edge.to) else { continue };
        if written != read && !GENERIC_TYPES.contains(&read) && left > 0 {
            left -= 1;
            let writer = writer.common.name.unwrap_or_default();
            let message = format!(
                "type mismatch: consumes {read}, but {writer:?} produces {written} to the same topic"
            );
            findings.warn(at(path, component).field("input.typeClassName"), message);
        }
    }
}

/// Warns of external inputs that differ by a typo from an external output. Returns the components on both sides.
fn typos(
    topology: &Topology,
    path: &FieldPath,
    budget: &mut Budget,
    findings: &mut Collector,
) -> BTreeSet<usize> {
    let name = |topic: &Topic| TopicName::parse(topic.name()).ok();
    let written: Vec<_> =
        topology.external_outputs().filter_map(|topic| Some((topic, name(topic)?))).collect();
    let mut reported = BTreeSet::new();
    let Some(index) = TypoIndex::of(written.iter().map(|(_, name)| name), budget) else { return reported };
    let mut left = MAX_WARNINGS;
    for topic in topology.external_inputs().filter(|topic| !topic.is_pattern()) {
        let Some(wanted) = name(topic) else { continue };
        let Some(candidates) = index.candidates(&wanted, budget) else { return reported };
        let mut near = candidates.into_iter().filter_map(|position| written.get(position));
        let Some((meant, _)) = near.find(|(_, written)| is_similar(&wanted, written)) else { continue };
        let writers = || meant.uses().filter(|(_, usage)| usage.is_output()).map(|(position, _)| position);
        let readers = || topic.uses().filter(|(_, usage)| !usage.is_output()).map(|(position, _)| position);
        let writer = writers().find_map(|position| topology.components().get(position));
        for component in readers().filter_map(|position| topology.components().get(position)) {
            if left == 0 {
                return reported;
            }
            left -= 1;
            findings.warn(
                at(path, component).field("input"),
                format!(
                    "no component of the mesh produces to {:?}; did you mean {:?}, the output of {:?}?",
                    topic.short_name(),
                    meant.short_name(),
                    writer.map(|node| node.name.as_str()).unwrap_or_default()
                ),
            );
        }
        reported.extend(writers().chain(readers()));
    }
    reported
}

fn is_similar(one: &TopicName, other: &TopicName) -> bool {
    if (&one.tenant, &one.namespace) != (&other.tenant, &other.namespace) {
        return false;
    }
    one.local == other.local
        || one.persistent == other.persistent
            && (one.local.eq_ignore_ascii_case(&other.local)
                || one.local.len().min(other.local.len()) >= MIN_LENGTH
                    && is_one_typo(&one.local, &other.local))
}

/// Whether the edit distance is one: an insertion, deletion, substitution or transposition of letters. Numbers differ
/// on purpose.
fn is_one_typo(one: &str, other: &str) -> bool {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let same_start = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let (one, other) =
        (one.get(same_start..).unwrap_or_default(), other.get(same_start..).unwrap_or_default());
    let same_end = one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count();
    let cut = |text: &[char]| text.get(..text.len() - same_end).unwrap_or_default().to_vec();
    let letter = |letter: &char| is_letter(*letter);
    let (one, other) = (cut(one), cut(other));
    match (one.as_slice(), other.as_slice()) {
        ([extra], []) | ([], [extra]) => letter(extra),
        ([a], [b]) => letter(a) && letter(b),
        ([a, b], [c, d]) => (a, b) == (d, c) && letter(a) && letter(b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_one_typo() {
        for (one, other) in [("orders", "order"), ("orders", "ordesr"), ("orders", "orderz"), ("a-b", "a_b")]
        {
            assert!(is_one_typo(one, other) && is_one_typo(other, one), "{one} {other}");
        }
        for (one, other) in
            [("in-1", "in-2"), ("in", "in1"), ("orders", "ord"), ("orders", "orders"), ("ab1", "a1b")]
        {
            assert!(!is_one_typo(one, other), "{one} {other}");
        }
    }
}
