//! HTTP serving for the programs of Function Mesh: TLS with certificate reload, probes, metrics, logs and graceful
//! shutdown. Independent of what is served.
//!
//! Order of use: [`tls::install_crypto_provider`], the flags, [`logging::init`], [`shutdown::on_signal`],
//! [`metrics::registry`], [`tls::Certificates::load`], [`health::Readiness`], [`endpoints::start`], and last the
//! program's own [`server::Server`].

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
pub use connections::{BusyGuard, Connection, ConnectionLimits};
pub use health::{Gate, Readiness};
pub use listen::ListenAddr;
pub use server::{Server, Timeouts, Transport};
pub use tls::Certificates;
