//! Admission webhook for Function Mesh objects.
//!
//! The API server sends each created or changed object twice: to the mutating webhook, which applies defaults
//! ([`patch`]), and to the validating webhook. Both share one pipeline for all kinds:
//!
//! ```text
//! body --BodyReader--> bytes --DecisionPool--> review::read, admission::decide::<Kind> --> response::send
//! ```
//!
//! Bodies are read within a memory budget; decisions run on blocking threads, small and large objects separately.
//! [`Limits`] bounds all of it.
//!
//! Every response is an admission review, even for a malformed request: an HTTP error would only show the user that
//! the webhook failed. The rules are those of [`function_mesh_api::validate`]. The controller applies them again, so
//! correctness does not depend on the webhook.

pub mod admission;
pub mod authorization;
mod body;
mod budget;
pub mod certs;
pub mod cli;
mod decision_pool;
mod json_eq;
mod kinds;
mod limits;
pub mod manifests;
mod metrics;
pub mod patch;
pub mod response;
pub mod review;
pub mod router;

pub use admission::{Action, Outcome, Verdict, decide};
pub use authorization::Authorizer;
pub use kinds::{AdmissionKind, BrokenRules, Endpoint};
pub use limits::{Limits, SMALL_BODY};
pub use metrics::Metrics;
pub use response::Response;
pub use router::{AppState, router};
