//! Orders the items of each layer to minimise crossings.

use super::layout::{Item, Route};

/// Rounds of ordering; more make no visible difference.
const ROUNDS: usize = 12;
/// Largest number of items for which neighbours are exchanged one by one.
const SMALL: usize = 400;

/// The items of each layer, in an order with few crossings of routes.
pub(super) fn ordered(items: &[Item], routes: &[Route]) -> Vec<Vec<usize>> {
    let count = items.iter().map(|item| item.layer + 1).max().unwrap_or_default();
    let mut work = Ordering { layers: vec![Vec::new(); count], ..Ordering::new(items.len(), routes) };
    for item in work.first_order() {
        if let Some(layer) = items.get(item).and_then(|item| work.layers.get_mut(item.layer)) {
            layer.push(item);
        }
    }
    work.number();
    let mut best = (work.crossings(), work.layers.clone());
    for round in 0..ROUNDS {
        if best.0 == 0 {
            break;
        }
        work.sweep(round % 2 == 0);
        if items.len() <= SMALL {
            work.exchange();
        }
        let crossings = work.crossings();
        if crossings < best.0 {
            best = (crossings, work.layers.clone());
        }
    }
    best.1
}

struct Ordering {
    layers: Vec<Vec<usize>>,
    /// Neighbours of each item in the previous and in the next layer.
    before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
    /// Position of each item in its layer.
    places: Vec<usize>,
}

impl Ordering {
    fn new(count: usize, routes: &[Route]) -> Self {
        let (mut before, mut after) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        for route in routes {
            for pair in route.items.windows(2) {
                if let [from, to] = *pair {
                    after[from].push(to);
                    before[to].push(from);
                }
            }
        }
        Self { layers: Vec::new(), before, after, places: vec![0; count] }
    }

    /// Items in the order of a depth-first search, which keeps connected items together.
    fn first_order(&self) -> Vec<usize> {
        let count = self.places.len();
        let mut starts: Vec<usize> = (0..count).collect();
        starts.sort_by_key(|item| !self.before[*item].is_empty());
        let mut seen = vec![false; count];
        let mut order = Vec::with_capacity(count);
        for start in starts {
            let mut open = vec![start];
            while let Some(item) = open.pop() {
                if std::mem::replace(&mut seen[item], true) {
                    continue;
                }
                order.push(item);
                open.extend(self.before[item].iter().rev().chain(self.after[item].iter().rev()));
            }
        }
        order
    }

    fn number(&mut self) {
        for layer in &self.layers {
            for (place, item) in layer.iter().enumerate() {
                self.places[*item] = place;
            }
        }
    }

    /// Orders each layer by the mean position of its neighbours in the layer ordered before.
    fn sweep(&mut self, is_down: bool) {
        let count = self.layers.len();
        for step in 0..count {
            let layer = if is_down { step } else { count - 1 - step };
            let neighbours = if is_down { &self.before } else { &self.after };
            let mut keyed: Vec<(f64, usize)> = self.layers[layer]
                .iter()
                .map(|item| {
                    let near = &neighbours[*item];
                    let sum: usize = near.iter().map(|other| self.places[*other]).sum();
                    let mean = if near.is_empty() {
                        float(self.places[*item])
                    } else {
                        float(sum) / float(near.len())
                    };
                    (mean, *item)
                })
                .collect();
            keyed.sort_by(|one, other| one.0.total_cmp(&other.0));
            self.layers[layer] = keyed.into_iter().map(|(_, item)| item).collect();
            for (place, item) in self.layers[layer].iter().enumerate() {
                self.places[*item] = place;
            }
        }
    }

    /// Exchanges neighbours while that removes crossings.
    fn exchange(&mut self) {
        let mut is_better = true;
        let mut rounds = 0;
        while std::mem::take(&mut is_better) && rounds < ROUNDS {
            rounds += 1;
            for layer in 0..self.layers.len() {
                for place in 1..self.layers[layer].len() {
                    let (one, other) = (self.layers[layer][place - 1], self.layers[layer][place]);
                    if self.between(one, other) > self.between(other, one) {
                        self.layers[layer].swap(place - 1, place);
                        self.places.swap(one, other);
                        is_better = true;
                    }
                }
            }
        }
    }

    /// Crossings between the edges of two neighbours in this order.
    fn between(&self, first: usize, second: usize) -> usize {
        [&self.before, &self.after]
            .into_iter()
            .map(|neighbours| {
                let place = |item: &usize| self.places[*item];
                let seconds: Vec<_> = neighbours[second].iter().map(place).collect();
                let crossed = |one: usize| seconds.iter().filter(|other| **other < one).count();
                neighbours[first].iter().map(|item| crossed(place(item))).sum::<usize>()
            })
            .sum()
    }

    fn crossings(&self) -> usize {
        self.layers.iter().map(|layer| self.crossings_after(layer)).sum()
    }

    /// Crossings between a layer and the next: inversions of edge ends, counted with a Fenwick tree.
    fn crossings_after(&self, layer: &[usize]) -> usize {
        let mut ends: Vec<usize> = Vec::new();
        for item in layer {
            let mut places: Vec<_> = self.after[*item].iter().map(|to| self.places[*to]).collect();
            places.sort_unstable();
            ends.extend(places);
        }
        let width = ends.iter().max().map_or(0, |last| last + 1);
        let mut sums = vec![0_usize; width + 1];
        let mut crossings = 0;
        for (seen, end) in ends.iter().enumerate() {
            let (mut at, mut not_after) = (end + 1, 0);
            while at > 0 {
                not_after += sums[at];
                at &= at - 1;
            }
            crossings += seen - not_after;
            at = end + 1;
            while at <= width {
                sums[at] += 1;
                at += at & at.wrapping_neg();
            }
        }
        crossings
    }
}

/// Positions are small enough for an exact conversion.
#[allow(clippy::cast_precision_loss, reason = "no picture has 2^52 places")]
fn float(number: usize) -> f64 {
    number as f64
}
