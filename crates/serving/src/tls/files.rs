//! From two files to a key that TLS can serve with, or to an error that says which file, and what to do.

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
/// How often files are read again that change while they are read.
const ATTEMPTS: usize = 3;

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages are the documentation")]
pub enum TlsError {
    #[error(
        "cannot read {}: {source}; mount a Secret of type kubernetes.io/tls there, or name its folder with --cert-dir",
        path.display()
    )]
    Read { path: PathBuf, source: io::Error },
    #[error("{} holds no {what} in PEM form; it must begin with `-----BEGIN {begin}-----`", path.display())]
    Empty { path: PathBuf, what: &'static str, begin: &'static str },
    #[error("{} is not well-formed: {fault}; issue the certificate again", path.display())]
    Malformed { path: PathBuf, fault: String },
    #[error(
        "{} is not the key of {}: both must come from the same issue of the certificate",
        key.display(),
        certificate.display()
    )]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error("{} expired at {end}; renew the certificate", path.display())]
    Expired { path: PathBuf, end: String },
    #[error("the cryptography of this process was chosen before the program could")]
    ProviderTaken,
    #[error("TLS cannot be set up: {0}")]
    Settings(#[from] rustls::Error),
    #[error("metrics of the certificate cannot be registered: {0}")]
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

/// Reads the two files as one state of the folder. The folder may change between two reads; then the
/// certificate differs when it is read again.
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

/// A key that TLS can serve with.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) key: Arc<CertifiedKey>,
    /// When the certificate expires; none if it does not say so in a way that we read.
    pub(super) not_after: Option<SystemTime>,
}

/// Makes a key of the files' content.
pub(super) fn load(pem: &Pem, dir: &Path, provider: &CryptoProvider) -> Result<Loaded, TlsError> {
    let (certificate, key_file) = (dir.join(CERTIFICATE), dir.join(KEY));
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem.certificate)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Malformed { path: certificate.clone(), fault: error.to_string() })?;
    let Some(leaf) = chain.first() else {
        return Err(TlsError::Empty { path: certificate, what: "certificate", begin: "CERTIFICATE" });
    };
    let not_after = not_after(leaf);
    let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => {
            TlsError::Empty { path: key_file.clone(), what: "private key", begin: "PRIVATE KEY" }
        }
        // The error's text quotes the file, and this file is secret.
        _ => TlsError::Malformed { path: key_file.clone(), fault: "it is no PEM file".to_owned() },
    })?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::Mismatch { certificate: certificate.clone(), key: key_file.clone() }
        }
        rustls::Error::InvalidCertificate(fault) => {
            TlsError::Malformed { path: certificate.clone(), fault: format!("{fault:?}") }
        }
        other => TlsError::Malformed { path: key_file.clone(), fault: other.to_string() },
    })?;
    Ok(Loaded { key: Arc::new(key), not_after })
}

fn not_after(leaf: &CertificateDer<'_>) -> Option<SystemTime> {
    let certificate = x509_cert::Certificate::from_der(leaf).ok()?;
    let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    SystemTime::UNIX_EPOCH.checked_add(end)
}

impl Loaded {
    pub(super) fn expired_at(&self, now: SystemTime) -> bool {
        self.not_after.is_some_and(|end| end < now)
    }

    /// When it expires, to print.
    pub(super) fn end(&self) -> String {
        let end = self.not_after.and_then(|end| end.duration_since(SystemTime::UNIX_EPOCH).ok());
        let end = end.and_then(|end| DateTime::from_unix_duration(end).ok());
        end.map_or_else(|| "an unknown time".to_owned(), |end| end.to_string())
    }

    pub(super) fn unless_expired(self, dir: &Path, now: SystemTime) -> Result<Self, TlsError> {
        if self.expired_at(now) {
            return Err(TlsError::Expired { path: dir.join(CERTIFICATE), end: self.end() });
        }
        Ok(self)
    }
}
