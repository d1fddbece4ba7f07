//! Admission of Function Mesh objects.
//!
//! The API server sends every object that is created or changed, twice: first to be completed ([`patch`]),
//! then to be checked. Both go one way for all kinds:
//!
//! ```text
//! body --bodies--> bytes --desk--> a thread that decides: review::read, admission::decide::<Kind> --> response::send
//! ```
//!
//! Bodies are read before anybody decides, within a budget of bytes; deciding runs on threads of its own, small
//! objects beside large ones. [`Limits`] says what all of it may take.
//!
//! Whatever arrives, an admission review goes back: an error of HTTP alone would say no more to the author of
//! an object than that a webhook failed. The rules are those of [`function_mesh_api::validate`]; the
//! controller applies them again, so that nothing depends on this program being there.

pub mod access;
pub mod admission;
pub mod authority;
mod bodies;
mod budget;
pub mod manifests;
mod denial;
mod desk;
mod kinds;
mod limits;
mod metrics;
pub mod patch;
pub mod cli;
pub mod response;
pub mod review;
pub mod rights;
pub mod router;
mod same;

pub use admission::{Action, Outcome, Verdict, decide};
pub use kinds::{Admitted, BrokenRules, Endpoint};
pub use limits::{Limits, SMALL};
pub use metrics::Metrics;
pub use response::Response;
pub use rights::Reviewer;
pub use router::{AppState, router};
