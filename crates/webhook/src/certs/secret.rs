//! Serialises certificates to the Secret and back.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::certificate::{Certificate, CertificateAuthority, CertificateError, ServingCertificate};

/// Keys of the Secret. The first three are those of `kubernetes.io/tls` and cert-manager, so that the Secret can be
/// mounted where they are expected; the CA keys mark the Secret as ours.
const TLS_CERT: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";
const CA_BUNDLE: &str = "ca.crt";
const CURRENT_CA: (&str, &str) = ("current-ca.crt", "current-ca.key");
const NEXT_CA: (&str, &str) = ("next-ca.crt", "next-ca.key");
const PREVIOUS_CA: &str = "previous-ca.crt";
const ALL_KEYS: [&str; 8] =
    [TLS_CERT, TLS_KEY, CA_BUNDLE, CURRENT_CA.0, CURRENT_CA.1, NEXT_CA.0, NEXT_CA.1, PREVIOUS_CA];

/// Accepted Secret types: what charts and `kubectl create secret generic` create, and the type for certificates.
const SECRET_TYPES: [&str; 2] = ["Opaque", "kubernetes.io/tls"];

/// All certificates of the webhook, including a CA rotation in progress.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertBundle {
    /// The CA that signs serving certificates.
    pub ca: CertificateAuthority,
    /// The serving certificate; None when the Secret held an invalid one.
    pub serving: Option<ServingCertificate>,
    /// The CA that replaces `ca` once every client trusts it.
    pub next_ca: Option<CertificateAuthority>,
    /// The CA before `ca`, trusted while replicas may still serve certificates that it signed.
    pub previous_ca: Option<Certificate>,
}

/// The content of the Secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SecretState {
    /// No data.
    Empty,
    /// A usable bundle, and an error for each entry that was dropped as invalid.
    Valid(Box<CertBundle>, Vec<String>),
    /// Written by this program, but the CA is unusable.
    Invalid(String),
    /// Written by another program.
    NotOwned(String),
}

impl CertBundle {
    /// The CA bundle in PEM form, oldest CA first. The order does not depend on which CA signs, so promoting the
    /// next CA leaves the bundle unchanged.
    pub fn ca_bundle(&self) -> String {
        let next = self.next_ca.as_ref().map(|next| &next.certificate);
        let all = [self.previous_ca.as_ref(), Some(&self.ca.certificate), next];
        all.into_iter().flatten().map(Certificate::pem).collect()
    }

    /// The data of the Secret.
    pub fn to_secret_data(&self) -> BTreeMap<String, ByteString> {
        let Self { ca, serving, next_ca, previous_ca } = self;
        let mut data = BTreeMap::new();
        let mut put = |key: &str, text: &str| {
            data.insert(key.to_owned(), ByteString(text.as_bytes().to_vec()));
        };
        put(CURRENT_CA.0, ca.certificate.pem());
        put(CURRENT_CA.1, ca.key().pem());
        put(CA_BUNDLE, &self.ca_bundle());
        if let Some(serving) = serving {
            put(TLS_CERT, serving.certificate.pem());
            put(TLS_KEY, serving.key().pem());
        }
        if let Some(next) = next_ca {
            put(NEXT_CA.0, next.certificate.pem());
            put(NEXT_CA.1, next.key().pem());
        }
        if let Some(previous) = previous_ca {
            put(PREVIOUS_CA, previous.pem());
        }
        data
    }
}

impl SecretState {
    /// Parses and verifies a Secret.
    pub fn parse(secret: &Secret) -> Self {
        if let Some(kind) = secret.type_.as_deref().filter(|kind| !SECRET_TYPES.contains(kind)) {
            return Self::NotOwned(format!("its type is {kind}"));
        }
        if secret.immutable == Some(true) {
            return Self::NotOwned("it is immutable".to_owned());
        }
        let none = BTreeMap::new();
        Self::parse_data(secret.data.as_ref().unwrap_or(&none))
    }

    fn parse_data(data: &BTreeMap<String, ByteString>) -> Self {
        let get = |key: &str| data.get(key).map(|bytes| bytes.0.as_slice()).filter(|bytes| !bytes.is_empty());
        let non_empty: Vec<_> = data.keys().map(String::as_str).filter(|key| get(key).is_some()).collect();
        if non_empty.is_empty() {
            return Self::Empty;
        }
        let unknown: Vec<_> = non_empty.iter().copied().filter(|key| !ALL_KEYS.contains(key)).collect();
        if !unknown.is_empty() {
            return Self::NotOwned(format!("it has the keys {}", unknown.join(", ")));
        }
        // Secrets of cert-manager have tls.crt, tls.key and ca.crt too.
        if get(CURRENT_CA.0).is_none() && get(CURRENT_CA.1).is_none() {
            return Self::NotOwned(format!("it has {} but no {}", non_empty.join(", "), CURRENT_CA.0));
        }
        let parse_ca = |(certificate, key): (&str, &str)| {
            CertificateAuthority::parse(get(certificate).unwrap_or_default(), get(key).unwrap_or_default())
        };
        let ca = match parse_ca(CURRENT_CA) {
            Ok(ca) => ca,
            Err(error) => return Self::Invalid(format!("{}: {error}", CURRENT_CA.0)),
        };
        let mut errors = Vec::new();
        let mut record = |key: &str, error: &CertificateError| errors.push(format!("{key}: {error}"));
        let has_any = |keys: &[&str]| keys.iter().any(|key| get(key).is_some());
        let serving = ServingCertificate::parse(
            get(TLS_CERT).unwrap_or_default(),
            get(TLS_KEY).unwrap_or_default(),
            &ca,
        );
        let serving = serving.inspect_err(|error| record(TLS_CERT, error)).ok();
        let next_ca = has_any(&[NEXT_CA.0, NEXT_CA.1])
            .then(|| parse_ca(NEXT_CA).inspect_err(|error| record(NEXT_CA.0, error)).ok());
        let previous_ca = get(PREVIOUS_CA)
            .map(|pem| Certificate::parse(pem).inspect_err(|error| record(PREVIOUS_CA, error)).ok());
        let bundle =
            CertBundle { ca, serving, next_ca: next_ca.flatten(), previous_ca: previous_ca.flatten() };
        Self::Valid(Box::new(bundle), errors)
    }
}
