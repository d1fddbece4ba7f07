//! The set of watched namespaces.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Longest name of a namespace, in bytes.
const MAX_NAME_LEN: usize = 63;

/// All namespaces, or some by name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Namespaces(BTreeSet<String>);

/// Why a list of namespaces is invalid.
#[derive(Clone, Debug, thiserror::Error, Eq, PartialEq)]
pub enum NamespacesError {
    /// One of the names is not a valid namespace name.
    #[error("invalid namespace name {0:?}: use at most 63 lower-case letters, digits and \"-\"")]
    InvalidName(String),
    /// Separators without a name: it is ambiguous whether all namespaces are meant.
    #[error("list of namespaces has no names; leave it empty to watch all namespaces")]
    NoNames,
}

impl Namespaces {
    /// A single namespace.
    pub fn single(name: &str) -> Self {
        Self([name.to_owned()].into())
    }

    /// Whether all namespaces are watched.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this namespace is watched.
    pub fn contains(&self, namespace: &str) -> bool {
        self.is_all() || self.0.contains(namespace)
    }

    /// One scope per watch: each namespace by name, or None for the whole cluster.
    pub fn scopes(&self) -> Vec<Option<String>> {
        if self.is_all() { vec![None] } else { self.0.iter().cloned().map(Some).collect() }
    }
}

/// The union of several lists.
impl FromIterator<Self> for Namespaces {
    fn from_iter<I: IntoIterator<Item = Self>>(lists: I) -> Self {
        Self(lists.into_iter().flat_map(|list| list.0).collect())
    }
}

/// Comma-separated names. Spaces, duplicates and empty entries are ignored.
impl FromStr for Namespaces {
    type Err = NamespacesError;

    fn from_str(text: &str) -> Result<Self, NamespacesError> {
        let names: BTreeSet<_> =
            text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if let Some(bad) = names.iter().find(|name| !is_name(name)) {
            return Err(NamespacesError::InvalidName(bad.clone()));
        }
        if names.is_empty() && text.contains(',') {
            return Err(NamespacesError::NoNames);
        }
        Ok(Self(names))
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.write_str("all");
        }
        f.write_str(&self.0.iter().map(String::as_str).collect::<Vec<_>>().join(","))
    }
}

fn is_name(text: &str) -> bool {
    let is_edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= MAX_NAME_LEN
        && bytes.iter().all(|c| is_edge(*c) || *c == b'-')
        && bytes.first().is_some_and(|c| is_edge(*c))
        && bytes.last().is_some_and(|c| is_edge(*c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_comma_separated_names() {
        let read = |text: &str| text.parse::<Namespaces>().map(|found| found.to_string());
        for (text, expected) in
            [("", "all"), ("  ", "all"), ("a", "a"), ("b,a", "a,b"), (" a , b,", "a,b"), ("a,a,,a", "a")]
        {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text:?}");
        }
        for bad in ["A", "a b", "-a", "a-", "a.b", "a;b", "ä", &"a".repeat(64)] {
            assert_eq!(read(&format!("ok,{bad}")), Err(NamespacesError::InvalidName((*bad).to_owned())));
        }
        assert_eq!(read(" , "), Err(NamespacesError::NoNames));
    }

    #[test]
    fn union_of_lists_ignores_empty_ones() {
        let lists = ["a,b", "", "c,b"].map(|text| text.parse::<Namespaces>().unwrap());
        let all: Namespaces = lists.into_iter().collect();
        assert_eq!(all.scopes(), ["a", "b", "c"].map(|name| Some(name.to_owned())));
        assert!(all.contains("c") && !all.contains("d"));
        let none: Namespaces = [Namespaces::default()].into_iter().collect();
        assert!(none.contains("d"));
        assert_eq!(none.scopes(), [None]);
    }
}
