//! Mermaid output for Markdown.

use std::fmt::Write;

use function_mesh_api::{REPLACEMENT, Role, is_printable};

use super::{Boundary, Flow, Graph, Kind, Vertex};

/// A graph as a Mermaid flowchart.
pub fn mermaid(graphs: &[Graph]) -> String {
    let mut text = "flowchart LR\n".to_owned();
    for (index, graph) in graphs.iter().enumerate() {
        one(&mut text, graph, index, graphs.len() > 1);
    }
    text.push_str(
        "  classDef function fill:#e7effd,stroke:#3566c4,color:#15254a\n  \
         classDef source fill:#e4f5ea,stroke:#2a8554,color:#103322\n  \
         classDef sink fill:#f1e9fb,stroke:#7546bd,color:#2c1850\n  \
         classDef topic fill:#f3f4f7,stroke:#7b8597,color:#2b3240\n  \
         classDef outside fill:#f3f4f7,stroke:#7b8597,color:#2b3240,stroke-dasharray:4 3\n  \
         classDef cycle stroke:#c26a08,stroke-width:2px\n",
    );
    text
}

fn one(text: &mut String, graph: &Graph, index: usize, is_framed: bool) {
    let id = |vertex: usize| format!("g{index}n{vertex}");
    if is_framed {
        let _ = writeln!(text, "  subgraph g{index}[\"{}\"]", escape(&graph.title));
    } else {
        let _ = writeln!(text, "  %% {}", escape(&graph.title));
    }
    for (place, vertex) in graph.vertices.iter().enumerate().filter(|(_, vertex)| !vertex.is_label) {
        let label = escape(&caption(vertex));
        let (shape, class) = match &vertex.kind {
            Kind::Component { role: Role::Function, .. } => (format!("[\"{label}\"]"), "function"),
            Kind::Component { role: Role::Source, .. } => (format!("[/\"{label}\"/]"), "source"),
            Kind::Component { role: Role::Sink, .. } => (format!("[\\\"{label}\"\\]"), "sink"),
            Kind::Topic { is_pattern: true, .. } => (format!("{{{{\"{label}\"}}}}"), "outside"),
            Kind::Topic { boundary: Boundary::Internal, .. } => (format!("([\"{label}\"])"), "topic"),
            Kind::Topic { .. } => (format!("([\"{label}\"])"), "outside"),
        };
        let _ = writeln!(text, "    {}{shape}:::{class}", id(place));
        if vertex.in_cycle {
            let _ = writeln!(text, "    class {} cycle", id(place));
        }
    }
    for arrow in &graph.arrows {
        let (from, to) = (graph.vertices.get(arrow.from), graph.vertices.get(arrow.to));
        if from.is_some_and(|vertex| vertex.is_label) {
            continue;
        }
        let line = if arrow.flow.is_dashed() { "-.->" } else { "-->" };
        match to.filter(|vertex| vertex.is_label).and_then(|label| Some((label, graph.through(arrow.to)?))) {
            Some((label, (_, on))) => {
                let name = edge_label(label, arrow.flow, arrow.in_cycle);
                let _ = writeln!(text, "    {} {line}|\"{}\"| {}", id(arrow.from), escape(&name), id(on.to));
            }
            None if arrow.in_cycle => {
                let _ = writeln!(text, "    {} {line}|\"↻\"| {}", id(arrow.from), id(arrow.to));
            }
            None => {
                let _ = writeln!(text, "    {} {line} {}", id(arrow.from), id(arrow.to));
            }
        }
    }
    if is_framed {
        text.push_str("  end\n");
    }
}

pub(super) fn edge_label(vertex: &Vertex, flow: Flow, in_cycle: bool) -> String {
    let purpose = flow.purpose().map(|purpose| format!(" ({purpose})")).unwrap_or_default();
    vertex.with_rate(&format!("{}{}{purpose}", if in_cycle { "↻ " } else { "" }, vertex.label))
}

/// The text of a vertex.
pub(super) fn caption(vertex: &Vertex) -> String {
    vertex.with_rate(&match &vertex.kind {
        Kind::Topic { purpose: Some(purpose), .. } => format!("{} ({purpose})", vertex.label),
        Kind::Topic { is_pattern: true, .. } => format!("{} (pattern)", vertex.label),
        Kind::Topic { .. } | Kind::Component { .. } => vertex.label.clone(),
    })
}

/// Escapes text for a label. Mermaid interprets Markdown, HTML and its own syntax there, so special characters are
/// written as numeric entities.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        let is_plain = letter.is_alphanumeric() || " -./:,()".contains(letter) || letter == '↻';
        if !is_printable(letter) {
            escaped.push(REPLACEMENT);
        } else if is_plain {
            escaped.push(letter);
        } else {
            let _ = write!(escaped, "#{};", u32::from(letter));
        }
    }
    escaped
}
