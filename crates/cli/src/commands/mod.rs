//! The subcommands.

pub(crate) mod crds;
pub(crate) mod diff;
#[cfg(feature = "cluster")]
mod diff_live;
pub(crate) mod explain;
mod given;
pub(crate) mod graph;
pub(crate) mod render;
pub(crate) mod validate;
