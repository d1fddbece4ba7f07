//! The results, as a table or as JSON.

#![allow(clippy::cast_precision_loss, reason = "the figures have few digits")]

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::json;

use crate::STEADY;
use crate::load::Edited;
use crate::requests::Tally;
use crate::rig::Rig;

/// The result of one run. In JSON, times are in seconds and memory is in KiB.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    /// Created functions.
    pub(crate) functions: u32,
    /// Time to create them.
    #[serde(serialize_with = "seconds")]
    pub(crate) created: Duration,
    /// Time from the first creation until all children existed.
    #[serde(serialize_with = "seconds")]
    pub(crate) children: Duration,
    /// Time from the first creation until the controller's last write.
    #[serde(serialize_with = "seconds")]
    pub(crate) quiet: Duration,
    /// Requests until then.
    pub(crate) work: Tally,
    /// Processor time until then.
    #[serde(serialize_with = "seconds")]
    pub(crate) cpu: Duration,
    /// Resident memory before the first creation.
    pub(crate) empty: u64,
    /// Peak resident memory until the end of the steady state.
    pub(crate) peak: u64,
    /// Resident memory at the end of the steady state.
    pub(crate) resident: u64,
    /// The steady state.
    pub(crate) steady: Steady,
    /// Time of an answer with its metrics, in the steady state; None for another operator.
    #[serde(serialize_with = "optional_seconds")]
    pub(crate) scrape: Option<Duration>,
    /// Edits of another function while the functions were created; None if there were none.
    pub(crate) edits: Option<Edits>,
    /// The operator after a restart.
    pub(crate) restart: Restart,
    /// The edit of one component of a mesh.
    pub(crate) edit: Option<Edit>,
    /// Time in which a plain client writes the same children.
    #[serde(serialize_with = "optional_seconds")]
    pub(crate) bare: Option<Duration>,
}

/// Activity in the steady state.
#[derive(Debug, Serialize)]
pub(crate) struct Steady {
    pub(crate) requests: Tally,
    #[serde(serialize_with = "seconds")]
    pub(crate) cpu: Duration,
}

/// How long edits took, each from its request to the response, and from there to the changed pod template.
#[derive(Debug, Serialize)]
pub(crate) struct Edits {
    pub(crate) accepted: Spread,
    pub(crate) acted_on: Spread,
}

/// Several times.
#[derive(Debug, Serialize)]
pub(crate) struct Spread {
    #[serde(serialize_with = "seconds")]
    pub(crate) median: Duration,
    #[serde(serialize_with = "seconds")]
    pub(crate) slowest: Duration,
}

impl Edits {
    pub(crate) fn of(edits: &[Edited]) -> Option<Self> {
        let accepted = Spread::of(edits.iter().map(|edit| edit.accepted))?;
        Some(Self { accepted, acted_on: Spread::of(edits.iter().map(|edit| edit.acted_on))? })
    }
}

impl Spread {
    fn of(times: impl Iterator<Item = Duration> + Clone) -> Option<Self> {
        let seconds: Vec<_> = times.clone().map(|time| Some(time.as_secs_f64())).collect();
        Some(Self { median: median(&seconds).map(Duration::from_secs_f64)?, slowest: times.max()? })
    }
}

/// An operator that is restarted in a steady state.
#[derive(Debug, Serialize)]
pub(crate) struct Restart {
    /// Time until it is ready; None for another operator.
    #[serde(serialize_with = "optional_seconds")]
    pub(crate) ready: Option<Duration>,
    /// Writes, all of them needless.
    pub(crate) writes: u64,
    /// Peak resident memory.
    pub(crate) peak: u64,
}

/// The effect of an edit of one component of a mesh.
#[derive(Debug, Serialize)]
pub(crate) struct Edit {
    /// Components of the mesh.
    pub(crate) components: u32,
    pub(crate) requests: Tally,
    /// Time from the edit to the last write.
    #[serde(serialize_with = "seconds")]
    pub(crate) quiet: Duration,
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

#[allow(clippy::ref_option, reason = "the shape that serde asks for")]
fn optional_seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}

/// One line of the table.
struct Row {
    label: String,
    value: f64,
    digits: usize,
    unit: &'static str,
}

impl Row {
    fn new(label: impl Into<String>, value: f64, digits: usize, unit: &'static str) -> Self {
        Self { label: label.into(), value, digits, unit }
    }
}

impl Figures {
    fn rows(&self) -> Vec<Row> {
        let time = |label: &str, time: Duration| Row::new(label, time.as_secs_f64(), 2, "s");
        let ratio = |label: &str, time: Duration| {
            Row::new(label, time.as_secs_f64() / self.created.as_secs_f64(), 2, "times as long")
        };
        let count = |label: &str, count: u64| Row::new(label, count as f64, 0, "");
        let memory = |label: &str, kib: u64| Row::new(label, kib as f64 / 1024.0, 1, "MiB");
        let each = |label: String, count: u64| {
            Row::new(label, count as f64 / f64::from(self.functions), 3, "a function")
        };
        let by_kind = |what: &'static str, counts: &BTreeMap<String, u64>| {
            let rows = counts.iter().map(|(kind, count)| each(format!("  {what}: {kind}"), *count));
            rows.collect::<Vec<_>>()
        };
        let mut rows = vec![
            count("functions", self.functions.into()),
            time("time to create them", self.created),
            time("time to all children", self.children),
            ratio("  to the time to create", self.children),
            time("time to the steady state", self.quiet),
            time("  after all were created", self.quiet.saturating_sub(self.created)),
            each("writes".to_owned(), self.work.all_writes()),
        ];
        rows.extend(by_kind("write", &self.work.writes));
        rows.extend([
            count("  rejected writes", self.work.refused),
            each("reads".to_owned(), self.work.all_reads()),
        ]);
        rows.extend(by_kind("read", &self.work.reads));
        rows.extend([
            time("processor time to the steady state", self.cpu),
            memory("memory without functions", self.empty),
            memory("peak memory", self.peak),
            memory("memory in the steady state", self.resident),
            count(&format!("writes in {STEADY:?} of the steady state"), self.steady.requests.all_writes()),
            count("  reads in that time", self.steady.requests.all_reads()),
            time("  processor time in that time", self.steady.cpu),
        ]);
        let optional = [
            ("time of an answer with metrics", self.scrape),
            ("time until ready after a restart", self.restart.ready),
        ];
        rows.extend(optional.into_iter().filter_map(|(label, value)| Some(time(label, value?))));
        rows.extend([
            count("writes after a restart", self.restart.writes),
            memory("  peak memory after it", self.restart.peak),
        ]);
        if let Some(Edits { accepted, acted_on }) = &self.edits {
            rows.extend([
                time("an edit while they were created is accepted", accepted.median),
                time("  the slowest", accepted.slowest),
                time("  its pod template has changed after that", acted_on.median),
                time("  the slowest of these", acted_on.slowest),
            ]);
        }
        if let Some(Edit { components, requests, quiet }) = &self.edit {
            let what = format!("writes after an edit in a mesh of {components}");
            rows.push(count(&what, requests.all_writes()));
            let writes = requests.writes.iter();
            rows.extend(writes.map(|(kind, number)| count(&format!("  after an edit: {kind}"), *number)));
            rows.push(time("  time to the last of them", *quiet));
        }
        if let Some(bare) = self.bare {
            rows.push(time("time of a plain client for the children", bare));
        }
        rows
    }
}

/// Prints a row for each result, with a column for each run, and one with the medians of several.
pub(crate) fn print_table(runs: &[Figures]) {
    let mut lines: Vec<(Row, Vec<Option<f64>>)> = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        for row in run.rows() {
            let value = row.value;
            let known = lines.iter().position(|(known, _)| known.label == row.label);
            let line = known.unwrap_or_else(|| {
                lines.push((row, vec![None; runs.len()]));
                lines.len() - 1
            });
            lines[line].1[number] = Some(value);
        }
    }
    if runs.len() > 1 {
        println!("{:<44}{}     median", "", "           ".repeat(runs.len()));
    }
    for (row, mut values) in lines {
        if runs.len() > 1 {
            values.push(median(&values));
        }
        print!("{:<44}", row.label);
        for value in values {
            let text = value.map_or_else(|| "-".to_owned(), |value| format!("{value:.*}", row.digits));
            print!(" {text:>10}");
        }
        println!("  {}", row.unit);
    }
}

/// The median of the known values; of two in the middle the smaller one.
fn median(values: &[Option<f64>]) -> Option<f64> {
    let mut known: Vec<_> = values.iter().flatten().copied().collect();
    known.sort_by(f64::total_cmp);
    known.get(known.len().saturating_sub(1) / 2).copied()
}

/// Prints the machine, and an object for each run.
pub(crate) fn print_json(rig: &Rig, runs: &[Figures]) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(&json!({ "rig": rig, "runs": runs }))?);
    Ok(())
}
