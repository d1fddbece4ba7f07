//! Where boxes and lines of a graph are drawn from left to right, in pixels: for the SVG, and for the console's page.

use function_mesh_api::Role;

use super::layout::{Layout, Plan};
use super::ports::{self, Step};
use super::{Graph, Kind, Vertex};

/// Gap between neighbours in a layer.
const GAP: i32 = 20;
/// Depth of the tip of a source.
pub(crate) const POINT: i32 = 14;
/// Depth of the notch of a sink.
pub(crate) const NOTCH: i32 = 12;

/// Gaps between layers; there is more where many lines turn.
#[derive(Clone, Copy, Debug)]
pub struct Gaps {
    /// Before a layer with components.
    pub components: i32,
    /// Before a layer of topics alone.
    pub topics: i32,
}

/// The rectangle of a vertex.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame {
    /// Left edge.
    pub x: i32,
    /// Upper edge.
    pub y: i32,
    /// Width.
    pub width: i32,
    /// Height.
    pub height: i32,
}

impl Frame {
    fn middle(&self) -> i32 {
        self.y + self.height / 2
    }
}

/// A piece of an arrow.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// The arrow, by its index in the graph.
    pub arrow: usize,
    /// Path data of SVG.
    pub path: String,
    /// Whether it ends at a box, with an arrowhead.
    pub has_tip: bool,
    /// Where it ends.
    pub end: (i32, i32),
    /// Whether it leads from right to left, as the arrow that closes a cycle does.
    pub is_reversed: bool,
}

/// A graph with its layout.
pub struct Drawing<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Width of all boxes and lines.
    pub width: i32,
    /// Height of all boxes and lines.
    pub height: i32,
    layout: Layout,
    /// Width and height of each vertex.
    sizes: Vec<(i32, i32)>,
    steps: Vec<Vec<Step>>,
    /// Start and end of each layer.
    spans: Vec<(i32, i32)>,
}

impl<'a> Drawing<'a> {
    /// Lays out a graph whose boxes have these widths and heights.
    pub fn new(graph: &'a Graph, size: impl Fn(&Vertex) -> (i32, i32), gaps: Gaps) -> Self {
        let sizes: Vec<_> = graph.vertices.iter().map(size).collect();
        let layout = Layout::of(&Plan {
            sizes: sizes.iter().map(|(_, height)| *height).collect(),
            edges: graph.arrows.iter().map(|arrow| (arrow.from, arrow.to)).collect(),
            gap: GAP,
            lane: 8,
        });
        let steps = ports::steps(graph, &layout, 12, 13);
        let mut spans = Vec::new();
        let mut x = 0;
        for (place, (layer, steps)) in layout.layers.iter().zip(&steps).enumerate() {
            let shown = layer.iter().filter_map(|item| sizes.get(layout.items[*item].vertex?));
            let width = shown.map(|(width, _)| *width).max().unwrap_or_default();
            spans.push((x, x + width));
            let turning = steps.iter().filter(|step| step.from != step.to).count();
            let next = layout.layers.get(place + 1).into_iter().flatten();
            let mut next = next.filter_map(|item| graph.vertices.get(layout.items.get(*item)?.vertex?));
            let has_component = next.any(|vertex| matches!(vertex.kind, Kind::Component { .. }));
            let gap = if has_component { gaps.components } else { gaps.topics };
            x += width + gap + i32::try_from(turning * 3).unwrap_or(60).min(60);
        }
        let width = spans.last().map_or(0, |(_, end)| *end);
        let height = layout.breadth();
        Self { graph, width, height, layout, sizes, steps, spans }
    }

    /// The rectangle of a vertex.
    pub fn frame(&self, vertex: usize) -> Option<Frame> {
        let item = self.layout.items.get(vertex)?;
        let (from, to) = *self.spans.get(item.layer)?;
        let (width, height) = *self.sizes.get(vertex)?;
        Some(Frame { x: from + (to - from - width) / 2, y: item.start, width, height })
    }

    /// The rectangles of all vertices, in order.
    pub fn frames(&self) -> Vec<Frame> {
        (0..self.sizes.len()).filter_map(|vertex| self.frame(vertex)).collect()
    }

    /// The pieces of all arrows.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines: Vec<_> = self.steps.iter().flatten().map(|step| self.curve(step)).collect();
        self.lanes(&mut lines);
        lines
    }

    /// The x coordinate at which a line leaves an item at this height.
    fn leaves(&self, item: usize, y: i32) -> i32 {
        match self.shown(item) {
            Some((frame, vertex)) if is_role(vertex, Role::Source) => {
                frame.x + frame.width - POINT * (y - frame.middle()).abs() * 2 / frame.height
            }
            Some((frame, _)) => frame.x + frame.width,
            None => self.span(item).1,
        }
    }

    /// The x coordinate at which a line reaches an item at this height.
    fn reaches(&self, item: usize, y: i32) -> i32 {
        match self.shown(item) {
            Some((frame, vertex)) if is_role(vertex, Role::Sink) => {
                frame.x + NOTCH - NOTCH * (y - frame.middle()).abs() * 2 / frame.height
            }
            Some((frame, _)) => frame.x,
            None => self.span(item).0,
        }
    }

    fn shown(&self, item: usize) -> Option<(Frame, &Vertex)> {
        let vertex = self.layout.items.get(item)?.vertex?;
        Some((self.frame(vertex)?, self.graph.vertices.get(vertex)?))
    }

    fn span(&self, item: usize) -> (i32, i32) {
        let layer = self.layout.items.get(item).map_or(0, |item| item.layer);
        self.spans.get(layer).copied().unwrap_or_default()
    }

    /// The two heights of a segment. A very small bend is removed where a topic is tall enough.
    fn heights(&self, step: &Step) -> (i32, i32) {
        let Step { from, to, .. } = *step;
        let is_topic =
            |item| self.shown(item).is_some_and(|(_, vertex)| matches!(vertex.kind, Kind::Topic { .. }));
        if (from - to).abs() > 5 {
            (from, to)
        } else if is_topic(step.upper) {
            (from, from)
        } else if is_topic(step.lower) {
            (to, to)
        } else {
            (from, to)
        }
    }

    /// A curve between two layers, with a straight end at the box.
    fn curve(&self, step: &Step) -> Line {
        let (left, right) = (self.span(step.lower).1, self.span(step.upper).0);
        let (from, to) = self.heights(step);
        let (start, end) = (self.leaves(step.lower, from), self.reaches(step.upper, to));
        let head = if step.is_reversed { step.lower } else { step.upper };
        let has_tip = self.shown(head).is_some_and(|(_, vertex)| !vertex.is_label);
        let half = left + (right - left) / 2;
        // The end is straight, so that the arrowhead points into the box.
        let path = match (from == to, step.is_reversed) {
            (true, false) => format!("M{start} {from}H{end}"),
            (true, true) => format!("M{end} {from}H{start}"),
            (false, false) => {
                let turn = right - 8;
                format!("M{start} {from}H{left}C{half} {from} {half} {to} {turn} {to}H{end}")
            }
            (false, true) => {
                let turn = left + 8;
                format!("M{end} {to}H{right}C{half} {to} {half} {from} {turn} {from}H{start}")
            }
        };
        let end = if step.is_reversed { (start, from) } else { (end, to) };
        Line { arrow: step.arrow, path, has_tip, end, is_reversed: step.is_reversed }
    }

    /// The segments of long arrows within the layers they pass.
    fn lanes(&self, lines: &mut Vec<Line>) {
        for (arrow, route) in self.layout.routes.iter().enumerate() {
            for item in route.items.iter().filter_map(|item| self.layout.items.get(*item)) {
                if item.vertex.is_none() {
                    let (from, to) = self.spans.get(item.layer).copied().unwrap_or_default();
                    let y = item.middle();
                    let end = (if route.is_reversed { from } else { to }, y);
                    let path = format!("M{from} {y}H{to}");
                    lines.push(Line { arrow, path, has_tip: false, end, is_reversed: route.is_reversed });
                }
            }
        }
    }
}

fn is_role(vertex: &Vertex, wanted: Role) -> bool {
    matches!(vertex.kind, Kind::Component { role, .. } if role == wanted)
}
