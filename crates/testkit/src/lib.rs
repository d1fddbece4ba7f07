//! Shared by the tests of Function Mesh: a real control plane and its namespaces, valid fixtures, records of writes,
//! fault injection for requests to the API server, a load of admission requests, a controller and a webhook in the test
//! process, and a stand-in for Pulsar. A dev-dependency only.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use function_mesh_testkit::{TestNamespace, fixtures};
//!
//! let test = TestNamespace::new("example").await?;
//! test.apply(&fixtures::mesh("m", [fixtures::java_function("shout").into()])?).await?;
//! # Ok(())
//! # }
//! ```

mod audit;
mod control_plane;
mod controller;
pub mod faults;
pub mod fixtures;
mod fuzz;
mod load;
mod log;
mod namespace;
mod pod_port;
mod pods;
mod prepared;
mod pulsar;
mod simulated_node;
mod wait;
mod web;
mod webhook;
mod writes;

pub use audit::{AuditLog, Audited};
pub use control_plane::{ControlPlane, Kind, apply};
pub use controller::{ControllerHarness, test_options};
pub use fuzz::{Fuzz, FuzzReport};
pub use load::{Load, LoadReport};
pub use log::LogBuffer;
pub use namespace::TestNamespace;
pub use pod_port::PodPort;
pub use pods::{
    fake_kubelet, mark_ended, mark_running, mark_unschedulable, pretend_container_to_end, set_pod_ip,
};
pub use pulsar::{PulsarStandIn, StandInRequests, StandInTopics};
pub use simulated_node::{MISSING_IMAGE, SimulatedNode};
pub use wait::{PATIENCE, eventually};
pub use web::{WebAnswer, WebRequest, WebServer};
pub use webhook::Webhook;
pub use writes::{Recorder, ServerWrites, Write};
