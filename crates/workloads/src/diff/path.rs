//! Paths in objects.

use std::fmt;

/// A step of a path.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// A field, or an entry of a map.
    Field(String),
    /// A list item, by name.
    Item(String),
    /// A list item, by index.
    Index(usize),
}

/// A path in an object.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Path(pub Vec<Step>);

impl Path {
    /// The path with another step.
    #[must_use]
    pub fn then(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }

    /// Whether the path is at or below a field.
    pub fn is_within(&self, fields: &[&str]) -> bool {
        fields.len() <= self.0.len()
            && fields.iter().zip(&self.0).all(|(field, step)| matches!(step, Step::Field(it) if it == field))
    }

    /// Whether the path equals or contains another one.
    pub fn holds(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl fmt::Display for Path {
    /// For example `spec.template.spec.containers[main].image` or `metadata.labels["a.b/c"]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if name.contains(['.', '/', '[', ' ', '-']) => write!(f, "[{name:?}]")?,
                Step::Field(name) => write!(f, "{}{name}", if index == 0 { "" } else { "." })?,
                Step::Item(name) => write!(f, "[{name}]")?,
                Step::Index(position) => write!(f, "[{position}]")?,
            }
        }
        Ok(())
    }
}

/// A position in the objects. It becomes a path only where they differ.
#[derive(Clone, Copy)]
pub(super) enum Position<'a> {
    Root,
    Field(&'a Self, &'a str),
    Item(&'a Self, &'a str),
    Index(&'a Self, usize),
}

impl Position<'_> {
    pub(super) fn path(&self) -> Path {
        let (parent, step) = match *self {
            Self::Root => return Path::default(),
            Self::Field(parent, name) => (parent, Step::Field(name.to_owned())),
            Self::Item(parent, name) => (parent, Step::Item(name.to_owned())),
            Self::Index(parent, index) => (parent, Step::Index(index)),
        };
        let Path(mut steps) = parent.path();
        steps.push(step);
        Path(steps)
    }
}
