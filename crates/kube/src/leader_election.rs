//! Leader election: of several operators one acts, the others wait with full caches.
//!
//! The leader's name stands in a Lease that it renews, with client-go's durations. Every write of the Lease carries
//! the version that was read, so of two who write at a time one fails.
//!
//! # Leadership does not overlap
//!
//! Let a leader *send* its last renewal that succeeds at `s`. The API server stores it at `t >= s`, and whoever waits
//! observes the change at `o >= t`, each by its own clock, of which only durations count:
//!
//! ```text
//! leader:     writes until   s + RENEW_DEADLINE                     = s +  8 s
//! candidate:  acquires from  o + LEASE_DURATION >= s + LEASE_DURATION = s + 12 s
//! margin:     LEASE_DURATION - RENEW_DEADLINE                       =      4 s
//! ```
//!
//! The deadline is counted from when the request was sent, and not from its answer: however late that comes, in a
//! renewal or in the acquisition itself, it takes from the leader's time and never from the margin. All that a leader
//! does about its Lease stands under this one deadline, so that no sum of waits goes past it. At the deadline the
//! [`Fence`] closes: nothing more is sent, what is under way is dropped, the creations of Jobs and children that no
//! version guards included, and the program ends. The margin is for what the API server has taken in and not yet
//! carried out, and for clocks that run at different speeds: a third faster would do no harm.

use std::time::Duration;

use function_mesh_api::labels::managers;
use function_mesh_serving::shutdown::CancellationToken;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use prometheus::{IntGauge, Registry};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::fence::Fence;

/// How long a Lease counts without renewal. With the time between two looks it is 14 seconds until another
/// leader acts in place of one that was killed.
pub const LEASE_DURATION: Duration = Duration::from_secs(12);
/// How long a leader acts after it sent its last renewal that succeeded.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(8);
/// Time between two looks, and between two renewals.
pub const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// How long the answer to a renewal is waited for: two that are lost fit into the deadline.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// Where the Lease is, and who wants it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub lease: String,
    /// Name of this program, different from all others.
    pub identity: String,
}

/// Why a program stopped leading.
#[derive(Debug, thiserror::Error)]
pub enum ElectionError {
    /// Somebody else leads.
    #[error("lost leadership: {0:?} took over the lease; exiting to restart as a follower")]
    TakenOver(String),
    /// The Lease could not be renewed in time.
    #[error(
        "lost leadership: failed to renew the lease within {RENEW_DEADLINE:?}: {0}; exiting to restart as a follower"
    )]
    NotRenewed(String),
    /// The metric could not be registered.
    #[error("cannot register the metric of leadership: {0}")]
    Metric(#[from] prometheus::Error),
}

/// Whether this program leads.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// Cancelled when it leads.
    pub elected: CancellationToken,
    /// Cancelled when it is to end.
    pub end: CancellationToken,
    /// What its writes pass.
    pub fence: Fence,
}

impl Leadership {
    /// Of a program that is alone: it leads at once.
    pub fn alone(end: CancellationToken) -> Self {
        let elected = CancellationToken::new();
        elected.cancel();
        Self { elected, end, fence: Fence::open() }
    }

    /// Of a program that is not elected yet.
    pub fn candidate(end: CancellationToken) -> Self {
        Self { elected: CancellationToken::new(), end, fence: Fence::closed() }
    }

    /// Waits until this program leads. False when it is to end.
    pub async fn wait_until_leader(&self) -> bool {
        tokio::select! {
            biased;
            () = self.end.cancelled() => false,
            () = self.elected.cancelled() => true,
        }
    }
}

/// What is to be done about a Lease.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// There is none: make it.
    Create,
    /// It is ours, or nobody's, or its holder is gone: write it.
    Write,
    /// Somebody holds it.
    Wait,
}

/// What was last seen of a Lease, and when: a holder is alive while this changes.
#[derive(Clone, Debug, Default)]
struct ObservedLease {
    version: Option<String>,
    since: Option<Instant>,
}

impl ObservedLease {
    fn observe(&mut self, lease: Option<&Lease>, identity: &str, now: Instant) -> Step {
        let Some(lease) = lease else { return Step::Create };
        let version = lease.metadata.resource_version.clone();
        if self.since.is_none() || self.version != version {
            *self = Self { version, since: Some(now) };
        }
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        if holder.is_empty() || holder == identity {
            return Step::Write;
        }
        // Another operator's leader may go on for longer, by what it wrote; ours never stops earlier.
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = seconds.map_or(LEASE_DURATION, Duration::from_secs).max(LEASE_DURATION);
        let unchanged = self.since.map(|since| now.duration_since(since)).unwrap_or_default();
        if unchanged >= duration { Step::Write } else { Step::Wait }
    }
}

/// A Lease that is ours, and when the request was sent that made it so.
struct Held {
    lease: Box<Lease>,
    sent: Instant,
}

impl Held {
    /// Until when it lets us act.
    fn deadline(&self) -> Instant {
        self.sent + RENEW_DEADLINE
    }
}

/// How a period of renewing ended.
enum Renewal {
    Renewed(Held),
    TakenOver(String),
    End,
}

/// The metric of leadership.
pub fn gauge(registry: &Registry) -> Result<IntGauge, ElectionError> {
    let gauge = IntGauge::new("function_mesh_leader", "1 while this program leads, or is alone; else 0.")?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

impl Candidate {
    /// Acquires the Lease, lets this program lead, and renews the Lease until `done`, when the last write is done and
    /// it gives the Lease back. After an error this program must not act any more, and its writes are refused.
    pub async fn lead(
        self,
        client: Client,
        registry: &Registry,
        leadership: &Leadership,
        done: &CancellationToken,
    ) -> Result<(), ElectionError> {
        let gauge = gauge(registry)?;
        let api = Api::namespaced(client, &self.namespace);
        let Some(held) = self.acquire(&api, done).await else { return Ok(()) };
        tracing::info!(lease = self.lease, identity = self.identity, "leading");
        gauge.set(1);
        leadership.fence.open_until(held.deadline());
        leadership.elected.cancel();
        let result = self.renew(&api, held, &leadership.fence, done).await;
        leadership.fence.close();
        gauge.set(0);
        match result? {
            None => {}
            // Only now, when nothing more is written.
            Some(held) => self.release(&api, held).await,
        }
        Ok(())
    }

    /// Waits until the Lease is ours. None when the program ends before.
    async fn acquire(&self, api: &Api<Lease>, done: &CancellationToken) -> Option<Held> {
        let mut observed = ObservedLease::default();
        loop {
            tokio::select! {
                () = done.cancelled() => return None,
                // An answer that comes later than that would leave too little of what it gives.
                acquired = timeout(2 * RETRY_PERIOD, self.try_acquire(api, &mut observed)) => match acquired {
                    Ok(Ok(Some(held))) => return Some(held),
                    Ok(Ok(None)) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(%error, lease = self.lease, "cannot read or write the lease; retrying");
                    }
                    Err(_) => tracing::warn!(lease = self.lease, "request for the lease timed out; retrying"),
                }
            }
            tokio::select! {
                () = done.cancelled() => return None,
                () = sleep(RETRY_PERIOD) => {}
            }
        }
    }

    async fn try_acquire(
        &self,
        api: &Api<Lease>,
        observed: &mut ObservedLease,
    ) -> Result<Option<Held>, kube::Error> {
        let lease = api.get_opt(&self.lease).await?;
        let step = observed.observe(lease.as_ref(), &self.identity, Instant::now());
        let sent = Instant::now();
        let written = match step {
            Step::Wait => return Ok(None),
            Step::Create => api.create(&params(), &self.claim(None)).await,
            Step::Write => api.replace(&self.lease, &params(), &self.claim(lease)).await,
        };
        match written {
            Ok(lease) => Ok(Some(Held { lease: Box::new(lease), sent })),
            // Somebody was faster.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Renews until the end; then the Lease is given, to be released.
    async fn renew(
        &self,
        api: &Api<Lease>,
        mut held: Held,
        fence: &Fence,
        done: &CancellationToken,
    ) -> Result<Option<Lease>, ElectionError> {
        loop {
            let mut fault = "no answer".to_owned();
            let mut lease = (*held.lease).clone();
            let renewal = self.try_renew(api, &mut lease, &mut fault, done);
            match timeout_at(held.deadline(), renewal).await {
                Ok(Renewal::Renewed(renewed)) => {
                    held = renewed;
                    fence.open_until(held.deadline());
                }
                Ok(Renewal::TakenOver(holder)) => return Err(ElectionError::TakenOver(holder)),
                Ok(Renewal::End) => return Ok(Some(lease)),
                Err(_) => return Err(ElectionError::NotRenewed(fault)),
            }
        }
    }

    /// Tries until a renewal succeeds, without end. The latest Lease and fault are told as they come.
    async fn try_renew(
        &self,
        api: &Api<Lease>,
        lease: &mut Lease,
        fault: &mut String,
        done: &CancellationToken,
    ) -> Renewal {
        let mut next = Instant::now() + RETRY_PERIOD;
        loop {
            tokio::select! {
                () = done.cancelled() => return Renewal::End,
                () = sleep_until(next) => {}
            }
            let sent = Instant::now();
            next = sent + RETRY_PERIOD;
            let (params, claim) = (params(), self.claim(Some(lease.clone())));
            let (error, is_conflict) =
                match timeout(REQUEST_TIMEOUT, api.replace(&self.lease, &params, &claim)).await {
                    Ok(Ok(lease)) => return Renewal::Renewed(Held { lease: Box::new(lease), sent }),
                    Ok(Err(error)) => (
                        error.to_string(),
                        matches!(&error, kube::Error::Api(status) if status.is_conflict()),
                    ),
                    Err(_) => ("request timed out".to_owned(), false),
                };
            tracing::warn!(error, lease = self.lease, "cannot renew the lease; retrying");
            *fault = error;
            if !is_conflict {
                continue;
            }
            // Somebody else may hold it; or our own write went through and its answer was lost, or somebody changed a
            // label.
            if let Ok(Ok(Some(newer))) = timeout(REQUEST_TIMEOUT, api.get_opt(&self.lease)).await {
                let holder =
                    newer.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
                if holder != self.identity {
                    return Renewal::TakenOver(holder);
                }
                *lease = newer;
                next = Instant::now();
            }
        }
    }

    async fn release(&self, api: &Api<Lease>, mut lease: Lease) {
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
        }
        match timeout(REQUEST_TIMEOUT, api.replace(&self.lease, &params(), &lease)).await {
            Ok(Ok(_)) => tracing::info!(lease = self.lease, "gave the lease back"),
            Ok(Err(error)) => {
                tracing::warn!(%error, lease = self.lease, "cannot give the lease back; it expires");
            }
            Err(_) => tracing::warn!(lease = self.lease, "cannot give the lease back in time; it expires"),
        }
    }

    /// The Lease as ours, on top of what was read.
    fn claim(&self, read: Option<Lease>) -> Lease {
        let now = Some(MicroTime(Timestamp::now()));
        let before = read.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let is_new = before.holder_identity.as_deref() != Some(self.identity.as_str());
        let metadata = read.map_or_else(
            || ObjectMeta {
                name: Some(self.lease.clone()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            |lease| lease.metadata,
        );
        let transitions = before.lease_transitions.unwrap_or_default();
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
                acquire_time: if is_new { now.clone() } else { before.acquire_time },
                renew_time: now,
                lease_transitions: Some(if is_new { transitions.saturating_add(1) } else { transitions }),
                ..LeaseSpec::default()
            }),
        }
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(managers::LEASE.to_owned()), ..PostParams::default() }
}

#[cfg(test)]
mod tests;
