//! Values with source locations.

use std::ops::Range;

use serde_json::Value;

/// A value and its location.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value.
    pub tree: Tree,
    /// Location as a byte range.
    pub at: Range<usize>,
    /// Nesting depth; 0 for a scalar.
    pub(super) depth: usize,
}

/// A value.
#[derive(Clone, Debug)]
pub enum Tree {
    /// A string, number, boolean or null.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// A map in source order.
    Map(Vec<Entry>),
}

/// An entry of a map.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Location of the key.
    pub key_at: Range<usize>,
    /// The value.
    pub node: Node,
}

impl Node {
    /// The value of a key, for a map that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The entry of a key, for a map that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.tree {
            Tree::Map(entries) => entries.iter().find(|entry| entry.key == key),
            Tree::Scalar(_) | Tree::List(_) => None,
        }
    }

    /// The string, if this is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.tree {
            Tree::Scalar(value) => value.as_str(),
            Tree::List(_) | Tree::Map(_) => None,
        }
    }

    /// Whether this is null, which means absent.
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

    /// Gives an item of a typed list, such as a `FunctionList`, the type that the list implies, as `kubectl` does.
    pub(super) fn inherit_type(&mut self, list: &Self) {
        let kind = list.get("kind").and_then(Self::as_str).and_then(|kind| kind.strip_suffix("List"));
        let Some(kind) = kind.filter(|kind| !kind.is_empty() && self.entry("kind").is_none()) else { return };
        let version = list.entry("apiVersion").filter(|_| self.entry("apiVersion").is_none()).cloned();
        let Some(of_list) = list.entry("kind").cloned() else { return };
        let node = Self { tree: Tree::Scalar(kind.into()), ..of_list.node };
        if let Tree::Map(entries) = &mut self.tree {
            entries.extend(version);
            entries.push(Entry { node, ..of_list });
        }
    }

    /// The path of the innermost list or map at a byte; empty for the document itself.
    pub fn path_at(&self, byte: usize) -> String {
        let inside = |node: &Self| {
            !matches!(node.tree, Tree::Scalar(_)) && node.at.start <= byte && byte < node.at.end
        };
        let child = match &self.tree {
            Tree::Scalar(_) => None,
            Tree::List(items) => {
                let present = items.iter().filter(|item| !item.is_null()).enumerate();
                present
                    .filter(|(_, item)| inside(item))
                    .map(|(index, item)| (format!("[{index}]"), item))
                    .next()
            }
            Tree::Map(entries) => {
                let child = entries.iter().find(|entry| inside(&entry.node));
                child.map(|entry| (format!(".{}", entry.key), &entry.node))
            }
        };
        child.map_or_else(String::new, |(step, node)| {
            let rest = node.path_at(byte);
            format!("{step}{rest}").trim_start_matches('.').to_owned()
        })
    }

    /// The value without locations.
    pub fn to_value(&self) -> Value {
        match &self.tree {
            Tree::Scalar(value) => value.clone(),
            Tree::List(items) => items.iter().map(Self::to_value).collect(),
            Tree::Map(entries) => {
                entries.iter().map(|entry| (entry.key.clone(), entry.node.to_value())).collect()
            }
        }
    }

    /// The location of a field by its path, such as `spec.functions[0].name`; for an absent field that of the nearest
    /// parent. A scalar is located by its value, a list or map by its key.
    pub fn locate(&self, path: &str) -> Range<usize> {
        let (mut node, mut at) = (self, first_key(self));
        // Every step but the first starts with a dot or a bracket.
        let mut rest = format!(".{path}");
        while !rest.is_empty() {
            let Some((child, location, used)) = node.step(&rest) else { break };
            rest.drain(..used);
            (node, at) = (child, location);
        }
        at
    }

    /// One step down a path: the child, its location, and the length of the step. Keys may contain dots and brackets, so
    /// the longest matching key wins.
    fn step(&self, path: &str) -> Option<(&Self, Range<usize>, usize)> {
        match &self.tree {
            Tree::Scalar(_) => None,
            Tree::List(items) => {
                // Indices of violations do not count nulls, which are dropped before validation.
                let present = items.iter().filter(|item| !item.is_null());
                present.enumerate().find_map(|(index, item)| {
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

/// The location of a map is its first key: its whole span would be too long to show.
fn first_key(node: &Node) -> Range<usize> {
    match &node.tree {
        Tree::Map(entries) => entries.first().map_or(node.at.clone(), |entry| entry.key_at.clone()),
        Tree::List(items) => items.first().map_or(node.at.clone(), first_key),
        Tree::Scalar(_) => node.at.clone(),
    }
}
