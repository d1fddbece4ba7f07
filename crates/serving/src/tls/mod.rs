//! The serving certificate, reloaded without dropping connections.
//!
//! The kubelet mounts a Secret behind the symlink `..data` and updates all files at once by replacing the link. A
//! watch on a file misses that, so the files are polled and compared by content. A certificate can also be set from
//! memory, with the same validation.

mod files;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use prometheus::{IntCounter, IntGauge, Registry};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};

use crate::shutdown::CancellationToken;
pub use files::TlsError;
use files::{Loaded, Pem};

/// Installs aws-lc-rs as the CryptoProvider of the process. Call it first: it fails if a library has installed
/// another provider, which would be a bug.
pub fn install_crypto_provider() -> Result<(), TlsError> {
    provider().install_default().map_err(|_| TlsError::ProviderInstalled)
}

fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// The current serving certificate, from a directory or from memory.
#[derive(Debug)]
pub struct Certificates {
    /// The directory, or the origin of certificates from memory, for messages.
    dir: PathBuf,
    provider: Arc<CryptoProvider>,
    /// None until a certificate is set; handshakes fail until then.
    current: ArcSwapOption<CertifiedKey>,
    /// Hash of the last input, accepted or not, so that an invalid file is logged once.
    last_hash: Mutex<u64>,
    metrics: Metrics,
}

/// The result of a reload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reload {
    /// The input is the same as before.
    Unchanged,
    /// New connections get the new certificate.
    Reloaded,
    /// The input is invalid; the previous certificate stays in use.
    Rejected,
}

impl Certificates {
    /// Loads `tls.crt` and `tls.key` from `dir`. An expired certificate is served, and logged as an error: clients get
    /// a clear TLS error, and the files may be replaced at any time.
    pub fn load(dir: &Path, registry: &Registry) -> Result<Arc<Self>, TlsError> {
        let metrics = Metrics::new(registry)?;
        let provider = Arc::new(provider());
        let read = files::read(dir);
        let hash = hash(&read);
        let loaded = read.and_then(|pem| files::load(&pem, dir, &provider))?;
        if loaded.is_expired(SystemTime::now()) {
            tracing::error!(dir = %dir.display(), expired = %loaded.expiry(), "certificate expired");
        }
        metrics.set_expiry(&loaded);
        let current = ArcSwapOption::new(Some(Arc::clone(&loaded.key)));
        let last_hash = Mutex::new(hash);
        Ok(Arc::new(Self { dir: dir.to_owned(), provider, current, last_hash, metrics }))
    }

    /// Starts without a certificate; [`Self::set`] provides one. `origin` names the source in messages.
    pub fn in_memory(origin: &str, registry: &Registry) -> Result<Arc<Self>, TlsError> {
        let (metrics, provider) = (Metrics::new(registry)?, Arc::new(provider()));
        let (current, last_hash) = (ArcSwapOption::empty(), Mutex::new(0));
        Ok(Arc::new(Self { dir: origin.into(), provider, current, last_hash, metrics }))
    }

    /// Sets the certificate and its key, both PEM, if they changed and are valid.
    pub fn set(&self, certificate: &[u8], key: &[u8], now: SystemTime) -> Reload {
        self.apply(Ok(Pem::new(certificate, key)), now)
    }

    /// Whether there is a certificate to serve.
    pub fn is_set(&self) -> bool {
        self.current.load().is_some()
    }

    /// The config of a TLS listener: TLS 1.2 or newer, HTTP/1.1, and the current certificate for each handshake.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Polls the files every `interval` until `shutdown` is cancelled.
    pub fn watch(self: &Arc<Self>, interval: Duration, shutdown: CancellationToken) {
        let certificates = Arc::clone(self);
        // An interval of zero would be a busy loop.
        let interval = interval.max(Duration::from_millis(10));
        tokio::spawn(async move {
            while shutdown.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
                let certificates = Arc::clone(&certificates);
                // Reads from a network file system may block, which must not delay requests.
                let reload = tokio::task::spawn_blocking(move || certificates.reload(SystemTime::now()));
                if let Err(error) = reload.await {
                    tracing::error!(%error, "failed to check the certificate files");
                }
            }
        });
    }

    /// Reads the files once, and reloads the certificate if they changed and are valid.
    pub fn reload(&self, now: SystemTime) -> Reload {
        self.apply(files::read(&self.dir), now)
    }

    fn apply(&self, read: Result<Pem, TlsError>, now: SystemTime) -> Reload {
        let hash = hash(&read);
        let mut last_hash = self.last_hash.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *last_hash, hash) == hash {
            return Reload::Unchanged;
        }
        let loaded = read
            .and_then(|pem| files::load(&pem, &self.dir, &self.provider))
            .and_then(|loaded| loaded.unless_expired(&self.dir, now));
        match loaded {
            Ok(loaded) => {
                self.metrics.set_expiry(&loaded);
                self.metrics.reloads.inc();
                tracing::info!(dir = %self.dir.display(), valid_until = %loaded.expiry(), "certificate reloaded");
                self.current.store(Some(loaded.key));
                Reload::Reloaded
            }
            Err(error) => {
                self.metrics.failures.inc();
                tracing::error!(%error, "invalid certificate; keeping the previous one");
                Reload::Rejected
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

/// A hash of the input or of its error, to detect changes.
fn hash(read: &Result<Pem, TlsError>) -> u64 {
    let mut hasher = DefaultHasher::new();
    match read {
        Ok(pem) => pem.hash(&mut hasher),
        Err(error) => error.to_string().hash(&mut hasher),
    }
    hasher.finish()
}

#[derive(Debug)]
struct Metrics {
    not_after: IntGauge,
    reloads: IntCounter,
    failures: IntCounter,
}

impl Metrics {
    fn new(registry: &Registry) -> Result<Self, TlsError> {
        let not_after = IntGauge::new(
            "function_mesh_certificate_expiration_timestamp_seconds",
            "Expiry of the serving certificate, as Unix time in seconds.",
        )?;
        let reloads = IntCounter::new(
            "function_mesh_certificate_reloads_total",
            "Reloads of the serving certificate.",
        )?;
        let failures = IntCounter::new(
            "function_mesh_certificate_reload_failures_total",
            "Rejected reloads: the new certificate was invalid, and the previous one stayed in use.",
        )?;
        registry.register(Box::new(not_after.clone()))?;
        registry.register(Box::new(reloads.clone()))?;
        registry.register(Box::new(failures.clone()))?;
        Ok(Self { not_after, reloads, failures })
    }

    fn set_expiry(&self, loaded: &Loaded) {
        let seconds = loaded.not_after.and_then(|end| end.duration_since(UNIX_EPOCH).ok());
        self.not_after.set(seconds.and_then(|end| end.as_secs().try_into().ok()).unwrap_or_default());
    }
}
