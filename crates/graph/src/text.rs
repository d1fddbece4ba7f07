//! Text output for terminals: boxes and arrows from top to bottom.

use std::fmt::Write;

use function_mesh_api::Role;

use super::canvas::Canvas;
use super::layout::{Layout, Plan};
use super::ports::Step;
use super::route::{self, Line};
use super::{Boundary, Graph, Kind, Vertex, ports};
use crate::shorten::{columns, shorten};

/// Longest name without elision.
const MAX_NAME: usize = 56;
/// Widest drawing; a wider graph is printed as a list.
const MAX_WIDTH: i32 = 400;

/// Graphs as text.
pub fn text(graphs: &[Graph]) -> String {
    let mut out = String::new();
    for (index, graph) in graphs.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let _ = writeln!(out, "{}", shorten(&graph.title, 200));
        for note in &graph.notes {
            let _ = writeln!(out, "{}", shorten(note, 400));
        }
        out.push('\n');
        for line in drawing(graph).unwrap_or_else(|| list(graph)) {
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

/// The shape of a vertex: lines of text, with a frame for components.
struct Shape {
    lines: Vec<String>,
    frame: Option<(&'static str, String)>,
    width: i32,
}

impl Shape {
    fn of(vertex: &Vertex) -> Self {
        let name = shorten(&vertex.label, MAX_NAME);
        let (lines, frame) = match &vertex.kind {
            Kind::Component { role, detail } => {
                let mark = if vertex.in_cycle { "↻ " } else { "" };
                let frame = match role {
                    Role::Function => "┌─┐│└┘",
                    Role::Source => "╭─╮│╰╯",
                    Role::Sink => "╔═╗║╚╝",
                };
                let detail = shorten(detail, MAX_NAME);
                let lines = [name, detail].into_iter().filter(|line| !line.is_empty()).collect();
                (lines, Some((frame, format!(" {mark}{role} "))))
            }
            Kind::Topic { boundary, is_pattern, purpose } => {
                let name = if *is_pattern { format!("{name} (pattern)") } else { vertex.with_rate(&name) };
                let lines = match (boundary, purpose) {
                    (Boundary::Input, _) => vec!["from outside".to_owned(), name],
                    (_, Some(purpose)) => vec![name, (*purpose).to_owned()],
                    (Boundary::Output, None) => vec![name, "to outside".to_owned()],
                    (Boundary::Internal, None) => vec![name],
                };
                (lines, None)
            }
        };
        let inner = lines.iter().map(|line| columns(line)).max().unwrap_or_default();
        let width = match &frame {
            Some((_, title)) => (inner + 4).max(columns(title) + 4),
            None => inner,
        };
        // An odd width has a centre column.
        Self { lines, frame, width: width | 1 }
    }

    fn height(&self) -> i32 {
        let frame = if self.frame.is_some() { 2 } else { 0 };
        i32::try_from(self.lines.len()).unwrap_or_default() + frame
    }

    fn draw(&self, canvas: &mut Canvas, x: i32, y: i32) {
        let mut top = y;
        if let Some((frame, title)) = &self.frame {
            let mut marks = frame.chars();
            let mut mark = || marks.next().unwrap_or(' ');
            let (left_top, across, right_top, side, left_end, right_end) =
                (mark(), mark(), mark(), mark(), mark(), mark());
            let (right, bottom) = (x + self.width - 1, y + self.height() - 1);
            for column in x + 1..right {
                canvas.letter(column, y, across);
                canvas.letter(column, bottom, across);
            }
            for row in y + 1..bottom {
                canvas.letter(x, row, side);
                canvas.letter(right, row, side);
            }
            canvas.letter(x, y, left_top);
            canvas.letter(right, y, right_top);
            canvas.letter(x, bottom, left_end);
            canvas.letter(right, bottom, right_end);
            canvas.text(x + 1, y, title);
            top += 1;
        }
        for (line, row) in self.lines.iter().zip(top..) {
            canvas.text(x + (self.width - columns(line)) / 2, row, line);
        }
    }
}

fn drawing(graph: &Graph) -> Option<Vec<String>> {
    let shapes: Vec<Shape> = graph.vertices.iter().map(Shape::of).collect();
    let layout = Layout::of(&Plan {
        sizes: shapes.iter().map(|shape| shape.width).collect(),
        edges: graph.arrows.iter().map(|arrow| (arrow.from, arrow.to)).collect(),
        gap: 3,
        lane: 1,
    });
    if layout.breadth() > MAX_WIDTH {
        return None;
    }
    let steps = ports::steps(graph, &layout, 4, 1);
    let rows: Vec<_> = steps
        .iter()
        .map(|steps| {
            route::rows(
                &steps.iter().map(|step| Line { top: step.from, bottom: step.to }).collect::<Vec<_>>(),
            )
        })
        .collect();

    let height_of = |item: usize| {
        layout
            .items
            .get(item)
            .and_then(|item| item.vertex)
            .and_then(|vertex| shapes.get(vertex))
            .map_or(1, Shape::height)
    };
    let mut tops = vec![0; layout.items.len()];
    let mut channels = Vec::new();
    let mut y = 0;
    for (layer, (_, count)) in layout.layers.iter().zip(&rows) {
        let height = layer.iter().map(|item| height_of(*item)).max().unwrap_or_default();
        for item in layer {
            tops[*item] = y + (height - height_of(*item)) / 2;
        }
        channels.push(y + height + 1);
        y += height + i32::try_from(*count).unwrap_or_default() + 2;
    }
    let mut canvas =
        Canvas::new(usize::try_from(layout.breadth()).ok()?, usize::try_from(y - 2).unwrap_or_default());
    for (item, top) in layout.items.iter().zip(&tops) {
        if let Some(shape) = item.vertex.and_then(|vertex| shapes.get(vertex)) {
            shape.draw(&mut canvas, item.start, *top);
        }
    }
    for ((steps, (rows, _)), channel) in steps.iter().zip(&rows).zip(channels) {
        for (step, row) in steps.iter().zip(rows) {
            let turn = row.and_then(|row| i32::try_from(row).ok()).map(|row| channel + row);
            let ends = (tops[step.lower] + height_of(step.lower), tops[step.upper] - 1);
            draw_step(&mut canvas, graph, &layout, step, ends, turn);
        }
    }
    for (route, arrow) in layout.routes.iter().zip(&graph.arrows) {
        for lane in route.items.iter().filter(|item| layout.items[**item].vertex.is_none()) {
            let x = layout.items[*lane].middle();
            canvas.vertical(x, (tops[*lane], tops[*lane]), (true, true), arrow.flow.is_dashed());
        }
    }
    Some(canvas.lines())
}

fn draw_step(
    canvas: &mut Canvas,
    graph: &Graph,
    layout: &Layout,
    step: &Step,
    (top, bottom): (i32, i32),
    turn: Option<i32>,
) {
    let is_dashed = graph.arrows.get(step.arrow).is_some_and(|arrow| arrow.flow.is_dashed());
    let (from, to) = (step.from, step.to);
    match turn {
        None => canvas.vertical(from, (top, bottom), (true, true), is_dashed),
        Some(turn) => {
            canvas.vertical(from, (top, turn), (true, false), is_dashed);
            canvas.horizontal(turn, (from.min(to), from.max(to)), is_dashed);
            canvas.vertical(to, (turn, bottom), (false, true), is_dashed);
        }
    }
    let vertex = |item: usize| layout.items[item].vertex.and_then(|vertex| graph.vertices.get(vertex));
    let is_head = |item: usize| vertex(item).is_some_and(|vertex| !vertex.is_label);
    let is_component =
        |item: usize| vertex(item).is_some_and(|vertex| matches!(vertex.kind, Kind::Component { .. }));
    let frame_of = |item: usize, solid: char, double: char| {
        let is_sink =
            vertex(item).is_some_and(|v| matches!(v.kind, Kind::Component { role: Role::Sink, .. }));
        if is_sink { double } else { solid }
    };
    if step.is_reversed {
        if is_head(step.lower) {
            canvas.letter(from, top, '▲');
        }
        if is_component(step.upper) {
            canvas.letter(to, bottom + 1, frame_of(step.upper, '┴', '╧'));
        }
    } else {
        if is_head(step.upper) {
            canvas.letter(to, bottom, '▼');
        }
        if is_component(step.lower) {
            canvas.letter(from, top - 1, frame_of(step.lower, '┬', '╤'));
        }
    }
}

/// The arrows as a list.
fn list(graph: &Graph) -> Vec<String> {
    let name = |vertex: usize| {
        graph.vertices.get(vertex).map_or_else(String::new, |vertex| {
            let label = shorten(&vertex.label, MAX_NAME);
            match &vertex.kind {
                Kind::Component { role, .. } => format!("{role} {label}"),
                Kind::Topic { .. } => vertex.with_rate(&label),
            }
        })
    };
    let mut lines = Vec::new();
    for arrow in &graph.arrows {
        let is_label = |vertex: usize| graph.vertices.get(vertex).is_some_and(|vertex| vertex.is_label);
        if is_label(arrow.from) {
            continue;
        }
        let on = if is_label(arrow.to) { graph.through(arrow.to) } else { None };
        let purpose = arrow.flow.purpose().map(|purpose| format!("  ({purpose})")).unwrap_or_default();
        lines.push(match on {
            Some((_, on)) => {
                format!("{} ─ {} ─▶ {}{purpose}", name(arrow.from), name(arrow.to), name(on.to))
            }
            None => format!("{} ─▶ {}{purpose}", name(arrow.from), name(arrow.to)),
        });
    }
    lines
}
