//! Graphs of arbitrary meshes, and of hostile names.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn graph(mesh: Value) -> Graph {
    Graph::of("FunctionMesh a/b", &serde_json::from_value(mesh).expect("a mesh"))
}

/// Meshes whose components consume and produce a few random topics.
fn meshes(name: &'static str) -> impl Strategy<Value = FunctionMeshSpec> {
    let topics = || prop::collection::vec(0..8_u8, 0..4);
    let topic = || prop::option::of(0..8_u8);
    let function = (name, topics(), topic(), topic(), topic(), any::<bool>()).prop_map(
        |(name, reads, writes, dead, log, by_pattern)| {
            let topic = |number: u8| format!("topic-{number}");
            let mut input =
                json!({ "topics": reads.iter().map(|number| topic(*number)).collect::<Vec<_>>() });
            if by_pattern {
                input["topicPattern"] = json!("public/default/topic-[0-2]");
            }
            json!({
                "name": name,
                "input": input,
                "output": { "topic": writes.map(topic).unwrap_or_default() },
                "deadLetterTopic": dead.map(topic).unwrap_or_default(),
                "logTopic": log.map(topic).unwrap_or_default(),
            })
        },
    );
    let source = (name, topic()).prop_map(|(name, writes)| {
        json!({ "name": name, "output": { "topic": writes.map(|t| format!("topic-{t}")).unwrap_or_default() } })
    });
    let sink = (name, topics()).prop_map(|(name, reads)| {
        json!({ "name": name, "input": { "topics": reads.iter().map(|t| format!("topic-{t}")).collect::<Vec<_>>() } })
    });
    let list = |of| prop::collection::vec(of, 0..7);
    (prop::collection::vec(function, 0..9), list(source.boxed()), list(sink.boxed())).prop_map(
        |(functions, sources, sinks)| {
            let mesh = json!({ "functions": functions, "sources": sources, "sinks": sinks });
            serde_json::from_value(mesh).expect("a mesh")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn boxes_do_not_overlap(mesh in meshes("[a-z]{0,40}")) {
        let graph = Graph::of("x", &mesh);
        let frames = frames(&graph);
        prop_assert_eq!(frames.len(), graph.vertices.len());
        for (place, one) in frames.iter().enumerate() {
            prop_assert!(one.x >= 0 && one.y >= 0);
            for other in frames.iter().skip(place + 1) {
                let apart = one.x + one.width <= other.x
                    || other.x + other.width <= one.x
                    || one.y + one.height <= other.y
                    || other.y + other.height <= one.y;
                prop_assert!(apart, "{:?} {:?}", one, other);
            }
        }
    }

    #[test]
    fn routes_pass_adjacent_layers(mesh in meshes("[a-z]{1,5}")) {
        let graph = Graph::of("x", &mesh);
        let layout = layout::Layout::of(&layout::Plan {
            sizes: graph.vertices.iter().map(|_| 7).collect(),
            edges: graph.arrows.iter().map(|arrow| (arrow.from, arrow.to)).collect(),
            gap: 3,
            lane: 1,
        });
        for (route, arrow) in layout.routes.iter().zip(&graph.arrows) {
            let (first, last) =
                if route.is_reversed { (arrow.to, arrow.from) } else { (arrow.from, arrow.to) };
            prop_assert_eq!(route.items.first(), Some(&first));
            prop_assert_eq!(route.items.last(), Some(&last));
            for pair in route.items.windows(2) {
                prop_assert_eq!(layout.items[pair[0]].layer + 1, layout.items[pair[1]].layer);
            }
        }
        for layer in &layout.layers {
            for pair in layer.windows(2) {
                let (one, other) = (&layout.items[pair[0]], &layout.items[pair[1]]);
                prop_assert!(one.start + one.size + 3 <= other.start);
            }
        }
    }

    #[test]
    fn arbitrary_names_are_escaped(mesh in meshes("\\PC{0,12}"), title in "\\PC{0,20}") {
        let mut graph = Graph::of(&title, &mesh);
        for (vertex, name) in graph.vertices.iter_mut().zip(["</g>", "\"];x", "a\\", "&lt;", "]]>", "\u{1}\u{202e}"]) {
            vertex.label.push_str(name);
            vertex.full.push_str(name);
        }
        let graphs = [graph.clone(), graph];
        let picture = svg(&graphs);
        let xml = roxmltree::Document::parse(&picture);
        prop_assert!(xml.is_ok(), "{:?}", xml.err());
        let _ = text(&graphs);
        let _ = mermaid(&graphs);
        let _ = dot(&graphs);
    }
}

#[test]
fn markup_in_names_is_escaped_in_every_format() {
    let hostile = "a\"]; x -> y [label=\"<b>&amp;</b>`#quot;\\N\n%%{init}%%";
    let graph = graph(json!({ "functions": [
        { "name": hostile, "input": { "topics": ["in"] }, "output": { "topic": "out" } },
        { "name": "next", "input": { "topics": ["out"] } },
    ] }));
    let clean = hostile.replace('\n', "\u{fffd}");

    let picture = svg(std::slice::from_ref(&graph));
    let xml = roxmltree::Document::parse(&picture).expect("well-formed");
    let titles: Vec<_> = xml.descendants().filter(|node| node.has_tag_name("title")).collect();
    assert!(titles.iter().any(|title| title.text() == Some(&format!("function {clean}"))), "{picture}");
    assert!(!xml.descendants().any(|node| node.has_tag_name("b")));

    let picture = mermaid(std::slice::from_ref(&graph));
    let line = picture.lines().find(|line| line.contains("g0n0[")).expect("the vertex");
    let label = line.trim().strip_prefix("g0n0[\"").and_then(|rest| rest.strip_suffix("\"]:::function"));
    assert!(label.is_some_and(|label| !label.contains(['"', '<', '`', '%', '\\'])), "{line}");

    let picture = dot(std::slice::from_ref(&graph));
    let line = picture.lines().find(|line| line.contains("g0n0 [")).expect("the vertex");
    assert!(line.contains(r#"label="a\"]; x -> y [label=\"<b>&amp;amp;</b>`#quot;\\N"#), "{line}");
}

#[test]
fn graphviz_accepts_hostile_names() {
    use std::process::{Command, Stdio};
    let graph = graph(json!({ "functions": [{ "name": "\"<&\\N\\", "input": { "topics": ["in"] } }] }));
    let mut command = Command::new("dot");
    command.arg("-Tplain").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        // Graphviz is optional.
        return;
    };
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), dot(&[graph]).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn topic_between_two_components_is_an_edge_label() {
    let graph = graph(json!({
        "sources": [{ "name": "in", "output": { "topic": "raw" } }],
        "functions": [{ "name": "clean", "input": { "topics": ["raw", "other"] }, "output": { "topic": "done" } }],
    }));
    let find = |label: &str| graph.vertices.iter().find(|vertex| vertex.label == label).unwrap();
    assert!(find("raw").is_label);
    assert!(!find("other").is_label);
    assert_eq!(
        find("other").kind,
        Kind::Topic { boundary: Boundary::Input, is_pattern: false, purpose: None }
    );
    assert_eq!(
        find("done").kind,
        Kind::Topic { boundary: Boundary::Output, is_pattern: false, purpose: None }
    );
    assert!(mermaid(&[graph]).contains("g0n1 -->|\"raw\"| g0n0"));
}

#[test]
fn cycles_are_marked_and_noted() {
    let graph = graph(json!({ "functions": [
        { "name": "a", "input": { "topics": ["x"] }, "output": { "topic": "y" } },
        { "name": "b", "input": { "topics": ["y"] }, "output": { "topic": "x" } },
        { "name": "c", "input": { "topics": ["y"] } },
    ] }));
    assert!(graph.notes.contains(&"↻ cycle: a, b feed each other".to_owned()), "{:?}", graph.notes);
    let marked = graph.vertices.iter().filter(|vertex| vertex.in_cycle).map(|vertex| vertex.label.as_str());
    assert_eq!(marked.collect::<Vec<_>>(), ["a", "b", "x", "y"]);
}

#[test]
fn too_wide_meshes_are_listed() {
    let functions: Vec<_> =
        (0..60).map(|n| json!({ "name": format!("f{n}"), "input": { "topics": ["in"] } })).collect();
    let shown = text(&[graph(json!({ "functions": functions }))]);
    assert!(shown.contains("in ─▶ function f59"), "{shown}");
}

#[test]
fn large_meshes_are_drawn_in_time() {
    let functions: Vec<_> = (0..150)
        .map(|n| {
            json!({ "name": format!("f{n}"), "input": { "topics": [format!("t{n}"), format!("t{}", n / 2)] },
            "output": { "topic": format!("t{}", n + 1) }, "logTopic": "log" })
        })
        .collect();
    let start = std::time::Instant::now();
    let _ = svg(&[graph(json!({ "functions": functions }))]);
    assert!(start.elapsed() < std::time::Duration::from_secs(30));
}
