//! DOT output for Graphviz.

use std::fmt::Write;

use function_mesh_api::{REPLACEMENT, Role, is_printable};

use super::mermaid::{caption, edge_label};
use super::{Boundary, Flow, Graph, Kind, Vertex};

/// Graphs in DOT; multiple graphs become clusters.
pub fn dot(graphs: &[Graph]) -> String {
    let mut text = "digraph mesh {\n  rankdir=LR;\n  fontname=\"Helvetica\";\n  \
        node [fontname=\"Helvetica\", fontsize=12, style=\"filled\", penwidth=1.2];\n  \
        edge [fontname=\"Helvetica\", fontsize=10, color=\"#7b8597\", fontcolor=\"#475063\"];\n"
        .to_owned();
    for (index, graph) in graphs.iter().enumerate() {
        let is_framed = graphs.len() > 1;
        if is_framed {
            let _ = writeln!(text, "  subgraph cluster_{index} {{");
        }
        let _ = writeln!(text, "  label=\"{}\"; labelloc=t; labeljust=l;", escape(&graph.title));
        vertices(&mut text, graph, index);
        arrows(&mut text, graph, index);
        if is_framed {
            text.push_str("  }\n");
        }
    }
    text.push_str("}\n");
    text
}

fn vertices(text: &mut String, graph: &Graph, index: usize) {
    for (place, vertex) in graph.vertices.iter().enumerate().filter(|(_, vertex)| !vertex.is_label) {
        let _ = writeln!(
            text,
            "  g{index}n{place} [label=\"{}\", tooltip=\"{}\", {}{}];",
            escape(&caption(vertex)),
            escape(&vertex.full),
            look(vertex),
            if vertex.in_cycle { ", color=\"#c26a08\", penwidth=2" } else { "" }
        );
    }
}

fn look(vertex: &Vertex) -> &'static str {
    match &vertex.kind {
        Kind::Component { role: Role::Function, .. } => {
            "shape=box, style=\"filled,rounded\", fillcolor=\"#e7effd\", color=\"#3566c4\""
        }
        Kind::Component { role: Role::Source, .. } => {
            "shape=cds, fillcolor=\"#e4f5ea\", color=\"#2a8554\", margin=\"0.25,0.1\""
        }
        Kind::Component { role: Role::Sink, .. } => {
            "shape=house, orientation=90, fillcolor=\"#f1e9fb\", color=\"#7546bd\""
        }
        Kind::Topic { is_pattern: false, boundary: Boundary::Internal, .. } => {
            "shape=box, style=\"filled,rounded\", fillcolor=\"#f3f4f7\", color=\"#7b8597\", fontsize=10, height=0.3"
        }
        Kind::Topic { .. } => {
            "shape=box, style=\"filled,rounded,dashed\", fillcolor=\"#f3f4f7\", color=\"#7b8597\", fontsize=10, height=0.3"
        }
    }
}

fn arrows(text: &mut String, graph: &Graph, index: usize) {
    for arrow in &graph.arrows {
        if graph.vertices.get(arrow.from).is_some_and(|vertex| vertex.is_label) {
            continue;
        }
        let label = graph.vertices.get(arrow.to).filter(|vertex| vertex.is_label);
        let on = label.and_then(|_| graph.through(arrow.to)).map_or(arrow.to, |(_, on)| on.to);
        let mut looks = Vec::new();
        if let Some(label) = label {
            looks.push(format!("label=\"{}\"", escape(&edge_label(label, arrow.flow, arrow.in_cycle))));
            looks.push(format!("tooltip=\"{}\"", escape(&label.full)));
        }
        if arrow.flow.is_dashed() {
            looks.push("style=dashed".to_owned());
        }
        if arrow.flow == Flow::DeadLetters {
            looks.push("color=\"#b3362b\"".to_owned());
        } else if arrow.in_cycle {
            looks.push("color=\"#c26a08\", penwidth=1.6".to_owned());
        }
        let _ = writeln!(text, "  g{index}n{} -> g{index}n{on} [{}];", arrow.from, looks.join(", "));
    }
}

/// Escapes text for a quoted string of DOT: quotes, backslashes, and HTML entities, which Graphviz decodes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '&' => escaped.push_str("&amp;"),
            letter if !is_printable(letter) => escaped.push(REPLACEMENT),
            letter => escaped.push(letter),
        }
    }
    escaped
}
