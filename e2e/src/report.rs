//! Results of scenarios: `scenarios.jsonl` and `faults.jsonl` in the state folder, one line each, which `hack/test`
//! prints as tables.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::Harness;

/// Records the end of a scenario.
pub(crate) fn scenario(harness: &Harness, took: Duration, passed: bool) -> Result<()> {
    // The harness names the thread of a test by its path: `basics::a_suspended_mesh_loses_no_message`.
    let thread = std::thread::current();
    let path = thread.name().unwrap_or_default();
    let (suite, _) = path.split_once("::").unwrap_or_default();
    let scenario = path.rsplit("::").next().unwrap_or_default().replace('_', " ");
    let seconds = (took.as_secs_f64() * 10.0).round() / 10.0;
    append(
        &harness.state,
        "scenarios.jsonl",
        &json!({ "suite": suite, "scenario": scenario, "seconds": seconds, "passed": passed }),
    )
}

/// Lost and duplicated messages of a scenario that injects a fault.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DeliveryReport {
    /// Messages that the broker accepted.
    pub sent: usize,
    /// Distinct results.
    pub received: usize,
    /// Messages without a result.
    pub lost: Vec<String>,
    /// Results beyond the first of their message.
    pub duplicated: usize,
    /// Results that belong to no message.
    pub unexpected: Vec<String>,
}

impl DeliveryReport {
    /// Compares results with what was sent; `result` computes what a message should become.
    pub fn compare(sent: &[String], received: &[String], result: impl Fn(&str) -> String) -> Self {
        let mut seen = std::collections::BTreeMap::<&str, usize>::new();
        for text in received {
            *seen.entry(text).or_default() += 1;
        }
        let mut report = Self { sent: sent.len(), ..Self::default() };
        for message in sent {
            match seen.remove(result(message).as_str()) {
                None => report.lost.push(message.clone()),
                Some(times) => {
                    report.received += 1;
                    report.duplicated += times - 1;
                }
            }
        }
        report.unexpected = seen.into_keys().map(str::to_owned).collect();
        report
    }

    /// Appends a row to the table of faults.
    pub fn record(&self, harness: &Harness, fault: &str) -> Result<()> {
        let row = json!({
            "fault": fault, "sent": self.sent, "received": self.received, "lost": self.lost.len(),
            "duplicated": self.duplicated,
        });
        append(&harness.state, "faults.jsonl", &row)
    }
}

/// Appends one line with one write, since scenarios run in parallel.
fn append(folder: &Path, file: &str, row: &Value) -> Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(folder.join(file))?;
    file.write_all(format!("{row}\n").as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lost_and_duplicated_messages() {
        let texts = |all: &[&str]| all.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let report =
            DeliveryReport::compare(&texts(&["a", "b", "c"]), &texts(&["a!", "c!", "c!", "d!"]), |text| {
                format!("{text}!")
            });
        let expected = DeliveryReport {
            sent: 3,
            received: 2,
            lost: texts(&["b"]),
            duplicated: 1,
            unexpected: texts(&["d!"]),
        };
        assert_eq!(report, expected);
    }
}
