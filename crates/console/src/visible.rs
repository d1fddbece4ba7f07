//! Which kinds a viewer may see, in which namespaces. Pure.

use std::collections::BTreeMap;

use crate::store::KINDS;

/// A set of the watched kinds.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Kinds(u8);

impl Kinds {
    /// No kind.
    pub const NONE: Self = Self(0);
    /// All watched kinds.
    pub const ALL: Self = Self((1 << KINDS.len()) - 1);

    /// A set of one kind; empty for one that is not watched.
    pub fn one(kind: &str) -> Self {
        KINDS.iter().position(|known| *known == kind).map_or(Self::NONE, |place| Self(1 << place))
    }

    /// The kinds of both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The kinds of this set that are not in the other one.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the kind is in the set.
    pub fn contains(self, kind: &str) -> bool {
        let one = Self::one(kind);
        one != Self::NONE && self.without(one) != self
    }

    /// Whether there is no kind in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kinds in their order.
    pub fn iter(self) -> impl Iterator<Item = &'static str> {
        KINDS.into_iter().filter(move |kind| self.contains(kind))
    }
}

impl<'a> FromIterator<&'a str> for Kinds {
    fn from_iter<I: IntoIterator<Item = &'a str>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::NONE, |set, kind| set.and(Self::one(kind)))
    }
}

/// What a viewer may see. Viewers who may see the same share a page.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Visible {
    everywhere: Kinds,
    /// Kinds beyond those, by namespace; none is empty.
    namespaces: BTreeMap<String, Kinds>,
}

impl Visible {
    /// All kinds in all namespaces.
    pub const fn all() -> Self {
        Self { everywhere: Kinds::ALL, namespaces: BTreeMap::new() }
    }

    /// These kinds in all namespaces, and others by namespace.
    pub fn new(everywhere: Kinds, namespaces: impl IntoIterator<Item = (String, Kinds)>) -> Self {
        let namespaces = namespaces.into_iter().map(|(name, kinds)| (name, kinds.without(everywhere)));
        Self { everywhere, namespaces: namespaces.filter(|(_, kinds)| !kinds.is_empty()).collect() }
    }

    /// The kinds in a namespace.
    pub fn kinds(&self, namespace: &str) -> Kinds {
        self.everywhere.and(self.namespaces.get(namespace).copied().unwrap_or_default())
    }

    /// The same for one namespace alone.
    #[must_use]
    pub fn only(&self, namespace: &str) -> Self {
        Self::new(Kinds::NONE, [(namespace.to_owned(), self.kinds(namespace))])
    }

    /// Whether nothing is visible.
    pub fn is_empty(&self) -> bool {
        self.everywhere.is_empty() && self.namespaces.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_contain_what_was_put_in() {
        let some: Kinds = ["Function", "Secret", "Sink"].into_iter().collect();
        assert_eq!(some.iter().collect::<Vec<_>>(), ["Function", "Sink"]);
        assert!(some.contains("Sink") && !some.contains("Source") && !some.contains("Secret"));
        assert_eq!(Kinds::ALL.without(some).iter().collect::<Vec<_>>(), ["FunctionMesh", "Source"]);
        assert!(Kinds::ALL.iter().eq(KINDS) && Kinds::NONE.iter().next().is_none());
    }

    #[test]
    fn equal_rights_are_equal_keys() {
        let (function, sink) = (Kinds::one("Function"), Kinds::one("Sink"));
        let by_namespace = |kinds| [("shop".to_owned(), kinds), ("empty".to_owned(), Kinds::NONE)];
        let one = Visible::new(function, by_namespace(function.and(sink)));
        assert_eq!(one, Visible::new(function, by_namespace(sink)));
        assert_eq!((one.kinds("shop"), one.kinds("other")), (function.and(sink), function));
        assert_eq!(one.only("other"), Visible::new(Kinds::NONE, [("other".to_owned(), function)]));
        assert!(Visible::new(Kinds::NONE, by_namespace(Kinds::NONE)).is_empty());
        assert_eq!(Visible::all().kinds("any"), Kinds::ALL);
    }
}
