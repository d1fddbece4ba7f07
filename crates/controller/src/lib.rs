//! The controllers of Function Mesh.
//!
//! [`mesh`] reconciles a FunctionMesh into Functions, Sources and Sinks, [`component`] a component into its StatefulSet,
//! Service and autoscalers. [`reconciler`] is the skeleton of both: validate, observe, plan, apply, report. The wanted
//! objects come from the pure crates; this crate reads from and writes to the API server.

pub mod args;
mod backends;
mod builder;
pub mod cli;
pub mod component;
mod condition;
pub mod context;
pub mod error;
pub mod mesh;
mod metrics;
mod notify;
mod object_metrics;
pub mod protected_namespaces;
mod publish;
pub mod reconciler;
pub mod run;
pub mod runtime;
mod self_test;
pub mod traffic;

pub use args::Args;
pub use metrics::Metrics;
pub use protected_namespaces::ProtectedNamespaces;
pub use publish::SettingsTarget;
pub use run::{CONTROLLERS, Options, run, run_on};
