//! User stories on real pods and a real broker.
//!
//! The stories in `tests/` run on what `hack/up --no-mesh` started: `FUNCTION_MESH_STATE` says where. Each has
//! a namespace of its own in Kubernetes and one of the same name in Pulsar, so they disturb each other as
//! little as two teams on one cluster would. When one fails, what an operator would look at is printed.

mod pulsar;
mod world;

pub use pulsar::Pulsar;
pub use world::{OPERATOR, RELEASE, Story, World};
