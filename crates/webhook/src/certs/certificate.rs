//! X.509: issues certificates, and parses them strictly, since anyone with access to the Secret may have edited it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Time since the Unix epoch.
pub type UnixTime = Duration;

/// Tolerated clock skew between machines: `notBefore` lies this far in the past.
const CLOCK_SKEW: Duration = Duration::from_mins(5);

/// A certificate that could not be issued or parsed. Never quotes a key.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages are the documentation")]
pub enum CertificateError {
    #[error("failed to issue a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    #[error("{0}")]
    Invalid(String),
}

fn invalid<T>(reason: impl Into<String>) -> Result<T, CertificateError> {
    Err(CertificateError::Invalid(reason.into()))
}

/// A private key in PEM form, redacted in debug output.
#[derive(Clone, Eq, PartialEq)]
pub struct PrivateKey(String);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

impl PrivateKey {
    /// The PEM, for the Secret and for TLS.
    pub fn pem(&self) -> &str {
        &self.0
    }

    fn new(pair: &KeyPair) -> Self {
        Self(pair.serialize_pem())
    }

    fn parse(pem: &[u8]) -> Result<(Self, KeyPair), CertificateError> {
        let text = str::from_utf8(pem).ok().map(str::to_owned);
        // The parser's error may quote the key, so it is dropped.
        let pair = text.and_then(|text| KeyPair::from_pem(&text).ok());
        pair.map_or_else(|| invalid("invalid private key: not PEM"), |pair| Ok((Self::new(&pair), pair)))
    }
}

/// One certificate.
#[derive(Clone, Eq, PartialEq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    pem: String,
    /// Start of the validity period.
    pub not_before: UnixTime,
    /// End of the validity period.
    pub not_after: UnixTime,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({:?} to {:?})", self.not_before, self.not_after)
    }
}

impl Certificate {
    /// The PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Whether `now` lies in the validity period.
    pub fn is_valid(&self, now: UnixTime) -> bool {
        (self.not_before..self.not_after).contains(&now)
    }

    /// When to renew: after two thirds of the validity period, as cert-manager does. A third remains for retries.
    pub fn renewal_time(&self) -> UnixTime {
        self.not_before + self.not_after.saturating_sub(self.not_before) / 3 * 2
    }

    /// Parses the first certificate of a PEM text.
    pub fn parse(pem: &[u8]) -> Result<Self, CertificateError> {
        let Ok(der) = CertificateDer::from_pem_slice(pem) else {
            return invalid("invalid certificate: not PEM");
        };
        Self::from_der(der)
    }

    fn from_der(der: CertificateDer<'static>) -> Result<Self, CertificateError> {
        let parsed = parse_der(&der)?;
        let validity = parsed.tbs_certificate().validity();
        let (not_before, not_after) =
            (validity.not_before.to_unix_duration(), validity.not_after.to_unix_duration());
        let pem = encode_pem(&der);
        Ok(Self { der, pem, not_before, not_after })
    }

    fn has_public_key_of(&self, pair: &KeyPair) -> Result<bool, CertificateError> {
        let parsed = parse_der(&self.der)?;
        let own = parsed.tbs_certificate().subject_public_key_info().to_der();
        Ok(own.is_ok_and(|own| own == pair.subject_public_key_info()))
    }
}

fn parse_der(der: &CertificateDer<'_>) -> Result<x509_cert::Certificate, CertificateError> {
    x509_cert::Certificate::from_der(der).or_else(|error| invalid(format!("invalid certificate: {error}")))
}

fn encode_pem(der: &CertificateDer<'_>) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&Pem::new("CERTIFICATE", der.to_vec()), config)
}

/// A CA that signs serving certificates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateAuthority {
    /// The root certificate that clients trust.
    pub certificate: Certificate,
    key: PrivateKey,
}

impl CertificateAuthority {
    /// Generates a self-signed CA with a new key.
    pub fn generate(now: UnixTime, validity: Duration) -> Result<Self, CertificateError> {
        let pair = KeyPair::generate()?;
        let mut params = Self::params(&pair);
        set_validity(&mut params, now, now + validity);
        let certificate = Certificate::from_der(params.self_signed(&pair)?.der().clone())?;
        Ok(Self { certificate, key: PrivateKey::new(&pair) })
    }

    /// Parses a CA and verifies that certificate and key match.
    pub fn parse(certificate: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let certificate = Certificate::parse(certificate)?;
        let (key, pair) = PrivateKey::parse(key)?;
        if !certificate.has_public_key_of(&pair)? {
            return invalid("certificate and private key do not match");
        }
        // The issuer name of new certificates is derived from the key, so a foreign subject would break the chain.
        let subject = parse_der(&certificate.der)?.tbs_certificate().subject().to_string();
        if subject != format!("CN={}", ca_common_name(&pair)) {
            return invalid(format!("unexpected CA subject {subject:?}"));
        }
        Ok(Self { certificate, key })
    }

    /// The private key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    fn params(pair: &KeyPair) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(&ca_common_name(pair));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params
    }

    /// Issues a serving certificate, which never outlives the CA.
    pub fn issue(
        &self,
        dns_names: &BTreeSet<String>,
        now: UnixTime,
        validity: Duration,
    ) -> Result<ServingCertificate, CertificateError> {
        let (_, own) = PrivateKey::parse(self.key.pem().as_bytes())?;
        let issuer = Issuer::new(Self::params(&own), own);
        let pair = KeyPair::generate()?;
        let mut params = CertificateParams::new(dns_names.iter().cloned().collect::<Vec<_>>())?;
        params.distinguished_name = distinguished_name("function-mesh-webhook");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, (now + validity).min(self.certificate.not_after));
        let certificate = Certificate::from_der(params.signed_by(&pair, &issuer)?.der().clone())?;
        Ok(ServingCertificate { certificate, key: PrivateKey::new(&pair), dns_names: dns_names.clone() })
    }
}

/// A common name with a hash of the key, which distinguishes two CAs.
fn ca_common_name(pair: &KeyPair) -> String {
    let identifier = CertificateParams::default().key_identifier(pair);
    let digits: Vec<_> = identifier.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("function-mesh-webhook-ca-{}", digits.concat())
}

fn distinguished_name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Sets the validity period in whole seconds, which is the resolution of X.509: it never ends after `end`.
fn set_validity(params: &mut CertificateParams, now: UnixTime, end: UnixTime) {
    let epoch = date_time_ymd(1970, 1, 1);
    // Tests use validity periods of seconds, which five minutes of clock skew would dwarf.
    let begin = now.saturating_sub(CLOCK_SKEW.min(end.saturating_sub(now) / 100));
    params.not_before = epoch + Duration::from_secs(begin.as_secs());
    params.not_after = epoch + Duration::from_secs(end.as_secs());
}

/// The leaf certificate that the webhook serves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServingCertificate {
    /// The certificate.
    pub certificate: Certificate,
    key: PrivateKey,
    /// Subject alternative names: DNS names and IP addresses.
    pub dns_names: BTreeSet<String>,
}

impl ServingCertificate {
    /// Parses a serving certificate and verifies its key and its signature by the CA.
    pub fn parse(
        certificate: &[u8],
        key: &[u8],
        ca: &CertificateAuthority,
    ) -> Result<Self, CertificateError> {
        let certificate = Certificate::parse(certificate)?;
        let (key, pair) = PrivateKey::parse(key)?;
        if !certificate.has_public_key_of(&pair)? {
            return invalid("certificate and private key do not match");
        }
        let dns_names = subject_alt_names(&certificate)?;
        verify_chain(&certificate, &dns_names, &ca.certificate)?;
        Ok(Self { certificate, key, dns_names })
    }

    /// The private key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }
}

fn subject_alt_names(certificate: &Certificate) -> Result<BTreeSet<String>, CertificateError> {
    let parsed = parse_der(&certificate.der)?;
    let Ok(Some((_, found))) = parsed.tbs_certificate().get_extension::<SubjectAltName>() else {
        return invalid("certificate has no subject alternative name");
    };
    let text = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => ip_address(bytes.as_bytes()).map(|address| address.to_string()),
        _ => None,
    };
    Ok(found.0.iter().filter_map(text).collect())
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    v4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

/// Verifies the chain as a TLS client that trusts `root` would, at a time at which both certificates are valid.
fn verify_chain(
    certificate: &Certificate,
    dns_names: &BTreeSet<String>,
    root: &Certificate,
) -> Result<(), CertificateError> {
    let Some(Ok(name)) = dns_names.first().map(|name| ServerName::try_from(name.as_str())) else {
        return invalid("certificate has no subject alternative name");
    };
    let mut roots = RootCertStore::empty();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = roots
        .add(root.der.clone())
        .ok()
        .and_then(|()| WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok());
    let Some(verifier) = verifier else { return invalid("issuer is not a CA certificate") };
    let begin = rustls_pki_types::UnixTime::since_unix_epoch(certificate.not_before.max(root.not_before));
    let result = verifier.verify_server_cert(&certificate.der, &[], &name, &[], begin);
    result.map(drop).or_else(|error| invalid(format!("certificate is not signed by the CA: {error}")))
}
