//! Certificates and their keys: made, and read again with the distrust that a Secret deserves, which anybody may
//! have edited.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// A time, since the beginning of 1970.
pub type Moment = Duration;

/// What the clocks of two machines may differ by: a certificate is valid this long before it was made.
const SKEW: Duration = Duration::from_mins(5);

/// Why a certificate could not be made or read. Never quotes a key.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages are the documentation")]
pub enum Fault {
    #[error("a certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    #[error("{0}")]
    Read(String),
}

fn bad<T>(fault: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Read(fault.into()))
}

/// A private key in PEM form. It is never printed.
#[derive(Clone, Eq, PartialEq)]
pub struct Key(String);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// The key's text, for the one Secret that may hold it.
    pub fn pem(&self) -> &str {
        &self.0
    }

    fn of(pair: &KeyPair) -> Self {
        Self(pair.serialize_pem())
    }

    fn read(pem: &[u8]) -> Result<(Self, KeyPair), Fault> {
        let text = str::from_utf8(pem).ok().map(str::to_owned);
        // The parser's own words might quote what it found.
        let pair = text.and_then(|text| KeyPair::from_pem(&text).ok());
        pair.map_or_else(|| bad("its key is no private key in PEM form"), |pair| Ok((Self::of(&pair), pair)))
    }
}

/// One certificate.
#[derive(Clone, Eq, PartialEq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    pem: String,
    /// From when on it is valid.
    pub not_before: Moment,
    /// Until when it is valid.
    pub not_after: Moment,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({:?} to {:?})", self.not_before, self.not_after)
    }
}

impl Certificate {
    /// Its text.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Whether it is valid now.
    pub fn is_valid(&self, now: Moment) -> bool {
        (self.not_before..self.not_after).contains(&now)
    }

    /// When two thirds of its life are over: early enough for a week of trouble, late enough to be rare.
    pub fn renewal(&self) -> Moment {
        self.not_before + self.not_after.saturating_sub(self.not_before) / 3 * 2
    }

    /// Reads the first certificate of a text.
    pub fn read(pem: &[u8]) -> Result<Self, Fault> {
        let Ok(der) = CertificateDer::from_pem_slice(pem) else {
            return bad("it is no certificate in PEM form");
        };
        Self::of(der)
    }

    fn of(der: CertificateDer<'static>) -> Result<Self, Fault> {
        let parsed = parse(&der)?;
        let validity = parsed.tbs_certificate().validity();
        let (not_before, not_after) =
            (validity.not_before.to_unix_duration(), validity.not_after.to_unix_duration());
        let pem = encode_pem(&der);
        Ok(Self { der, pem, not_before, not_after })
    }

    fn is_of(&self, key: &KeyPair) -> Result<bool, Fault> {
        let parsed = parse(&self.der)?;
        let own = parsed.tbs_certificate().subject_public_key_info().to_der();
        Ok(own.is_ok_and(|own| own == key.subject_public_key_info()))
    }
}

fn parse(der: &CertificateDer<'_>) -> Result<x509_cert::Certificate, Fault> {
    x509_cert::Certificate::from_der(der).or_else(|error| bad(format!("it is no certificate: {error}")))
}

fn encode_pem(der: &CertificateDer<'_>) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for (place, character) in text.char_indices() {
        if place > 0 && place % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push_str("\n-----END CERTIFICATE-----\n");
    pem
}

/// An authority that signs serving certificates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authority {
    /// What others trust.
    pub certificate: Certificate,
    key: Key,
}

impl Authority {
    /// Makes one with a new key.
    pub fn make(now: Moment, lifetime: Duration) -> Result<Self, Fault> {
        let pair = KeyPair::generate()?;
        let mut params = Self::params(&pair);
        limit(&mut params, now, now + lifetime);
        let certificate = Certificate::of(params.self_signed(&pair)?.der().clone())?;
        Ok(Self { certificate, key: Key::of(&pair) })
    }

    /// Reads one, and checks that its key is its own.
    pub fn read(certificate: &[u8], key: &[u8]) -> Result<Self, Fault> {
        let certificate = Certificate::read(certificate)?;
        let (key, pair) = Key::read(key)?;
        if !certificate.is_of(&pair)? {
            return bad("its key is that of another certificate");
        }
        // Everything but the time follows from the key, so what we sign with it carries the right name.
        if parse(&certificate.der)?.tbs_certificate().subject().to_string() != format!("CN={}", name(&pair)) {
            return bad("it is no authority that this program made");
        }
        Ok(Self { certificate, key })
    }

    /// The key, for the Secret.
    pub fn key(&self) -> &Key {
        &self.key
    }

    fn params(pair: &KeyPair) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&name(pair));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params
    }

    /// Makes a serving certificate. It ends with the authority at the latest.
    pub fn issue(
        &self,
        names: &BTreeSet<String>,
        now: Moment,
        lifetime: Duration,
    ) -> Result<ServingCertificate, Fault> {
        let (_, own) = Key::read(self.key.pem().as_bytes())?;
        let issuer = Issuer::new(Self::params(&own), own);
        let pair = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.iter().cloned().collect::<Vec<_>>())?;
        params.distinguished_name = common_name("function-mesh-webhook");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        limit(&mut params, now, (now + lifetime).min(self.certificate.not_after));
        let certificate = Certificate::of(params.signed_by(&pair, &issuer)?.der().clone())?;
        Ok(ServingCertificate { certificate, key: Key::of(&pair), names: names.clone() })
    }
}

/// Names of authorities differ, as far as keys do: whoever looks at two can tell them apart.
fn name(pair: &KeyPair) -> String {
    let identifier = CertificateParams::default().key_identifier(pair);
    let digits: Vec<_> = identifier.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("function-mesh-webhook-authority-{}", digits.concat())
}

fn common_name(name: &str) -> DistinguishedName {
    let mut whole = DistinguishedName::new();
    whole.push(DnType::CommonName, name);
    whole
}

/// Whole seconds, since a certificate knows no others: the end is never later than `end`.
fn limit(params: &mut CertificateParams, now: Moment, end: Moment) {
    let epoch = date_time_ymd(1970, 1, 1);
    // A life of seconds, as tests have, leaves no room for clocks that differ.
    let begin = now.saturating_sub(SKEW.min(end.saturating_sub(now) / 100));
    params.not_before = epoch + Duration::from_secs(begin.as_secs());
    params.not_after = epoch + Duration::from_secs(end.as_secs());
}

/// What the API server is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServingCertificate {
    /// The certificate.
    pub certificate: Certificate,
    key: Key,
    /// The names and addresses that it is for.
    pub names: BTreeSet<String>,
}

impl ServingCertificate {
    /// Reads one, and checks that its key is its own and that the authority signed it.
    pub fn read(certificate: &[u8], key: &[u8], authority: &Authority) -> Result<Self, Fault> {
        let certificate = Certificate::read(certificate)?;
        let (key, pair) = Key::read(key)?;
        if !certificate.is_of(&pair)? {
            return bad("its key is that of another certificate");
        }
        let names = names(&certificate)?;
        verify(&certificate, &names, &authority.certificate)?;
        Ok(Self { certificate, key, names })
    }

    /// The key, for the Secret and for TLS.
    pub fn key(&self) -> &Key {
        &self.key
    }
}

fn names(certificate: &Certificate) -> Result<BTreeSet<String>, Fault> {
    let parsed = parse(&certificate.der)?;
    let Ok(Some((_, found))) = parsed.tbs_certificate().get_extension::<SubjectAltName>() else {
        return bad("it names no host");
    };
    let text = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => address(bytes.as_bytes()).map(|address| address.to_string()),
        _ => None,
    };
    Ok(found.0.iter().filter_map(text).collect())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    four.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

/// Whether a client that trusts the authority takes the certificate, while both are valid.
fn verify(certificate: &Certificate, names: &BTreeSet<String>, root: &Certificate) -> Result<(), Fault> {
    let Some(Ok(name)) = names.first().map(|name| ServerName::try_from(name.as_str())) else {
        return bad("it names no host");
    };
    let mut roots = RootCertStore::empty();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = roots
        .add(root.der.clone())
        .ok()
        .and_then(|()| WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok());
    let Some(verifier) = verifier else { return bad("its authority is none") };
    let begin = UnixTime::since_unix_epoch(certificate.not_before.max(root.not_before));
    let result = verifier.verify_server_cert(&certificate.der, &[], &name, &[], begin);
    result.map(drop).or_else(|error| bad(format!("its authority did not sign it: {error}")))
}
