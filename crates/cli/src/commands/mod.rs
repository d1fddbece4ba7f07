//! The subcommands.

pub(crate) mod crds;
pub(crate) mod graph;
pub(crate) mod render;
pub(crate) mod validate;
