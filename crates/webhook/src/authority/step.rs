//! What is to be done next: a function of what is held, of the time, and of how long others have seen it.
//!
//! ```text
//! nothing --All--> authority, certificate <--Certificate--+ two thirds of the certificate's life
//!                          |                              |
//!                      Introduce   two thirds of the authority's life
//!                          v
//!             authority, certificate, next          both are trusted
//!                          |
//!                       Switch     all API servers have known `next` for the grace
//!                          v
//!          previous, authority, certificate         both are trusted
//!                          |
//!                        Drop      all replicas have served the new certificate for the grace
//!                          v
//!                 authority, certificate
//! ```
//!
//! Each step is one write of the whole Secret, so there is nothing between two of them. No time stands in the
//! Secret beside that of the certificates: how long something has been seen is what each replica knows by itself
//! and by its own clock, and one that starts anew waits anew.

use std::collections::BTreeSet;
use std::time::Duration;

use super::certificate::{Authority, Certificate, Fault, Moment};
use super::held::Held;

/// What is wished for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    /// Names and addresses of the serving certificate; there is at least one.
    pub names: BTreeSet<String>,
    /// How long a serving certificate is valid.
    pub certificate: Duration,
    /// How long an authority is valid.
    pub authority: Duration,
    /// How long others may take to learn of a change.
    pub grace: Duration,
}

/// How long this program has seen things, without an interruption.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Seen {
    /// That all configurations trust what the Secret says is to be trusted. None while one of them does not.
    pub trusted: Option<Duration>,
    /// That the present authority is the one that signs.
    pub signing: Duration,
}

/// One step.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Step {
    /// To make an authority and a certificate.
    All,
    /// To make another certificate.
    Certificate,
    /// To make the next authority, which nobody trusts yet.
    Introduce,
    /// To let the next authority sign.
    Switch,
    /// To trust the previous authority no longer.
    Drop,
    /// To do nothing until then, or until something changes.
    Wait(Moment),
}

impl Step {
    /// The steps that write.
    pub const WRITING: [Self; 5] = [Self::All, Self::Certificate, Self::Introduce, Self::Switch, Self::Drop];

    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Certificate => "certificate",
            Self::Introduce => "introduce",
            Self::Switch => "switch",
            Self::Drop => "drop",
            Self::Wait(_) => "wait",
        }
    }
}

/// The next step.
pub fn next(held: Option<&Held>, now: Moment, seen: Seen, plan: &Plan) -> Step {
    let Some(held) = held else { return Step::All };
    let Held { authority, serving, next, previous } = held;
    let next = next.as_ref().filter(|next| next.certificate.is_valid(now));
    if !authority.certificate.is_valid(now) {
        // Nothing that it signed is taken by anybody; who trusts the next one already is served the sooner.
        return if next.is_some() { Step::Switch } else { Step::All };
    }
    let Some(serving) = serving.as_ref().filter(|serving| serving.certificate.is_valid(now)) else {
        return Step::Certificate;
    };
    if !plan.names.is_subset(&serving.names) {
        return Step::Certificate;
    }
    if let Some(previous) = previous
        && (seen.signing >= plan.grace || !previous.is_valid(now))
    {
        return Step::Drop;
    }
    if next.is_some() && previous.is_none() && seen.trusted.is_some_and(|time| time >= plan.grace) {
        return Step::Switch;
    }
    let (own, root) = (&serving.certificate, &authority.certificate);
    if next.is_none() && now >= root.renewal() {
        return Step::Introduce;
    }
    // A certificate that ends with its authority is not bettered by another one: the next authority's is awaited.
    let gain = (now + plan.certificate).min(root.not_after).saturating_sub(own.not_after);
    let is_worth_it = gain > plan.certificate / 10;
    // One that holds longer than is wished for now was made when more was wished for.
    let excess = own.not_after.saturating_sub(now + plan.certificate);
    if (now >= own.renewal() && is_worth_it) || excess > plan.certificate / 10 {
        return Step::Certificate;
    }
    let moments = [own.renewal(), root.renewal(), own.not_after];
    Step::Wait(moments.into_iter().filter(|moment| *moment > now).min().unwrap_or(now))
}

/// What is held after a step. `known` is what this program served until the Secret was emptied or spoilt: it
/// stays in use, and a new authority takes its place in good order.
pub fn take(
    step: Step,
    held: Option<&Held>,
    known: Option<&Held>,
    now: Moment,
    plan: &Plan,
) -> Result<Held, Fault> {
    let make = || Authority::make(now, plan.authority);
    let issue = |authority: &Authority| authority.issue(&plan.names, now, plan.certificate);
    let begin = || {
        let authority = make()?;
        let serving = Some(issue(&authority)?);
        Ok(Held { authority, serving, next: None, previous: None })
    };
    let Some(held) = held else {
        let usable = known.filter(|known| {
            let serving = known.serving.as_ref().is_some_and(|serving| serving.certificate.is_valid(now));
            serving && known.authority.certificate.is_valid(now)
        });
        return match usable {
            Some(known) => Ok(Held { next: Some(make()?), ..known.clone() }),
            None => begin(),
        };
    };
    let held = held.clone();
    Ok(match step {
        Step::Wait(_) => held,
        Step::All => begin()?,
        Step::Certificate => Held { serving: Some(again(&held, now, plan)?), ..held },
        Step::Introduce => Held { next: Some(make()?), ..held },
        Step::Switch => match held.next {
            Some(next) => Held {
                serving: Some(issue(&next)?),
                authority: next,
                next: None,
                previous: Some(held.authority.certificate).filter(|previous| previous.is_valid(now)),
            },
            None => held,
        },
        Step::Drop => Held { previous: None, ..held },
    })
}

/// Another certificate. While two versions of the program run that want different names, it has those of both,
/// lest each takes away what the other wants. What nobody wants any more goes when it is time for another one anyway.
fn again(held: &Held, now: Moment, plan: &Plan) -> Result<super::certificate::ServingCertificate, Fault> {
    let valid = held.serving.as_ref().filter(|serving| serving.certificate.is_valid(now));
    let is_early = |certificate: &Certificate| now < certificate.renewal();
    let kept = valid
        .filter(|serving| is_early(&serving.certificate) || !plan.names.is_subset(&serving.names))
        .map(|serving| serving.names.clone());
    let more = kept.unwrap_or_default();
    let names = plan.names.union(&more).cloned().collect();
    held.authority.issue(&names, now, plan.certificate)
}
