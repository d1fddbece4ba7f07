//! The listeners that every program has beside its own: probes and metrics.

use std::sync::Arc;

use prometheus::Registry;

use crate::args::ServingArgs;
use crate::health::{self, Readiness};
use crate::metrics;
use crate::server::{ServeError, Server, Timeouts, Transport};
use crate::shutdown::CancellationToken;
use crate::tls::Certificates;

/// Starts probes and metrics as the flags say, each on a thread of its own. They end with the program, after everything else, so that an
/// orderly end can be watched.
///
/// Metrics go over TLS when there is a certificate, unless `--metrics-secure=false`. The token that ends the
/// program's work must not be given here: cancel another one at the very end, or none.
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
        Server::start_apart("health", &args.health_probe_addr, probes, Transport::Plain, timeouts, end)
            .await?,
    );
    servers
        .extend(Server::start_apart("metrics", &args.metrics_addr, pages, transport, timeouts, end).await?);
    Ok(servers)
}
