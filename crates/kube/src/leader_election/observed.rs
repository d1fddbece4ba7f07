//! What a candidate has observed of a Lease, and what it does next.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;

use super::LEASE_DURATION;

/// The next step of a candidate.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// The Lease does not exist: create it.
    Create,
    /// The Lease is ours, released or expired: write it.
    Write,
    /// Another replica holds the Lease.
    Wait,
}

/// The last observed version of a Lease, when it was observed first, and the end of its holder's term. As in client-go, a
/// holder is alive while the version changes; the times in the Lease are not compared, since they are another clock's.
#[derive(Clone, Debug, Default)]
pub(super) struct ObservedLease {
    version: Option<String>,
    since: Option<Instant>,
    expires: Option<Instant>,
}

impl ObservedLease {
    pub(super) fn observe(&mut self, lease: Option<&Lease>, identity: &str, now: Instant) -> Step {
        let Some(lease) = lease else {
            // A user or the garbage collector deleted it, and its holder may not know yet.
            return if self.expires.is_some_and(|end| now < end) { Step::Wait } else { Step::Create };
        };
        let version = lease.metadata.resource_version.clone();
        let since = self.since.filter(|_| self.version == version).unwrap_or(now);
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        // Upstream's leader may have written a longer duration; ours is never shorter.
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = seconds.map_or(LEASE_DURATION, Duration::from_secs).max(LEASE_DURATION);
        let is_held = !holder.is_empty() && holder != identity;
        *self = Self { version, since: Some(since), expires: is_held.then_some(since + duration) };
        if self.expires.is_some_and(|end| now < end) { Step::Wait } else { Step::Write }
    }
}
