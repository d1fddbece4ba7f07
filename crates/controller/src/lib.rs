//! The controllers of Function Mesh.
//!
//! [`mesh`] turns a FunctionMesh into the components that it is made of, [`component`] a component into its
//! StatefulSet, Service and autoscalers. [`reconciler`] is the skeleton of both: observe, validate, plan, apply, report.
//! What is wanted comes from the pure crates; reads and writes of the API server are here.

pub mod args;
mod backends;
pub mod component;
mod condition;
pub mod context;
pub mod error;
pub mod mesh;
mod metrics;
mod objects;
pub mod program;
pub mod protected;
pub mod reconciler;
pub mod run;
pub mod runtime;
mod trial;

pub use args::Args;
pub use metrics::Metrics;
pub use protected::Protected;
pub use run::{CONTROLLERS, Options, run, run_on};
