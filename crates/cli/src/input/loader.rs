//! Parses YAML, with anchors and merge keys, and JSON into trees with source locations.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde_json::Value;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::scalar;
use super::tree::{Entry, Node, Tree};

/// Most values in a text after expansion of aliases, against exponential expansion ("billion laughs").
const MAX_NODES: usize = 1_000_000;
/// Deepest nesting, so that later walks may recurse. Manifests are far below.
const MAX_DEPTH: usize = 128;

/// A syntax error.
#[derive(Clone, Debug)]
pub struct Syntax {
    /// The message.
    pub message: String,
    /// Location as a byte range.
    pub at: Range<usize>,
}

/// The documents of a text, up to the first syntax error.
pub fn load(text: &str) -> (Vec<Node>, Option<Syntax>) {
    let (nodes, error) = yaml(text);
    // Most JSON is YAML too, and keeps its locations when parsed as YAML.
    if error.is_some()
        && text.trim_start().starts_with(['{', '['])
        && let Some(nodes) = json(text)
    {
        return (nodes, None);
    }
    (nodes, error)
}

fn json(text: &str) -> Option<Vec<Node>> {
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    values.map(|value| value.ok().map(without_location)).collect()
}

fn without_location(value: Value) -> Node {
    let tree = match value {
        Value::Array(items) => Tree::List(items.into_iter().map(without_location).collect()),
        Value::Object(entries) => {
            let entry = |(key, value)| Entry { key, key_at: 0..0, node: without_location(value) };
            Tree::Map(entries.into_iter().map(entry).collect())
        }
        scalar => Tree::Scalar(scalar),
    };
    // The JSON parser limits the depth itself.
    Node { tree, at: 0..0, depth: 0 }
}

fn yaml(text: &str) -> (Vec<Node>, Option<Syntax>) {
    let mut loader = Loader { text, ..Loader::default() };
    for next in Parser::new_from_str(text) {
        let step = match next {
            Ok((event, span)) => loader.handle(event, &span),
            Err(error) => Err(scan_error(text, &error)),
        };
        if let Err(error) = step {
            return (loader.documents, Some(error));
        }
    }
    (loader.documents, None)
}

fn scan_error(text: &str, error: &ScanError) -> Syntax {
    let start = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
    Syntax { message: format!("invalid YAML: {}", error.info()), at: start..start }
}

/// A list or map that is being parsed.
struct Open {
    at: Range<usize>,
    anchor: usize,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, keys: HashSet<String>, key: Option<(String, Range<usize>)>, merged: Vec<Node> },
}

#[derive(Default)]
struct Loader<'a> {
    text: &'a str,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    documents: Vec<Node>,
    nodes: usize,
}

impl Loader<'_> {
    fn handle(&mut self, event: Event<'_>, span: &Span) -> Result<(), Syntax> {
        let at = span.byte_range().unwrap_or_default();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar_value(&text, style, tag.as_deref());
                let key = text.into_owned();
                self.value(Node { tree: Tree::Scalar(value), at, depth: 0 }, anchor, Some(key))
            }
            Event::SequenceStart(_, anchor, _) => self.start(at, anchor, Inside::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                let inside =
                    Inside::Map { entries: Vec::new(), keys: HashSet::new(), key: None, merged: Vec::new() };
                self.start(at, anchor, inside)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(&at),
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err(syntax("this alias is inside of its own anchor", at));
                };
                self.count(size, &at)?;
                let key = node.as_str().map(str::to_owned);
                self.value(node, 0, key)
            }
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, at: Range<usize>, anchor: usize, inside: Inside) -> Result<(), Syntax> {
        if self.open.len() >= MAX_DEPTH {
            return Err(syntax(format!("nested more than {MAX_DEPTH} levels deep"), at));
        }
        self.open.push(Open { at, anchor, inside });
        Ok(())
    }

    fn end(&mut self, end: &Range<usize>) -> Result<(), Syntax> {
        let Some(Open { at, anchor, inside }) = self.open.pop() else { return Ok(()) };
        let at = at.start..end.start.max(at.end);
        let tree = match inside {
            Inside::List(items) => Tree::List(items),
            Inside::Map { entries, keys, merged, .. } => Tree::Map(merge(entries, keys, merged)),
        };
        let deepest = match &tree {
            Tree::List(items) => items.iter().map(|item| item.depth).max(),
            Tree::Map(entries) => entries.iter().map(|entry| entry.node.depth).max(),
            Tree::Scalar(_) => None,
        };
        let depth = deepest.unwrap_or_default() + 1;
        if depth > MAX_DEPTH {
            return Err(syntax(format!("aliases nest more than {MAX_DEPTH} levels deep"), at));
        }
        self.value(Node { tree, at, depth }, anchor, None)
    }

    /// Adds a value to the open list or map, or to the documents.
    fn value(&mut self, node: Node, anchor: usize, key_text: Option<String>) -> Result<(), Syntax> {
        self.count(1, &node.at)?;
        if anchor != 0 {
            let size = size(&node);
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut().map(|open| &mut open.inside) {
            None => self.documents.push(node),
            Some(Inside::List(items)) => items.push(node),
            Some(Inside::Map { entries, keys, key, merged }) => match key.take() {
                None => {
                    let Some(text) = key_text else {
                        return Err(syntax("a list or map cannot be a key", node.at));
                    };
                    *key = Some((text, node.at));
                }
                Some((text, key_at)) if text == "<<" && self.text.get(key_at.clone()) == Some("<<") => {
                    merged.push(node);
                }
                Some((text, key_at)) => {
                    if !keys.insert(text.clone()) {
                        return Err(syntax(format!("duplicate key {text:?}"), key_at));
                    }
                    entries.push(Entry { key: text, key_at, node });
                }
            },
        }
        Ok(())
    }

    fn count(&mut self, more: usize, at: &Range<usize>) -> Result<(), Syntax> {
        self.nodes += more;
        if self.nodes > MAX_NODES {
            return Err(syntax(format!("aliases expand to more than {MAX_NODES} values"), at.clone()));
        }
        Ok(())
    }
}

fn syntax(message: impl Into<String>, at: Range<usize>) -> Syntax {
    Syntax { message: message.into(), at }
}

fn size(node: &Node) -> usize {
    1 + match &node.tree {
        Tree::Scalar(_) => 0,
        Tree::List(items) => items.iter().map(size).sum(),
        Tree::Map(entries) => entries.iter().map(|entry| size(&entry.node)).sum(),
    }
}

fn scalar_value(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let is_text = match tag.and_then(Tag::core_suffix) {
        Some(suffix) => !matches!(suffix, "int" | "float" | "bool" | "null"),
        None => style != ScalarStyle::Plain,
    };
    if is_text { Value::String(text.to_owned()) } else { scalar::resolve(text) }
}

/// Applies merge keys (`<<`): adds entries of other maps whose keys are absent.
fn merge(mut entries: Vec<Entry>, mut keys: HashSet<String>, merged: Vec<Node>) -> Vec<Entry> {
    let others = merged.into_iter().flat_map(|node| match node.tree {
        Tree::List(items) => items,
        Tree::Map(_) | Tree::Scalar(_) => vec![node],
    });
    for other in others {
        let Tree::Map(more) = other.tree else { continue };
        entries.extend(more.into_iter().filter(|entry| keys.insert(entry.key.clone())));
    }
    entries
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use serde_json::json;

    fn value(text: &str) -> Value {
        let (nodes, error) = load(text);
        assert!(error.is_none(), "{error:?}");
        nodes[0].to_value()
    }

    fn error(text: &str) -> String {
        load(text).1.expect("an error").message
    }

    #[test]
    fn aliases_and_merge_keys_are_expanded() {
        let text = "base: &b {a: 1, b: 2}\nlist: [*b]\nmore:\n  <<: *b\n  b: 3\n\"<<\": x\n";
        let want = json!({"base": {"a": 1, "b": 2}, "list": [{"a": 1, "b": 2}], "more": {"a": 1, "b": 3}, "<<": "x"});
        assert_eq!(value(text), want);
    }

    #[test]
    fn quotes_and_tags_determine_the_type() {
        assert_eq!(value("[yes, 'yes', !!str 1, !!int '1']"), json!([true, "yes", "1", 1]));
    }

    #[test]
    fn json_escapes_are_parsed() {
        let text = r#"{"a": "\ud83d\ude00\/", "b": [1.5e3, null]}"#;
        assert_eq!(value(text), json!({"a": "😀/", "b": [1500.0, null]}));
        assert_eq!(load("{\"a\": 1}\n{\"a\": 2}\n").0.len(), 2);
    }

    #[test]
    fn hostile_texts_are_rejected() {
        assert!(error("a: 1\na: 2\n").contains("duplicate key"));
        assert!(error("[a]: 1\n").contains("cannot be a key"));
        assert!(error("a: &a [*a]").contains("inside of its own anchor"));
        assert!(error(&format!("{}{}", "[".repeat(200), "]".repeat(200))).contains("deep"));
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let one = format!("*a{},", level - 1);
            let _ = writeln!(bomb, "a{level}: &a{level} [{}x]", one.repeat(10));
        }
        assert!(error(&bomb).contains("aliases expand"));
        let mut deep = "a0: &a0 [[[[[[[[[[x]]]]]]]]]]\n".to_owned();
        for level in 1..40 {
            let _ = writeln!(deep, "a{level}: &a{level} [[[[[[[[*a{}]]]]]]]]", level - 1);
        }
        assert!(error(&deep).contains("deep"));
    }

    #[test]
    fn documents_before_a_syntax_error_are_kept() {
        let (nodes, error) = load("a: 1\n---\nb: [1\n");
        assert_eq!(nodes.len(), 1);
        assert!(error.is_some());
    }
}
