//! Harness of the end-to-end tests, which run on real pods and real brokers.
//!
//! The tests in `tests/` use the cluster, broker and operator that `hack/up --no-mesh` started; `FUNCTION_MESH_STATE`
//! names their folder. Each scenario has its own Kubernetes namespace and a Pulsar namespace of the same name, so
//! scenarios disturb each other as little as two teams on one cluster. A failed one prints status, events and logs.

mod broker;
mod component;
mod failure;
mod harness;
mod observe;
mod pulsar;
mod report;
mod scenario;
mod traffic;
mod web;

pub use broker::{Broker, BrokerPlan};
pub use component::{Component, code};
pub use harness::{Harness, LEASE, OPERATOR, RELEASE};
pub use observe::{condition, not_ready};
pub use pulsar::{Consumer, Message, Producer, Pulsar};
pub use report::DeliveryReport;
pub use scenario::Scenario;
pub use traffic::Traffic;
pub use web::Web;
