//! Values that remember where they were written.

use std::ops::Range;

use serde_json::Value;

/// A value and its place in the text.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub tree: Tree,
    /// The bytes of the text that it was written in.
    pub at: Range<usize>,
    /// How deep the values within it are nested; a scalar has none.
    pub(super) depth: usize,
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum Tree {
    /// A text, a number, a boolean or null.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order in which it was written.
    Map(Vec<Entry>),
}

/// An entry of a map.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Where the key was written.
    pub key_at: Range<usize>,
    /// Its value.
    pub node: Node,
}

impl Node {
    /// The value of a key, when this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The entry of a key, when this is a map that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.tree {
            Tree::Map(entries) => entries.iter().find(|entry| entry.key == key),
            Tree::Scalar(_) | Tree::List(_) => None,
        }
    }

    /// The text, when this is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.tree {
            Tree::Scalar(value) => value.as_str(),
            Tree::List(_) | Tree::Map(_) => None,
        }
    }

    /// Whether this is null, which stands for absent.
    pub fn is_null(&self) -> bool {
        matches!(self.tree, Tree::Scalar(Value::Null))
    }

    /// Takes the items of a list out of a map.
    pub(super) fn take_items(&mut self, key: &str) -> Option<Vec<Self>> {
        let Tree::Map(entries) = &mut self.tree else { return None };
        let entry = entries.iter_mut().find(|entry| entry.key == key)?;
        match &mut entry.node.tree {
            Tree::List(items) => Some(std::mem::take(items)),
            Tree::Scalar(_) | Tree::Map(_) => None,
        }
    }

    /// The value without its places.
    pub fn to_value(&self) -> Value {
        match &self.tree {
            Tree::Scalar(value) => value.clone(),
            Tree::List(items) => items.iter().map(Self::to_value).collect(),
            Tree::Map(entries) => {
                entries.iter().map(|entry| (entry.key.clone(), entry.node.to_value())).collect()
            }
        }
    }

    /// Where a field was written, by its path, `spec.functions[0].name`; for one that is absent, the nearest
    /// field above it. A text or number is pointed at itself, what holds others by its key.
    pub fn locate(&self, path: &str) -> Range<usize> {
        let (mut node, mut at) = (self, first_key(self));
        // Paths begin without a dot; every further step has a mark of its own.
        let mut rest = format!(".{path}");
        while !rest.is_empty() {
            let Some((child, place, used)) = node.step(&rest) else { break };
            rest.drain(..used);
            (node, at) = (child, place);
        }
        at
    }

    /// One step down a path: the child, where to point for it, and how much of the path it took. Keys may
    /// hold dots and brackets, so the longest key that fits is taken.
    fn step(&self, path: &str) -> Option<(&Self, Range<usize>, usize)> {
        match &self.tree {
            Tree::Scalar(_) => None,
            Tree::List(items) => {
                // Nulls in lists are dropped before the rules see them.
                let given = items.iter().filter(|item| !item.is_null());
                given.enumerate().find_map(|(index, item)| {
                    let mark = format!("[{index}]");
                    path.starts_with(&mark).then(|| (item, first_key(item), mark.len()))
                })
            }
            Tree::Map(entries) => {
                let fits = entries.iter().filter_map(|entry| {
                    let quoted = format!("[{:?}]", entry.key);
                    let plain = format!(".{}", entry.key);
                    let mark = [quoted, plain].into_iter().find(|mark| {
                        path.strip_prefix(mark.as_str())
                            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
                    })?;
                    Some((entry, mark.len()))
                });
                let (entry, used) = fits.max_by_key(|(_, used)| *used)?;
                let is_leaf = matches!(entry.node.tree, Tree::Scalar(_)) && !entry.node.at.is_empty();
                let at = if is_leaf { entry.node.at.clone() } else { entry.key_at.clone() };
                Some((&entry.node, at, used))
            }
        }
    }
}

/// A whole map is pointed at by its first key: its span would cover pages.
fn first_key(node: &Node) -> Range<usize> {
    match &node.tree {
        Tree::Map(entries) => entries.first().map_or(node.at.clone(), |entry| entry.key_at.clone()),
        Tree::List(items) => items.first().map_or(node.at.clone(), first_key),
        Tree::Scalar(_) => node.at.clone(),
    }
}
