//! Typed custom resources of Function Mesh.
//!
//! A [`FunctionMesh`] is a set of Pulsar Functions and Pulsar IO connectors that are connected by topics and share
//! a lifecycle. Each of them can also be created without a mesh, as a [`Function`], [`Source`] or [`Sink`].
//! [`BackendConfig`] holds defaults for all components of a namespace or of the cluster.
//!
//! Everything here is a pure function of its inputs: no client, no clock, no runtime. Another tool can
//! build a mesh, validate it with the operator's rules, and read its topology:
//!
//! ```
//! use function_mesh_api::topology::Topology;
//! use function_mesh_api::types::{InputConf, OutputConf, PulsarMessaging, PythonRuntime};
//! use function_mesh_api::{FunctionMesh, FunctionMeshSpec, FunctionSpec, validate};
//!
//! let shout = FunctionSpec {
//!     name: Some("shout".into()),
//!     class_name: Some("exclamation_function.ExclamationFunction".into()),
//!     input: Some(InputConf { topics: Some(vec!["words".into()]), ..InputConf::default() }),
//!     output: Some(OutputConf { topic: Some("shouts".into()), ..OutputConf::default() }),
//!     python: Some(PythonRuntime {
//!         py: "/pulsar/examples/python-examples/exclamation_function.py".into(),
//!         ..PythonRuntime::default()
//!     }),
//!     pulsar: Some(PulsarMessaging { pulsar_config: Some("pulsar".into()), ..PulsarMessaging::default() }),
//!     ..FunctionSpec::default()
//! };
//! let spec = FunctionMeshSpec { functions: Some(vec![shout]), ..FunctionMeshSpec::default() };
//! let mesh = FunctionMesh::new("example", spec);
//!
//! assert!(validate::check_mesh(&mesh).violations.is_empty());
//! let graph = Topology::of(&mesh.spec);
//! assert_eq!(graph.external_inputs().next().map(|topic| topic.short_name()), Some("words"));
//! ```

mod autoscaling;
pub mod bounds;
mod budget;
mod builtin_metric;
pub mod complexity;
pub mod component;
pub mod conditions;
pub mod crd;
mod defaulting;
pub mod labels;
mod mesh;
pub mod names;
mod parse;
mod printable;
pub mod quantity;
pub mod references;
pub mod schema_defaults;
mod spec;
mod text;
pub mod topology;
pub mod types;
pub mod validate;

pub use builtin_metric::BuiltinMetric;
pub use component::{Component, Role, Spec, SpecView};
pub use defaulting::{DEFAULT_CPU, DEFAULT_MEMORY, DEFAULT_TYPE_CLASS, SetDefaults, bounded_replicas};
pub use mesh::{BackendConfig, BackendConfigSpec, BackendConfigStatus, FunctionMesh, FunctionMeshSpec};
pub use parse::{drop_nulls, normalise, parse};
pub use printable::{REPLACEMENT, is_printable, printable, printable_lines};
pub use spec::{Function, FunctionSpec, Sink, SinkSpec, Source, SourceSpec};
pub use text::{MAX_MEMORY, parse_text};

/// Compiles the example of the README, which package registries show.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
