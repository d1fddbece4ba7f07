//! The controller's requests in the API server's audit log.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use function_mesh_testkit::{AuditLog, Audited};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, sleep};

/// How long a steady state has no writes. The controller rechecks failing objects every five seconds.
const QUIET: Duration = Duration::from_secs(8);

/// Timeout until it reaches a steady state.
const LIMIT: Duration = Duration::from_mins(20);

/// Timeout of its first request.
const START: Duration = Duration::from_mins(1);

const PAUSE: Duration = Duration::from_millis(200);

/// Requests of a period, by verb and resource: `patch functions/status`.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Tally {
    /// Writes.
    pub(crate) writes: BTreeMap<String, u64>,
    /// Reads, without watches.
    pub(crate) reads: BTreeMap<String, u64>,
    /// Rejected writes.
    pub(crate) refused: u64,
    #[serde(skip)]
    last_write: Option<Timestamp>,
}

impl Tally {
    /// The number of writes.
    pub(crate) fn all_writes(&self) -> u64 {
        self.writes.values().sum()
    }

    /// The number of reads.
    pub(crate) fn all_reads(&self) -> u64 {
        self.reads.values().sum()
    }

    /// The time from a given moment to the last write; None without a write.
    pub(crate) fn ended_after(&self, start: Timestamp) -> Duration {
        let ended = self.last_write.map(|last| last.duration_since(start));
        ended.and_then(|time| time.try_into().ok()).unwrap_or_default()
    }

    fn add(&mut self, requests: impl IntoIterator<Item = Audited>) {
        for request in requests {
            let what = format!("{} {}", request.verb, request.resource);
            if !request.is_write() {
                *self.reads.entry(what).or_default() += 1;
                continue;
            }
            *self.writes.entry(what).or_default() += 1;
            self.refused += u64::from(request.code >= 400);
            self.last_write = self.last_write.max(Some(request.at.0));
        }
    }
}

/// The controller's requests since a given moment.
pub(crate) struct Requests(AuditLog);

impl Requests {
    /// Requests in this log.
    pub(crate) fn new(log: AuditLog) -> Self {
        Self(log)
    }

    /// Waits until the operator has asked for something.
    pub(crate) async fn until_first(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        while self.0.take()?.is_empty() {
            ensure!(
                start.elapsed() < START,
                "the operator sends no request with the KUBECONFIG of the benchmark"
            );
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Waits until nothing has been written for a while, and returns all requests since the last call.
    pub(crate) async fn until_quiet(&mut self) -> anyhow::Result<Tally> {
        let (mut tally, mut silence, start) = (Tally::default(), Instant::now(), Instant::now());
        while silence.elapsed() < QUIET {
            sleep(PAUSE).await;
            let before = tally.all_writes();
            tally.add(self.0.take()?);
            if tally.all_writes() > before {
                silence = Instant::now();
            }
            ensure!(start.elapsed() < LIMIT, "it writes without end: {tally:?}");
        }
        Ok(tally)
    }

    /// Waits for some time, and returns all requests since the last call.
    pub(crate) async fn during(&mut self, time: Duration) -> anyhow::Result<Tally> {
        sleep(time).await;
        let mut tally = Tally::default();
        tally.add(self.0.take()?);
        Ok(tally)
    }
}
