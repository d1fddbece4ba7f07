//! CA rotation as a pure state machine: which write is due, given the bundle, the time, and for how long other
//! processes have seen the current state.
//!
//! ```text
//! empty --Bootstrap--> ca, serving <--IssueLeaf--+  at two thirds of the serving certificate's validity
//!                          |                     |
//!                        AddCa                      at two thirds of the CA's validity
//!                          v
//!                 ca, serving, next_ca              both CAs are trusted
//!                          |
//!                      PromoteCa                    after the bundle was in sync for the propagation delay
//!                          v
//!               previous_ca, ca, serving            both CAs are trusted
//!                          |
//!                       RetireCa                    after replicas served the new certificate for the delay
//!                          v
//!                     ca, serving
//! ```
//!
//! Each rotation is one write of the whole Secret, so there are no states in between. The Secret holds no
//! timestamps but those of the certificates: each replica measures propagation with its own monotonic clock, and
//! starts over when it restarts.

use std::collections::BTreeSet;
use std::time::Duration;

use super::certificate::{CertificateAuthority, CertificateError, ServingCertificate, UnixTime};
use super::secret::CertBundle;

/// Names and validity periods of the certificates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RotationPolicy {
    /// DNS names and IP addresses of the serving certificate; at least one.
    pub dns_names: BTreeSet<String>,
    /// Validity period of a serving certificate.
    pub certificate_validity: Duration,
    /// Validity period of a CA.
    pub ca_validity: Duration,
    /// Time for API servers and replicas to observe a change.
    pub propagation_delay: Duration,
}

/// For how long this replica has observed the current state without interruption.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Observed {
    /// Time since all webhook configurations have the CA bundle of the Secret; None while one of them has not.
    pub in_sync_for: Option<Duration>,
    /// Time since the current CA signs.
    pub current_ca_for: Duration,
}

/// The next write to the Secret.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Rotation {
    /// Generate a CA and a serving certificate.
    Bootstrap,
    /// Issue a new serving certificate.
    IssueLeaf,
    /// Generate the next CA, and trust it beside the current one.
    AddCa,
    /// Sign with the next CA from now on.
    PromoteCa,
    /// Stop trusting the previous CA.
    RetireCa,
    /// No write is due before this time, unless the state changes.
    Wait(UnixTime),
}

impl Rotation {
    /// The rotations that write the Secret.
    pub const WRITES: [Self; 5] =
        [Self::Bootstrap, Self::IssueLeaf, Self::AddCa, Self::PromoteCa, Self::RetireCa];

    /// The label value in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::IssueLeaf => "issue",
            Self::AddCa => "add",
            Self::PromoteCa => "promote",
            Self::RetireCa => "retire",
            Self::Wait(_) => "wait",
        }
    }
}

/// Decides the next rotation.
pub fn next_rotation(
    bundle: Option<&CertBundle>,
    now: UnixTime,
    observed: Observed,
    policy: &RotationPolicy,
) -> Rotation {
    let Some(bundle) = bundle else { return Rotation::Bootstrap };
    let CertBundle { ca, serving, next_ca, previous_ca } = bundle;
    let next_ca = next_ca.as_ref().filter(|next| next.certificate.is_valid(now));
    if !ca.certificate.is_valid(now) {
        // No client accepts what an expired CA has signed; some may already trust the next one.
        return if next_ca.is_some() { Rotation::PromoteCa } else { Rotation::Bootstrap };
    }
    let Some(serving) = serving.as_ref().filter(|serving| serving.certificate.is_valid(now)) else {
        return Rotation::IssueLeaf;
    };
    if !policy.dns_names.is_subset(&serving.dns_names) {
        return Rotation::IssueLeaf;
    }
    let delay = policy.propagation_delay;
    if let Some(previous) = previous_ca
        && (observed.current_ca_for >= delay || !previous.is_valid(now))
    {
        return Rotation::RetireCa;
    }
    if next_ca.is_some() && previous_ca.is_none() && observed.in_sync_for.is_some_and(|time| time >= delay) {
        return Rotation::PromoteCa;
    }
    let (leaf, root) = (&serving.certificate, &ca.certificate);
    if next_ca.is_none() && now >= root.renewal_time() {
        return Rotation::AddCa;
    }
    let validity = policy.certificate_validity;
    // A leaf never outlives its CA. Near the end of the CA a new leaf gains little, so the next CA is awaited.
    let gain = (now + validity).min(root.not_after).saturating_sub(leaf.not_after);
    // A leaf that outlives the policy was issued under a longer one.
    let excess = leaf.not_after.saturating_sub(now + validity);
    if (now >= leaf.renewal_time() && gain > validity / 10) || excess > validity / 10 {
        return Rotation::IssueLeaf;
    }
    let due = [leaf.renewal_time(), root.renewal_time(), leaf.not_after];
    Rotation::Wait(due.into_iter().filter(|time| *time > now).min().unwrap_or(now))
}

/// Applies a rotation. `last_served` is the bundle that this replica served before the Secret was emptied or
/// corrupted: it stays in use, and a new CA replaces its CA by a regular rotation.
pub fn apply(
    rotation: Rotation,
    bundle: Option<&CertBundle>,
    last_served: Option<&CertBundle>,
    now: UnixTime,
    policy: &RotationPolicy,
) -> Result<CertBundle, CertificateError> {
    let generate = || CertificateAuthority::generate(now, policy.ca_validity);
    let issue = |ca: &CertificateAuthority| ca.issue(&policy.dns_names, now, policy.certificate_validity);
    let bootstrap = || {
        let ca = generate()?;
        let serving = Some(issue(&ca)?);
        Ok(CertBundle { ca, serving, next_ca: None, previous_ca: None })
    };
    let Some(bundle) = bundle else {
        let usable = last_served.filter(|known| {
            let serving = known.serving.as_ref().is_some_and(|serving| serving.certificate.is_valid(now));
            serving && known.ca.certificate.is_valid(now)
        });
        return match usable {
            Some(known) => Ok(CertBundle { next_ca: Some(generate()?), ..known.clone() }),
            None => bootstrap(),
        };
    };
    let bundle = bundle.clone();
    Ok(match rotation {
        Rotation::Wait(_) => bundle,
        Rotation::Bootstrap => bootstrap()?,
        Rotation::IssueLeaf => CertBundle { serving: Some(reissue(&bundle, now, policy)?), ..bundle },
        Rotation::AddCa => CertBundle { next_ca: Some(generate()?), ..bundle },
        Rotation::PromoteCa => match bundle.next_ca {
            Some(next) => CertBundle {
                serving: Some(issue(&next)?),
                ca: next,
                next_ca: None,
                previous_ca: Some(bundle.ca.certificate).filter(|previous| previous.is_valid(now)),
            },
            None => bundle,
        },
        Rotation::RetireCa => CertBundle { previous_ca: None, ..bundle },
    })
}

/// Issues another leaf. During a rolling update two versions may want different names: the leaf gets the names of
/// both, or each version would revert the other's. Names that no version wants are dropped at the next renewal.
fn reissue(
    bundle: &CertBundle,
    now: UnixTime,
    policy: &RotationPolicy,
) -> Result<ServingCertificate, CertificateError> {
    let valid = bundle.serving.as_ref().filter(|serving| serving.certificate.is_valid(now));
    let is_due = |serving: &ServingCertificate| now >= serving.certificate.renewal_time();
    let kept = valid
        .filter(|serving| !is_due(serving) || !policy.dns_names.is_subset(&serving.dns_names))
        .map(|serving| serving.dns_names.clone());
    let more = kept.unwrap_or_default();
    let names = policy.dns_names.union(&more).cloned().collect();
    bundle.ca.issue(&names, now, policy.certificate_validity)
}
