//! The controller's requests, as the API server noted them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use function_mesh_testkit::{AuditLog, Audited};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, sleep};

/// A silence of this length is taken for good. The controller looks at what is not ready every five seconds.
const QUIET: Duration = Duration::from_secs(8);

/// One that writes for so long will never be quiet.
const LIMIT: Duration = Duration::from_mins(10);

const PAUSE: Duration = Duration::from_millis(200);

/// Requests of some time, by what was asked of which resource: `patch functions/status`.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Tally {
    /// Those that ask for a change.
    pub(crate) writes: BTreeMap<String, u64>,
    /// All others, but for watches.
    pub(crate) reads: BTreeMap<String, u64>,
    /// Writes among them that the API server refused.
    pub(crate) refused: u64,
    #[serde(skip)]
    last_write: Option<Timestamp>,
}

impl Tally {
    /// How much was written.
    pub(crate) fn all_writes(&self) -> u64 {
        self.writes.values().sum()
    }

    /// How much was read.
    pub(crate) fn all_reads(&self) -> u64 {
        self.reads.values().sum()
    }

    /// The time from a moment to the last write; none without a write.
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

/// The controller's requests from some moment on.
pub(crate) struct Requests(AuditLog);

impl Requests {
    /// Requests in this log.
    pub(crate) fn new(log: AuditLog) -> Self {
        Self(log)
    }

    /// Waits until nothing has been written for a while, and tells all since the last call.
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

    /// Waits for some time, and tells all since the last call.
    pub(crate) async fn during(&mut self, time: Duration) -> anyhow::Result<Tally> {
        sleep(time).await;
        let mut tally = Tally::default();
        tally.add(self.0.take()?);
        Ok(tally)
    }
}
