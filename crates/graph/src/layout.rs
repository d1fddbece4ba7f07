//! Layered graph layout: layers along the flow, an order within each layer, and coordinates without overlap.
//!
//! The Sugiyama method: edges that close a cycle are reversed, each vertex gets the layer after its last predecessor,
//! long edges get a dummy item in every layer they pass, and each layer is ordered by the positions of neighbours. The
//! unit is the caller's: text columns or pixels.

use super::order;
use super::place;

/// A graph to lay out.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Size of each vertex across the flow.
    pub sizes: Vec<i32>,
    /// Edges as pairs of vertices.
    pub edges: Vec<(usize, usize)>,
    /// Distance between neighbours in a layer.
    pub gap: i32,
    /// Size of an edge that passes a layer.
    pub lane: i32,
}

/// An item of a layer: a vertex, or a dummy for an edge that passes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Item {
    /// The vertex; None for a dummy.
    pub vertex: Option<usize>,
    /// The layer.
    pub layer: usize,
    /// Start coordinate across the flow.
    pub start: i32,
    /// Size across the flow.
    pub size: i32,
}

impl Item {
    /// Middle coordinate across the flow.
    pub fn middle(&self) -> i32 {
        self.start + self.size / 2
    }
}

/// The route of an edge.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// The items on the route, from the lower layer to the higher.
    pub items: Vec<usize>,
    /// Whether the edge points from the higher layer to the lower.
    pub is_reversed: bool,
}

/// A layout.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Vertices in the order of the plan, followed by dummies.
    pub items: Vec<Item>,
    /// The items of each layer, in order.
    pub layers: Vec<Vec<usize>>,
    /// The route of each edge in the order of the plan; empty for a self-loop.
    pub routes: Vec<Route>,
}

impl Layout {
    /// Computes the layout of a plan. Edges to unknown vertices are ignored.
    pub fn of(plan: &Plan) -> Self {
        let count = plan.sizes.len();
        let back_edges = back_edges(count, &plan.edges);
        let downward: Vec<Option<(usize, usize)>> = plan
            .edges
            .iter()
            .zip(&back_edges)
            .map(|(&(from, to), is_back_edge)| {
                let is_fit = from < count && to < count && from != to;
                is_fit.then_some(if *is_back_edge { (to, from) } else { (from, to) })
            })
            .collect();
        let layer_of = assign_layers(count, &downward);
        let mut layout = Self::default();
        for (vertex, (size, layer)) in plan.sizes.iter().zip(&layer_of).enumerate() {
            layout.items.push(Item { vertex: Some(vertex), layer: *layer, start: 0, size: *size });
        }
        for (edge, is_reversed) in downward.iter().zip(back_edges) {
            let items = edge.map(|(from, to)| layout.route(from, to, plan.lane)).unwrap_or_default();
            layout.routes.push(Route { items, is_reversed });
        }
        layout.layers = order::ordered(&layout.items, &layout.routes);
        place::place(&mut layout, plan.gap);
        layout
    }

    fn route(&mut self, from: usize, to: usize, lane: i32) -> Vec<usize> {
        let layer_of = |item: usize| self.items.get(item).map_or(0, |item| item.layer);
        let between = layer_of(from) + 1..layer_of(to);
        let mut items = vec![from];
        for layer in between {
            items.push(self.items.len());
            self.items.push(Item { vertex: None, layer, start: 0, size: lane });
        }
        items.push(to);
        items
    }

    /// Total size across the flow.
    pub fn breadth(&self) -> i32 {
        self.items.iter().map(|item| item.start + item.size).max().unwrap_or_default()
    }
}

/// The back edges of a depth-first search, which close cycles. The search starts from vertices without predecessors,
/// then from the others in order.
fn back_edges(count: usize, edges: &[(usize, usize)]) -> Vec<bool> {
    let mut out: Vec<Vec<(usize, usize)>> = vec![Vec::new(); count];
    let mut has_predecessor = vec![false; count];
    for (edge, &(from, to)) in edges.iter().enumerate() {
        if from != to
            && to < count
            && let Some(list) = out.get_mut(from)
        {
            list.push((edge, to));
            if let Some(has_predecessor) = has_predecessor.get_mut(to) {
                *has_predecessor = true;
            }
        }
    }
    let mut starts: Vec<usize> = (0..count).collect();
    starts.sort_by_key(|vertex| has_predecessor.get(*vertex).copied());

    let mut back_edges = vec![false; edges.len()];
    let (mut seen, mut is_open) = (vec![false; count], vec![false; count]);
    for start in starts {
        if std::mem::replace(&mut seen[start], true) {
            continue;
        }
        is_open[start] = true;
        let mut path = vec![(start, 0)];
        while let Some((vertex, next)) = path.last_mut() {
            let Some(&(edge, to)) = out[*vertex].get(*next) else {
                is_open[*vertex] = false;
                path.pop();
                continue;
            };
            *next += 1;
            if is_open[to] {
                back_edges[edge] = true;
            } else if !std::mem::replace(&mut seen[to], true) {
                is_open[to] = true;
                path.push((to, 0));
            }
        }
    }
    back_edges
}

/// The layer of each vertex: one after its last predecessor. A vertex without predecessors gets the layer before its
/// first successor.
fn assign_layers(count: usize, edges: &[Option<(usize, usize)>]) -> Vec<usize> {
    let mut out: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut waiting = vec![0_usize; count];
    for &(from, to) in edges.iter().flatten() {
        out[from].push(to);
        waiting[to] += 1;
    }
    let starts: Vec<usize> = (0..count).filter(|vertex| waiting[*vertex] == 0).collect();
    let mut layer_of = vec![0; count];
    let mut ready = starts.clone();
    while let Some(vertex) = ready.pop() {
        for &to in &out[vertex] {
            layer_of[to] = layer_of[to].max(layer_of[vertex] + 1);
            waiting[to] -= 1;
            if waiting[to] == 0 {
                ready.push(to);
            }
        }
    }
    for start in starts {
        let nearest = out[start].iter().map(|to| layer_of[*to]).min();
        layer_of[start] = nearest.map_or(0, |nearest| nearest - 1);
    }
    layer_of
}
