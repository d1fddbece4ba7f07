//! Admission of Function Mesh objects.
//!
//! The API server sends every object that is created or changed, twice: first to be completed ([`patch`]),
//! then to be checked. Both go one way for all kinds:
//!
//! ```text
//! body --review::read--> request --admission::decide::<Kind>--> verdict --review::answer--> body
//! ```
//!
//! Whatever arrives, an admission review goes back: an error of HTTP alone would say no more to the author of
//! an object than that a webhook failed. The rules are those of [`function_mesh_api::validate`]; the
//! controller applies them again, so that nothing depends on this program being there.

pub mod access;
pub mod admission;
pub mod authority;
pub mod configuration;
mod denial;
mod kinds;
mod meters;
pub mod patch;
pub mod program;
pub mod review;
pub mod router;

pub use admission::{Action, Outcome, Verdict, decide};
pub use kinds::{Admitted, Endpoint};
pub use meters::Meters;
pub use router::{Limits, router};
