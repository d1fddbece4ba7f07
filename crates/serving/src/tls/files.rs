//! Loads a certificate and its key from two files; errors name the file and the remedy.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::der::{DateTime, Decode};

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// Attempts to read files that change while they are read.
const ATTEMPTS: usize = 3;

/// Errors of the serving certificate and of TLS setup.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages are the documentation")]
pub enum TlsError {
    #[error(
        "failed to read {}: {source}; mount a Secret of type kubernetes.io/tls there, or set --cert-dir",
        path.display()
    )]
    Read { path: PathBuf, source: io::Error },
    #[error("{} contains no {what} in PEM format; it must start with `-----BEGIN {begin}-----`", path.display())]
    Empty { path: PathBuf, what: &'static str, begin: &'static str },
    #[error("{} is malformed: {reason}; issue the certificate again", path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error(
        "{} does not match {}: use the key and the certificate of the same issuance",
        key.display(),
        certificate.display()
    )]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error("{} expired at {end}; renew the certificate", path.display())]
    Expired { path: PathBuf, end: String },
    #[error("a rustls CryptoProvider is already installed")]
    ProviderInstalled,
    #[error("failed to set up TLS: {0}")]
    Config(#[from] rustls::Error),
    #[error("failed to register the certificate metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// The content of the two files.
#[derive(Eq, Hash, PartialEq)]
pub(super) struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pem {
    pub(super) fn new(certificate: &[u8], key: &[u8]) -> Self {
        Self { certificate: certificate.to_vec(), key: key.to_vec() }
    }
}

/// Reads a consistent pair of files. The kubelet may swap the directory between two reads, which shows as a different
/// certificate on the second read.
pub(super) fn read(dir: &Path) -> Result<Pem, TlsError> {
    let read = |name| {
        let path = dir.join(name);
        std::fs::read(&path).map_err(|source| TlsError::Read { path, source })
    };
    let mut certificate = read(CERTIFICATE)?;
    let mut key = read(KEY)?;
    for _ in 1..ATTEMPTS {
        let again = read(CERTIFICATE)?;
        if again == certificate {
            break;
        }
        certificate = again;
        key = read(KEY)?;
    }
    Ok(Pem { certificate, key })
}

/// A parsed certificate chain with its key.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) key: Arc<CertifiedKey>,
    /// Expiry of the certificate; None if the validity cannot be parsed.
    pub(super) not_after: Option<SystemTime>,
}

/// Parses the two files and verifies that they match.
pub(super) fn load(pem: &Pem, dir: &Path, provider: &CryptoProvider) -> Result<Loaded, TlsError> {
    let (certificate, key_file) = (dir.join(CERTIFICATE), dir.join(KEY));
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem.certificate)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Malformed { path: certificate.clone(), reason: error.to_string() })?;
    let Some(leaf) = chain.first() else {
        return Err(TlsError::Empty { path: certificate, what: "certificate", begin: "CERTIFICATE" });
    };
    let not_after = not_after(leaf);
    let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => {
            TlsError::Empty { path: key_file.clone(), what: "private key", begin: "PRIVATE KEY" }
        }
        // The parser's error quotes the file, which is secret.
        _ => TlsError::Malformed { path: key_file.clone(), reason: "not PEM".to_owned() },
    })?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::Mismatch { certificate: certificate.clone(), key: key_file.clone() }
        }
        rustls::Error::InvalidCertificate(reason) => {
            TlsError::Malformed { path: certificate.clone(), reason: format!("{reason:?}") }
        }
        other => TlsError::Malformed { path: key_file.clone(), reason: other.to_string() },
    })?;
    Ok(Loaded { key: Arc::new(key), not_after })
}

fn not_after(leaf: &CertificateDer<'_>) -> Option<SystemTime> {
    let certificate = x509_cert::Certificate::from_der(leaf).ok()?;
    let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    SystemTime::UNIX_EPOCH.checked_add(end)
}

impl Loaded {
    pub(super) fn is_expired(&self, now: SystemTime) -> bool {
        self.not_after.is_some_and(|end| end < now)
    }

    /// The expiry, for messages.
    pub(super) fn expiry(&self) -> String {
        let end = self.not_after.and_then(|end| end.duration_since(SystemTime::UNIX_EPOCH).ok());
        let end = end.and_then(|end| DateTime::from_unix_duration(end).ok());
        end.map_or_else(|| "an unknown time".to_owned(), |end| end.to_string())
    }

    pub(super) fn unless_expired(self, dir: &Path, now: SystemTime) -> Result<Self, TlsError> {
        if self.is_expired(now) {
            return Err(TlsError::Expired { path: dir.join(CERTIFICATE), end: self.expiry() });
        }
        Ok(self)
    }
}
