//! The wish of a person to undo a rollout: an annotation of the component, since the spec stays as its author wrote it.

use std::fmt;
use std::str::FromStr;

/// Gives the pods another revision, as long as the spec asks for this one. Written `FROM/TO`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Undo {
    /// The revision of the spec.
    pub from: String,
    /// The revision that the pods get instead.
    pub to: String,
}

impl FromStr for Undo {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (from, to) = text.split_once('/').ok_or(())?;
        let is_name = |name: &str| !name.is_empty() && name.len() <= 253 && !name.contains('/');
        if !is_name(from) || !is_name(to) || from == to {
            return Err(());
        }
        Ok(Self { from: from.to_owned(), to: to.to_owned() })
    }
}

impl fmt::Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.from, self.to)
    }
}
