//! Message rates of topics.

use std::collections::BTreeMap;
use std::fmt;

use super::{Graph, Kind};

/// Rate and backlog of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Incoming messages per second.
    pub per_second: f64,
    /// The largest backlog of a subscription, in messages.
    pub backlog: u64,
}

/// `48/s`, with the backlog if it exceeds one second of messages: less is in flight.
impl fmt::Display for Rate {
    #[allow(clippy::cast_precision_loss, reason = "a backlog of 2^53 messages may be off by one")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per_second, backlog } = *self;
        let places = usize::from(per_second > 0.0 && per_second < 9.95);
        write!(f, "{per_second:.places$}/s")?;
        if backlog as f64 > per_second {
            write!(f, ", backlog {backlog}")?;
        }
        Ok(())
    }
}

impl Graph {
    /// The full names of all topics, without patterns.
    pub fn topic_names(&self) -> impl Iterator<Item = &str> {
        self.vertices
            .iter()
            .filter(|vertex| matches!(vertex.kind, Kind::Topic { is_pattern: false, .. }))
            .map(|vertex| vertex.full.as_str())
    }

    /// Sets the rates of topics by full name.
    pub fn set_rates(&mut self, rates: &BTreeMap<String, Rate>) {
        for vertex in &mut self.vertices {
            if matches!(vertex.kind, Kind::Topic { is_pattern: false, .. }) {
                vertex.rate = rates.get(&vertex.full).copied();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{dot, mermaid, svg, text};
    use super::*;

    #[test]
    fn rate_shows_a_backlog_above_one_second() {
        let shown = |per_second, backlog| Rate { per_second, backlog }.to_string();
        assert_eq!(shown(0.0, 0), "0/s");
        assert_eq!(shown(0.04, 0), "0.0/s");
        assert_eq!(shown(9.94, 3), "9.9/s");
        assert_eq!(shown(9.96, 3), "10/s");
        assert_eq!(shown(1234.5, 1234), "1234/s");
        assert_eq!(shown(50.0, 51), "50/s, backlog 51");
        assert_eq!(shown(0.0, 7), "0/s, backlog 7");
    }

    #[test]
    fn every_format_shows_rates_of_topics() {
        let mesh = json!({ "functions": [
            { "name": "raw", "input": { "topics": ["in"], "topicPattern": "public/default/x-.*" },
              "output": { "topic": "raw" } },
            { "name": "next", "input": { "topics": ["raw"] }, "output": { "topic": "out" } },
        ] });
        let mut graph = Graph::of("FunctionMesh a/b", &serde_json::from_value(mesh).expect("a mesh"));
        let names: Vec<_> = graph.topic_names().map(str::to_owned).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        let plain = [text, mermaid, dot, svg].map(|draw| draw(std::slice::from_ref(&graph)));
        assert!(plain.iter().all(|picture| !picture.contains('·')), "{plain:?}");

        let rate = |per_second, backlog| Rate { per_second, backlog };
        let full = |name: &str| format!("persistent://public/default/{name}");
        graph.set_rates(&BTreeMap::from([(full("in"), rate(48.2, 900)), (full("raw"), rate(2.5, 1))]));
        let [text, mermaid, dot, svg] =
            [text, mermaid, dot, svg].map(|draw| draw(std::slice::from_ref(&graph)));
        for line in ["in · 48/s, backlog 900", "raw · 2.5/s"] {
            assert!(text.lines().any(|drawn| drawn.contains(line)), "{text}");
        }
        assert!(text.lines().any(|line| line.trim() == "out"), "{text}");
        assert!(mermaid.contains("([\"in #183; 48/s, backlog 900\"])"), "{mermaid}");
        assert!(mermaid.contains("-->|\"raw #183; 2.5/s\"|"), "{mermaid}");
        assert!(dot.contains("label=\"in · 48/s, backlog 900\""), "{dot}");
        assert!(dot.contains("label=\"raw · 2.5/s\""), "{dot}");
        assert!(svg.contains(">from outside · 48/s, backlog 900</text>"), "{svg}");
        assert!(svg.contains(">2.5/s</text>") && svg.contains(">to outside</text>"), "{svg}");
    }
}
