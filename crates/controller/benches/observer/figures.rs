//! The results, as a table.

#![allow(clippy::cast_precision_loss, reason = "the figures have few digits")]

use std::time::Duration;

use function_mesh_testkit::StandInRequests;

use crate::requests::Tally;

/// The result of one mode with one number of functions.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) functions: u32,
    pub(crate) mode: &'static str,
    /// Functions with a known backlog at the end.
    pub(crate) observed: u32,
    /// How long it was measured.
    pub(crate) measured: Duration,
    /// Requests to Pulsar and to pods in that time.
    pub(crate) pulsar: StandInRequests,
    /// Those that were answered, and those that were not, by the controller's metrics.
    pub(crate) answered: u64,
    pub(crate) unanswered: u64,
    /// Processor time in that time.
    pub(crate) cpu: Duration,
    /// Resident memory, in KiB.
    pub(crate) resident: u64,
    /// Peak resident memory, in KiB.
    pub(crate) peak: u64,
    /// Requests to the API server before, while the controller settles.
    pub(crate) first: Tally,
    /// Requests to the API server while it was measured.
    pub(crate) steady: Tally,
}

/// Kinds of requests, in the order of the table.
const KINDS: [&str; 9] =
    ["partitions", "stats", "partitioned-stats", "metrics", "brokers", "topics", "quotas", "pods", "other"];

impl Figures {
    /// Label and value of each row.
    fn rows(&self) -> Vec<(String, String)> {
        let per_second = |count: u64| format!("{:.2}", count as f64 / self.measured.as_secs_f64());
        let mebibytes = |kib: u64| format!("{:.1}", kib as f64 / 1024.0);
        let row = |label: &str, value: String| (label.to_owned(), value);
        let mut rows = vec![
            row("functions", self.functions.to_string()),
            row("  with a known backlog", self.observed.to_string()),
            row("answered requests per second", per_second(self.answered)),
            row("others per second", per_second(self.unanswered)),
            row("requests at the stand-in per second", per_second(self.pulsar.by_kind.values().sum())),
        ];
        for kind in KINDS {
            let count = self.pulsar.by_kind.get(kind).copied().unwrap_or_default();
            rows.push((format!("  {kind}"), per_second(count)));
        }
        let cpu = self.cpu.as_secs_f64() * 1000.0 / self.measured.as_secs_f64();
        rows.extend([
            row("  most in flight", self.pulsar.most_in_flight.to_string()),
            row("processor time, ms per second", format!("{cpu:.1}")),
            row("memory, MiB", mebibytes(self.resident)),
            row("  peak", mebibytes(self.peak)),
            row("writes while it settles", self.first.all_writes().to_string()),
            row(&format!("writes in {:?}", self.measured), self.steady.all_writes().to_string()),
            row(&format!("reads in {:?}", self.measured), self.steady.all_reads().to_string()),
        ]);
        rows
    }
}

/// Prints a row for each result, with a column for each mode and number of functions.
pub(crate) fn print_table(runs: &[Figures]) {
    let columns: Vec<_> = runs.iter().map(Figures::rows).collect();
    print!("{:<36}", "mode");
    for run in runs {
        print!(" {:>10}", run.mode);
    }
    println!();
    let Some(first) = columns.first() else { return };
    for (place, (label, _)) in first.iter().enumerate() {
        print!("{label:<36}");
        for column in &columns {
            print!(" {:>10}", column.get(place).map_or("-", |(_, value)| value.as_str()));
        }
        println!();
    }
}
