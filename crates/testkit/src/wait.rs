//! Waits for conditions.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep, timeout_at};

/// How long a test waits for a condition. A wait ends with its condition, so that the limit costs a passing test
/// nothing; it is long since a machine that reads its disk for the first time is many times slower.
pub const PATIENCE: Duration = Duration::from_mins(1);

const PAUSE: Duration = Duration::from_millis(50);

/// Repeats the check until it passes, and returns its result. At the timeout, the error is that of the last check.
pub async fn eventually<T>(
    limit: Duration,
    mut check: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let end = Instant::now() + limit;
    let mut last = None;
    loop {
        match timeout_at(end, check()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(failure)) => last = Some(failure),
            Err(_) if last.is_none() => bail!("no answer within {limit:?}"),
            Err(_) => {}
        }
        if Instant::now() + PAUSE >= end {
            let last = last.unwrap_or_else(|| anyhow::anyhow!("no answer"));
            return Err(last).with_context(|| format!("still so after {limit:?}"));
        }
        sleep(PAUSE).await;
    }
}
