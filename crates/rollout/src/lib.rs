//! Decides about the rollout of a component: whether it progresses, is good or has failed, and what to do about it.
//!
//! The crate is pure: no client, no clock, no randomness. A caller keeps one [`Memory`] for each component, and a [`Record`]
//! where it survives the caller, written together with the pods' template. In each round it calls [`Memory::observe`], then
//! [`decide`], carries out the [`Action`], and writes the record that [`Record::next`] returns.
//!
//! What is unknown never counts as bad: a revision that was not seen ready for long enough is not rolled back to, and
//! without a good one nothing is.
//!
//! ```
//! use std::time::Duration;
//!
//! use function_mesh_rollout::{Action, Memory, Moment, Observation, Policy, Record, State, decide};
//!
//! let policy = Policy { rolls_back: true, ..Policy::default() };
//! let record = Record { good: Some("f-1".to_owned()), ..Record::default() };
//! // No pod of the new revision becomes ready.
//! let revision = "f-2".to_owned();
//! let seen = Observation { revision, is_current: true, wanted: 1, ..Observation::default() };
//! let at = |seconds| Moment { wall: jiff::Timestamp::UNIX_EPOCH, monotonic: Duration::from_secs(seconds) };
//!
//! let mut memory = Memory::default();
//! memory.observe(&seen, &policy, at(0));
//! let decision = decide(&seen, &memory, &record, &policy, at(0));
//! assert_eq!((decision.state, decision.action), (State::Progressing, Action::None));
//!
//! memory.observe(&seen, &policy, at(601));
//! let decision = decide(&seen, &memory, &record, &policy, at(601));
//! assert_eq!(decision.action, Action::RollBack { to: "f-1".to_owned() });
//! ```

pub mod analysis;
pub mod canary;
mod decide;
#[cfg(test)]
mod decide_tests;
mod memory;
mod observation;
mod policy;
mod record;
pub mod recreate;
mod undo;
mod window;

pub use decide::{Action, Decision, State, StuckPod, Why, decide};
pub use memory::{MAX_DELETIONS_PER_HOUR, Memory, Moment, STUCK_AFTER};
pub use observation::{Observation, Pod};
pub use policy::Policy;
pub use record::{Failure, Initiator, Record};
pub use undo::Undo;
pub use window::{Counters, Sample, total};
