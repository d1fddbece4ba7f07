//! Decides how many replicas a component needs, from its backlog, its lag and what its pods can do.
//!
//! The crate is pure: no client, no clock, no randomness. A caller keeps one [`Memory`] for each component beside the
//! observer's [`Window`](function_mesh_observer::Window). In each round it calls [`Memory::observe`], then [`decide`], sets
//! the replicas if it is to, and calls [`Memory::record`]. [`Learned`] is the part of the memory to be stored.
//!
//! What is unknown never counts as zero: without data nothing is scaled down.
//!
//! ```
//! use std::time::Duration;
//!
//! use function_mesh_observer::{Monotonic, Window};
//! use function_mesh_scaling::{Component, History, Learned, Memory, Policy, Reason, decide};
//!
//! let stored: Learned = serde_json::from_str(r#"{"ratePerReplica": 20.0, "calls": 500.0}"#).unwrap();
//! let (mut memory, policy) = (Memory::new(stored), Policy::default().with_lag(Duration::from_secs(30)));
//! // The window of a `Tracker`, which observes the component.
//! let (window, now) = (Window::new(64), Monotonic(Duration::from_secs(60)));
//! let component = Component { replicas: 3, ready: 3, ..Component::default() };
//!
//! memory.observe(&window, &component, &policy, now);
//! let decision = decide(History { window: &window, memory: &memory }, &policy, &component, now);
//! memory.record(&decision, &policy, now);
//! // Nothing was observed yet, and nothing is changed.
//! assert_eq!(decision.replicas, 3);
//! assert!(matches!(decision.reason, Reason::MissingData(_)));
//! println!("{}", decision.explain());
//! ```
//!
//! A mesh is decided as one by [`Graph::decide`].
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
mod schedule;
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
pub use schedule::{Schedule, ScheduleError};
