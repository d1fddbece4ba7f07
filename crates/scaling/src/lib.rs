//! Decides how many replicas a component needs, from its backlog, its lag and what its pods can do.
//!
//! The crate is pure: no client, no clock, no randomness. A caller keeps one [`Memory`] for each component beside the
//! observer's [`Window`](function_mesh_observer::Window). In each round it calls [`Memory::observe`], then [`decide`], sets
//! the replicas if it is to, and calls [`Memory::record`]. [`Learned`] is the part of the memory to be stored.
//!
//! What is unknown never counts as zero: without data nothing is scaled down.
//!
//! ```text
//! need = demand/utilization + undispatched/catchUp + (demand - capacity)*startTime/catchUp
//! wish = ceil(need / ratePerReplica), within min, max, what the subscription can use, and the messages in flight
//! ```

mod budget;
mod component;
mod decide;
mod decision;
mod explain;
mod graph;
mod learned;
mod load;
mod memory;
mod number;
mod policy;
#[cfg(test)]
mod testing;

pub use budget::share;
pub use component::{Component, Hold};
pub use decide::{History, decide};
pub use decision::{Bounds, Decision, Limit, Reason, Terms};
pub use graph::{Flow, Graph, Member, measured_ratio};
pub use learned::{Learned, Plateau, RateSource, ScalePoint};
pub use load::Load;
pub use memory::{Change, Memory};
pub use policy::{Policy, SleepPolicy, SleepRefusal};
