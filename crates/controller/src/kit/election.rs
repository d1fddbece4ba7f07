//! Leader election: of several operators one acts, the others wait with full caches.
//!
//! The leader's name stands in a Lease that it renews. Every write carries the version that was read, so of two
//! who write at a time one fails. Whoever waits takes the Lease over only when it saw no renewal for the
//! Lease's whole duration by its own clock, so clocks that differ do no harm. A leader that cannot renew stops
//! well before that, and the program ends.

use std::time::Duration;

use function_mesh_api::labels::managers;
use function_mesh_serving::shutdown::CancellationToken;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use prometheus::{IntGauge, Registry};
use tokio::time::{Instant, sleep, timeout};

/// How long a Lease counts without renewal. With the time between two looks it is 14 seconds until another
/// leader acts in place of one that was killed.
const DURATION: Duration = Duration::from_secs(12);
/// How long a leader goes on without being able to renew.
const PATIENCE: Duration = Duration::from_secs(8);
/// Time between two looks, and between two renewals.
const PERIOD: Duration = Duration::from_secs(2);

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
    #[error("{0:?} took over the lease; this program ends, to begin anew as one that waits")]
    TakenOver(String),
    /// The Lease could not be renewed in time.
    #[error("the lease could not be renewed for {PATIENCE:?}, the last time since: {0}")]
    NotRenewed(#[source] Box<kube::Error>),
    /// The metric could not be registered.
    #[error("cannot register the metric of leadership: {0}")]
    Metric(#[from] prometheus::Error),
}

/// Whether this program may act.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Cancelled when it may.
    pub elected: CancellationToken,
    /// Cancelled when it ends.
    pub end: CancellationToken,
}

impl Turn {
    /// Of a program that is alone: it may act at once.
    pub fn at_once(end: CancellationToken) -> Self {
        let elected = CancellationToken::new();
        elected.cancel();
        Self { elected, end }
    }

    /// Waits for the turn. True when there was nothing to wait for. What was read before a wait is old news, and
    /// at the end nothing is to be done, so false means: do nothing with it, ask again.
    pub async fn is_now(&self) -> bool {
        if self.elected.is_cancelled() {
            return !self.end.is_cancelled();
        }
        tokio::select! {
            () = self.elected.cancelled() => {}
            () = self.end.cancelled() => {}
        }
        false
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
struct Sight {
    version: Option<String>,
    since: Option<Instant>,
}

impl Sight {
    fn look(&mut self, lease: Option<&Lease>, identity: &str, now: Instant) -> Step {
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
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = seconds.map_or(DURATION, Duration::from_secs);
        let unchanged = self.since.map(|since| now.duration_since(since)).unwrap_or_default();
        if unchanged >= duration { Step::Write } else { Step::Wait }
    }
}

/// The metric of leadership.
pub fn gauge(registry: &Registry) -> Result<IntGauge, ElectionError> {
    let gauge = IntGauge::new("function_mesh_leader", "1 while this program leads, or is alone; else 0.")?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

impl Candidate {
    /// Waits for the Lease, says so by the turn, and renews it until the end, when it gives it back. An error
    /// means that this program must not act any more.
    pub async fn lead(self, client: Client, registry: &Registry, turn: Turn) -> Result<(), ElectionError> {
        let Turn { elected, end } = turn;
        let gauge = gauge(registry)?;
        let api = Api::namespaced(client, &self.namespace);
        let Some(held) = self.campaign(&api, &end).await else { return Ok(()) };
        tracing::info!(lease = self.lease, identity = self.identity, "leading");
        gauge.set(1);
        elected.cancel();
        let result = self.hold(&api, held, &end).await;
        gauge.set(0);
        result
    }

    /// Waits until the Lease is ours. None when the program ends before.
    async fn campaign(&self, api: &Api<Lease>, end: &CancellationToken) -> Option<Lease> {
        let mut sight = Sight::default();
        loop {
            // An answer that comes late would tell of a lease that has run out since.
            match timeout(2 * PERIOD, self.attempt(api, &mut sight)).await {
                Ok(Ok(Some(held))) => return Some(held),
                Ok(Ok(None)) => {}
                Err(_) => tracing::warn!(lease = self.lease, "no answer in time about the lease"),
                Ok(Err(error)) => {
                    tracing::warn!(%error, lease = self.lease, "cannot read or write the lease");
                }
            }
            tokio::select! {
                () = end.cancelled() => return None,
                () = sleep(PERIOD) => {}
            }
        }
    }

    async fn attempt(&self, api: &Api<Lease>, sight: &mut Sight) -> Result<Option<Lease>, kube::Error> {
        let lease = api.get_opt(&self.lease).await?;
        let written = match sight.look(lease.as_ref(), &self.identity, Instant::now()) {
            Step::Wait => return Ok(None),
            Step::Create => api.create(&params(), &self.claim(None)).await,
            Step::Write => api.replace(&self.lease, &params(), &self.claim(lease)).await,
        };
        match written {
            Ok(held) => Ok(Some(held)),
            // Somebody was faster.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Renews until the end, then gives the Lease back so that nobody has to wait.
    async fn hold(
        &self,
        api: &Api<Lease>,
        mut held: Lease,
        end: &CancellationToken,
    ) -> Result<(), ElectionError> {
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                () = end.cancelled() => {
                    self.release(api, held).await;
                    return Ok(());
                }
                () = sleep(PERIOD) => {}
            }
            let (params, claim) = (params(), self.claim(Some(held.clone())));
            let error = match timeout(PERIOD, api.replace(&self.lease, &params, &claim)).await {
                Ok(Ok(newer)) => {
                    (held, renewed) = (newer, Instant::now());
                    continue;
                }
                Ok(Err(error)) => error,
                Err(_) => kube::Error::Service("no answer in time".into()),
            };
            // A request may take longer than a leader may go on without knowing.
            if let Ok(Ok(Some(newer))) = timeout(PERIOD, api.get_opt(&self.lease)).await {
                let holder =
                    newer.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
                if holder != self.identity {
                    return Err(ElectionError::TakenOver(holder));
                }
                // Our own write went through and its answer was lost, or somebody changed a label.
                held = newer;
            }
            if renewed.elapsed() >= PATIENCE {
                return Err(ElectionError::NotRenewed(Box::new(error)));
            }
            tracing::warn!(%error, lease = self.lease, "cannot renew the lease; it is tried again");
        }
    }

    async fn release(&self, api: &Api<Lease>, mut held: Lease) {
        if let Some(spec) = &mut held.spec {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
        }
        match api.replace(&self.lease, &params(), &held).await {
            Ok(_) => tracing::info!(lease = self.lease, "gave the lease back"),
            Err(error) => {
                tracing::warn!(%error, lease = self.lease, "cannot give the lease back; it runs out by itself");
            }
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
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
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
mod tests {
    use super::*;

    fn lease(holder: &str, version: &str) -> Lease {
        Lease {
            metadata: ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(12),
                ..LeaseSpec::default()
            }),
        }
    }

    #[test]
    fn a_lease_that_is_renewed_is_never_taken() {
        let (mut sight, start) = (Sight::default(), Instant::now());
        for second in 0..60 {
            let version = (second / 5).to_string();
            let now = start + Duration::from_secs(second);
            assert_eq!(sight.look(Some(&lease("other", &version)), "me", now), Step::Wait);
        }
    }

    #[test]
    fn a_lease_without_renewal_is_taken_after_its_duration_and_not_before() {
        let (mut sight, start) = (Sight::default(), Instant::now());
        let mut look =
            |seconds| sight.look(Some(&lease("other", "1")), "me", start + Duration::from_secs(seconds));
        assert_eq!(look(0), Step::Wait);
        assert_eq!(look(11), Step::Wait);
        assert_eq!(look(12), Step::Write);
    }

    #[test]
    fn what_is_nobodys_or_ours_is_taken_at_once() {
        let now = Instant::now();
        assert_eq!(Sight::default().look(None, "me", now), Step::Create);
        assert_eq!(Sight::default().look(Some(&lease("", "1")), "me", now), Step::Write);
        assert_eq!(Sight::default().look(Some(&lease("me", "1")), "me", now), Step::Write);
        assert_eq!(Sight::default().look(Some(&Lease::default()), "me", now), Step::Write);
    }

    #[test]
    fn a_claim_keeps_the_version_and_counts_transitions() {
        let me = Candidate { namespace: "n".into(), lease: "l".into(), identity: "me".into() };
        let taken = me.claim(Some(lease("other", "7")));
        assert_eq!(taken.metadata.resource_version.as_deref(), Some("7"));
        let spec = taken.spec.clone().expect("a spec");
        assert_eq!((spec.lease_transitions, spec.acquire_time.is_some()), (Some(1), true));
        let renewed = me.claim(Some(taken)).spec.expect("a spec");
        assert_eq!((renewed.lease_transitions, renewed.acquire_time), (Some(1), spec.acquire_time));
    }
}
