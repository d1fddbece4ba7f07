//! What the tests of Function Mesh share: a real control plane, fixtures that keep the rules, a look at what
//! is written, faults on the way to the API server, a load of admissions, and a webhook that runs in the test.
//! A dev-dependency only.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use function_mesh_testkit::{ControlPlane, apply, fixtures};
//!
//! let plane = ControlPlane::shared().await?;
//! let client = plane.client().await?;
//! let namespace = plane.namespace(&client, "example").await?;
//! let mesh = fixtures::mesh("m", [fixtures::java_function("shout").into()])?;
//! apply(&client, &namespace, &mesh).await?;
//! # Ok(())
//! # }
//! ```

mod audit;
mod control_plane;
pub mod faults;
pub mod fixtures;
mod fuzz;
mod load;
mod log;
mod pods;
mod wait;
mod webhook;
mod writes;

pub use audit::{AuditLog, Audited};
pub use control_plane::{ControlPlane, Kind, apply};
pub use fuzz::{Fuzz, FuzzReport};
pub use load::{Load, LoadReport};
pub use log::LogBuffer;
pub use pods::{play_kubelet, pretend_to_end, pretend_to_run};
pub use wait::{SECONDS_10, SECONDS_30, eventually};
pub use webhook::Webhook;
pub use writes::{Recorder, ServerWrites, Write};
