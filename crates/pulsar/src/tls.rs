//! TLS of a client: CA certificates and client certificate, from files.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::access::ClusterAccess;
use crate::client::FetchError;

/// The client configuration for a cluster; with the system's CA certificates unless it has its own.
pub(crate) fn client_config(access: Option<&ClusterAccess>) -> Result<ClientConfig, FetchError> {
    let roots = match access.and_then(|access| access.ca_file.as_deref()) {
        Some(file) => roots_of(file)?,
        None => system_roots(),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| FetchError::Credentials(error.to_string()))?
        .with_root_certificates(roots);
    let Some((certificate, key)) = access.and_then(|access| access.certificate.as_ref()) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    // The error of a key must not quote the file.
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|_| FetchError::Credentials(format!("{} has no private key in PEM", key.display())))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| FetchError::Credentials(format!("{}: {error}", certificate.display())))
}

fn roots_of(file: &Path) -> Result<RootCertStore, FetchError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| FetchError::Credentials(format!("{}: {error}", file.display())))?;
    }
    Ok(roots)
}

/// The image of the operator has none, so that HTTPS then needs `caFile`.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, FetchError> {
    let error = |what: &dyn std::fmt::Display| FetchError::Credentials(format!("{}: {what}", file.display()));
    let pem = fs::read(file).map_err(|source| error(&source))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|source| error(&source))?;
    if found.is_empty() { Err(error(&"no certificate in PEM")) } else { Ok(found) }
}
