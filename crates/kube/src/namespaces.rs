//! Which namespaces the program looks after.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Longest name of a namespace.
const LONGEST: usize = 63;

/// All namespaces, or some by name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Namespaces(BTreeSet<String>);

/// Why a text names no namespaces.
#[derive(Clone, Debug, thiserror::Error, Eq, PartialEq)]
pub enum BadNamespaces {
    /// One of the names cannot be that of a namespace.
    #[error(
        "{0:?} cannot be the name of a namespace: those are lower-case letters, digits and \"-\", at most 63"
    )]
    Name(String),
    /// There are separators and no name. It could mean all, and have been meant as some.
    #[error("a list of namespaces without a name; leave it empty to look after all")]
    Nothing,
}

impl Namespaces {
    /// One namespace.
    pub fn one(name: &str) -> Self {
        Self([name.to_owned()].into())
    }

    /// Whether they are all that there are.
    pub fn are_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this one is looked after.
    pub fn contains(&self, namespace: &str) -> bool {
        self.are_all() || self.0.contains(namespace)
    }

    /// Where to watch: in each of them, or once everywhere, which is None.
    pub fn parts(&self) -> Vec<Option<String>> {
        if self.are_all() { vec![None] } else { self.0.iter().cloned().map(Some).collect() }
    }
}

/// Several lists are one. An empty one adds nothing.
impl FromIterator<Self> for Namespaces {
    fn from_iter<I: IntoIterator<Item = Self>>(lists: I) -> Self {
        Self(lists.into_iter().flat_map(|list| list.0).collect())
    }
}

/// Names with commas between them. Blanks, repetitions and empty places do no harm.
impl FromStr for Namespaces {
    type Err = BadNamespaces;

    fn from_str(text: &str) -> Result<Self, BadNamespaces> {
        let names: BTreeSet<_> =
            text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if let Some(bad) = names.iter().find(|name| !is_name(name)) {
            return Err(BadNamespaces::Name(bad.clone()));
        }
        if names.is_empty() && text.contains(',') {
            return Err(BadNamespaces::Nothing);
        }
        Ok(Self(names))
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.are_all() {
            return f.write_str("all");
        }
        f.write_str(&self.0.iter().map(String::as_str).collect::<Vec<_>>().join(","))
    }
}

fn is_name(text: &str) -> bool {
    let is_edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= LONGEST
        && bytes.iter().all(|c| is_edge(*c) || *c == b'-')
        && bytes.first().is_some_and(|c| is_edge(*c))
        && bytes.last().is_some_and(|c| is_edge(*c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_whatever_stands_between_its_names() {
        let read = |text: &str| text.parse::<Namespaces>().map(|found| found.to_string());
        for (text, expected) in
            [("", "all"), ("  ", "all"), ("a", "a"), ("b,a", "a,b"), (" a , b,", "a,b"), ("a,a,,a", "a")]
        {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text:?}");
        }
        for bad in ["A", "a b", "-a", "a-", "a.b", "a;b", "ä", &"a".repeat(64)] {
            assert_eq!(read(&format!("ok,{bad}")), Err(BadNamespaces::Name((*bad).to_owned())));
        }
        assert_eq!(read(" , "), Err(BadNamespaces::Nothing));
    }

    #[test]
    fn several_lists_are_one_and_an_empty_one_adds_nothing() {
        let lists = ["a,b", "", "c,b"].map(|text| text.parse::<Namespaces>().unwrap());
        let all: Namespaces = lists.into_iter().collect();
        assert_eq!(all.parts(), ["a", "b", "c"].map(|name| Some(name.to_owned())));
        assert!(all.contains("c") && !all.contains("d"));
        let none: Namespaces = [Namespaces::default()].into_iter().collect();
        assert!(none.contains("d"));
        assert_eq!(none.parts(), [None]);
    }
}
