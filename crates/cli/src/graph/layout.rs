//! Where everything goes: layers along the flow, an order within each layer, and places without overlap.
//!
//! The way of Sugiyama: edges that close a cycle are turned round, each vertex comes one layer after the last
//! of those before it, long edges get a place in every layer that they pass, and each layer is ordered by what
//! its neighbours stand at. The unit is the caller's: columns of text or pixels.

use super::order;
use super::place;

/// What is to be laid out.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The extent of each vertex across the flow.
    pub sizes: Vec<i32>,
    /// The edges, as pairs of vertices.
    pub edges: Vec<(usize, usize)>,
    /// The distance between neighbours in a layer.
    pub gap: i32,
    /// The extent of an edge that passes a layer.
    pub lane: i32,
}

/// Something that takes a place in a layer: a vertex, or an edge on its way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Item {
    /// The vertex; none for an edge that passes.
    pub vertex: Option<usize>,
    /// The layer.
    pub layer: usize,
    /// Where it begins across the flow.
    pub start: i32,
    /// Its extent across the flow.
    pub size: i32,
}

impl Item {
    /// Its middle across the flow.
    pub fn middle(&self) -> i32 {
        self.start + self.size / 2
    }
}

/// The way of an edge.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// The items that it runs through, from the lower layer to the higher.
    pub items: Vec<usize>,
    /// Whether the edge points against the layers.
    pub is_reversed: bool,
}

/// Where everything goes.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Vertices, in the order of the plan, and after them edges that pass layers.
    pub items: Vec<Item>,
    /// The items of each layer, in order.
    pub layers: Vec<Vec<usize>>,
    /// The way of each edge, in the order of the plan. One from a vertex to itself has none.
    pub routes: Vec<Route>,
}

impl Layout {
    /// Lays a plan out. An edge to a vertex that is not there is left out.
    pub fn of(plan: &Plan) -> Self {
        let count = plan.sizes.len();
        let turned = turned(count, &plan.edges);
        let downward: Vec<Option<(usize, usize)>> = plan
            .edges
            .iter()
            .zip(&turned)
            .map(|(&(from, to), is_turned)| {
                let is_fit = from < count && to < count && from != to;
                is_fit.then_some(if *is_turned { (to, from) } else { (from, to) })
            })
            .collect();
        let levels = levels(count, &downward);
        let mut layout = Self::default();
        for (vertex, (size, layer)) in plan.sizes.iter().zip(&levels).enumerate() {
            layout.items.push(Item { vertex: Some(vertex), layer: *layer, start: 0, size: *size });
        }
        for (edge, is_reversed) in downward.iter().zip(turned) {
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

    /// The extent of everything across the flow.
    pub fn breadth(&self) -> i32 {
        self.items.iter().map(|item| item.start + item.size).max().unwrap_or_default()
    }
}

/// Which edges close a cycle: those that lead back to a vertex on the way from a start to here. Starts are
/// the vertices that nothing leads to, then the others, in order.
fn turned(count: usize, edges: &[(usize, usize)]) -> Vec<bool> {
    let mut out: Vec<Vec<(usize, usize)>> = vec![Vec::new(); count];
    let mut is_led_to = vec![false; count];
    for (edge, &(from, to)) in edges.iter().enumerate() {
        if from != to
            && to < count
            && let Some(list) = out.get_mut(from)
        {
            list.push((edge, to));
            if let Some(led) = is_led_to.get_mut(to) {
                *led = true;
            }
        }
    }
    let mut starts: Vec<usize> = (0..count).collect();
    starts.sort_by_key(|vertex| is_led_to.get(*vertex).copied());

    let mut turned = vec![false; edges.len()];
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
                turned[edge] = true;
            } else if !std::mem::replace(&mut seen[to], true) {
                is_open[to] = true;
                path.push((to, 0));
            }
        }
    }
    turned
}

/// The layer of each vertex: one after the last of those before it. What nothing leads to comes right before
/// what it leads to, not at the far end.
fn levels(count: usize, edges: &[Option<(usize, usize)>]) -> Vec<usize> {
    let mut out: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut waiting = vec![0_usize; count];
    for &(from, to) in edges.iter().flatten() {
        out[from].push(to);
        waiting[to] += 1;
    }
    let starts: Vec<usize> = (0..count).filter(|vertex| waiting[*vertex] == 0).collect();
    let mut levels = vec![0; count];
    let mut ready = starts.clone();
    while let Some(vertex) = ready.pop() {
        for &to in &out[vertex] {
            levels[to] = levels[to].max(levels[vertex] + 1);
            waiting[to] -= 1;
            if waiting[to] == 0 {
                ready.push(to);
            }
        }
    }
    for start in starts {
        let nearest = out[start].iter().map(|to| levels[*to]).min();
        levels[start] = nearest.map_or(0, |nearest| nearest - 1);
    }
    levels
}
