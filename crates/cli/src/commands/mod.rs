//! The subcommands.

pub(crate) mod crds;
pub(crate) mod diff;
#[cfg(feature = "cluster")]
mod diff_cluster;
pub(crate) mod explain;
pub(crate) mod graph;
mod inputs;
pub(crate) mod render;
pub(crate) mod validate;
