use serde_json::json;

use super::*;

fn graph(mesh: serde_json::Value) -> Topology {
    Topology::of(&serde_json::from_value(mesh).expect("a mesh"))
}

fn edges(graph: &Topology) -> Vec<String> {
    let name = |position: usize| &graph.components()[position].name;
    graph.edges().iter().map(|edge| format!("{} -> {}", name(edge.from), name(edge.to))).collect()
}

#[test]
fn short_and_full_topic_names_are_equal() {
    let graph = graph(json!({
        "functions": [
            { "name": "a", "input": { "topics": ["in"] }, "output": { "topic": "persistent://public/default/mid" } },
            { "name": "b", "input": { "topics": ["public/default/mid"] }, "output": { "topic": "out" } },
        ],
    }));
    assert_eq!(edges(&graph), ["a -> b"]);
    assert_eq!(graph.external_inputs().map(Topic::short_name).collect::<Vec<_>>(), ["in"]);
    assert_eq!(graph.external_outputs().map(Topic::short_name).collect::<Vec<_>>(), ["out"]);
}

#[test]
fn domain_distinguishes_topics() {
    let graph = graph(json!({
        "sources": [{ "name": "s", "output": { "topic": "non-persistent://public/default/t" } }],
        "sinks": [{ "name": "k", "input": { "topics": ["t"] } }],
    }));
    assert!(edges(&graph).is_empty());
    assert_eq!(graph.isolated().count(), 2);
}

#[test]
fn patterns_connect_matching_topics_of_their_namespace() {
    let graph = graph(json!({
        "functions": [
            { "name": "a", "output": { "topic": "logs-a" } },
            { "name": "b", "output": { "topic": "other/ns/logs-b" } },
            { "name": "c", "output": { "topic": "xlogs-c" } },
            { "name": "all", "input": { "topicPattern": "persistent://public/default/logs-.*" } },
            { "name": "spec", "input": { "sourceSpecs": { "public/default/x.*": { "isRegexPattern": true } } } },
        ],
    }));
    assert_eq!(edges(&graph), ["a -> all", "c -> spec"]);
}

#[test]
fn invalid_pattern_connects_nothing() {
    let graph = graph(json!({
        "functions": [
            { "name": "a", "output": { "topic": "logs(" } },
            { "name": "b", "input": { "topicPattern": "logs(" } },
        ],
    }));
    assert!(edges(&graph).is_empty());
    assert_eq!(graph.external_inputs().count(), 1);
}

#[test]
fn partitions_connect_to_their_topic() {
    let graph = graph(json!({
        "sources": [{ "name": "s", "output": { "topic": "t" } }],
        "sinks": [{ "name": "k", "input": { "topics": ["t-partition-0", "t-partition-1"] } }],
    }));
    assert_eq!(edges(&graph), ["s -> k"]);
}

#[test]
fn dead_letter_and_log_topics_are_edges() {
    let graph = graph(json!({
        "functions": [{
            "name": "a", "input": { "topics": ["in"] }, "maxMessageRetry": 3, "deadLetterTopic": "dead", "logTopic": "log",
        }],
        "sinks": [{ "name": "alarm", "input": { "topics": ["dead", "log"] } }],
    }));
    assert_eq!(
        graph.edges().iter().map(|edge| edge.usage).collect::<Vec<_>>(),
        [Usage::DeadLetters, Usage::Logs]
    );
}

#[test]
fn finds_cycles() {
    let graph = graph(json!({
        "functions": [
            { "name": "a", "input": { "topics": ["x"] }, "output": { "topic": "y" } },
            { "name": "b", "input": { "topics": ["y"] }, "output": { "topic": "z" } },
            { "name": "c", "input": { "topics": ["z", "start"] }, "output": { "topic": "x" } },
            { "name": "d", "input": { "topics": ["z"] }, "output": { "topic": "end" } },
            { "name": "self", "input": { "topicPattern": "loop.*" }, "output": { "topic": "loop-1" } },
        ],
    }));
    assert_eq!(graph.cycles(), [vec![0, 1, 2], vec![4]]);
}
