//! What the programs of Function Mesh need to serve: certificates that rotate, probes, metrics, logs and an
//! orderly end. It knows nothing of the kinds that they serve.
//!
//! A program strings the parts together in this order: [`tls::install_crypto_provider`], the arguments,
//! [`logging::init`], [`shutdown::on_signal`], [`metrics::registry`], [`tls::Certificates::load`],
//! [`health::Readiness`], [`endpoints::start`], and at last its own [`server::Server`].

pub mod args;
mod connections;
pub mod endpoints;
pub mod health;
pub mod listen;
pub mod logging;
pub mod metrics;
pub mod server;
pub mod shutdown;
pub mod tls;

pub use args::ServingArgs;
pub use connections::{Connection, ConnectionLimits, Working};
pub use health::{Gate, Readiness};
pub use listen::ListenAddr;
pub use server::{Server, Timeouts, Transport};
pub use tls::Certificates;
