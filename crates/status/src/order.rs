//! The order of components along the flow.

use std::collections::BTreeSet;

use function_mesh_api::Role;
use function_mesh_api::topology::{Node, Topology};

/// The components by index in [`Topology::components`], in the order of the flow: those without a predecessor first, then
/// each after all of its predecessors. The components of a cycle share a place. Within a place sources come before
/// functions before sinks, and then the order of the spec counts.
pub fn flow_order(topology: &Topology) -> Vec<usize> {
    let nodes = topology.components();
    let groups = groups(topology);
    let steps = steps(topology, &groups);
    let key = |position: &usize| {
        let group = groups.get(*position).copied().unwrap_or_default();
        (steps.get(group).copied().unwrap_or_default(), nodes.get(*position).map_or(0, rank), *position)
    };
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by_key(key);
    order
}

fn rank(node: &Node) -> usize {
    match node.role {
        Role::Source => 0,
        Role::Function => 1,
        Role::Sink => 2,
    }
}

/// The group of each component: its cycle, or the component alone. A group has the index of its first component.
fn groups(topology: &Topology) -> Vec<usize> {
    let mut groups: Vec<usize> = (0..topology.components().len()).collect();
    for cycle in topology.cycles() {
        for position in &cycle {
            if let (Some(group), Some(first)) = (groups.get_mut(*position), cycle.first()) {
                *group = *first;
            }
        }
    }
    groups
}

/// The longest way from a start to each group. Groups have no cycles among them.
fn steps(topology: &Topology, groups: &[usize]) -> Vec<usize> {
    let pairs: BTreeSet<(usize, usize)> = topology
        .edges()
        .iter()
        .filter_map(|edge| Some((*groups.get(edge.from)?, *groups.get(edge.to)?)))
        .filter(|(from, to)| from != to)
        .collect();
    let mut after = vec![Vec::new(); groups.len()];
    let mut waits_for = vec![0_usize; groups.len()];
    for (from, to) in pairs {
        after[from].push(to);
        waits_for[to] += 1;
    }
    let mut steps = vec![0; groups.len()];
    let mut open: Vec<usize> = (0..groups.len()).filter(|group| waits_for[*group] == 0).collect();
    while let Some(group) = open.pop() {
        for next in &after[group] {
            steps[*next] = steps[*next].max(steps[group] + 1);
            waits_for[*next] -= 1;
            if waits_for[*next] == 0 {
                open.push(*next);
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The names in order, of `functions`, `sources` and `sinks` as name, inputs and output.
    fn order(
        functions: &[(&str, &[&str], &str)],
        sources: &[(&str, &str)],
        sinks: &[(&str, &[&str])],
    ) -> String {
        let function = |(name, topics, output): &(&str, &[&str], &str)| json!({ "name": name, "input": { "topics": topics }, "output": { "topic": output } });
        let source = |(name, output): &(&str, &str)| json!({ "name": name, "output": { "topic": output } });
        let sink = |(name, topics): &(&str, &[&str])| json!({ "name": name, "input": { "topics": topics } });
        let mesh = json!({
            "functions": functions.iter().map(function).collect::<Vec<Value>>(),
            "sources": sources.iter().map(source).collect::<Vec<Value>>(),
            "sinks": sinks.iter().map(sink).collect::<Vec<Value>>(),
        });
        let topology = Topology::of(&serde_json::from_value(mesh).unwrap());
        let names: Vec<_> =
            flow_order(&topology).into_iter().map(|it| topology.components()[it].name.clone()).collect();
        names.join(" ")
    }

    #[test]
    fn components_follow_the_flow() {
        assert_eq!(order(&[], &[], &[]), "");
        assert_eq!(
            order(&[("b", &["1"], "2"), ("a", &["0"], "1")], &[("in", "0")], &[("out", &["2"])]),
            "in a b out"
        );
        // A function of an external topic comes after the sources, an unconnected sink before what follows.
        assert_eq!(
            order(&[("late", &["0"], "9"), ("free", &["x"], "y")], &[("in", "0")], &[("alone", &["z"])]),
            "in free alone late"
        );
        // The longest way counts.
        assert_eq!(
            order(&[("c", &["0", "2"], "3"), ("a", &["0"], "1"), ("b", &["1"], "2")], &[("in", "0")], &[]),
            "in a b c"
        );
    }

    #[test]
    fn cycles_share_a_place() {
        assert_eq!(order(&[("self", &["1"], "1")], &[], &[("out", &["1"])]), "self out");
        assert_eq!(
            order(
                &[("b", &["1"], "2"), ("a", &["0", "2"], "1")],
                &[("in", "0")],
                &[("out", &["2"]), ("tap", &["0"])]
            ),
            "in b a tap out"
        );
        assert_eq!(order(&[("a", &["2"], "1"), ("b", &["1"], "2")], &[], &[]), "a b");
    }
}
