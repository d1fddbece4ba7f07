//! Reconciles the Secret, the webhook configurations and the served certificate.
//!
//! There is no leader among replicas. Each write of the Secret carries the resource version that was read, so of two
//! replicas with the same intention one gets a conflict, reads again, and finds the work done. Webhook configurations
//! are read before the Secret and written with the resource version that was read, so a bundle from an older Secret
//! never replaces one from a newer Secret.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_serving::tls::Reload;
use function_mesh_serving::{Certificates, Gate};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

use super::FIELD_MANAGER;
use super::ca_bundle::{ObservedBundles, WebhookConfiguration};
use super::certificate::{CertificateAuthority, UnixTime};
use super::error::RotationError;
use super::metrics::Metrics;
use super::rotation::{Observed, Rotation, RotationPolicy, apply, next_rotation};
use super::secret::{CertBundle, SecretState};

/// Time for one response of the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Shortest and longest interval between reconciles. The longest bounds how long a wiped bundle stays wiped.
const MIN_INTERVAL: Duration = Duration::from_millis(50);
const MAX_INTERVAL: Duration = Duration::from_secs(5);
/// Longest backoff after failures.
const MAX_BACKOFF: Duration = Duration::from_secs(15);

/// Rotates certificates; one per replica.
pub(super) struct CertRotator {
    secrets: Api<Secret>,
    /// Namespace and name of the Secret.
    name: (String, String),
    configurations: Vec<WebhookConfiguration>,
    policy: RotationPolicy,
    certificates: Arc<Certificates>,
    gate: Gate,
    metrics: Metrics,
    /// The bundle that was served last.
    last_served: Option<CertBundle>,
    /// The CA bundle that all webhook configurations have, and since when.
    in_sync: Option<(String, Instant)>,
    /// The CA that signs, and since when.
    current_ca: Option<(CertificateAuthority, Instant)>,
    /// The last logged error: repetitions are logged at debug level.
    last_error: String,
}

impl CertRotator {
    pub(super) fn new(
        client: &Client,
        (namespace, name): (String, String),
        configurations: Vec<WebhookConfiguration>,
        policy: RotationPolicy,
        (certificates, gate, metrics): (Arc<Certificates>, Gate, Metrics),
    ) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), &namespace),
            name: (namespace, name),
            configurations,
            policy,
            certificates,
            gate,
            metrics,
            last_served: None,
            in_sync: None,
            current_ca: None,
            last_error: String::new(),
        }
    }

    /// Reconciles until `shutdown` is cancelled.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let interval = (self.policy.propagation_delay / 3).clamp(MIN_INTERVAL, MAX_INTERVAL);
        // A replica must notice a new CA within the propagation delay, even while it backs off.
        let max_backoff = MAX_BACKOFF.min(self.policy.propagation_delay / 2).max(interval);
        let mut failures = 0_u32;
        loop {
            let pause = match shutdown.run_until_cancelled(self.reconcile()).await {
                None => return,
                Some(Ok(Requeue::After(most))) => {
                    failures = 0;
                    self.last_error.clear();
                    interval.min(most.max(MIN_INTERVAL))
                }
                Some(Ok(Requeue::Now)) => MIN_INTERVAL / 5,
                Some(Err(error)) => {
                    self.report(&error);
                    failures = failures.saturating_add(1);
                    interval.saturating_mul(1 << failures.min(10)).min(max_backoff)
                }
            };
            if shutdown.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    fn report(&mut self, error: &RotationError) {
        self.metrics.count_failure();
        let error = error.to_string();
        if self.last_error == error {
            tracing::debug!(error, "certificate rotation failed again; retrying");
            return;
        }
        tracing::warn!(
            error,
            has_certificate = self.certificates.is_set(),
            "certificate rotation failed; retrying"
        );
        self.last_error = error;
    }

    async fn reconcile(&mut self) -> Result<Requeue, RotationError> {
        // An error of a webhook configuration is returned last: the certificate is served regardless.
        let mut failure = None;
        let observe = self.configurations.iter().map(async |configuration| {
            let title = configuration.title();
            let found = call("get", &title, configuration.observe()).await?;
            found.ok_or(RotationError::ConfigurationNotFound(title))
        });
        let observed = join_all(observe).await.into_iter();
        let observed: Vec<_> =
            observed.map(|result| result.map_err(|error| failure = Some(error)).ok()).collect();
        let secret = call("get", &self.title(), self.secrets.get_opt(&self.name.1)).await?;
        let bundle = self.parse(secret.as_ref())?;
        if let Some(bundle) = &bundle {
            self.serve(bundle)?;
            if let Err(error) = self.inject(bundle, &observed).await {
                failure = Some(error);
            }
        }
        let now = now();
        let rotation = next_rotation(bundle.as_ref(), now, self.observed(bundle.as_ref()), &self.policy);
        if let Rotation::Wait(until) = rotation {
            return failure.map_or_else(|| Ok(Requeue::After(until.saturating_sub(now))), Err);
        }
        let bundle = apply(rotation, bundle.as_ref(), self.last_served.as_ref(), now, &self.policy)?;
        if self.write(secret, &bundle).await? {
            self.metrics.count_rotation(rotation);
            tracing::info!(step = rotation.as_str(), secret = self.title(), "certificates rotated");
            self.serve(&bundle)?;
        }
        Ok(Requeue::Now)
    }

    fn title(&self) -> String {
        format!("Secret {}/{}", self.name.0, self.name.1)
    }

    fn parse(&self, secret: Option<&Secret>) -> Result<Option<CertBundle>, RotationError> {
        match secret.map_or(SecretState::Empty, SecretState::parse) {
            SecretState::Empty => Ok(None),
            SecretState::Valid(bundle, errors) => {
                for error in errors {
                    tracing::warn!(secret = self.title(), error, "invalid Secret entry; regenerating");
                }
                Ok(Some(*bundle))
            }
            SecretState::Invalid(error) => {
                tracing::warn!(
                    secret = self.title(),
                    error,
                    "invalid CA in the Secret; regenerating everything"
                );
                Ok(None)
            }
            SecretState::NotOwned(reason) => {
                Err(RotationError::SecretNotOwned { secret: self.title(), reason })
            }
        }
    }

    /// Serves the certificate of the bundle, if it is valid.
    fn serve(&mut self, bundle: &CertBundle) -> Result<(), RotationError> {
        let Some(serving) = bundle.serving.as_ref().filter(|serving| serving.certificate.is_valid(now()))
        else {
            return Ok(());
        };
        let (certificate, key) = (serving.certificate.pem().as_bytes(), serving.key().pem().as_bytes());
        if self.certificates.set(certificate, key, SystemTime::now()) == Reload::Rejected {
            return Err(RotationError::Unservable(self.title()));
        }
        self.gate.set(self.certificates.is_set());
        self.metrics.set_ca_expiration(bundle.ca.certificate.not_after);
        if self.current_ca.as_ref().is_none_or(|(ca, _)| *ca != bundle.ca) {
            self.current_ca = Some((bundle.ca.clone(), Instant::now()));
        }
        self.last_served = Some(bundle.clone());
        Ok(())
    }

    /// Injects the CA bundle into the webhook configurations, and records since when all of them have it.
    async fn inject(
        &mut self,
        bundle: &CertBundle,
        observed: &[Option<ObservedBundles>],
    ) -> Result<(), RotationError> {
        let ca_bundle = bundle.ca_bundle();
        let is_in_sync = |observed: &Option<ObservedBundles>| {
            observed.as_ref().is_some_and(|it| it.is_in_sync(&ca_bundle))
        };
        let all = observed.iter().all(is_in_sync);
        self.metrics.set_in_sync(all);
        if all {
            if self.in_sync.as_ref().is_none_or(|(before, _)| *before != ca_bundle) {
                self.in_sync = Some((ca_bundle, Instant::now()));
            }
            return Ok(());
        }
        self.in_sync = None;
        // One configuration that fails must not keep the other without a bundle.
        let mut result = Ok(());
        for (configuration, observed) in self.configurations.iter().zip(observed) {
            let Some(observed) = observed.as_ref().filter(|observed| !observed.is_in_sync(&ca_bundle)) else {
                continue;
            };
            let title = configuration.title();
            match call("patch", &title, configuration.inject(observed, &ca_bundle)).await {
                Ok(()) => tracing::info!(configuration = title, "caBundle injected"),
                // Stale: the next reconcile reads it again.
                Err(error) if error.is_conflict() => {}
                Err(error) => result = Err(error),
            }
        }
        result
    }

    fn observed(&self, bundle: Option<&CertBundle>) -> Observed {
        let in_sync =
            bundle.zip(self.in_sync.as_ref()).filter(|(bundle, (text, _))| bundle.ca_bundle() == *text);
        let current_ca = bundle.zip(self.current_ca.as_ref()).filter(|(bundle, (ca, _))| bundle.ca == *ca);
        Observed {
            in_sync_for: in_sync.map(|(_, (_, since))| since.elapsed()),
            current_ca_for: current_ca.map(|(_, (_, since))| since.elapsed()).unwrap_or_default(),
        }
    }

    /// Writes the Secret; false on a conflict.
    async fn write(&self, secret: Option<Secret>, bundle: &CertBundle) -> Result<bool, RotationError> {
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let title = self.title();
        let written = if let Some(mut secret) = secret {
            secret.data = Some(bundle.to_secret_data());
            call("update", &title, self.secrets.replace(&self.name.1, &params, &secret)).await
        } else {
            let metadata = ObjectMeta { name: Some(self.name.1.clone()), ..ObjectMeta::default() };
            let secret = Secret {
                metadata,
                type_: Some("Opaque".to_owned()),
                data: Some(bundle.to_secret_data()),
                ..Secret::default()
            };
            call("create", &title, self.secrets.create(&params, &secret)).await
        };
        match written {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// When to reconcile again.
enum Requeue {
    /// At once: the Secret changed.
    Now,
    /// After this time at the latest.
    After(Duration),
}

async fn call<T>(
    verb: &'static str,
    object: &str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, RotationError> {
    match timeout(REQUEST_TIMEOUT, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(RotationError::from_api(verb, object, source)),
        Err(_) => Err(RotationError::Timeout { verb, object: object.to_owned() }),
    }
}

fn now() -> UnixTime {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
