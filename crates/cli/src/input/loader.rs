//! Parses YAML, with anchors and merge keys, and JSON into trees with source locations, as `kubectl` reads them.

mod json;

use std::borrow::Cow;
use std::collections::HashMap;
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

/// A key that a map has twice. `kubectl` takes the later one without a word.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Repeated {
    /// The key.
    pub key: String,
    /// Location of the key that counts; empty for JSON that is no YAML.
    pub at: Range<usize>,
    /// Location of the earlier key, which is ignored.
    pub ignored: Range<usize>,
    /// Whether a merge key (`<<`) brings the key that counts.
    pub is_merged: bool,
}

/// The contents of a text.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The documents, up to the first syntax error.
    pub documents: Vec<Node>,
    /// The keys that are there twice, in any document.
    pub repeated: Vec<Repeated>,
    /// The first syntax error.
    pub error: Option<Syntax>,
}

/// Parses a text.
pub fn load(text: &str) -> Loaded {
    let loaded = yaml(text);
    // Most JSON is YAML too, and keeps its locations when parsed as YAML.
    if loaded.error.is_some()
        && text.trim_start().starts_with(['{', '['])
        && let Some(loaded) = json::load(text)
    {
        return loaded;
    }
    loaded
}

fn yaml(text: &str) -> Loaded {
    let mut loader = Loader { text, ..Loader::default() };
    let text = without_marks(text);
    for next in Parser::new_from_str(&text) {
        let step = match next {
            Ok((event, span)) => loader.handle(event, &span),
            Err(error) => Err(scan_error(&text, &error)),
        };
        if let Err(error) = step {
            return Loaded { documents: loader.documents, repeated: loader.repeated, error: Some(error) };
        }
    }
    Loaded { documents: loader.documents, repeated: loader.repeated, error: None }
}

/// The text with line breaks in place of a byte order mark that begins a document, as when files were joined. Locations
/// stay: both have three bytes.
fn without_marks(text: &str) -> Cow<'_, str> {
    const MARK: char = '\u{feff}';
    if !text.contains(MARK) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut is_start = true;
    for line in text.split_inclusive('\n') {
        match line.strip_prefix(MARK).filter(|_| is_start) {
            Some(rest) => clean.extend(["\n\n\n", rest]),
            None => clean.push_str(line),
        }
        is_start = line.starts_with("---");
    }
    Cow::Owned(clean)
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
    Map(Fields),
}

/// The entries of a map that is being parsed.
#[derive(Default)]
struct Fields {
    entries: Vec<Entry>,
    /// Index of each key in `entries`, and whether a merge key brought it.
    keys: HashMap<String, (usize, bool)>,
    /// The key whose value comes next.
    key: Option<(String, Range<usize>)>,
}

impl Fields {
    /// Sets an entry. The later one of equal keys counts, as in `kubectl`; that of a merge key too.
    fn set(&mut self, entry: Entry, is_merged: bool, repeated: &mut Vec<Repeated>) {
        let Some((index, was_merged)) = self.keys.get_mut(&entry.key) else {
            self.keys.insert(entry.key.clone(), (self.entries.len(), is_merged));
            self.entries.push(entry);
            return;
        };
        // What a merge key brings is there to be overridden.
        if let Some(earlier) = self.entries.get_mut(*index) {
            if !*was_merged {
                let (key, at, ignored) = (entry.key.clone(), entry.key_at.clone(), earlier.key_at.clone());
                repeated.push(Repeated { key, at, ignored, is_merged });
            }
            *earlier = entry;
        }
        *was_merged = is_merged;
    }
}

#[derive(Default)]
struct Loader<'a> {
    text: &'a str,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    documents: Vec<Node>,
    repeated: Vec<Repeated>,
    nodes: usize,
}

impl Loader<'_> {
    fn handle(&mut self, event: Event<'_>, span: &Span) -> Result<(), Syntax> {
        let at = span.byte_range().unwrap_or_default();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar_value(&text, style, tag.as_deref());
                self.value(Node { tree: Tree::Scalar(value), at, depth: 0 }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.start(at, anchor, Inside::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => self.start(at, anchor, Inside::Map(Fields::default())),
            Event::SequenceEnd | Event::MappingEnd => self.end(&at),
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err(syntax("this alias is inside of its own anchor", at));
                };
                self.count(size, &at)?;
                self.value(node, 0)
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
            Inside::Map(fields) => Tree::Map(fields.entries),
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
        self.value(Node { tree, at, depth }, anchor)
    }

    /// Adds a value to the open list or map, or to the documents.
    fn value(&mut self, node: Node, anchor: usize) -> Result<(), Syntax> {
        self.count(1, &node.at)?;
        if anchor != 0 {
            let size = size(&node);
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut().map(|open| &mut open.inside) {
            None => self.documents.push(node),
            Some(Inside::List(items)) => items.push(node),
            Some(Inside::Map(fields)) => match fields.key.take() {
                None => fields.key = Some((key_text(&node)?, node.at)),
                Some((text, key_at)) if text == "<<" && self.text.get(key_at.clone()) == Some("<<") => {
                    merge(fields, node, &mut self.repeated)?;
                }
                Some((key, key_at)) => fields.set(Entry { key, key_at, node }, false, &mut self.repeated),
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

/// The text of a key: `kubectl` turns numbers and booleans into text.
fn key_text(node: &Node) -> Result<String, Syntax> {
    match &node.tree {
        Tree::Scalar(Value::String(text)) => Ok(text.clone()),
        Tree::Scalar(Value::Bool(truth)) => Ok(truth.to_string()),
        Tree::Scalar(Value::Number(number)) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            Ok(float.map_or_else(|| number.to_string(), |float| float.to_string()))
        }
        Tree::Scalar(_) => Err(syntax("null cannot be a key", node.at.clone())),
        Tree::List(_) | Tree::Map(_) => Err(syntax("a list or map cannot be a key", node.at.clone())),
    }
}

/// Applies a merge key (`<<`) at its place, as `kubectl` does: it overrides the keys before it, and those after it
/// override it. Of several maps the first counts.
fn merge(fields: &mut Fields, node: Node, repeated: &mut Vec<Repeated>) -> Result<(), Syntax> {
    let maps = match node.tree {
        Tree::List(items) => items,
        Tree::Map(_) | Tree::Scalar(_) => vec![node],
    };
    for map in maps.into_iter().rev() {
        let Tree::Map(entries) = map.tree else {
            return Err(syntax("a merge key requires a map or a list of maps", map.at));
        };
        for entry in entries {
            fields.set(entry, true, repeated);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
