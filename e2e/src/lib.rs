//! User stories on real pods and real brokers.
//!
//! The stories in `tests/` run on what `hack/up --no-mesh` started: `FUNCTION_MESH_STATE` says where. Each has
//! a namespace of its own in Kubernetes and one of the same name in Pulsar, so they disturb each other as
//! little as two teams on one cluster would. When one fails, what an operator would look at is printed.

mod accident;
mod broker;
mod part;
mod pulsar;
mod report;
mod story;
mod told;
mod traffic;
mod web;
mod world;

pub use broker::{Broker, BrokerPlan};
pub use part::{Part, code};
pub use pulsar::{Consumer, Message, Producer, Pulsar};
pub use report::Tally;
pub use story::Story;
pub use told::{condition, not_ready};
pub use traffic::Traffic;
pub use web::Web;
pub use world::{LEASE, OPERATOR, RELEASE, World};
