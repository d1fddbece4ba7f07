//! The webhook's own CA, for clusters without cert-manager.
//!
//! One Secret holds the CA and the serving certificate, and the webhook configurations get the CA bundle. Both
//! certificates are renewed before they expire. During a CA rotation the old and the new CA are trusted side by side,
//! so that no request fails:
//!
//! ```text
//! Secret --SecretState::parse--> CertBundle --next_rotation--> Rotation --apply--> CertBundle --> Secret
//!                                    |
//!                                    +--> served certificate
//!                                    +--> caBundle of the webhook configurations
//! ```
//!
//! Replicas coordinate through the Secret alone, with optimistic concurrency instead of a leader. Decisions are pure
//! functions ([`rotation`]); [`rotator`] does the I/O.

mod args;
mod ca_bundle;
pub mod certificate;
mod error;
mod metrics;
pub mod rotation;
mod rotator;
pub mod secret;

use std::sync::Arc;

use anyhow::Context;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_serving::{Certificates, Gate};
use kube::Client;
use prometheus::Registry;

pub use args::CertArgs;
use ca_bundle::WebhookConfiguration;
use metrics::Metrics;
use rotator::CertRotator;

/// Field manager of the Secret and of `caBundle`.
const FIELD_MANAGER: &str = "functionmesh.io/cert-rotator";

/// Starts the rotation of the certificate in this Secret, until `shutdown` is cancelled. `gate` opens with the first
/// certificate that is served. It does not wait for the webhook configurations: the API server calls ready replicas
/// only, so a replica without a configuration has nothing to wait for.
pub async fn start(
    args: &CertArgs,
    secret: &str,
    registry: &Registry,
    gate: Gate,
    shutdown: CancellationToken,
) -> anyhow::Result<Arc<Certificates>> {
    let policy = args.policy()?;
    let client =
        Client::try_from(args.connect.config().await.context("--certificate-secret needs the API server")?)
            .context("failed to create a client from the kubeconfig")?;
    let namespace = args.namespace().unwrap_or(client.default_namespace()).to_owned();
    let certificates = Certificates::in_memory(&format!("Secret {namespace}/{secret}"), registry)?;
    let metrics = Metrics::new(registry)?;
    let mutating = args.mutating().map(|name| WebhookConfiguration::mutating(&client, name));
    let validating = args.validating().map(|name| WebhookConfiguration::validating(&client, name));
    let configurations: Vec<_> = mutating.into_iter().chain(validating).collect();
    if configurations.is_empty() {
        tracing::warn!(
            "no webhook configuration given: caBundle is not injected and must be set by other means"
        );
    }
    let rotator = CertRotator::new(
        &client,
        (namespace, secret.to_owned()),
        configurations,
        policy,
        (Arc::clone(&certificates), gate, metrics),
    );
    tokio::spawn(rotator.run(shutdown));
    Ok(certificates)
}
