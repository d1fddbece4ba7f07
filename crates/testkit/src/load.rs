//! Concurrent requests for which the API server calls the webhook.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use function_mesh_api::FunctionMesh;
use kube::api::PostParams;
use kube::{Api, Client, Config};
use tokio::task::JoinSet;

use crate::fixtures;

/// Timeout of a request. It is longer than the API server's timeout for webhooks, so that the API server's error is
/// counted.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Repeated creation of meshes that are not stored (`dryRun=All`).
///
/// The identity should be in the group `system:masters`, which has no rate limit in the API server: a rate-limited
/// request counts as a failure here.
#[derive(Clone, Debug)]
pub struct Load {
    /// The client configuration.
    pub config: Config,
    /// The namespace of the meshes.
    pub namespace: String,
    /// Concurrent requests.
    pub concurrency: usize,
}

/// The result of a load.
#[derive(Clone, Debug)]
pub struct LoadReport {
    /// The title of the row.
    pub title: String,
    /// Time from the first request to the last response.
    pub took: Duration,
    /// Durations of successful requests, sorted.
    pub latencies: Vec<Duration>,
    /// Errors by message.
    pub failures: BTreeMap<String, usize>,
}

impl Load {
    /// A load of 200 concurrent requests.
    pub fn new(config: Config, namespace: &str) -> Self {
        Self { config, namespace: namespace.to_owned(), concurrency: 200 }
    }

    /// Runs until `end` is complete, and waits for requests in flight.
    pub async fn run(&self, title: &str, end: impl Future<Output = ()>) -> anyhow::Result<LoadReport> {
        let mesh = Arc::new(fixtures::mesh("load", [fixtures::java_function("shout").into()])?);
        // One client for all: its pool opens a connection if none is idle, and keeps it.
        let client = Client::try_from(self.config.clone())?;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let begun = Instant::now();
        let mut workers = JoinSet::new();
        for _ in 0..self.concurrency {
            let api = Api::<FunctionMesh>::namespaced(client.clone(), &self.namespace);
            let (mesh, stopped) = (Arc::clone(&mesh), stopped.clone());
            workers.spawn(async move {
                let mut work = Work::default();
                while !*stopped.borrow() {
                    work.once(&api, &mesh).await;
                }
                work
            });
        }
        end.await;
        stop.send_replace(true);
        let mut all = Work::default();
        while let Some(work) = workers.join_next().await {
            all.add(work?);
        }
        all.latencies.sort_unstable();
        let Work { latencies, failures } = all;
        Ok(LoadReport { title: title.to_owned(), took: begun.elapsed(), latencies, failures })
    }

    /// Runs for this time.
    pub async fn run_for(&self, title: &str, time: Duration) -> anyhow::Result<LoadReport> {
        self.run(title, tokio::time::sleep(time)).await
    }
}

#[derive(Default)]
struct Work {
    latencies: Vec<Duration>,
    failures: BTreeMap<String, usize>,
}

impl Work {
    async fn once(&mut self, api: &Api<FunctionMesh>, mesh: &FunctionMesh) {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let begun = Instant::now();
        let failure = match tokio::time::timeout(TIMEOUT, api.create(&dry, mesh)).await {
            Ok(Ok(_)) => {
                self.latencies.push(begun.elapsed());
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no response within {TIMEOUT:?}"),
        };
        *self.failures.entry(failure).or_default() += 1;
        // Immediate failures must not dominate the load.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        for (failure, count) in other.failures {
            *self.failures.entry(failure).or_default() += count;
        }
    }
}

impl LoadReport {
    /// The header of the table of reports.
    pub const HEAD: &'static str = "| load | requests | failed | requests/s | p50 | p90 | p99 | longest |\n\
                                    |---|---:|---:|---:|---:|---:|---:|---:|";

    /// Number of requests.
    pub fn requests(&self) -> usize {
        self.latencies.len() + self.failed()
    }

    /// Number of failures.
    pub fn failed(&self) -> usize {
        self.failures.values().sum()
    }

    /// A percentile of the durations of successful requests; zero without any.
    pub fn percentile(&self, percent: usize) -> Duration {
        let place = (self.latencies.len() * percent).div_ceil(100).saturating_sub(1);
        self.latencies.get(place).copied().unwrap_or_default()
    }

    /// Requests per second.
    #[allow(clippy::cast_precision_loss, reason = "a number for people")]
    pub fn rate(&self) -> f64 {
        self.requests() as f64 / self.took.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// One row, and a line for each error below it.
impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} | {} | {} | {:.0} |", self.title, self.requests(), self.failed(), self.rate())?;
        for percent in [50, 90, 99, 100] {
            write!(f, " {:.0} ms |", self.percentile(percent).as_secs_f64() * 1000.0)?;
        }
        for (failure, count) in &self.failures {
            write!(f, "\n  {count} times: {failure}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_is_a_row() {
        let report = LoadReport {
            title: "calm".to_owned(),
            took: Duration::from_secs(2),
            latencies: (1..=99).map(Duration::from_millis).collect(),
            failures: [("rejected".to_owned(), 1)].into(),
        };
        let row = "| calm | 100 | 1 | 50 | 50 ms | 90 ms | 99 ms | 99 ms |\n  1 times: rejected";
        assert_eq!(report.to_string(), row);
        let none = LoadReport { latencies: Vec::new(), failures: BTreeMap::new(), ..report };
        assert_eq!((none.percentile(99), none.requests()), (Duration::ZERO, 0));
    }
}
