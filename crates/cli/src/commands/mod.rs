//! The subcommands.

pub(crate) mod crds;
pub(crate) mod diff;
#[cfg(feature = "cluster")]
mod diff_cluster;
pub(crate) mod explain;
#[cfg(feature = "cluster")]
mod explain_scaling;
pub(crate) mod graph;
mod inputs;
pub(crate) mod render;
#[cfg(feature = "cluster")]
pub(crate) mod rollout;
#[cfg(feature = "cluster")]
mod scope;
#[cfg(feature = "cluster")]
pub(crate) mod shadow;
#[cfg(feature = "cluster")]
pub(crate) mod status;
#[cfg(feature = "cluster")]
pub(crate) mod top;
#[cfg(feature = "cluster")]
pub(crate) mod ui;
pub(crate) mod validate;
#[cfg(feature = "cluster")]
mod watch;
