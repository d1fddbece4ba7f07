//! Standalone SVG output with light and dark colours.

use std::collections::BTreeSet;
use std::fmt::Write;

use function_mesh_api::{REPLACEMENT, Role, is_printable};

use super::drawing::{Drawing, Frame, Gaps, Line, NOTCH, POINT};
use super::{Boundary, Flow, Graph, Kind, Vertex};
use crate::shorten::{columns, shorten};

const MARGIN: i32 = 28;
/// Gaps between layers.
const GAPS: Gaps = Gaps { components: 44, topics: 44 };
/// Longest names without elision; the full name is in the tooltip.
const LONGEST_NAME: usize = 32;
const LONGEST_TOPIC: usize = 40;

/// Colours by class. No CSS variables, which many SVG viewers do not support.
const STYLE: &str = include_str!("style.css");

/// The rectangles of all vertices of a graph, in order.
pub fn frames(graph: &Graph) -> Vec<Frame> {
    Drawing::new(graph, size, GAPS).frames()
}

/// Width and height of a vertex.
fn size(vertex: &Vertex) -> (i32, i32) {
    match &vertex.kind {
        Kind::Component { role, detail } => {
            let name = columns(&shorten(&vertex.label, LONGEST_NAME)) * 9;
            let caption = columns(&caption(*role, &shorten(detail, LONGEST_NAME))) * 8;
            (name.max(caption).max(84) + 44, 54)
        }
        Kind::Topic { .. } => {
            let name = columns(&shorten(&vertex.label, LONGEST_TOPIC)) * 15 / 2;
            let small = small(vertex).map_or(0, |text| columns(&text) * 6);
            let (padding, height) = if vertex.is_label { (14, 20) } else { (28, 28) };
            (name.max(small) + padding, height + if small > 0 { 12 } else { 0 })
        }
    }
}

fn caption(role: Role, detail: &str) -> String {
    let role = role.as_str().to_uppercase();
    if detail.is_empty() { role } else { format!("{role} · {detail}") }
}

/// The small text under a topic.
fn small(vertex: &Vertex) -> Option<String> {
    let place = match &vertex.kind {
        Kind::Topic { purpose: Some(purpose), .. } => Some(*purpose),
        Kind::Topic { boundary: Boundary::Input, is_pattern: true, .. } => Some("pattern, from outside"),
        Kind::Topic { is_pattern: true, .. } => Some("pattern"),
        Kind::Topic { boundary: Boundary::Input, .. } => Some("from outside"),
        Kind::Topic { boundary: Boundary::Output, .. } => Some("to outside"),
        Kind::Topic { boundary: Boundary::Internal, .. } | Kind::Component { .. } => None,
    };
    match (place, vertex.rate) {
        (Some(place), _) => Some(vertex.with_rate(place)),
        (None, rate) => rate.map(|rate| rate.to_string()),
    }
}

/// Graphs as one SVG, stacked vertically.
pub fn svg(graphs: &[Graph]) -> String {
    let drawings: Vec<_> = graphs.iter().map(|graph| Drawing::new(graph, size, GAPS)).collect();
    let head = |drawing: &Drawing<'_>| 34 + 18 * i32::try_from(drawing.graph.notes.len()).unwrap_or_default();
    let texts =
        graphs.iter().flat_map(|graph| graph.notes.iter().map(|note| columns(&shorten(note, 160)) * 7));
    let titles = graphs.iter().map(|graph| columns(&shorten(&graph.title, 120)) * 10);
    let widest =
        drawings.iter().map(|drawing| drawing.width).chain(texts).chain(titles).max().unwrap_or_default();
    let width = widest.max(300) + 2 * MARGIN;
    let height: i32 = drawings.iter().map(|drawing| head(drawing) + drawing.height + 2 * MARGIN).sum();
    let titles: Vec<_> = graphs.iter().map(|graph| graph.title.as_str()).collect();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n\
         <defs>{}</defs>\n<rect class=\"paper\" width=\"{width}\" height=\"{height}\" rx=\"10\"/>\n",
        escape(&titles.join(", ")),
        tips(graphs),
    );
    let mut y = 0;
    for drawing in &drawings {
        let _ = writeln!(out, "<g transform=\"translate({MARGIN} {})\">", y + MARGIN);
        let title = escape(&shorten(&drawing.graph.title, 120));
        let _ = writeln!(out, "<text class=\"title\" y=\"14\">{title}</text>");
        for (note, line) in drawing.graph.notes.iter().zip(0..) {
            let note = escape(&shorten(note, 160));
            let _ = writeln!(out, "<text class=\"note\" y=\"{}\">{note}</text>", 34 + 18 * line);
        }
        let _ = writeln!(out, "<g transform=\"translate(0 {})\">", head(drawing));
        for line in drawing.lines() {
            draw_line(&mut out, drawing.graph, &line);
        }
        for (vertex, shown) in drawing.graph.vertices.iter().enumerate() {
            if let Some(frame) = drawing.frame(vertex) {
                draw(&mut out, shown, frame);
            }
        }
        out.push_str("</g>\n</g>\n");
        y += head(drawing) + drawing.height + 2 * MARGIN;
    }
    out.push_str("</svg>\n");
    out
}

/// The CSS classes of a line and of its arrowhead.
fn look(flow: Flow, in_cycle: bool) -> (&'static str, &'static str) {
    match (flow, in_cycle) {
        (Flow::Messages, false) => ("flow", ""),
        (Flow::Messages, true) => ("flow loop", "loop"),
        (Flow::DeadLetters, _) => ("flow dashed dead", "dead"),
        (Flow::LateData, _) => ("flow dashed late", "late"),
        (Flow::Logs | Flow::Matches, false) => ("flow dashed", ""),
        (Flow::Logs | Flow::Matches, true) => ("flow dashed loop", "loop"),
    }
}

fn tips(graphs: &[Graph]) -> String {
    let used: BTreeSet<_> = graphs
        .iter()
        .flat_map(|graph| &graph.arrows)
        .map(|arrow| look(arrow.flow, arrow.in_cycle).1)
        .collect();
    used.into_iter().fold(String::new(), |mut tips, kind| {
        let _ = write!(
            tips,
            "<marker id=\"tip{kind}\" viewBox=\"0 0 9 8\" refX=\"8\" refY=\"4\" markerWidth=\"9\" \
             markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" orient=\"auto\">\
             <path class=\"tip tip{kind}\" d=\"M0 0 9 4 0 8 2 4z\"/></marker>"
        );
        tips
    })
}

/// One segment of an arrow.
fn draw_line(out: &mut String, graph: &Graph, Line { arrow, path, has_tip, .. }: &Line) {
    let Some(arrow) = graph.arrows.get(*arrow) else { return };
    let (class, tip) = look(arrow.flow, arrow.in_cycle);
    let marker = if *has_tip { format!(" marker-end=\"url(#tip{tip})\"") } else { String::new() };
    let _ = writeln!(out, "<path class=\"{class}\" d=\"{path}\"{marker}/>");
}

fn draw(out: &mut String, vertex: &Vertex, Frame { x, y, width, height }: Frame) {
    let cycle = if vertex.in_cycle { " cycle" } else { "" };
    let title = escape(&vertex.full);
    let middle = x + width / 2;
    let (right, bottom) = (x + width, y + height);
    match &vertex.kind {
        Kind::Component { role, detail } => {
            let name = escape(&shorten(&vertex.label, LONGEST_NAME));
            let caption = escape(&caption(*role, &shorten(detail, LONGEST_NAME)));
            let centre = y + height / 2;
            let shape = match role {
                Role::Function => {
                    format!(
                        "<rect class=\"box\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"9\"/>"
                    )
                }
                // A source has a tip towards the mesh, a sink a notch.
                Role::Source => format!(
                    "<path class=\"box\" stroke-linejoin=\"round\" d=\"M{x} {y}H{}L{right} {centre} {} {bottom}H{x}z\"/>",
                    right - POINT,
                    right - POINT
                ),
                Role::Sink => format!(
                    "<path class=\"box\" stroke-linejoin=\"round\" d=\"M{x} {y}H{right}V{bottom}H{x}L{} {centre}z\"/>",
                    x + NOTCH
                ),
            };
            let _ = writeln!(
                out,
                "<g class=\"{role}{cycle}\"><title>{title}</title>{shape}\
                 <text class=\"role\" x=\"{middle}\" y=\"{}\">{caption}</text>\
                 <text class=\"name\" x=\"{middle}\" y=\"{}\">{name}</text></g>",
                y + 20,
                y + 39
            );
        }
        Kind::Topic { boundary, is_pattern, .. } => {
            let name = escape(&shorten(&vertex.label, LONGEST_TOPIC));
            let is_outside = *boundary != Boundary::Internal || *is_pattern;
            let class = if vertex.is_label {
                "on"
            } else if is_outside {
                "outside"
            } else {
                "inside"
            };
            let pill = if vertex.is_label {
                String::new()
            } else {
                format!(
                    "<rect class=\"pill\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{}\"/>",
                    if small(vertex).is_some() { 12 } else { 14 }
                )
            };
            let small = small(vertex);
            let lift = if small.is_some() { 6 } else { 0 };
            let _ = write!(
                out,
                "<g class=\"{class}{cycle}\"><title>{title}</title>{pill}\
                 <text class=\"topic\" x=\"{middle}\" y=\"{}\">{name}</text>",
                y + height / 2 + 4 - lift
            );
            if let Some(small) = small {
                let _ =
                    write!(out, "<text class=\"small\" x=\"{middle}\" y=\"{}\">{small}</text>", bottom - 8);
            }
            out.push_str("</g>\n");
        }
    }
}

/// Escapes text for XML. Characters that XML does not allow are replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter if !is_printable(letter) => escaped.push(REPLACEMENT),
            letter => escaped.push(letter),
        }
    }
    escaped
}
