//! What is told of the stories once they are over: `stories.jsonl` and `faults.jsonl` in the state's folder, one
//! line for each, from which `hack/test` makes its tables.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::World;

/// A story is over.
pub(crate) fn story(world: &World, took: Duration, passed: bool) -> Result<()> {
    let thread = std::thread::current();
    let story = thread.name().unwrap_or("a story").replace('_', " ");
    let program = std::env::current_exe()?;
    let suite = program.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let suite = suite.rsplit_once('-').map_or(suite, |(name, _)| name);
    let seconds = (took.as_secs_f64() * 10.0).round() / 10.0;
    append(
        &world.state,
        "stories.jsonl",
        &json!({ "suite": suite, "story": story, "seconds": seconds, "passed": passed }),
    )
}

/// What became of the messages that were under way while something went wrong.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Messages that the broker accepted.
    pub sent: usize,
    /// Results, each counted once.
    pub received: usize,
    /// Messages without a result.
    pub lost: Vec<String>,
    /// Results beyond the first of their message.
    pub duplicated: usize,
    /// Results of no message.
    pub strange: Vec<String>,
}

impl Tally {
    /// Compares results with what was sent; `result` computes what a message should become.
    pub fn of(sent: &[String], received: &[String], result: impl Fn(&str) -> String) -> Self {
        let mut seen = std::collections::BTreeMap::<&str, usize>::new();
        for text in received {
            *seen.entry(text).or_default() += 1;
        }
        let mut tally = Self { sent: sent.len(), ..Self::default() };
        for message in sent {
            match seen.remove(result(message).as_str()) {
                None => tally.lost.push(message.clone()),
                Some(times) => {
                    tally.received += 1;
                    tally.duplicated += times - 1;
                }
            }
        }
        tally.strange = seen.into_keys().map(str::to_owned).collect();
        tally
    }

    /// Writes it down as a row of the table of faults.
    pub fn record(&self, world: &World, fault: &str) -> Result<()> {
        let row = json!({
            "fault": fault, "sent": self.sent, "received": self.received, "lost": self.lost.len(),
            "duplicated": self.duplicated,
        });
        append(&world.state, "faults.jsonl", &row)
    }
}

/// One line in one write, since stories are told side by side.
fn append(folder: &Path, file: &str, row: &Value) -> Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(folder.join(file))?;
    file.write_all(format!("{row}\n").as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_counts_what_is_lost_and_what_comes_twice() {
        let texts = |all: &[&str]| all.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let tally =
            Tally::of(&texts(&["a", "b", "c"]), &texts(&["a!", "c!", "c!", "d!"]), |text| format!("{text}!"));
        let expected =
            Tally { sent: 3, received: 2, lost: texts(&["b"]), duplicated: 1, strange: texts(&["d!"]) };
        assert_eq!(tally, expected);
    }
}
