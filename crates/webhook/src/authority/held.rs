//! What the Secret holds, and how it is written there.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::certificate::{Authority, Certificate, Fault, ServingCertificate};

/// Entries of the Secret. The first three are named as everywhere, so that the Secret can be mounted for what
/// reads such; the authority's own are what tells this program's Secret from another's.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const TRUSTED: &str = "ca.crt";
const AUTHORITY: (&str, &str) = ("authority.crt", "authority.key");
const NEXT: (&str, &str) = ("next-authority.crt", "next-authority.key");
const PREVIOUS: &str = "previous-authority.crt";
const ALL: [&str; 8] = [CERTIFICATE, KEY, TRUSTED, AUTHORITY.0, AUTHORITY.1, NEXT.0, NEXT.1, PREVIOUS];

/// Types of Secrets that may be ours: the one that charts and `kubectl create secret generic` make, and the one
/// that is meant for certificates.
const TYPES: [&str; 2] = ["Opaque", "kubernetes.io/tls"];

/// All that is made, and what is on its way in or out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// The authority that signs now.
    pub authority: Authority,
    /// What is served; none if what was there is no good.
    pub serving: Option<ServingCertificate>,
    /// The authority that will sign once everybody trusts it.
    pub next: Option<Authority>,
    /// The authority that signed before, while what it signed may still be served somewhere.
    pub previous: Option<Certificate>,
}

/// What was found in the Secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// Nothing.
    Empty,
    /// What this program can go on with; and what is wrong with parts that are left out.
    Held(Box<Held>, Vec<String>),
    /// What this program wrote once, and what can no longer be used.
    Broken(String),
    /// What belongs to somebody else.
    Foreign(String),
}

impl Held {
    /// The certificates that are to be trusted, in PEM form, oldest first. The order is the same before and
    /// after the next authority begins to sign, since nothing changes for those who trust.
    pub fn trusted(&self) -> String {
        let next = self.next.as_ref().map(|next| &next.certificate);
        let all = [self.previous.as_ref(), Some(&self.authority.certificate), next];
        all.into_iter().flatten().map(Certificate::pem).collect()
    }

    /// The content of a Secret.
    pub fn data(&self) -> BTreeMap<String, ByteString> {
        let Self { authority, serving, next, previous } = self;
        let mut data = BTreeMap::new();
        let mut put = |name: &str, text: &str| {
            data.insert(name.to_owned(), ByteString(text.as_bytes().to_vec()));
        };
        put(AUTHORITY.0, authority.certificate.pem());
        put(AUTHORITY.1, authority.key().pem());
        put(TRUSTED, &self.trusted());
        if let Some(serving) = serving {
            put(CERTIFICATE, serving.certificate.pem());
            put(KEY, serving.key().pem());
        }
        if let Some(next) = next {
            put(NEXT.0, next.certificate.pem());
            put(NEXT.1, next.key().pem());
        }
        if let Some(previous) = previous {
            put(PREVIOUS, previous.pem());
        }
        data
    }
}

impl Found {
    /// Looks into a Secret.
    pub fn read(secret: &Secret) -> Self {
        if let Some(kind) = secret.type_.as_deref().filter(|kind| !TYPES.contains(kind)) {
            return Self::Foreign(format!("it is of the type {kind}"));
        }
        if secret.immutable == Some(true) {
            return Self::Foreign("it is immutable".to_owned());
        }
        let none = BTreeMap::new();
        Self::of(secret.data.as_ref().unwrap_or(&none))
    }

    fn of(data: &BTreeMap<String, ByteString>) -> Self {
        let get =
            |name: &str| data.get(name).map(|bytes| bytes.0.as_slice()).filter(|bytes| !bytes.is_empty());
        let filled: Vec<_> = data.keys().map(String::as_str).filter(|name| get(name).is_some()).collect();
        if filled.is_empty() {
            return Self::Empty;
        }
        let foreign: Vec<_> = filled.iter().copied().filter(|name| !ALL.contains(name)).collect();
        if !foreign.is_empty() {
            return Self::Foreign(format!("it holds {}", foreign.join(", ")));
        }
        // Others keep certificates under these names too, cert-manager for one.
        if get(AUTHORITY.0).is_none() && get(AUTHORITY.1).is_none() {
            return Self::Foreign(format!("it holds {} of another authority", filled.join(", ")));
        }
        let pair = |(certificate, key): (&str, &str)| {
            Authority::read(get(certificate).unwrap_or_default(), get(key).unwrap_or_default())
        };
        let authority = match pair(AUTHORITY) {
            Ok(authority) => authority,
            Err(fault) => return Self::Broken(format!("{}: {fault}", AUTHORITY.0)),
        };
        let mut faults = Vec::new();
        let mut note = |name: &str, fault: &Fault| faults.push(format!("{name}: {fault}"));
        let has = |names: &[&str]| names.iter().any(|name| get(name).is_some());
        let serving = ServingCertificate::read(
            get(CERTIFICATE).unwrap_or_default(),
            get(KEY).unwrap_or_default(),
            &authority,
        );
        let serving = serving.inspect_err(|fault| note(CERTIFICATE, fault)).ok();
        let next = has(&[NEXT.0, NEXT.1]).then(|| pair(NEXT).inspect_err(|fault| note(NEXT.0, fault)).ok());
        let previous =
            get(PREVIOUS).map(|pem| Certificate::read(pem).inspect_err(|fault| note(PREVIOUS, fault)).ok());
        let held = Held { authority, serving, next: next.flatten(), previous: previous.flatten() };
        Self::Held(Box::new(held), faults)
    }
}
