//! The listeners that every program has: probes and metrics.

use std::sync::Arc;

use prometheus::Registry;

use crate::args::ServingArgs;
use crate::health::{self, Readiness};
use crate::metrics;
use crate::server::{ServeError, Server, Timeouts, Transport};
use crate::shutdown::CancellationToken;
use crate::tls::Certificates;

/// Starts the listeners for probes and metrics, each on its own thread. They stop last, so that a graceful shutdown
/// can be observed: cancel `end` after everything else has stopped.
///
/// Metrics use TLS if there is a certificate, unless `--metrics-secure=false`.
pub async fn start(
    args: &ServingArgs,
    readiness: Readiness,
    registry: Registry,
    certificates: Option<&Arc<Certificates>>,
    end: &CancellationToken,
) -> Result<Vec<Server>, ServeError> {
    let transport = match (args.metrics_secure, certificates) {
        (None | Some(true), Some(certificates)) => Transport::Tls(Arc::clone(certificates)),
        (Some(true), None) => return Err(ServeError::NoCertificate { name: "metrics" }),
        (None | Some(false), None) | (Some(false), Some(_)) => Transport::Plain,
    };
    let (probes, pages) = (health::routes(readiness), metrics::routes(registry));
    let timeouts = Timeouts::default();
    let mut servers = Vec::new();
    servers.extend(
        Server::start_on_thread("health", &args.health_probe_addr, probes, Transport::Plain, timeouts, end)
            .await?,
    );
    servers.extend(
        Server::start_on_thread("metrics", &args.metrics_addr, pages, transport, timeouts, end).await?,
    );
    Ok(servers)
}
