use serde_json::json;

use super::*;

fn graph(mesh: serde_json::Value) -> Topology {
    Topology::of(&serde_json::from_value(mesh).expect("a mesh"))
}

fn fed(graph: &Topology) -> Vec<String> {
    let name = |place: usize| &graph.components()[place].name;
    graph.edges().iter().map(|edge| format!("{} -> {}", name(edge.from), name(edge.to))).collect()
}

#[test]
fn short_and_full_names_of_a_topic_are_one_topic() {
    let graph = graph(json!({
        "functions": [
            { "name": "a", "input": { "topics": ["in"] }, "output": { "topic": "persistent://public/default/mid" } },
            { "name": "b", "input": { "topics": ["public/default/mid"] }, "output": { "topic": "out" } },
        ],
    }));
    assert_eq!(fed(&graph), ["a -> b"]);
    assert_eq!(graph.external_inputs().map(Topic::short_name).collect::<Vec<_>>(), ["in"]);
    assert_eq!(graph.external_outputs().map(Topic::short_name).collect::<Vec<_>>(), ["out"]);
}

#[test]
fn persistence_tells_topics_apart() {
    let graph = graph(json!({
        "sources": [{ "name": "s", "output": { "topic": "non-persistent://public/default/t" } }],
        "sinks": [{ "name": "k", "input": { "topics": ["t"] } }],
    }));
    assert!(fed(&graph).is_empty());
    assert_eq!(graph.isolated().count(), 2);
}

#[test]
fn patterns_join_what_they_match_in_their_namespace() {
    let graph = graph(json!({
        "functions": [
            { "name": "a", "output": { "topic": "logs-a" } },
            { "name": "b", "output": { "topic": "other/ns/logs-b" } },
            { "name": "c", "output": { "topic": "xlogs-c" } },
            { "name": "all", "input": { "topicPattern": "persistent://public/default/logs-.*" } },
            { "name": "spec", "input": { "sourceSpecs": { "public/default/x.*": { "isRegexPattern": true } } } },
        ],
    }));
    assert_eq!(fed(&graph), ["a -> all", "c -> spec"]);
}

#[test]
fn a_pattern_that_is_no_expression_joins_nothing() {
    let graph = graph(json!({
        "functions": [
            { "name": "a", "output": { "topic": "logs(" } },
            { "name": "b", "input": { "topicPattern": "logs(" } },
        ],
    }));
    assert!(fed(&graph).is_empty());
    assert_eq!(graph.external_inputs().count(), 1);
}

#[test]
fn partitions_belong_to_their_topic() {
    let graph = graph(json!({
        "sources": [{ "name": "s", "output": { "topic": "t" } }],
        "sinks": [{ "name": "k", "input": { "topics": ["t-partition-0", "t-partition-1"] } }],
    }));
    assert_eq!(fed(&graph), ["s -> k"]);
}

#[test]
fn dead_letters_and_logs_are_edges_too() {
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
fn cycles_are_found_and_nothing_else() {
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
