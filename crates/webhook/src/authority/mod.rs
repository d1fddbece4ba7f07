//! A certificate of the program's own making, so that nothing has to be installed before it.
//!
//! One Secret holds an authority and a serving certificate; two webhook configurations tell the API server to
//! trust the authority. Both certificates are renewed in good time, the authority's in such a way that old and
//! new are trusted together for a while, so that no request fails:
//!
//! ```text
//! Secret --held--> Held --step::next--> Step --step::take--> Held --> Secret
//!                   |
//!                   +--> certificate that is served
//!                   +--> bundle of the configurations
//! ```
//!
//! Several replicas agree by way of the Secret alone. What decides is pure; what reads and writes is the keeper.

mod args;
pub mod certificate;
mod configurations;
pub mod held;
mod keeper;
mod metrics;
pub mod step;
mod trouble;

use std::sync::Arc;

use anyhow::Context;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_serving::{Certificates, Gate};
use kube::Client;
use prometheus::Registry;

pub use args::AuthorityArgs;
use configurations::Configuration;
use keeper::Keeper;
use metrics::Metrics;

/// Starts to keep a certificate in the Secret of this name, until `shutdown` is cancelled. The gate opens with
/// the first certificate that is served. It does not wait for the configurations: the API server calls none but
/// programs that are ready, and one whose configuration is yet to come has nothing else to wait for.
pub async fn start(
    args: &AuthorityArgs,
    secret: &str,
    registry: &Registry,
    served: Gate,
    shutdown: CancellationToken,
) -> anyhow::Result<Arc<Certificates>> {
    let plan = args.plan()?;
    let client =
        Client::try_from(args.connection().await?).context("cannot make a client of the kubeconfig")?;
    let namespace = args.namespace().unwrap_or(client.default_namespace()).to_owned();
    let certificates = Certificates::in_memory(&format!("Secret {namespace}/{secret}"), registry)?;
    let metrics = Metrics::new(registry)?;
    let mutating = args.mutating().map(|name| Configuration::mutating(&client, name));
    let validating = args.validating().map(|name| Configuration::validating(&client, name));
    let configurations: Vec<_> = mutating.into_iter().chain(validating).collect();
    if configurations.is_empty() {
        tracing::warn!(
            "no webhook configuration is named: somebody else has to let the API server trust the authority"
        );
    }
    let keeper = Keeper::new(
        &client,
        (namespace, secret.to_owned()),
        configurations,
        plan,
        (Arc::clone(&certificates), served, metrics),
    );
    tokio::spawn(keeper.run(shutdown));
    Ok(certificates)
}
