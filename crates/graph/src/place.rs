//! Coordinates within layers: edges as straight as the order allows, without overlaps.

use super::layout::Layout;

/// Rounds of straightening.
const ROUNDS: usize = 24;

/// Sets the coordinate of every item across the flow. Neighbours keep at least `gap`.
pub(super) fn place(layout: &mut Layout, gap: i32) {
    let mut springs: Vec<[Vec<(usize, f64)>; 2]> = vec![[Vec::new(), Vec::new()]; layout.items.len()];
    for route in &layout.routes {
        for pair in route.items.windows(2) {
            let [from, to] = *pair else { continue };
            // Straight long edges are easier to follow; a bend next to a box matters less.
            let lanes = [from, to].into_iter().filter(|item| layout.items[*item].vertex.is_none()).count();
            let weight = [1.0, 2.0, 8.0][lanes];
            springs[from][1].push((to, weight));
            springs[to][0].push((from, weight));
        }
    }
    let mut middles = vec![0.0; layout.items.len()];
    for layer in &layout.layers {
        settle(layer, layout, gap, &mut middles, &vec![(0.0, 1.0); layer.len()]);
    }
    let count = layout.layers.len();
    for round in 0..ROUNDS {
        for step in 0..count {
            // The last rounds use both sides, so that neither end of the graph is favoured.
            let is_down = round % 2 == 0;
            let index = if is_down { step } else { count - 1 - step };
            let sides: &[usize] = if round + 4 >= ROUNDS { &[0, 1] } else { &[usize::from(!is_down)] };
            let layer = &layout.layers[index];
            let wishes: Vec<(f64, f64)> = layer
                .iter()
                .map(|item| {
                    wish(sides.iter().flat_map(|side| &springs[*item][*side]), &middles, middles[*item])
                })
                .collect();
            settle(layer, layout, gap, &mut middles, &wishes);
        }
    }
    write(layout, gap, &middles);
    straighten(layout, gap);
}

/// The desired middle of an item, and its weight.
fn wish<'a>(springs: impl Iterator<Item = &'a (usize, f64)>, middles: &[f64], now: f64) -> (f64, f64) {
    let (mut sum, mut weight) = (0.0, 0.0);
    for (other, strength) in springs {
        sum += middles[*other] * strength;
        weight += strength;
    }
    if weight > 0.0 { (sum / weight, weight) } else { (now, 0.1) }
}

/// Moves the items of a layer as close to their desired coordinates as order and gap allow: neighbours that would
/// overlap move as a block, to the mean of their desired coordinates.
fn settle(layer: &[usize], layout: &Layout, gap: i32, middles: &mut [f64], wishes: &[(f64, f64)]) {
    let offsets = offsets(layer, layout, gap);
    // Blocks of adjacent items: sum of weighted coordinates, weight, number of items.
    let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
    for ((middle, weight), (offset, half)) in wishes.iter().zip(&offsets) {
        let mut block = ((middle - half - offset) * weight, *weight, 1);
        while let Some(last) = blocks.last()
            && last.0 / last.1 > block.0 / block.1
        {
            block = (last.0 + block.0, last.1 + block.1, last.2 + block.2);
            blocks.pop();
        }
        blocks.push(block);
    }
    let starts = blocks.iter().flat_map(|block| std::iter::repeat_n(block.0 / block.1, block.2));
    for ((item, start), (offset, half)) in layer.iter().zip(starts).zip(&offsets) {
        middles[*item] = start + offset + half;
    }
}

/// The minimal start of each item when the first starts at 0, and half its size.
fn offsets(layer: &[usize], layout: &Layout, gap: i32) -> Vec<(f64, f64)> {
    let mut next = 0;
    layer
        .iter()
        .map(|item| {
            let size = layout.items[*item].size;
            let offset = next;
            next += size + gap;
            (f64::from(offset), f64::from(size) / 2.0)
        })
        .collect()
}

/// Rounds the coordinates. Without sizes and gaps they are monotonic within a layer, and stay so when rounded, so no
/// items overlap.
fn write(layout: &mut Layout, gap: i32, middles: &[f64]) {
    for index in 0..layout.layers.len() {
        let offsets = offsets(&layout.layers[index], layout, gap);
        for (item, (offset, half)) in layout.layers[index].iter().zip(offsets) {
            let free = middles[*item] - half - offset;
            layout.items[*item].start = whole(free) + whole(offset);
        }
    }
    let least = layout.items.iter().map(|item| item.start).min().unwrap_or_default();
    layout.items.iter_mut().for_each(|item| item.start -= least);
}

/// Removes small bends from edges that are alone at both ends, where there is room.
fn straighten(layout: &mut Layout, gap: i32) {
    let count = layout.items.len();
    let (mut before, mut after) = (vec![Vec::new(); count], vec![Vec::new(); count]);
    for route in &layout.routes {
        for pair in route.items.windows(2) {
            let [from, to] = *pair else { continue };
            after[from].push(to);
            before[to].push(from);
        }
    }
    for layer in &layout.layers {
        for (place, item) in layer.iter().enumerate() {
            let [only] = before[*item].as_slice() else { continue };
            if after[*only].len() != 1 {
                continue;
            }
            let (now, size) = (layout.items[*item].start, layout.items[*item].size);
            let start = layout.items[*only].middle() - size / 2;
            let end_of = |other: &usize| layout.items[*other].start + layout.items[*other].size;
            let is_clear_before = place
                .checked_sub(1)
                .and_then(|place| layer.get(place))
                .is_none_or(|other| end_of(other) + gap <= start);
            let is_clear_after =
                layer.get(place + 1).is_none_or(|other| start + size + gap <= layout.items[*other].start);
            if (start - now).abs() <= gap && start >= 0 && is_clear_before && is_clear_after {
                layout.items[*item].start = start;
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "sizes are bounded by the length of names")]
fn whole(number: f64) -> i32 {
    // The epsilon makes rounding independent of the order of summation.
    (number + 0.5 + 1e-6).floor() as i32
}
