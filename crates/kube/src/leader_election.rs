//! Leader election with a Lease: one replica leads, the followers keep their caches synced.
//!
//! The leader renews a Lease with its identity, with client-go's parameters. Every write of the Lease has the resource
//! version that was read, so of two concurrent writes one fails.
//!
//! # Leadership does not overlap
//!
//! Let a leader *send* its last successful renewal at `s`. The API server stores it at `t >= s`, and a candidate observes
//! the change at `o >= t`. Each uses its own clock, of which only durations matter:
//!
//! ```text
//! leader:     writes until   s + RENEW_DEADLINE                     = s +  8 s
//! candidate:  acquires from  o + LEASE_DURATION >= s + LEASE_DURATION = s + 12 s
//! margin:     LEASE_DURATION - RENEW_DEADLINE                       =      4 s
//! ```
//!
//! The deadline counts from when the request was sent, not from the response: a late response, to a renewal or to the
//! acquisition, shortens the leader's term and never the margin. All Lease requests of a leader share this one deadline,
//! so that waits do not add up beyond it. At the deadline the [`Fence`] closes: no more writes are sent, writes in flight
//! are cancelled, including creations of Jobs and children, which have no resource version as a precondition, and the
//! process exits. The margin covers writes that the API server has accepted and not yet committed, and clocks of
//! different speed: up to a third.
//!
//! A deleted Lease changes none of this for a candidate that has observed it: it waits until the holder's term is over. A
//! leader whose Lease is gone stops at once. Only a process that has never observed a holder creates the Lease without
//! waiting.
//!
//! # The Lease belongs to the ServiceAccount
//!
//! `helm uninstall` deletes bindings and ServiceAccount while the pods terminate, so the leader may no longer write, and
//! cannot release its Lease. Its owner is the ServiceAccount, so the garbage collector deletes it, and the next
//! installation leads at once. That is safe since no process has that identity any more: the API server rejects what the old
//! process might still write. A pod as the owner would not be: an object of a pod may be gone while its process runs.

use std::time::Duration;

use function_mesh_api::labels::managers;
use function_mesh_serving::shutdown::CancellationToken;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::PostParams;
use kube::{Api, Client};
use prometheus::{IntGauge, Registry};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::fence::Fence;
use observed::{ObservedLease, Step};

/// How long a Lease is valid without renewal. With the retry period, another replica leads 14 seconds after a leader was
/// killed.
pub const LEASE_DURATION: Duration = Duration::from_secs(12);
/// How long a leader acts after it sent its last successful renewal.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(8);
/// Time between two attempts to acquire, and between two renewals.
pub const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// Timeout of a renewal: two lost requests fit into the deadline.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// The Lease, and the identity of this replica.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub lease: String,
    /// Unique identity of this replica.
    pub identity: String,
    /// Owner of the Lease, in its namespace: the ServiceAccount that writes it, see
    /// [`service_account`](crate::service_account). None if it is unknown.
    pub owner: Option<OwnerReference>,
}

/// Why a replica lost leadership.
#[derive(Debug, thiserror::Error)]
pub enum ElectionError {
    /// Another replica holds the Lease.
    #[error("lost leadership: {0:?} took over the lease; exiting to restart as a follower")]
    TakenOver(String),
    /// The Lease does not exist any more.
    #[error("lost leadership: the lease was deleted; exiting to restart as a follower")]
    Deleted,
    /// The Lease was not renewed in time.
    #[error(
        "lost leadership: failed to renew the lease within {RENEW_DEADLINE:?}: {0}; exiting to restart as a follower"
    )]
    NotRenewed(String),
    /// The metric could not be registered.
    #[error("failed to register the leader metric: {0}")]
    Metric(#[from] prometheus::Error),
}

/// Whether this replica leads.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// Cancelled when this replica becomes the leader.
    pub elected: CancellationToken,
    /// Cancelled on shutdown.
    pub shutdown: CancellationToken,
    /// Blocks writes without leadership.
    pub fence: Fence,
}

impl Leadership {
    /// Without leader election: leads at once.
    pub fn alone(shutdown: CancellationToken) -> Self {
        let elected = CancellationToken::new();
        elected.cancel();
        Self { elected, shutdown, fence: Fence::open() }
    }

    /// A follower.
    pub fn candidate(shutdown: CancellationToken) -> Self {
        Self { elected: CancellationToken::new(), shutdown, fence: Fence::closed() }
    }

    /// Waits until this replica leads. False on shutdown.
    pub async fn wait_until_leader(&self) -> bool {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => false,
            () = self.elected.cancelled() => true,
        }
    }
}

/// A Lease that we hold, and when the request was sent that acquired or renewed it.
struct HeldLease {
    lease: Box<Lease>,
    sent: Instant,
}

impl HeldLease {
    /// The end of the leader's term.
    fn deadline(&self) -> Instant {
        self.sent + RENEW_DEADLINE
    }
}

/// The result of renewing.
enum Renewal {
    Renewed(HeldLease),
    TakenOver(String),
    Deleted,
    Released,
}

/// The leader metric.
pub fn gauge(registry: &Registry) -> Result<IntGauge, ElectionError> {
    let help = "1 while this replica leads or leader election is off; else 0.";
    let gauge = IntGauge::new("function_mesh_leader", help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

impl Candidate {
    /// Acquires the Lease, leads, and renews the Lease until `done`, which is cancelled after the last write; then
    /// releases it. After an error leadership is lost: the fence is closed, and the process must exit.
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
        tracing::info!(lease = self.lease, identity = self.identity, "became leader");
        gauge.set(1);
        leadership.fence.open_until(held.deadline());
        leadership.elected.cancel();
        let result = self.renew(&api, held, &leadership.fence, done).await;
        leadership.fence.close();
        gauge.set(0);
        match result? {
            None => {}
            // Only after the fence is closed.
            Some(held) => self.release(&api, held).await,
        }
        Ok(())
    }

    /// Waits until this replica holds the Lease. None on shutdown.
    async fn acquire(&self, api: &Api<Lease>, done: &CancellationToken) -> Option<HeldLease> {
        let mut observed = ObservedLease::default();
        loop {
            tokio::select! {
                () = done.cancelled() => return None,
                // A later response would leave too little of the term.
                acquired = timeout(2 * RETRY_PERIOD, self.try_acquire(api, &mut observed)) => match acquired {
                    Ok(Ok(Some(held))) => return Some(held),
                    Ok(Ok(None)) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(%error, lease = self.lease, "failed to read or write the lease; retrying");
                    }
                    Err(_) => tracing::warn!(lease = self.lease, "lease request timed out; retrying"),
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
    ) -> Result<Option<HeldLease>, kube::Error> {
        let lease = api.get_opt(&self.lease).await?;
        let step = observed.observe(lease.as_ref(), &self.identity, Instant::now());
        if step == Step::Wait {
            return Ok(None);
        }
        let sent = Instant::now();
        let written = match self.write(api, with_owner(self.claim(lease.clone()), self.owner.as_ref())).await
        {
            // An admission plugin may require permissions for a change of owners that this account lacks.
            Err(kube::Error::Api(status)) if status.is_forbidden() && self.owner.is_some() => {
                self.write(api, self.claim(lease)).await
            }
            written => written,
        };
        match written {
            Ok(lease) => Ok(Some(HeldLease { lease: Box::new(lease), sent })),
            // Another replica was faster.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates the Lease, or replaces the version that was read.
    async fn write(&self, api: &Api<Lease>, lease: Lease) -> Result<Lease, kube::Error> {
        if lease.metadata.resource_version.is_some() {
            api.replace(&self.lease, &params(), &lease).await
        } else {
            api.create(&params(), &lease).await
        }
    }

    /// Renews the Lease until shutdown and returns it, to be released.
    async fn renew(
        &self,
        api: &Api<Lease>,
        mut held: HeldLease,
        fence: &Fence,
        done: &CancellationToken,
    ) -> Result<Option<Lease>, ElectionError> {
        loop {
            let mut error = "no response".to_owned();
            let mut lease = (*held.lease).clone();
            let renewal = self.try_renew(api, &mut lease, &mut error, done);
            match timeout_at(held.deadline(), renewal).await {
                Ok(Renewal::Renewed(renewed)) => {
                    held = renewed;
                    fence.open_until(held.deadline());
                }
                Ok(Renewal::TakenOver(holder)) => return Err(ElectionError::TakenOver(holder)),
                Ok(Renewal::Deleted) => return Err(ElectionError::Deleted),
                Ok(Renewal::Released) => return Ok(Some(lease)),
                Err(_) => return Err(ElectionError::NotRenewed(error)),
            }
        }
    }

    /// Retries until a renewal succeeds; the caller has the deadline. Updates the Lease and the last error.
    async fn try_renew(
        &self,
        api: &Api<Lease>,
        lease: &mut Lease,
        last_error: &mut String,
        done: &CancellationToken,
    ) -> Renewal {
        let mut next = Instant::now() + RETRY_PERIOD;
        loop {
            tokio::select! {
                () = done.cancelled() => return Renewal::Released,
                () = sleep_until(next) => {}
            }
            let sent = Instant::now();
            next = sent + RETRY_PERIOD;
            let (params, claim) = (params(), self.claim(Some(lease.clone())));
            let (error, is_changed) = match timeout(
                REQUEST_TIMEOUT,
                api.replace(&self.lease, &params, &claim),
            )
            .await
            {
                Ok(Ok(lease)) => return Renewal::Renewed(HeldLease { lease: Box::new(lease), sent }),
                Ok(Err(error)) => (
                    error.to_string(),
                    matches!(&error, kube::Error::Api(status) if status.is_conflict() || status.is_not_found()),
                ),
                Err(_) => ("request timed out".to_owned(), false),
            };
            tracing::warn!(error, lease = self.lease, "failed to renew the lease; retrying");
            *last_error = error;
            if !is_changed {
                continue;
            }
            // Another replica holds it; or our own write succeeded and its response was lost; or metadata changed; or it
            // was deleted.
            match timeout(REQUEST_TIMEOUT, api.get_opt(&self.lease)).await {
                Ok(Ok(Some(newer))) => {
                    let holder =
                        newer.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
                    if holder != self.identity {
                        return Renewal::TakenOver(holder);
                    }
                    *lease = newer;
                    next = Instant::now();
                }
                Ok(Ok(None)) => return Renewal::Deleted,
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }

    async fn release(&self, api: &Api<Lease>, mut lease: Lease) {
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
        }
        match timeout(REQUEST_TIMEOUT, api.replace(&self.lease, &params(), &lease)).await {
            Ok(Ok(_)) => tracing::info!(lease = self.lease, "released the lease"),
            Ok(Err(error)) => {
                tracing::warn!(%error, lease = self.lease, "failed to release the lease; it expires");
            }
            Err(_) => tracing::warn!(lease = self.lease, "timed out releasing the lease; it expires"),
        }
    }

    /// The Lease with this replica as its holder, based on what was read.
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

/// The Lease with this owner in addition to those that it has.
fn with_owner(mut lease: Lease, owner: Option<&OwnerReference>) -> Lease {
    if let Some(owner) = owner {
        let owners = lease.metadata.owner_references.get_or_insert_default();
        if !owners.iter().any(|other| other.uid == owner.uid) {
            owners.push(owner.clone());
        }
    }
    lease
}

fn params() -> PostParams {
    PostParams { field_manager: Some(managers::LEASE.to_owned()), ..PostParams::default() }
}

mod observed;
#[cfg(test)]
mod tests;
