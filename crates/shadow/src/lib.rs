//! A shadow: a new version of a function beside the real one, with its own subscription and its own output.
//!
//! Nothing reads the output of a shadow but the comparison. [`Function`](function) is made from the real one and a change;
//! [`messages`] reads what both wrote, and [`Comparison`] says what differs, by the input message that caused it.
//!
//! The crate is pure: it has no client. `kubectl mesh shadow` does the requests.

mod compare;
pub mod function;
mod message;

pub use compare::{Comparison, Difference, MAX_LISTED, Side};
pub use message::{EntryError, Input, Message, MessageId, Output, Payload, messages};
