//! The ports of boxes, where lines start and end.
//!
//! Each line has its own port on the side of a component, as close as possible to its other end, so that most lines are
//! straight. The lines of a topic share the port in its middle, unless incoming and outgoing lines are on one side.

use super::layout::Layout;
use super::{Graph, Kind};

/// A segment of a route between two adjacent layers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The arrow.
    pub(super) arrow: usize,
    /// Whether the arrow points to the lower layer.
    pub(super) is_reversed: bool,
    /// The item in the lower layer, and its port.
    pub(super) lower: usize,
    pub(super) from: i32,
    /// The item in the higher layer, and its port.
    pub(super) upper: usize,
    pub(super) to: i32,
}

/// The segments of all routes by their lower layer. Ports of one box keep `spacing` between them, and `margin` from its
/// corners.
pub(super) fn steps(graph: &Graph, layout: &Layout, spacing: i32, margin: i32) -> Vec<Vec<Step>> {
    let mut steps: Vec<Vec<Step>> = vec![Vec::new(); layout.layers.len()];
    for (arrow, route) in layout.routes.iter().enumerate() {
        for pair in route.items.windows(2) {
            let [lower, upper] = *pair else { continue };
            let (from, to) = (layout.items[lower].middle(), layout.items[upper].middle());
            let step = Step { arrow, is_reversed: route.is_reversed, lower, from, upper, to };
            steps[layout.items[lower].layer].push(step);
        }
    }
    for steps in &mut steps {
        // First topics, whose ports are fixed, then components, which align with them.
        for of_components in [false, true] {
            for is_lower in [true, false] {
                spread(graph, layout, steps, (is_lower, of_components), (spacing, margin));
            }
        }
    }
    steps
}

fn spread(
    graph: &Graph,
    layout: &Layout,
    steps: &mut [Step],
    (is_lower, of_components): (bool, bool),
    (spacing, margin): (i32, i32),
) {
    let near: Vec<usize> = steps.iter().map(|step| if is_lower { step.lower } else { step.upper }).collect();
    let far: Vec<i32> = steps.iter().map(|step| if is_lower { step.to } else { step.from }).collect();
    let mut order: Vec<usize> = (0..steps.len()).collect();
    order.sort_by_key(|place| (near[*place], far[*place]));
    for group in order.chunk_by(|one, other| near[*one] == near[*other]) {
        let item = &layout.items[near[group[0]]];
        let Some(vertex) = item.vertex.and_then(|vertex| graph.vertices.get(vertex)) else { continue };
        let is_component = matches!(vertex.kind, Kind::Component { .. });
        if is_component != of_components {
            continue;
        }
        let bundles: Vec<Vec<usize>> = if is_component {
            group.iter().map(|place| vec![*place]).collect()
        } else {
            let (back, on): (Vec<usize>, Vec<usize>) =
                group.iter().partition(|place| steps[**place].is_reversed);
            let mut both: Vec<_> = [back, on].into_iter().filter(|bundle| !bundle.is_empty()).collect();
            if both.len() < 2 {
                continue;
            }
            both.sort_by_key(|bundle| bundle.iter().map(|place| far[*place]).sum::<i32>() / len(bundle));
            both
        };
        let wishes: Vec<i32> = bundles
            .iter()
            .map(|bundle| bundle.iter().map(|place| far[*place]).sum::<i32>() / len(bundle))
            .collect();
        let (first, last) = (item.start + margin, item.start + item.size - 1 - margin);
        for (bundle, port) in bundles.iter().zip(ports(&wishes, first.min(last), last.max(first), spacing)) {
            for place in bundle {
                let step = &mut steps[*place];
                *(if is_lower { &mut step.from } else { &mut step.to }) = port;
            }
        }
    }
}

/// Ordered ports from `low` to `high`, with spacing, as close as possible to the desired ones.
fn ports(wishes: &[i32], low: i32, high: i32, spacing: i32) -> Vec<i32> {
    let count = len(wishes);
    let spacing = if count > 1 { spacing.min((high - low) / (count - 1)).max(0) } else { 0 };
    let mut ports: Vec<i32> = Vec::with_capacity(wishes.len());
    for (wish, place) in wishes.iter().zip(0..) {
        let earliest = ports.last().map_or(low, |before| before + spacing);
        let latest = high - spacing * (count - 1 - place);
        ports.push((*wish).min(latest).max(earliest));
    }
    ports
}

fn len<T>(list: &[T]) -> i32 {
    i32::try_from(list.len()).unwrap_or(i32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_stay_in_range_and_spaced() {
        assert_eq!(ports(&[5], 0, 10, 4), [5]);
        assert_eq!(ports(&[-20], 0, 10, 4), [0]);
        assert_eq!(ports(&[5, 5, 5], 0, 10, 4), [2, 6, 10]);
        assert_eq!(ports(&[90, 95], 0, 10, 4), [6, 10]);
        assert_eq!(ports(&[1, 2, 3, 4], 0, 2, 4), [1, 2, 2, 2]);
    }
}
