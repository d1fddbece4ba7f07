//! The serving certificate: two files, looked at again and again, swapped under open connections.
//!
//! Kubernetes mounts a Secret behind the link `..data` and changes all files at once by pointing it elsewhere.
//! Watching a file misses that, so the files are read every few seconds and compared by content. A program that
//! has its certificate from elsewhere sets it from memory, with the same care.

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

/// Makes aws-lc-rs the cryptography of this process. The first thing that a program does; fails when some
/// library has chosen already, since two of them in one program is a mistake of ours.
pub fn install_crypto_provider() -> Result<(), TlsError> {
    provider().install_default().map_err(|_| TlsError::ProviderTaken)
}

fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// The certificate of a folder, as current as its files; or one that is set from memory.
#[derive(Debug)]
pub struct Certificates {
    /// Where it comes from: the folder, or what stands in messages in its place.
    dir: PathBuf,
    provider: Arc<CryptoProvider>,
    /// None until one is set. Whoever connects before that is told that the handshake failed.
    current: ArcSwapOption<CertifiedKey>,
    /// Digest of what was looked at last, whether it was taken or not: a bad file is told of once.
    seen: Mutex<u64>,
    meters: Meters,
}

/// What became of a look at the files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// They are as before.
    None,
    /// They were taken; new connections get the new certificate.
    Taken,
    /// They are bad; the old certificate stays.
    Refused,
}

impl Certificates {
    /// Reads `tls.crt` and `tls.key` in `dir`. An expired certificate is served, with an error in the log:
    /// whoever connects gets a telling answer, and the files may be replaced at any time.
    pub fn load(dir: &Path, registry: &Registry) -> Result<Arc<Self>, TlsError> {
        let meters = Meters::new(registry)?;
        let provider = Arc::new(provider());
        let read = files::read(dir);
        let digest = digest(&read);
        let loaded = read.and_then(|pem| files::load(&pem, dir, &provider))?;
        if loaded.expired_at(SystemTime::now()) {
            tracing::error!(dir = %dir.display(), expired = %loaded.end(), "the certificate has expired");
        }
        meters.not_after(&loaded);
        let current = ArcSwapOption::new(Some(Arc::clone(&loaded.key)));
        let seen = Mutex::new(digest);
        Ok(Arc::new(Self { dir: dir.to_owned(), provider, current, seen, meters }))
    }

    /// No certificate yet: each is set from memory. `origin` stands in messages for where they come from.
    pub fn in_memory(origin: &str, registry: &Registry) -> Result<Arc<Self>, TlsError> {
        let (meters, provider) = (Meters::new(registry)?, Arc::new(provider()));
        let (current, seen) = (ArcSwapOption::empty(), Mutex::new(0));
        Ok(Arc::new(Self { dir: origin.into(), provider, current, seen, meters }))
    }

    /// Takes a certificate and its key, both in PEM form, if they are new and good.
    pub fn set(&self, certificate: &[u8], key: &[u8], now: SystemTime) -> Change {
        self.take(Ok(Pem::new(certificate, key)), now)
    }

    /// Whether there is a certificate to serve with.
    pub fn is_set(&self) -> bool {
        self.current.load().is_some()
    }

    /// The settings of a TLS listener: TLS 1.2 or newer, HTTP/1.1, and always the current certificate.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Looks at the files every `interval` until `shutdown` is cancelled.
    pub fn watch(self: &Arc<Self>, interval: Duration, shutdown: CancellationToken) {
        let certificates = Arc::clone(self);
        // A zero would never let go of the processor.
        let interval = interval.max(Duration::from_millis(10));
        tokio::spawn(async move {
            while shutdown.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
                let certificates = Arc::clone(&certificates);
                // Files on a network share may block; requests must not wait for them.
                let look = tokio::task::spawn_blocking(move || certificates.refresh(SystemTime::now()));
                if let Err(error) = look.await {
                    tracing::error!(%error, "looking at the certificate files failed");
                }
            }
        });
    }

    /// Looks at the files once, and takes them if they are new and good.
    pub fn refresh(&self, now: SystemTime) -> Change {
        self.take(files::read(&self.dir), now)
    }

    fn take(&self, read: Result<Pem, TlsError>, now: SystemTime) -> Change {
        let digest = digest(&read);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *seen, digest) == digest {
            return Change::None;
        }
        let loaded = read
            .and_then(|pem| files::load(&pem, &self.dir, &self.provider))
            .and_then(|loaded| loaded.unless_expired(&self.dir, now));
        match loaded {
            Ok(loaded) => {
                self.meters.not_after(&loaded);
                self.meters.reloads.inc();
                tracing::info!(dir = %self.dir.display(), valid_until = %loaded.end(), "new certificate");
                self.current.store(Some(loaded.key));
                Change::Taken
            }
            Err(error) => {
                self.meters.failures.inc();
                tracing::error!(%error, "the new certificate is not taken; the old one stays in use");
                Change::Refused
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

/// A digest of what was read, or of why it could not be. It only has to tell one state from the next.
fn digest(read: &Result<Pem, TlsError>) -> u64 {
    let mut hasher = DefaultHasher::new();
    match read {
        Ok(pem) => pem.hash(&mut hasher),
        Err(error) => error.to_string().hash(&mut hasher),
    }
    hasher.finish()
}

#[derive(Debug)]
struct Meters {
    not_after: IntGauge,
    reloads: IntCounter,
    failures: IntCounter,
}

impl Meters {
    fn new(registry: &Registry) -> Result<Self, TlsError> {
        let not_after = IntGauge::new(
            "function_mesh_certificate_expiration_timestamp_seconds",
            "When the serving certificate expires, in seconds since 1970.",
        )?;
        let reloads = IntCounter::new(
            "function_mesh_certificate_reloads_total",
            "How often a new serving certificate was taken up.",
        )?;
        let failures = IntCounter::new(
            "function_mesh_certificate_reload_failures_total",
            "How often new certificate files were bad, so that the old certificate stayed in use.",
        )?;
        registry.register(Box::new(not_after.clone()))?;
        registry.register(Box::new(reloads.clone()))?;
        registry.register(Box::new(failures.clone()))?;
        Ok(Self { not_after, reloads, failures })
    }

    fn not_after(&self, loaded: &Loaded) {
        let seconds = loaded.not_after.and_then(|end| end.duration_since(UNIX_EPOCH).ok());
        self.not_after.set(seconds.and_then(|end| end.as_secs().try_into().ok()).unwrap_or_default());
    }
}
